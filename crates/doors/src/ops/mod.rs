//! Operations: is it alive, is it ready, what does it do. No credential is asked for, nothing secret is told.

mod metrics;

pub use metrics::Metrics;

use crate::state::DoorState;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::time::Duration;

/// A store that takes longer does not count as answering.
const PATIENCE: Duration = Duration::from_secs(2);

/// What is served here, to everybody.
pub const PATHS: [&str; 3] = ["/livez", "/readyz", "/metrics"];

pub(crate) fn router() -> Router<DoorState> {
    let [livez, readyz, metrics] = PATHS;
    Router::new()
        .route(livez, get(|| async { "ok\n" }))
        .route(readyz, get(self::readyz))
        .route(metrics, get(self::metrics))
}

async fn readyz(State(state): State<DoorState>) -> Response {
    let mut reasons = Vec::new();
    if state.shutdown().is_cancelled() {
        reasons.push("the server is shutting down");
    }
    if state.core().maintenance().is_some() {
        reasons.push("maintenance is on");
    }
    match tokio::time::timeout(PATIENCE, state.core().store().event_bounds()).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, "not ready: the store fails");
            reasons.push("the store fails; the log has the details");
        }
        Err(_) => reasons.push("the store does not answer in time"),
    }
    if reasons.is_empty() {
        return "ok\n".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", reasons.join("\n"))).into_response()
}

async fn metrics(State(state): State<DoorState>) -> Response {
    match state.metrics().text(state.core()).await {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), "metrics cannot be told");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}
