//! Maintenance: nobody may change anything for a while.

use super::types::{Maintenance, MaintenanceSet};
use super::wire::{Answer, By, Posted};
use crate::state::DoorState;
use axum::Json;
use axum::extract::State;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(maintenance_show, maintenance_set))
}

/// Show whether maintenance is on
///
/// Administrators only; answered in maintenance, too.
#[utoipa::path(get, path = "/maintenance", tag = "system", responses((status = 200, body = Maintenance)))]
async fn maintenance_show(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Maintenance>> {
    Ok(Json(state.core().maintenance_get(&caller).await?.into()))
}

/// Begin or end maintenance
///
/// While it is on, every other request but reads over the unix socket is answered with 503, `maintenance`, and has no
/// effect. Tasks that have begun go on; others wait. It outlives restarts and holds for all hosts, on the others within
/// moments. Administrators only; answered in maintenance, too.
#[utoipa::path(
    put, path = "/maintenance", tag = "system", request_body = MaintenanceSet,
    responses((status = 200, body = Maintenance))
)]
async fn maintenance_set(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<MaintenanceSet>,
) -> Answer<Json<Maintenance>> {
    let reason = value.on.then_some(value.reason.as_str());
    Ok(Json(state.core().maintenance_set(&caller, reason).await?.into()))
}
