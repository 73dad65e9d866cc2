//! What was done on some days.

use super::status::spread;
use super::wire::{Answer, Json, answer, date, nothing_here, object, refused, rounded};
use crate::state::DoorState;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hostler_core::pools::{Figures, Spread};
use std::collections::{BTreeMap, HashMap};

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;
/// Days of one report at most: ten years.
const MOST_DAYS: i64 = 3660;

/// A refusal of the dates.
///
/// Quirk: its body is plain text, although it is called JSON.
fn misdated(text: String) -> Response {
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (StatusCode::BAD_REQUEST, kind, text).into_response()
}

fn day(text: &str) -> Result<i64, Response> {
    let wrong = || misdated(format!("Invalid date format '{text}', must match YYYY-MM-DD."));
    let shaped = text.len() == 10 && text.is_ascii();
    let date: jiff::civil::Date = text.parse().ok().filter(|_| shaped).ok_or_else(wrong)?;
    let epoch = jiff::civil::date(1970, 1, 1);
    let span = epoch.until(date).map_err(|_| wrong())?;
    Ok(i64::from(span.get_days()))
}

/// First and last day of the report.
fn days(query: &HashMap<String, String>, today: i64) -> Result<(i64, i64), Response> {
    let given =
        |name: &str| query.get(name).filter(|text| !text.is_empty()).map(|text| day(text)).transpose();
    let (from, to) = (given("from")?.unwrap_or(today), given("to")?);
    if from > today {
        return Err(misdated("Date range is invalid, 'from' must be in the past.".to_owned()));
    }
    let to = to.unwrap_or(today);
    if to < from {
        return Err(misdated("Date range is invalid, 'to' cannot come before 'from'.".to_owned()));
    }
    if to - from > MOST_DAYS {
        return Err(misdated(format!("Date range is invalid, it has more than {MOST_DAYS} days.")));
    }
    Ok((from, to))
}

/// Tags with their values and a total.
fn tags(figures: &Figures) -> Json {
    object(figures.tags.iter().map(|(key, values)| {
        let total: u64 = values.values().sum();
        let counts = values.iter().map(|(value, count)| (value.clone(), Json::from(*count)));
        (key.clone(), object(counts.chain([("total".to_owned(), Json::from(total))])))
    }))
}

/// Durations over several days: bounds over the days on which there was any.
fn overall(of_days: &[Spread]) -> Json {
    let mut whole = Spread::default();
    of_days.iter().for_each(|day| whole.merge(*day));
    let Json::Object(members) = spread(whole) else { return spread(whole) };
    let counts: Vec<u64> = of_days.iter().map(|day| day.count).collect();
    let days = counts.len().max(1);
    let count = object([
        ("average", rounded(whole.count as f64 / days as f64, 1)),
        ("min", Json::from(counts.iter().copied().min().unwrap_or(0))),
        ("max", Json::from(counts.iter().copied().max().unwrap_or(0))),
        ("total", Json::from(whole.count)),
    ]);
    let duration = members.into_iter().find(|(name, _)| name == "duration").map(|(_, value)| value);
    object([("duration", duration.unwrap_or_else(|| object::<String>([]))), ("count", count)])
}

/// The whole report, section by section.
async fn report(state: &DoorState, query: &HashMap<String, String>) -> Result<Vec<(String, Json)>, Response> {
    let today = state.core().clock().now().0.div_euclid(DAY_MS);
    let (from, to) = days(query, today)?;
    let figures = state.core().pool_figures(from, to).await.map_err(refused)?;
    let mut by_day: BTreeMap<i64, Figures> = (from..=to).map(|day| (day, Figures::default())).collect();
    let mut whole = Figures::default();
    for ((day, _), some) in &figures {
        by_day.entry(*day).or_default().merge(some);
        whole.merge(some);
    }
    let daily = by_day.iter().map(|(day, figures)| {
        object([
            ("date", Json::from(date(*day))),
            ("boot", spread(figures.boot)),
            ("clone", spread(figures.clone)),
            ("tag", tags(figures)),
        ])
    });
    let daily = Json::List(daily.collect());
    let of = |part: fn(&Figures) -> Spread| by_day.values().map(part).collect::<Vec<_>>();
    Ok(vec![
        ("boot".to_owned(), overall(&of(|figures| figures.boot))),
        ("clone".to_owned(), overall(&of(|figures| figures.clone))),
        ("tag".to_owned(), tags(&whole)),
        ("daily".to_owned(), daily),
    ])
}

/// `GET /summary[?from=…&to=…]`.
pub(super) async fn whole(
    State(state): State<DoorState>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    Ok(answer(StatusCode::OK, &object(report(&state, &query).await?)))
}

/// `GET /summary/boot`, `/clone` or `/tag`.
pub(super) async fn section(
    State(state): State<DoorState>,
    Path(section): Path<String>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    narrowed(&state, &section, None, &query).await
}

/// `GET /summary/clone/duration` and the like.
pub(super) async fn part(
    State(state): State<DoorState>,
    Path((section, key)): Path<(String, String)>,
    Query(query): Query<HashMap<String, String>>,
) -> Answer {
    narrowed(&state, &section, Some(&key), &query).await
}

async fn narrowed(
    state: &DoorState,
    section: &str,
    key: Option<&str>,
    query: &HashMap<String, String>,
) -> Answer {
    if !["boot", "clone", "tag"].contains(&section) {
        return Err(nothing_here());
    }
    let report = report(state, query).await?;
    let kept = report.into_iter().filter(|(name, _)| name == section || name == "daily");
    let kept = kept.map(|(name, value)| {
        let value = if name == "daily" { daily(value, section, key) } else { only(value, key) };
        (name, value)
    });
    Ok(answer(StatusCode::OK, &object(kept)))
}

/// An object without members of other names.
fn only(value: Json, key: Option<&str>) -> Json {
    match (value, key) {
        (Json::Object(members), Some(key)) => object(members.into_iter().filter(|(name, _)| name == key)),
        (value, _) => value,
    }
}

/// Days with one section each.
fn daily(days: Json, section: &str, key: Option<&str>) -> Json {
    let Json::List(days) = days else { return days };
    let kept = |day: Json| match day {
        Json::Object(members) => {
            let kept = members.into_iter().filter(|(name, _)| name == "date" || name == section);
            object(kept.map(|(name, value)| {
                let value = if name == section { only(value, key) } else { value };
                (name, value)
            }))
        }
        other => other,
    };
    Json::List(days.into_iter().map(kept).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_and_ranges_checked() {
        assert_eq!(day("1970-01-02").unwrap(), 1);
        assert_eq!(day("2015-03-11").unwrap(), 16_505);
        for wrong in ["2015-02-31", "2015-3-1", "x", "2015-03-11T00:00", "20150311"] {
            assert!(day(wrong).is_err(), "{wrong}");
        }
        let query = |pairs: &[(&str, &str)]| -> HashMap<String, String> {
            pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
        };
        assert_eq!(days(&query(&[]), 7).unwrap(), (7, 7));
        assert_eq!(days(&query(&[("from", "1970-01-02"), ("to", "1970-01-20")]), 7).unwrap(), (1, 19));
        assert!(days(&query(&[("from", "1970-01-20")]), 7).is_err());
        assert!(days(&query(&[("from", "1970-01-03"), ("to", "1970-01-02")]), 7).is_err());
        assert!(days(&query(&[("from", "0001-01-01")]), 20_000).is_err());
    }
}
