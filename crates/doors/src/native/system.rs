//! The installation itself: what it is, and how it is.

use super::types::{Doctor, Finding, Info, Level};
use super::wire::{Answer, By};
use crate::state::DoorState;
use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes that answer soon.
pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(info))
}

/// The doctor checks every page of the database.
pub(super) fn slow_routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(doctor))
}

/// Show which hostler this is
#[utoipa::path(get, path = "/info", tag = "system", responses((status = 200, body = Info)))]
async fn info(State(state): State<DoorState>) -> Json<Info> {
    Json(Info {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        apis: vec!["v1".to_owned()],
        started_at: state.started().to_string(),
        now: state.core().clock().now().to_string(),
    })
}

/// Look at everything that can be wrong
///
/// Hosts, storages, the database, and every disagreement between records and reality. Administrators only.
#[utoipa::path(get, path = "/doctor", tag = "system", responses((status = 200, body = Doctor)))]
async fn doctor(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Doctor>> {
    let findings: Vec<Finding> = state.core().doctor(&caller).await?.into_iter().map(Finding::from).collect();
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    Ok(Json(Doctor { worst, findings }))
}
