//! The native REST API: `/hostler/v1/…`, described by `/hostler/openapi.json`.
//!
//! * Errors are problems (RFC 9457) with a stable `code`; see [`types::Problem`].
//! * Commands that take time answer 202 with the object and its task, and `Location` names the task; wait for it with
//!   `GET /tasks/{task}?wait_s=30` or follow `GET /events`.
//! * Lists page by opaque cursors. Unknown parameters and unknown fields are errors.
//! * Creations of machines, templates, volumes and checkouts take an `Idempotency-Key`.
//!
//! Quirks: a request over the unix socket of the server's own user needs no token (the command line relies on it).
//! `Idempotent-Replayed` is missing when two requests with the same key run at the very same time.

mod accounts;
mod checkouts;
mod disks;
mod document;
mod events;
mod fields;
mod groups;
mod machines;
mod maintenance;
mod media;
mod outside;
mod places;
mod pools;
mod render;
mod rights;
mod sessions;
mod snapshots;
mod ssh_keys;
mod system;
mod tasks;
mod tokens;
pub mod types;
mod wire;

pub use document::operations;
pub(crate) use document::serialized;
pub use wire::Refusal;

use crate::login;
use crate::state::DoorState;
use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use wire::{Answer, Parameters};

/// For routes that answer soon. What was asked may have been done although the answer is cut.
const PATIENCE: Duration = Duration::from_secs(30);

/// The routes of the native door and their description.
pub(crate) fn router(state: &DoorState) -> (Router<DoorState>, OpenApi) {
    let document = description();
    let bare = Arc::new(document::without_parameters(&document));
    let (routes, _) = routes().split_for_parts();
    let (open, _) = open_routes().split_for_parts();
    let routes = routes
        .route_layer(from_fn_with_state(bare.clone(), refuse_parameters))
        .route_layer(from_fn_with_state(state.clone(), authenticate))
        .merge(open.route_layer(from_fn_with_state(bare, refuse_parameters)));
    (Router::new().nest("/hostler/v1", routes), document::complete(document))
}

fn routes() -> OpenApiRouter<DoorState> {
    let quick = OpenApiRouter::new()
        .merge(machines::routes())
        .merge(disks::routes())
        .merge(snapshots::routes())
        .merge(media::routes())
        .merge(places::routes())
        .merge(pools::routes())
        .merge(checkouts::routes())
        .merge(tasks::routes())
        .merge(rights::routes())
        .merge(accounts::routes())
        .merge(groups::routes())
        .merge(ssh_keys::routes())
        .merge(tokens::routes())
        .merge(sessions::routes())
        .merge(maintenance::routes())
        .merge(outside::routes())
        .merge(system::routes());
    document::begin()
        .merge(quick.layer(from_fn(in_time)))
        .merge(machines::slow_routes())
        .merge(tasks::slow_routes())
        .merge(outside::slow_routes())
        .merge(system::slow_routes())
        .merge(events::routes())
}

/// Routes for those who have not come in yet; they say so in their descriptions.
fn open_routes() -> OpenApiRouter<DoorState> {
    sessions::open_routes().merge(outside::open_routes()).layer(from_fn(in_time))
}

/// All of it, described.
fn description() -> OpenApi {
    routes().merge(open_routes()).split_for_parts().1
}

/// Lets nobody in without a credential that counts; handlers find the caller in the request.
async fn authenticate(State(state): State<DoorState>, mut request: Request, next: Next) -> Response {
    match login::session(&state, request.headers(), request.extensions()).await {
        Ok(session) => {
            request.extensions_mut().insert(session);
            next.run(request).await
        }
        Err(login::Refused::By(error)) => Refusal::from(error).into_response(),
        Err(login::Refused::TooMany { retry_after_s }) => Refusal::too_many(retry_after_s).into_response(),
    }
}

/// Refuses a query string where none is known: a `?force=true` that should have been in the body must not be lost.
async fn refuse_parameters(
    State(bare): State<Arc<HashSet<(Method, String)>>>,
    route: MatchedPath,
    parameters: Answer<Parameters>,
    request: Request,
    next: Next,
) -> Response {
    let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
    if bare.contains(&(method, route.as_str().to_owned()))
        && let Err(refusal) = parameters.and_then(|parameters| parameters.only(&[]))
    {
        return refusal.into_response();
    }
    next.run(request).await
}

async fn in_time(request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(PATIENCE, next.run(request)).await;
    answer.unwrap_or_else(|_| Refusal::timed_out().into_response())
}
