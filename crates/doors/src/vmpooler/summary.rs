//! What happened on which day. Days are those of UTC.

use super::asked::Asked;
use super::status::{average, duration, percent_decoded, seconds, tenth};
use super::wire::{Answer, Json, Object, Refused, reply};
use crate::state::DoorState;
use axum::extract::{Path, RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use hostler_core::pools::{Figures, Spread};
use jiff::civil::Date;
use std::collections::BTreeMap;

/// Days of one summary, at most: ten years.
const MOST_DAYS: i64 = 3660;
const DAY_MS: i64 = 86_400_000;

/// What may stand in a path.
const SECTIONS: [&str; 3] = ["boot", "clone", "tag"];

/// Figures of each pool on one day.
type Pools = BTreeMap<String, Figures>;

/// `GET /summary`
pub(super) async fn whole(state: State<DoorState>, asked: Asked, query: RawQuery) -> Response {
    answered(state, asked, query, None, None).await
}

/// `GET /summary/{section}`
pub(super) async fn section(
    state: State<DoorState>,
    asked: Asked,
    query: RawQuery,
    Path(section): Path<String>,
) -> Response {
    answered(state, asked, query, Some(section), None).await
}

/// `GET /summary/{section}/{key}`
pub(super) async fn part(
    state: State<DoorState>,
    asked: Asked,
    query: RawQuery,
    Path((section, key)): Path<(String, String)>,
) -> Response {
    answered(state, asked, query, Some(section), Some(key)).await
}

async fn answered(
    State(state): State<DoorState>,
    asked: Asked,
    RawQuery(query): RawQuery,
    section: Option<String>,
    key: Option<String>,
) -> Response {
    if section.as_ref().is_some_and(|section| !SECTIONS.contains(&section.as_str())) {
        return Refused::not_found().into_response();
    }
    let today = state.core().clock().now().0.div_euclid(DAY_MS);
    let days = match days(query.as_deref().unwrap_or_default(), today) {
        Ok(days) => days,
        // Quirk: in words, and called JSON all the same.
        Err(text) => {
            let kind = [(header::CONTENT_TYPE, "application/json")];
            return (StatusCode::BAD_REQUEST, kind, text).into_response();
        }
    };
    match summed(&state, &asked, days, section.as_deref(), key.as_deref()).await {
        Ok(body) => reply(StatusCode::OK, &body),
        Err(refused) => refused.into_response(),
    }
}

/// The first and the last day that are asked for.
fn days(query: &str, today: i64) -> Result<(i64, i64), String> {
    let mut wanted = (None, None);
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "from" => wanted.0 = Some(day(&percent_decoded(value))?),
            "to" => wanted.1 = Some(day(&percent_decoded(value))?),
            _ => {}
        }
    }
    let (from, to) = (wanted.0.unwrap_or(today), wanted.1.unwrap_or(today));
    if from > today {
        return Err("Date range is invalid, 'from' must be in the past.".to_owned());
    }
    if to < from {
        return Err("Date range is invalid, 'to' cannot come before 'from'.".to_owned());
    }
    if to - from >= MOST_DAYS {
        return Err(format!("Date range is invalid, it has more than {MOST_DAYS} days."));
    }
    Ok((from, to))
}

/// Days since 1970.
fn day(text: &str) -> Result<i64, String> {
    let shape = text.len() == 10
        && text
            .bytes()
            .enumerate()
            .all(|(place, c)| if place == 4 || place == 7 { c == b'-' } else { c.is_ascii_digit() });
    let date = Some(text).filter(|_| shape).and_then(|text| text.parse::<Date>().ok());
    let since = date.and_then(|date| date.since(Date::constant(1970, 1, 1)).ok());
    let shown: String = text.chars().take(40).collect();
    since
        .map(|span| i64::from(span.get_days()))
        .ok_or_else(|| format!("Invalid date format '{shown}', must match YYYY-MM-DD."))
}

fn written(day: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(day.saturating_mul(DAY_MS));
    at.map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%d").to_string())
}

async fn summed(
    state: &DoorState,
    asked: &Asked,
    (from, to): (i64, i64),
    section: Option<&str>,
    key: Option<&str>,
) -> Answer<Object> {
    asked.looking(state).await?;
    let mut days: BTreeMap<i64, Pools> = (from..=to).map(|day| (day, Pools::new())).collect();
    for ((day, pool), figures) in state.core().pool_figures(from, to).await? {
        days.entry(day).or_default().entry(pool).or_default().merge(&figures);
    }
    let shown = |name: &str| section.is_none_or(|section| section == name);
    let mut daily = Vec::new();
    let mut total = Pools::new();
    for (day, pools) in &days {
        let body = sections(pools, daily_part);
        let body = filtered(body.only(shown), section, key);
        daily.push(Json::from(Object::default().with("date", written(*day)).followed_by(body)));
        for (pool, figures) in pools {
            total.entry(pool.clone()).or_default().merge(figures);
        }
    }
    let overall = sections(&total, |pools, of| overall_part(pools, of, &days));
    let overall = filtered(overall.only(shown), section, key);
    Ok(match section {
        None => Object::default().with("daily", daily).followed_by(overall),
        Some(_) => overall.with("daily", daily),
    })
}

/// Boot, clone and tags.
fn sections(pools: &Pools, part: impl Fn(&Pools, fn(&Figures) -> Spread) -> Object) -> Object {
    Object::default()
        .with("boot", part(pools, |figures| figures.boot))
        .with("clone", part(pools, |figures| figures.clone))
        .with("tag", tags(pools))
}

/// Only what a path names within its section.
fn filtered(body: Object, section: Option<&str>, key: Option<&str>) -> Object {
    let (Some(section), Some(key)) = (section, key) else { return body };
    match body.get(section) {
        Some(Json::Object(inner)) => Object::default().with(section, inner.clone().only(|name| name == key)),
        _ => body,
    }
}

fn sum(pools: &Pools, of: fn(&Figures) -> Spread) -> Spread {
    let mut all = Spread::default();
    pools.values().for_each(|figures| all.merge(of(figures)));
    all
}

fn daily_part(pools: &Pools, of: fn(&Figures) -> Spread) -> Object {
    let all = sum(pools, of);
    let (durations, counts) = by_pool(pools, of);
    let some = all.count > 0;
    let duration = duration(all).perhaps("pool", some.then_some(durations));
    let count = Object::default().with("total", all.count).perhaps("pool", some.then_some(counts));
    Object::default().with("duration", duration).with("count", count)
}

fn overall_part(pools: &Pools, of: fn(&Figures) -> Spread, days: &BTreeMap<i64, Pools>) -> Object {
    let all = sum(pools, of);
    let (durations, counts) = by_pool(pools, of);
    let each: Vec<u64> = days.values().map(|pools| sum(pools, of).count).collect();
    #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
    let mean = tenth(all.count as f64 / each.len().max(1) as f64);
    // Whole numbers are written as such, as the guide has them.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it has no decimals")]
    let mean = if mean.fract() == 0.0 { Json::from(mean as u64) } else { mean.into() };
    let count = Object::default()
        .with("average", mean)
        .with("min", each.iter().min().copied().unwrap_or(0))
        .with("max", each.iter().max().copied().unwrap_or(0))
        .with("total", all.count)
        .with("pool", counts);
    Object::default().with("duration", duration(all).with("pool", durations)).with("count", count)
}

fn by_pool(pools: &Pools, of: fn(&Figures) -> Spread) -> (Object, Object) {
    let some =
        || pools.iter().map(|(pool, figures)| (pool.clone(), of(figures))).filter(|(_, of)| of.count > 0);
    let duration = |of: Spread| {
        Object::default()
            .with("total", seconds(of.total_ms))
            .with("average", average(of))
            .with("min", seconds(of.min_ms))
            .with("max", seconds(of.max_ms))
    };
    let durations = some().map(|(pool, of)| (pool, duration(of).into())).collect();
    let counts = some().map(|(pool, of)| (pool, Object::default().with("total", of.count).into())).collect();
    (durations, counts)
}

fn tags(pools: &Pools) -> Object {
    let mut all = Figures::default();
    pools.values().for_each(|figures| all.merge(figures));
    let shown = |values: BTreeMap<String, u64>| {
        let total: u64 = values.values().sum();
        let values: Object = values.into_iter().map(|(value, count)| (value, count.into())).collect();
        values.with("total", total)
    };
    all.tags.into_iter().map(|(key, values)| (key, shown(values).into())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_checked_word_for_word() {
        let today = day("2026-11-23").unwrap();
        assert_eq!(written(today), "2026-11-23");
        assert_eq!(days("", today), Ok((today, today)));
        assert_eq!(days("from=2026-11-20", today), Ok((today - 3, today)));
        assert_eq!(days("from=2026-11-22&to=2027-01-01", today).map(|(from, _)| from), Ok(today - 1));
        let refused = |query: &str| days(query, today).unwrap_err();
        assert_eq!(refused("from=bad"), "Invalid date format 'bad', must match YYYY-MM-DD.");
        assert_eq!(refused("to=2015-02-31"), "Invalid date format '2015-02-31', must match YYYY-MM-DD.");
        assert_eq!(
            refused("from=2026-11-20&to=2026-11-19"),
            "Date range is invalid, 'to' cannot come before 'from'."
        );
        assert_eq!(
            refused("from=2026-11-24&to=2026-11-25"),
            "Date range is invalid, 'from' must be in the past."
        );
        assert!(refused("from=0001-01-01").contains("more than"));
    }
}
