//! How things stand just now.
//!
//! These are asked for by monitors many times a second, without a credential: everything comes from what core remembers.

use super::asked::Asked;
use super::wire::{Answer, Json, Object, reply, time};
use crate::state::DoorState;
use axum::extract::{RawQuery, State};
use axum::http::StatusCode;
use hostler_core::pools::{Pool, PoolCounts, Spread};

/// One decimal.
pub(super) fn tenth(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Milliseconds as seconds with two decimals.
pub(super) fn seconds(ms: u64) -> f64 {
    // Beyond 2^53 ms nobody looks at decimals.
    #[expect(clippy::cast_precision_loss, reason = "shown with two decimals")]
    let ms = ms as f64;
    (ms / 10.0).round() / 100.0
}

/// The seconds of durations.
pub(super) fn duration(of: Spread) -> Object {
    if of.count == 0 {
        return ["average", "min", "max", "total"]
            .map(|name| (name.to_owned(), Json::from(0_u64)))
            .into_iter()
            .collect();
    }
    Object::default()
        .with("average", average(of))
        .with("min", seconds(of.min_ms))
        .with("max", seconds(of.max_ms))
        .with("total", seconds(of.total_ms))
}

/// Seconds of one, with one decimal.
pub(super) fn average(of: Spread) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let (total, count) = (of.total_ms as f64, of.count as f64);
    tenth(total / count.max(1.0) / 1000.0)
}

fn births(of: Spread) -> Object {
    let count = Object::default().with("total", of.count);
    Object::default().with("duration", duration(of)).with("count", count)
}

/// The values of a parameter that are joined by commas; none when it is not there or has no `=`.
fn parameter(query: Option<&str>, name: &str) -> Option<Vec<String>> {
    let pairs = query.unwrap_or_default().split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.rev().find(|(here, _)| *here == name)?.1;
    let value = percent_decoded(value);
    Some(value.split(',').filter(|word| !word.is_empty()).map(ToOwned::to_owned).collect())
}

/// What cannot be decoded stays as it is.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, more)) = rest.split_first() {
        let hex = more.get(..2).and_then(|pair| std::str::from_utf8(pair).ok());
        match (first, hex.and_then(|hex| u8::from_str_radix(hex, 16).ok())) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                rest = &more[2..];
            }
            (b'+', _) => {
                bytes.push(b' ');
                rest = more;
            }
            (other, _) => {
                bytes.push(*other);
                rest = more;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Aliases as they were configured; none where there are none.
fn aliases(pool: &Pool) -> Option<Vec<String>> {
    Some(pool.spec.aliases.clone()).filter(|aliases| !aliases.is_empty())
}

/// `GET /status`
///
/// Quirks: `pools` is what vmfloaty shows; `?view=` with nothing is `status` alone, a bare `?view` is everything.
pub(super) async fn status(
    State(state): State<DoorState>,
    asked: Asked,
    RawQuery(query): RawQuery,
) -> Answer {
    asked.looking(&state).await?;
    let counts = state.core().pool_counts().await?;
    let view = parameter(query.as_deref(), "view");
    let shown = |name: &str| view.as_ref().is_none_or(|view| view.iter().any(|here| here == name));
    let mut body = Object::default();
    if shown("boot") || shown("clone") {
        let (clone, boot) = state.core().pool_births_today().await?;
        body =
            body.with("boot", births(boot)).with("capacity", capacity(&counts)).with("clone", births(clone));
    } else {
        body = body.with("capacity", capacity(&counts));
    }
    let pools: Object =
        counts.iter().map(|counts| (counts.pool.spec.name.clone(), pool(counts).into())).collect();
    let body = body.with("pools", pools).with("queue", queue(&counts)).only(shown);
    let uptime = state.core().clock().now().since(state.started()).as_secs_f64();
    let empty = if shown("pools") { empty(&counts) } else { Vec::new() };
    Ok(body.with("status", verdict(empty, uptime)).answered(StatusCode::OK))
}

fn capacity(counts: &[PoolCounts]) -> Object {
    let current: u64 = counts.iter().map(|counts| counts.ready).sum();
    let total: u64 = counts.iter().map(|counts| u64::from(counts.pool.size())).sum();
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let percent =
        if total == 0 { Json::from(0_u64) } else { tenth(current as f64 * 100.0 / total as f64).into() };
    Object::default().with("current", current).with("total", total).with("percent", percent)
}

fn pool(counts: &PoolCounts) -> Object {
    Object::default()
        .with("ready", counts.ready)
        .with("running", counts.lent)
        .with("pending", counts.filling)
        .with("max", counts.pool.size())
        .with("lastBoot", counts.last_ready_at.map_or_else(String::new, time))
        .perhaps("alias", aliases(&counts.pool))
}

fn queue(counts: &[PoolCounts]) -> Object {
    let sum = |of: fn(&PoolCounts) -> u64| counts.iter().map(of).sum::<u64>();
    let (requested, pending) = (sum(|counts| counts.requested), sum(|counts| counts.filling));
    let (ready, running, completed) =
        (sum(|counts| counts.ready), sum(|counts| counts.lent), sum(|counts| counts.returned));
    Object::default()
        .with("requested", requested)
        .with("pending", pending)
        // Making and starting is one step here.
        .with("cloning", pending)
        .with("booting", 0_u64)
        .with("ready", ready)
        .with("running", running)
        .with("completed", completed)
        .with("total", requested + pending + ready + running + completed)
}

/// Pools that should have something ready and have not.
fn empty(counts: &[PoolCounts]) -> Vec<String> {
    let empty = counts.iter().filter(|counts| counts.ready == 0 && counts.pool.size() > 0);
    empty.map(|counts| counts.pool.spec.name.clone()).collect()
}

fn verdict(empty: Vec<String>, uptime: f64) -> Object {
    if empty.is_empty() {
        let text = "Battle station fully armed and operational.";
        return Object::ok(true).with("message", text).with("uptime", tenth(uptime));
    }
    let text = format!("Found {} empty pools.", empty.len());
    Object::ok(false).with("message", text).with("empty", empty).with("uptime", tenth(uptime))
}

/// `GET /poolstat?pool=a,b`, by names and aliases; shown by name.
pub(super) async fn pool_stat(
    State(state): State<DoorState>,
    asked: Asked,
    RawQuery(query): RawQuery,
) -> Answer {
    asked.looking(&state).await?;
    let wanted = parameter(query.as_deref(), "pool").unwrap_or_default();
    let counts = state.core().pool_counts().await?;
    let mut pools = Object::default();
    for counts in counts.iter() {
        if counts.pool.spec.names().any(|name| wanted.iter().any(|here| here == name)) {
            let shown = Object::default()
                .with("max", counts.pool.size())
                .perhaps("alias", aliases(&counts.pool))
                .with("ready", counts.ready);
            pools = pools.with(counts.pool.spec.name.as_str(), shown);
        }
    }
    Ok(reply(StatusCode::OK, &Object::default().with("pools", pools)))
}

/// `GET /totalrunning`
pub(super) async fn total_running(State(state): State<DoorState>, asked: Asked) -> Answer {
    asked.looking(&state).await?;
    let running: u64 = state.core().pool_counts().await?.iter().map(|counts| counts.lent).sum();
    Ok(reply(StatusCode::OK, &Object::default().with("running", running)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_told_from_none() {
        assert_eq!(parameter(None, "view"), None);
        assert_eq!(parameter(Some("view"), "view"), None);
        assert_eq!(parameter(Some("view="), "view"), Some(vec![]));
        assert_eq!(
            parameter(Some("a=1&view=a%2Cb,c"), "view"),
            Some(vec!["a".into(), "b".into(), "c".into()])
        );
    }

    #[test]
    fn what_cannot_be_decoded_stays() {
        assert_eq!(percent_decoded("a%2fb+c%zz%"), "a/b c%zz%");
    }

    #[test]
    fn durations_have_their_decimals_and_none_are_zeros() {
        let mut spread = Spread::default();
        let zeros = serde_json::to_string(&duration(spread)).unwrap();
        assert_eq!(zeros, r#"{"average":0,"min":0,"max":0,"total":0}"#);
        [2_784, 8_101].into_iter().for_each(|ms| spread.add(ms));
        let some = serde_json::to_string(&duration(spread)).unwrap();
        assert_eq!(some, r#"{"average":5.4,"min":2.78,"max":8.1,"total":10.89}"#);
    }
}
