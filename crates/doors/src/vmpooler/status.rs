//! How things stand now.

use super::wire::{Answer, Json, answer, any, object, refused, rounded, spaced, texts};
use crate::state::DoorState;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use hostler_core::pools::{PoolCounts, Spread};

/// The values of a parameter of a query, at every comma; none when it is not there or has no value at all.
fn listed(query: Option<&str>, name: &str) -> Option<Vec<String>> {
    let query = query?;
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    let value = value.replace("%2C", ",").replace("%2c", ",").replace('+', " ");
    Some(value.split(',').map(str::trim).filter(|part| !part.is_empty()).map(ToOwned::to_owned).collect())
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

/// Durations and their count, as `boot` and `clone` are shown.
pub(super) fn spread(spread: Spread) -> Json {
    let average = if spread.count == 0 { 0.0 } else { seconds(spread.total_ms) / spread.count as f64 };
    let duration = if spread.count == 0 {
        object(["average", "min", "max", "total"].map(|name| (name, Json::from(0))))
    } else {
        object([
            ("average", rounded(average, 1)),
            ("min", rounded(seconds(spread.min_ms), 2)),
            ("max", rounded(seconds(spread.max_ms), 2)),
            ("total", rounded(seconds(spread.total_ms), 2)),
        ])
    };
    object([("duration", duration), ("count", object([("total", Json::from(spread.count))]))])
}

/// Aliases, where there are any.
fn alias(counts: &PoolCounts) -> Option<(&'static str, Json)> {
    let aliases = &counts.pool.spec.aliases;
    (!aliases.is_empty()).then(|| ("alias", texts(aliases.iter().map(String::as_str))))
}

fn pool(counts: &PoolCounts) -> (String, Json) {
    let last = counts.last_ready_at.map(spaced).unwrap_or_default();
    let mut members = vec![
        ("ready", Json::from(counts.ready)),
        ("running", Json::from(counts.lent)),
        ("pending", Json::from(counts.filling)),
        ("max", Json::from(counts.pool.size())),
        ("lastBoot", Json::from(last)),
    ];
    members.extend(alias(counts));
    (counts.pool.spec.name.clone(), object(members))
}

fn queue(counts: &[PoolCounts]) -> Json {
    let sum = |of: fn(&PoolCounts) -> u64| counts.iter().map(of).sum::<u64>();
    let (pending, ready, running) = (sum(|one| one.filling), sum(|one| one.ready), sum(|one| one.lent));
    let (requested, completed) = (sum(|one| one.requested), sum(|one| one.returned));
    let parts = [
        ("requested", requested),
        ("pending", pending),
        ("cloning", 0),
        ("booting", pending),
        ("ready", ready),
        ("running", running),
        ("completed", completed),
        ("total", requested + pending + ready + running + completed),
    ];
    object(parts.map(|(name, count)| (name, Json::from(count))))
}

fn capacity(counts: &[PoolCounts]) -> Json {
    let current: u64 = counts.iter().map(|counts| counts.ready).sum();
    let total: u64 = counts.iter().map(|counts| u64::from(counts.pool.size())).sum();
    let percent = if total == 0 { 0.0 } else { current as f64 * 100.0 / total as f64 };
    object([("current", Json::from(current)), ("total", Json::from(total)), ("percent", rounded(percent, 1))])
}

/// `GET /status[?view=…]`. An empty pool shows in the body; the status stays 200.
pub(super) async fn status(State(state): State<DoorState>, RawQuery(query): RawQuery) -> Answer {
    let view = listed(query.as_deref(), "view");
    let wanted = |section: &str| view.as_ref().is_none_or(|view| view.iter().any(|one| one == section));
    let core = state.core();
    let counts = core.pool_counts().await.map_err(refused)?;
    let mut members = Vec::new();
    let births = match wanted("boot") || wanted("clone") {
        true => core.pool_births_today().await.map_err(refused)?,
        false => Default::default(),
    };
    if wanted("boot") {
        members.push(("boot", spread(births.1)));
    }
    if wanted("capacity") {
        members.push(("capacity", capacity(&counts)));
    }
    if wanted("clone") {
        members.push(("clone", spread(births.0)));
    }
    if wanted("pools") {
        members.push(("pools", object(counts.iter().map(pool))));
    }
    if wanted("queue") {
        members.push(("queue", queue(&counts)));
    }
    let empty = counts.iter().filter(|counts| counts.ready == 0 && counts.pool.size() > 0);
    let empty: Vec<&str> = match wanted("pools") {
        true => empty.map(|counts| counts.pool.spec.name.as_str()).collect(),
        false => Vec::new(),
    };
    let message = match empty.len() {
        0 => "Battle station fully armed and operational.".to_owned(),
        some => format!("Found {some} empty pools."),
    };
    let mut verdict = vec![("ok", Json::from(empty.is_empty())), ("message", Json::from(message))];
    if !empty.is_empty() {
        verdict.push(("empty", texts(empty)));
    }
    let uptime = core.clock().now().since(state.started()).as_millis() as f64 / 1000.0;
    verdict.push(("uptime", rounded(uptime, 1)));
    members.push(("status", object(verdict)));
    Ok(answer(StatusCode::OK, &object(members)))
}

/// `GET /poolstat?pool=a,b`, by names or aliases.
pub(super) async fn poolstat(State(state): State<DoorState>, RawQuery(query): RawQuery) -> Answer {
    let asked = listed(query.as_deref(), "pool").unwrap_or_default();
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let named =
        |counts: &&PoolCounts| counts.pool.spec.names().any(|name| asked.iter().any(|one| one == name));
    let shown = |counts: &PoolCounts| {
        let mut members = vec![("max", Json::from(counts.pool.size()))];
        members.extend(alias(counts));
        members.push(("ready", Json::from(counts.ready)));
        (counts.pool.spec.name.clone(), object(members))
    };
    let pools = object(counts.iter().filter(named).map(shown));
    Ok(answer(StatusCode::OK, &object([("pools", pools)])))
}

/// `GET /totalrunning`.
pub(super) async fn totalrunning(State(state): State<DoorState>) -> Answer {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let running: u64 = counts.iter().map(|counts| counts.lent).sum();
    Ok(answer(StatusCode::OK, &any(&serde_json::json!({ "running": running }))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_listed_at_commas_and_a_bare_name_is_none() {
        let some = |all: &[&str]| Some(all.iter().map(|one| (*one).to_owned()).collect::<Vec<_>>());
        assert_eq!(listed(Some("view=a,b"), "view"), some(&["a", "b"]));
        assert_eq!(listed(Some("x=1&view=a%2Cb"), "view"), some(&["a", "b"]));
        assert_eq!(listed(Some("view="), "view"), some(&[]));
        assert_eq!(listed(Some("view"), "view"), None);
        assert_eq!(listed(None, "view"), None);
    }

    #[test]
    fn durations_are_in_seconds() {
        let mut some = Spread::default();
        some.add(2790);
        some.add(8100);
        let text = serde_json::to_string(&spread(some)).unwrap();
        assert_eq!(
            text,
            r#"{"duration":{"average":5.4,"min":2.79,"max":8.1,"total":10.89},"count":{"total":2}}"#
        );
        let text = serde_json::to_string(&spread(Spread::default())).unwrap();
        assert_eq!(text, r#"{"duration":{"average":0,"min":0,"max":0,"total":0},"count":{"total":0}}"#);
    }
}
