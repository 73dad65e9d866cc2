//! Pools: looked at, added, changed, drained, removed; and what was asked of them.

use super::machines::{STOCK, render};
use super::render::time;
use super::types::{
    FiguresAsk, Machine, Page, PageAsk, Pool, PoolDay, PoolEdit, PoolFailure, PoolFigures, PoolShown,
    PoolSpec, Pools, Probe, Spread, StockAsk, Trouble,
};
use super::wire::{Answer, By, ListQuery, Parameters, Posted, Refusal, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::Caller;
use hostler_core::pools::{self, Figures, Overriding, PoolCounts};
use jiff::civil::Date;
use std::sync::Arc;
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
    let items = pools.iter().map(|pool| pool_rendered(&caller, pool, &counts)).collect();
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
        failures: failed.into_iter().map(failure).collect(),
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
    Ok(Json(render::page(&state, &caller, &query, page).await?))
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
    Ok(pool_rendered(caller, pool, &counts))
}

fn pool_rendered(caller: &Caller, pool: &pools::Pool, counts: &Arc<Vec<PoolCounts>>) -> Pool {
    let counts = counts.iter().find(|counts| counts.pool.id == pool.id);
    let count = |of: fn(&PoolCounts) -> u64| counts.map(of).unwrap_or_default();
    let overrides = &pool.overrides;
    Pool {
        id: pool.id.0,
        number: pool.number,
        name: pool.spec.name.clone(),
        description: pool.spec.description.clone(),
        aliases: pool.spec.aliases.clone(),
        template: pool.template().to_owned(),
        size: pool.size(),
        ready: count(|counts| counts.ready),
        filling: count(|counts| counts.filling),
        lent: count(|counts| counts.lent),
        returned: count(|counts| counts.returned),
        requested: count(|counts| counts.requested),
        last_ready_at: time(counts.and_then(|counts| counts.last_ready_at)),
        trouble: pool.trouble.as_ref().map(|trouble| Trouble {
            reason: trouble.reason.clone(),
            since: trouble.since.to_string(),
            failures: trouble.failures,
            again_at: trouble.again_at.to_string(),
        }),
        declared: pool.declared,
        removing: pool.removing,
        overrides: PoolEdit {
            size: overrides.size,
            template: overrides.template.clone(),
            clone_target: overrides.clone_target.clone(),
        },
        // Keys and commands of the administrators are nobody else's business.
        spec: caller.sees_everything().then(|| pool.spec.clone().into()),
        drained_at: time(pool.drained_at),
        created_at: pool.created_at.to_string(),
    }
}

fn failure(machine: hostler_core::machines::Machine) -> PoolFailure {
    PoolFailure {
        machine: machine.id.0,
        name: machine.name.to_string(),
        reason: machine.reason,
        at: machine.updated_at.to_string(),
    }
}

impl From<pools::Spread> for Spread {
    fn from(spread: pools::Spread) -> Self {
        let pools::Spread { count, total_ms, min_ms, max_ms } = spread;
        Self { count, total_ms, min_ms, max_ms }
    }
}

impl From<pools::Probe> for Probe {
    fn from(probe: pools::Probe) -> Self {
        match probe {
            pools::Probe::Agent => Self::Agent,
            pools::Probe::Ssh => Self::Ssh,
            pools::Probe::Tcp(port) => Self::Tcp(port),
            pools::Probe::Command(argv) => Self::Command(argv),
        }
    }
}

impl From<Probe> for pools::Probe {
    fn from(probe: Probe) -> Self {
        match probe {
            Probe::Agent => Self::Agent,
            Probe::Ssh => Self::Ssh,
            Probe::Tcp(port) => Self::Tcp(port),
            Probe::Command(argv) => Self::Command(argv),
        }
    }
}

impl From<pools::PoolSpec> for PoolSpec {
    fn from(spec: pools::PoolSpec) -> Self {
        Self {
            name: spec.name,
            description: spec.description,
            aliases: spec.aliases,
            weight: spec.weight,
            template: spec.template,
            size: spec.size,
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            disk_mib: spec.disk_mib,
            network: spec.network,
            domain: spec.domain,
            prefix: spec.prefix,
            probe: spec.probe.into(),
            ready_ttl_s: spec.ready_ttl_s,
            boot_deadline_s: Some(spec.boot_deadline_s),
            check_s: Some(spec.check_s),
            lifetime_s: spec.lifetime_s,
            lifetime_with_token_s: spec.lifetime_with_token_s,
            lifetime_max_s: spec.lifetime_max_s,
            clones: Some(spec.clones),
            fork: Some(spec.fork),
            ssh_keys: spec.ssh_keys,
            clone_target: spec.clone_target,
        }
    }
}

impl From<PoolSpec> for pools::PoolSpec {
    fn from(spec: PoolSpec) -> Self {
        let usual = Self::new(spec.name, spec.template, spec.size);
        Self {
            description: spec.description,
            aliases: spec.aliases,
            weight: spec.weight,
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
            disk_mib: spec.disk_mib,
            network: spec.network,
            domain: spec.domain,
            prefix: spec.prefix,
            probe: spec.probe.into(),
            ready_ttl_s: spec.ready_ttl_s,
            boot_deadline_s: spec.boot_deadline_s.unwrap_or(usual.boot_deadline_s),
            check_s: spec.check_s.unwrap_or(usual.check_s),
            lifetime_s: spec.lifetime_s,
            lifetime_with_token_s: spec.lifetime_with_token_s,
            lifetime_max_s: spec.lifetime_max_s,
            clones: spec.clones.unwrap_or(usual.clones),
            fork: spec.fork.unwrap_or(usual.fork),
            ssh_keys: spec.ssh_keys,
            clone_target: spec.clone_target,
            ..usual
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_shall_be_comes_back_as_it_was_sent() {
        let sent = pools::PoolSpec {
            aliases: vec!["b".into()],
            weight: Some(3),
            probe: pools::Probe::Tcp(22),
            check_s: 0,
            fork: false,
            ..pools::PoolSpec::new("a", "micro", 2)
        };
        let wire = serde_json::to_value(PoolSpec::from(sent.clone())).unwrap();
        let read: PoolSpec = serde_json::from_value(wire).unwrap();
        assert_eq!(pools::PoolSpec::from(read), sent);
        let least = serde_json::json!({"name": "a", "template": "micro", "size": 2});
        let least: PoolSpec = serde_json::from_value(least).unwrap();
        assert_eq!(pools::PoolSpec::from(least), pools::PoolSpec::new("a", "micro", 2));
    }

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
