//! Pools: looked at, added, changed, drained, removed; and what was asked of them.

mod render;

use super::machines::{self, STOCK};
use super::types::{
    FiguresAsk, Machine, Page, PageAsk, Pool, PoolDay, PoolEdit, PoolFigures, PoolShown, PoolSpec, Pools,
    StockAsk,
};
use super::wire::{Answer, By, ListQuery, Parameters, Posted, Refusal, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::Caller;
use hostler_core::pools::{self, Figures, Overriding};
use jiff::civil::Date;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(pool_list, pool_create))
        .routes(routes!(pool_figures))
        .routes(routes!(pool_show, pool_replace, pool_edit, pool_delete))
        .routes(routes!(pool_reset))
        .routes(routes!(pool_drain))
        .routes(routes!(pool_machines))
}

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Days of figures at a time: ten years.
const MOST_DAYS: i64 = 3660;
/// Days that a pool tells of when it is shown.
const SHOWN_DAYS: i64 = 7;
/// Failures that a pool tells of when it is shown.
const SHOWN_FAILURES: u32 = 10;

/// List pools
///
/// All of them, in the order of the configuration.
#[utoipa::path(get, path = "/pools", tag = "pools", responses((status = 200, body = Pools)))]
async fn pool_list(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Pools>> {
    let pools = state.core().pool_list(&caller).await?;
    let counts = state.core().pool_counts().await?;
    let items = pools.iter().map(|pool| render::pool(&caller, pool, &counts)).collect();
    Ok(Json(Pools { items }))
}

/// Add a pool
///
/// Administrators only. It is filled at once, and is there until it is removed; pools of the configuration follow that.
#[utoipa::path(post, path = "/pools", tag = "pools", request_body = PoolSpec, responses((status = 201, body = Pool)))]
async fn pool_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<PoolSpec>,
) -> Answer {
    let pool = state.core().pool_create(&caller, &value.into()).await?;
    let pool = now(&state, &caller, &pool).await?;
    Ok(created("pools", pool.id, pool))
}

/// Show a pool
///
/// With why it is not full, how long its machines took, and which failed.
#[utoipa::path(
    get, path = "/pools/{pool}", tag = "pools",
    params(("pool" = String, Path, description = "Name, number or id")),
    responses((status = 200, body = PoolShown))
)]
async fn pool_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<Json<PoolShown>> {
    let core = state.core();
    let pool = core.pool_get(&caller, &key).await?;
    let failed = core.pool_failures(&caller, &pool.id.to_string(), SHOWN_FAILURES).await?;
    let today = core.clock().now().0.div_euclid(DAY_MS);
    let mut told = Figures::default();
    for ((_, name), figures) in core.pool_figures(today - SHOWN_DAYS + 1, today).await? {
        if name == pool.spec.name {
            told.merge(&figures);
        }
    }
    Ok(Json(PoolShown {
        pool: now(&state, &caller, &pool).await?,
        clone: told.clone.into(),
        boot: told.boot.into(),
        failures: failed.into_iter().map(render::failure).collect(),
        goldens: core.goldens_of(&pool).await?.into_iter().map(render::golden).collect(),
    }))
}

/// Change a pool as a whole
///
/// Administrators only, and only a pool that the configuration does not declare. It keeps its name. Ready machines that
/// are not what it shall have now are replaced.
#[utoipa::path(
    put, path = "/pools/{pool}", tag = "pools", request_body = PoolSpec,
    params(("pool" = String, Path, description = "Name, number or id")),
    responses((status = 200, body = Pool))
)]
async fn pool_replace(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
    Posted { value, .. }: Posted<PoolSpec>,
) -> Answer<Json<Pool>> {
    let pool = state.core().pool_change(&caller, &key, &value.into()).await?;
    Ok(Json(now(&state, &caller, &pool).await?))
}

/// Override a pool's size, template or clone target
///
/// Administrators only. It lasts until it is reset, also where the configuration declares something else.
#[utoipa::path(
    patch, path = "/pools/{pool}", tag = "pools", request_body = PoolEdit,
    params(("pool" = String, Path, description = "Name, number or id")),
    responses((status = 200, body = Pool))
)]
async fn pool_edit(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
    Posted { value, .. }: Posted<PoolEdit>,
) -> Answer<Json<Pool>> {
    let PoolEdit { size, template, clone_target } = value;
    let overriding = Overriding {
        size: size.map(Some),
        template: template.map(Some),
        clone_target: clone_target.map(Some),
    };
    overridden(&state, &caller, key, overriding).await
}

/// Drop what was overridden of a pool
///
/// Administrators only.
#[utoipa::path(
    post, path = "/pools/{pool}/reset", tag = "pools",
    params(("pool" = String, Path, description = "Name, number or id")),
    responses((status = 200, body = Pool))
)]
async fn pool_reset(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<Json<Pool>> {
    overridden(&state, &caller, key, Overriding::reset()).await
}

async fn overridden(
    state: &DoorState,
    caller: &Caller,
    key: String,
    overriding: Overriding,
) -> Answer<Json<Pool>> {
    let done = state.core().pool_override(caller, &[(key.clone(), overriding)]).await?;
    let (_, pool) = done.into_iter().next().ok_or_else(|| hostler_core::Error::not_found("pool", key))?;
    Ok(Json(now(state, caller, &pool).await?))
}

/// Replace what is ready in a pool
///
/// Administrators only. Machines that are lent stay.
#[utoipa::path(
    post, path = "/pools/{pool}/drain", tag = "pools",
    params(("pool" = String, Path, description = "Name, number or id")),
    responses((status = 200, body = Pool))
)]
async fn pool_drain(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<Json<Pool>> {
    state.core().pool_drain(&caller, std::slice::from_ref(&key)).await?;
    let pool = state.core().pool_get(&caller, &key).await?;
    Ok(Json(now(&state, &caller, &pool).await?))
}

/// Remove a pool
///
/// Administrators only, and only a pool that the configuration does not declare and of which nothing is lent. Its stock
/// goes first.
#[utoipa::path(
    delete, path = "/pools/{pool}", tag = "pools",
    params(("pool" = String, Path, description = "Name, number or id")),
    responses((status = 204))
)]
async fn pool_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<StatusCode> {
    state.core().pool_delete(&caller, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the machines of a pool
///
/// In any state, for those who see everything; others see what they have lent.
#[utoipa::path(
    get, path = "/pools/{pool}/machines", tag = "pools",
    params(("pool" = String, Path, description = "Name, number or id"), PageAsk, StockAsk),
    responses((status = 200, body = Page<Machine>))
)]
async fn pool_machines(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
    parameters: Parameters,
) -> Answer<Json<Page<Machine>>> {
    let query = ListQuery::read(&parameters.0, &STOCK)?;
    let page = state.core().pool_stock(&caller, &key, query.ask()).await?;
    Ok(Json(machines::render::page(&state, &caller, &query, page).await?))
}

/// Show what was asked of pools, day by day
///
/// Checkouts, misses, failures, and how long machines took.
#[utoipa::path(get, path = "/pools/figures", tag = "pools", params(FiguresAsk), responses((status = 200, body = PoolFigures)))]
async fn pool_figures(
    State(state): State<DoorState>,
    By(_caller): By,
    parameters: Parameters,
) -> Answer<Json<PoolFigures>> {
    parameters.only(&["from", "to"])?;
    let today = state.core().clock().now().0.div_euclid(DAY_MS);
    let to = day(&parameters, "to")?.unwrap_or(today);
    let from = day(&parameters, "from")?.unwrap_or(to - SHOWN_DAYS + 1);
    if from > to || to - from >= MOST_DAYS {
        let text = format!("`from` is at most {MOST_DAYS} days before `to`, and not after it");
        return Err(Refusal::malformed("from", text));
    }
    let figures = state.core().pool_figures(from, to).await?;
    let items = figures.into_iter().map(|((day, pool), figures)| PoolDay {
        day: written(day),
        pool,
        checkouts: figures.checkouts,
        misses: figures.misses,
        failures: figures.failures,
        clone: figures.clone.into(),
        boot: figures.boot.into(),
    });
    Ok(Json(PoolFigures { items: items.collect() }))
}

/// A day that a parameter names, as days since 1970.
fn day(parameters: &Parameters, name: &'static str) -> Answer<Option<i64>> {
    let Some(text) = parameters.0.get(name) else { return Ok(None) };
    let wrong = || Refusal::malformed(name, format!("`{name}` is a day, e.g. 2026-03-01"));
    let date: Date = text.parse().map_err(|_| wrong())?;
    let span = Date::constant(1970, 1, 1).until(date).map_err(|_| wrong())?;
    Ok(Some(span.get_days().into()))
}

fn written(day: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(day.saturating_mul(DAY_MS));
    at.map(|at| at.strftime("%Y-%m-%d").to_string()).unwrap_or_default()
}

/// A pool as it is now.
async fn now(state: &DoorState, caller: &Caller, pool: &pools::Pool) -> Answer<Pool> {
    let counts = state.core().pool_counts().await?;
    Ok(render::pool(caller, pool, &counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_written() {
        let read = |text: &str| {
            let parameters = Parameters([("from".to_owned(), text.to_owned())].into());
            day(&parameters, "from").ok().flatten()
        };
        assert_eq!(read("1970-01-02"), Some(1));
        assert_eq!(read("2026-03-01").map(written).as_deref(), Some("2026-03-01"));
        assert_eq!(read("yesterday"), None);
    }
}
