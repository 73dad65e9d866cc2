//! Checkouts: machines of pools that are lent, and requests for machines that somebody waits for.

use super::machines::{STOCK, render};
use super::render::time;
use super::types::{
    Accepted, CheckoutCreate, CheckoutEdit, Lent, Machine, Page, PageAsk, Request, RequestCreate, Requests,
    StockAsk,
};
use super::wire::{Answer, By, ListQuery, Parameters, Posted, accepted};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderValue, StatusCode};
use axum::response::IntoResponse;
use hostler_core::pools::{self, CheckoutAsk, CheckoutChange, RequestAsk, RequestState};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(checkout_list, checkout_create))
        .routes(routes!(checkout_show, checkout_edit, checkout_return))
        .routes(routes!(request_list, request_create))
        .routes(routes!(request_show, request_delete))
}

/// Requests that a list has at most.
const MOST_REQUESTS: u32 = 100;

/// List what is lent
///
/// To the caller; an administrator sees everybody's.
#[utoipa::path(get, path = "/checkouts", tag = "pools", params(PageAsk, StockAsk), responses((status = 200, body = Page<Machine>)))]
async fn checkout_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Machine>>> {
    let query = ListQuery::read(&parameters.0, &STOCK)?;
    let page = state.core().checkout_list(&caller, query.ask()).await?;
    Ok(Json(render::page(&state, &caller, &query, page).await?))
}

/// Lend ready machines to the caller
///
/// All that are asked for, or none: then the answer is 507 with the code `empty_pool`.
#[utoipa::path(
    post, path = "/checkouts", tag = "pools", request_body = CheckoutCreate,
    params(("Idempotency-Key" = Option<String>, Header, description = "Makes the request safe to repeat")),
    responses((status = 201, body = Lent))
)]
async fn checkout_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, idempotency }: Posted<CheckoutCreate>,
) -> Answer {
    let ask = CheckoutAsk {
        wanted: value.pools.into_iter().collect(),
        lifetime_s: value.lifetime_s,
        tags: value.tags,
    };
    let replayed = match &idempotency {
        Some(asked) => state.core().answered_before(&caller, asked).await?,
        None => false,
    };
    let lent = state.core().pool_checkout(&caller, &ask, idempotency.as_ref()).await?;
    let machines: Vec<_> = lent.into_iter().map(|(_, machine)| machine).collect();
    let items = render::machines(&state, &caller, &machines).await?;
    let mut response = (StatusCode::CREATED, Json(Lent { items })).into_response();
    if replayed {
        response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Show a machine that is or was lent
#[utoipa::path(
    get, path = "/checkouts/{checkout}", tag = "pools",
    params(("checkout" = String, Path, description = "Host name of the machine, or its id")),
    responses((status = 200, body = Machine))
)]
async fn checkout_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<Json<Machine>> {
    let machine = state.core().pool_machine(&caller, &key).await?;
    if machine.stock.as_ref().is_none_or(|stock| stock.checkout.is_none()) {
        return Err(hostler_core::Error::not_found("checkout", key).into());
    }
    Ok(Json(render::machine(&state, &caller, machine).await?))
}

/// Prolong, shorten or tag a checkout
///
/// Its lifetime is counted from its beginning.
#[utoipa::path(
    patch, path = "/checkouts/{checkout}", tag = "pools", request_body = CheckoutEdit,
    params(("checkout" = String, Path, description = "Host name of the machine, or its id")),
    responses((status = 200, body = Machine))
)]
async fn checkout_edit(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
    Posted { value, .. }: Posted<CheckoutEdit>,
) -> Answer<Json<Machine>> {
    let change = CheckoutChange { lifetime_s: value.lifetime_s, tags: value.tags };
    let machine = state.core().checkout_change(&caller, &key, &change).await?;
    Ok(Json(render::machine(&state, &caller, machine).await?))
}

/// Return a machine
///
/// It is removed with its disks.
#[utoipa::path(
    delete, path = "/checkouts/{checkout}", tag = "pools",
    params(("checkout" = String, Path, description = "Host name of the machine, or its id")),
    responses(
        (status = 202, body = Accepted<Machine>),
        (status = 200, body = Accepted<Machine>, description = "It is removed when the task that holds it has ended")
    )
)]
async fn checkout_return(State(state): State<DoorState>, By(caller): By, Path(key): Path<String>) -> Answer {
    let done = state.core().checkout_return(&caller, &key).await?;
    let record = render::machine(&state, &caller, done.record).await?;
    Ok(accepted(record, done.task.as_ref(), false))
}

/// List requests
///
/// The caller's; an administrator sees everybody's.
#[utoipa::path(get, path = "/requests", tag = "pools", responses((status = 200, body = Requests)))]
async fn request_list(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Requests>> {
    let requests = state.core().request_list(&caller, MOST_REQUESTS).await?;
    Ok(Json(Requests { items: requests.into_iter().map(Request::from).collect() }))
}

/// Ask for machines to be made
///
/// Each is lent as soon as it is ready; follow the request until it is `ready` or `failed`.
#[utoipa::path(post, path = "/requests", tag = "pools", request_body = RequestCreate, responses((status = 201, body = Request)))]
async fn request_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<RequestCreate>,
) -> Answer {
    let ask = RequestAsk { key: value.key, wanted: value.pools.into_iter().collect() };
    let request = Request::from(state.core().request_make(&caller, &ask).await?);
    Ok(super::wire::created("requests", request.id, request))
}

/// Show a request with its machines
#[utoipa::path(
    get, path = "/requests/{request}", tag = "pools",
    params(("request" = String, Path, description = "Key or id")),
    responses((status = 200, body = Request))
)]
async fn request_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<Json<Request>> {
    let request = state.core().request_get(&caller, &key).await?;
    let lent = state.core().request_machines(&request).await?;
    let machines: Vec<_> = lent.into_iter().map(|(_, machine)| machine).collect();
    let machines = render::machines(&state, &caller, &machines).await?;
    Ok(Json(Request { machines, ..request.into() }))
}

/// Take a request back
///
/// What was made for it is returned, what is being made is removed.
#[utoipa::path(
    delete, path = "/requests/{request}", tag = "pools",
    params(("request" = String, Path, description = "Key or id")),
    responses((status = 200, body = Request))
)]
async fn request_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<Json<Request>> {
    Ok(Json(state.core().request_delete(&caller, &key).await?.into()))
}

impl From<pools::Request> for Request {
    fn from(request: pools::Request) -> Self {
        let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self {
            id: request.id.0,
            number: request.number,
            account: request.account.0,
            state: request.state.word().to_owned(),
            reason: match request.state {
                RequestState::Failed(reason) => Some(reason),
                _ => None,
            },
            wanted: count(request.wanted.len()),
            ready: count(request.wanted.iter().filter(|wanted| wanted.ready).count()),
            failures: request.failures,
            deadline: request.deadline.to_string(),
            created_at: request.created_at.to_string(),
            ended_at: time(request.ended_at),
            key: request.key,
            machines: Vec::new(),
        }
    }
}
