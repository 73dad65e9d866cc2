//! Media: ISO images that can be inserted into machines.

use super::disks::in_source;
use super::fields;
use super::render;
use super::types::{Accepted, MediaAsk, Medium, MediumCreate, Page, PageAsk};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick, Posted, accepted};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::media::MediumAsk;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// The routes.
pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(medium_list, medium_create))
        .routes(routes!(medium_show, medium_delete))
}

const MEDIA: ListSpec = ListSpec {
    fields: fields::MEDIA,
    picks: &[("name", Pick::Contains), ("state", Pick::Words(&["creating", "ready", "deleting", "failed"]))],
};

/// List media
#[utoipa::path(get, path = "/media", tag = "media", params(PageAsk, MediaAsk), responses((status = 200, body = Page<Medium>)))]
async fn medium_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Medium>>> {
    let query = ListQuery::read(&parameters.0, &MEDIA)?;
    let page = state.core().medium_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, |medium| render::medium(&caller, medium))))
}

/// Make a medium
///
/// From an ISO image. Administrators only.
#[utoipa::path(
    post, path = "/media", tag = "media", request_body = MediumCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat")),
    responses((status = 202, body = Accepted<Medium>))
)]
async fn medium_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, idempotency }: Posted<MediumCreate>,
) -> Answer {
    let source = render::source(value.source)?;
    let ask = MediumAsk { name: value.name, source, description: value.description };
    let replayed = match &idempotency {
        Some(asked) => state.core().answered_before(&caller, asked).await?,
        None => false,
    };
    let made = state.core().medium_make(&caller, &ask, idempotency.as_ref()).await.map_err(in_source)?;
    Ok(accepted(render::medium(&caller, made.record), made.task.as_ref(), replayed))
}

/// Show a medium
#[utoipa::path(
    get, path = "/media/{medium}", tag = "media",
    params(("medium" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = Medium))
)]
async fn medium_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(medium): Path<String>,
) -> Answer<Json<Medium>> {
    let medium = state.core().medium_get(&caller, &medium).await?;
    Ok(Json(render::medium(&caller, medium)))
}

/// Remove a medium
///
/// Refused while a machine has it in its drive. Administrators only.
#[utoipa::path(
    delete, path = "/media/{medium}", tag = "media",
    params(("medium" = String, Path, description = "Id, number or name")),
    responses((status = 202, body = Accepted<Medium>))
)]
async fn medium_delete(State(state): State<DoorState>, By(caller): By, Path(medium): Path<String>) -> Answer {
    let done = state.core().medium_delete(&caller, &medium).await?;
    Ok(accepted(render::medium(&caller, done.record), done.task.as_ref(), false))
}
