//! A page for people who look how full the pools are, and what it reads.

use super::asked::Asked;
use super::wire::{Answer, Json, Object, reply};
use crate::state::DoorState;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::collections::BTreeMap;

const PAGE: &str = include_str!("dashboard.html");
/// The page has its style and script in it and reads from here alone.
const POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; \
                      img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// `GET /dashboard`
pub(super) async fn page(State(state): State<DoorState>) -> Response {
    let text = PAGE.replace("{{site_name}}", &escaped(&state.vmpooler().site_name));
    let headers =
        [(header::CONTENT_TYPE, "text/html; charset=utf-8"), (header::CONTENT_SECURITY_POLICY, POLICY)];
    (headers, text).into_response()
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn wants_history(query: Option<&str>) -> bool {
    query.unwrap_or_default().split('&').any(|pair| pair.split('=').next() == Some("history"))
}

/// `GET /dashboard/stats/vmpooler/pool`: a history is what is there now.
pub(super) async fn pools(State(state): State<DoorState>, asked: Asked, RawQuery(query): RawQuery) -> Answer {
    asked.looking(&state).await?;
    let history = wants_history(query.as_deref());
    let counts = state.core().pool_counts().await?;
    let shown = counts.iter().map(|counts| {
        let history = history.then(|| vec![Json::from(counts.ready)]);
        let shown = Object::default()
            .with("size", counts.pool.size())
            .with("ready", counts.ready)
            .perhaps("history", history);
        (counts.pool.spec.name.clone(), shown.into())
    });
    Ok(reply(StatusCode::OK, &shown.collect::<Object>()))
}

/// `GET /dashboard/stats/vmpooler/running`, by the first word of the pools' names.
pub(super) async fn running(State(state): State<DoorState>, asked: Asked) -> Answer {
    asked.looking(&state).await?;
    let mut all: BTreeMap<String, u64> = BTreeMap::new();
    for counts in state.core().pool_counts().await?.iter() {
        let word = counts.pool.spec.name.split('-').next().unwrap_or_default();
        *all.entry(word.to_owned()).or_default() += counts.lent;
    }
    let shown = all.into_iter().map(|(word, lent)| (word, Object::default().with("running", lent).into()));
    Ok(reply(StatusCode::OK, &shown.collect::<Object>()))
}

/// `GET /healthcheck`
pub(super) async fn health() -> Response {
    Object::ok(true).answered(StatusCode::OK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_needs_nothing_from_elsewhere() {
        assert!(PAGE.contains("{{site_name}}"));
        for foreign in ["http://", "https://", "src=", "@import", "url("] {
            assert!(!PAGE.contains(foreign), "{foreign}");
        }
        assert_eq!(escaped("<a&\"b\">"), "&lt;a&amp;&quot;b&quot;&gt;");
    }

    #[test]
    fn a_history_is_asked_for_with_and_without_a_value() {
        assert!(wants_history(Some("history=1")));
        assert!(wants_history(Some("a=b&history")));
        assert!(!wants_history(Some("a=history")));
        assert!(!wants_history(None));
    }
}
