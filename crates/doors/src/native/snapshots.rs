//! Snapshots of machines.

use super::fields;
use super::types::{Accepted, Page, PageAsk, Snapshot, SnapshotCreate, SnapshotRevert, SnapshotsAsk};
use super::wire::{Answer, By, ListQuery, ListSpec, OptionallyPosted, Parameters, Pick, Posted, accepted};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::access::Caller;
use hostler_core::query::Filter;
use hostler_core::snapshots::SnapshotAsk;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// All of them answer soon.
pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(machine_snapshot_list, snapshot_create))
        .routes(routes!(snapshot_list))
        .routes(routes!(snapshot_show, snapshot_delete))
        .routes(routes!(snapshot_revert))
}

const SNAPSHOTS: ListSpec = ListSpec {
    fields: fields::SNAPSHOTS,
    picks: &[
        ("name", Pick::Contains),
        ("state", Pick::Words(&["creating", "present", "deleting"])),
        ("owner", Pick::Key),
    ],
};

async fn listed(
    state: &DoorState,
    caller: &Caller,
    parameters: &Parameters,
    of: Filter,
) -> Answer<Json<Page<Snapshot>>> {
    let mut query = ListQuery::read(&parameters.0, &SNAPSHOTS)?;
    query.narrow(of);
    let page = state.core().snapshot_list(caller, query.ask()).await?;
    Ok(Json(query.page(page, Snapshot::from)))
}

/// List snapshots
///
/// The caller's; an administrator sees everybody's.
#[utoipa::path(get, path = "/snapshots", tag = "snapshots", params(PageAsk, SnapshotsAsk), responses((status = 200, body = Page<Snapshot>)))]
async fn snapshot_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Snapshot>>> {
    listed(&state, &caller, &parameters, Filter::All).await
}

/// List the snapshots of a machine
#[utoipa::path(
    get, path = "/machines/{machine}/snapshots", tag = "snapshots",
    params(("machine" = String, Path, description = "Id, number or name"), PageAsk, SnapshotsAsk),
    responses((status = 200, body = Page<Snapshot>))
)]
async fn machine_snapshot_list(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    parameters: Parameters,
) -> Answer<Json<Page<Snapshot>>> {
    let machine = state.core().machine_get(&caller, &machine).await?;
    listed(&state, &caller, &parameters, Filter::eq("machine", machine.id.0)).await
}

/// Take a snapshot of a machine
///
/// Its disks are kept as they are at one moment, as after a power cut; with memory nothing is lost. A machine has at
/// most 64.
#[utoipa::path(
    post, path = "/machines/{machine}/snapshots", tag = "snapshots", request_body = SnapshotCreate,
    params(
        ("machine" = String, Path, description = "Id, number or name"),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat"),
    ),
    responses((status = 202, body = Accepted<Snapshot>))
)]
async fn snapshot_create(
    State(state): State<DoorState>,
    By(caller): By,
    Path(machine): Path<String>,
    Posted { value, idempotency }: Posted<SnapshotCreate>,
) -> Answer {
    let ask = SnapshotAsk { name: value.name, description: value.description, memory: value.memory };
    let replayed = match &idempotency {
        Some(asked) => state.core().answered_before(&caller, asked).await?,
        None => false,
    };
    let made = state.core().snapshot_take(&caller, &machine, &ask, idempotency.as_ref()).await?;
    Ok(accepted(Snapshot::from(made.record), made.task.as_ref(), replayed))
}

/// Show a snapshot
#[utoipa::path(
    get, path = "/snapshots/{snapshot}", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or number")),
    responses((status = 200, body = Snapshot))
)]
async fn snapshot_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(snapshot): Path<String>,
) -> Answer<Json<Snapshot>> {
    Ok(Json(state.core().snapshot_get(&caller, &snapshot).await?.into()))
}

/// Remove a snapshot
///
/// The machine stays as it is.
#[utoipa::path(
    delete, path = "/snapshots/{snapshot}", tag = "snapshots",
    params(("snapshot" = String, Path, description = "Id or number")),
    responses((status = 202, body = Accepted<Snapshot>))
)]
async fn snapshot_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(snapshot): Path<String>,
) -> Answer {
    let done = state.core().snapshot_remove(&caller, &snapshot).await?;
    Ok(accepted(Snapshot::from(done.record), done.task.as_ref(), false))
}

/// Take the machine back to a snapshot
///
/// What it is now is lost. With memory it runs on from that moment; without, it must be off, or `force` cuts its
/// power, and it stays off.
#[utoipa::path(
    post, path = "/snapshots/{snapshot}/revert", tag = "snapshots", request_body = Option<SnapshotRevert>,
    params(("snapshot" = String, Path, description = "Id or number")),
    responses((status = 202, body = Accepted<Snapshot>))
)]
async fn snapshot_revert(
    State(state): State<DoorState>,
    By(caller): By,
    Path(snapshot): Path<String>,
    OptionallyPosted(how): OptionallyPosted<SnapshotRevert>,
) -> Answer {
    let done = state.core().snapshot_revert(&caller, &snapshot, how.force).await?;
    Ok(accepted(Snapshot::from(done.record), done.task.as_ref(), false))
}
