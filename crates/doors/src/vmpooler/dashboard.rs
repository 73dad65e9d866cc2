//! The page for people, the figures that it draws, and the answer for load balancers.

use super::wire::{Answer, Json, answer, object, refused, well};
use crate::state::DoorState;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("dashboard.html");

/// `GET /dashboard`.
pub(super) async fn page(State(state): State<DoorState>) -> Response {
    let page = PAGE.replace("{{site_name}}", &escaped(&state.vmpooler().site_name));
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8")),
        (
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
            ),
        ),
    ];
    (StatusCode::OK, headers, page).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn with_history(query: Option<&str>) -> bool {
    query.is_some_and(|query| query.split('&').any(|pair| pair.split('=').next() == Some("history")))
}

/// `GET /dashboard/stats/vmpooler/pool`: size and ready machines of each pool.
pub(super) async fn pools(State(state): State<DoorState>, RawQuery(query): RawQuery) -> Answer {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let history = with_history(query.as_deref());
    let pools = counts.iter().map(|counts| {
        let mut members = vec![("size", Json::from(counts.pool.size())), ("ready", Json::from(counts.ready))];
        if history {
            members.push(("history", Json::List(vec![Json::from(counts.ready)])));
        }
        (counts.pool.spec.name.clone(), object(members))
    });
    Ok(answer(StatusCode::OK, &object(pools)))
}

/// `GET /dashboard/stats/vmpooler/running`: what is lent, by the first word of the pools' names.
pub(super) async fn running(State(state): State<DoorState>) -> Answer {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let mut running: BTreeMap<String, u64> = BTreeMap::new();
    for counts in counts.iter() {
        let word = counts.pool.spec.name.split('-').next().unwrap_or_default();
        *running.entry(word.to_owned()).or_default() += counts.lent;
    }
    let shown = running.into_iter().map(|(word, count)| (word, object([("running", Json::from(count))])));
    Ok(answer(StatusCode::OK, &object(shown)))
}

/// `GET /healthcheck`.
pub(super) async fn healthcheck() -> Response {
    well(StatusCode::OK, [])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_name_is_no_markup() {
        assert_eq!(escaped("<b>&\"a"), "&lt;b&gt;&amp;&quot;a");
    }

    #[test]
    fn history_is_asked_for_by_name() {
        assert!(with_history(Some("history=1")) && with_history(Some("a=b&history")));
        assert!(!with_history(None) && !with_history(Some("nohistory=1")));
    }
}
