//! The installation itself: what it is, and how it is.

use super::render;
use super::types::{Doctor, Finding, Info, Level, RepairAsk, Repairs};
use super::wire::{Answer, By, OptionallyPosted};
use crate::state::DoorState;
use axum::Json;
use axum::extract::State;
use hostler_core::doctor::Outcome;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Routes that answer soon.
pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(info))
}

/// The doctor checks every page of the database.
pub(super) fn slow_routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(doctor)).routes(routes!(doctor_repair))
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

/// Repair what can be repaired safely
///
/// Looks at everything again and repairs it, or says what it would do. Nothing that a record speaks of is destroyed;
/// leftovers that no record knows are removed when they are old enough. Administrators only.
#[utoipa::path(
    post, path = "/doctor/repair", tag = "system", request_body = Option<RepairAsk>,
    responses((status = 200, body = Repairs))
)]
async fn doctor_repair(
    State(state): State<DoorState>,
    By(caller): By,
    OptionallyPosted(ask): OptionallyPosted<RepairAsk>,
) -> Answer<Json<Repairs>> {
    let core = state.core();
    let mut items = Vec::new();
    for repaired in core.doctor_repair(&caller, ask.preview, ask.only.as_deref()).await? {
        let task = match &repaired.outcome {
            Outcome::Ordered(id) => Some((&core.task_get(&caller, &id.to_string()).await?).into()),
            _ => None,
        };
        items.push(render::repaired(repaired, task));
    }
    Ok(Json(Repairs { items }))
}
