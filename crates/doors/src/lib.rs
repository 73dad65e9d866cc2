//! The HTTP doors of hostler: they translate requests into commands on [`Core`](hostler_core::Core) and answer in
//! their own dialect. Nothing is decided here.
//!
//! One origin serves every door; [`router`] is all of it:
//!
//! ```text
//!   request ─► observe ─► paths ─► closed ─► route ─► authenticate ─► handler ─► core
//!              client      one      503 in    first segment decides
//!              request id  spelling main-     whose 404 and 405 it is
//!              panics      per path tenance
//!              problems
//! ```
//!
//! * [`native`]: `/hostler/v1/…` and `/hostler/openapi.json`;
//! * `isp`: `/auth/…`, with and without `/api` before it, and what VMmanager's and DCImanager's services share;
//! * `vmmanager`: `/vm/v3/…`; `dcimanager`: `/dci/v3/…`, both also below `/api`;
//! * [`vmpooler`]: `/vm`, `/token`, `/status` and the like, also below `/api/v1` to `/api/v3`; `/dashboard`, `/prometheus`;
//! * [`ops`]: `/livez`, `/readyz`, `/metrics`;
//! * `/` leads to the dashboard.
//!
//! Quirk: a slash at the end of a path means nothing (`paths` says why).

mod client;
mod closed;
mod dcimanager;
mod isp;
mod login;
pub mod native;
mod observe;
pub mod ops;
mod paths;
mod state;
#[cfg(test)]
mod tests;
mod vmmanager;
pub mod vmpooler;

pub use client::{Client, OverTls, TrustedProxies};
pub use closed::Entrance;
pub use isp::isp_routes;
pub use login::LocalPeer;
pub use state::DoorState;
pub use vmpooler::vmpooler_routes;

use axum::Router;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::middleware::{from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::get;
use closed::Dialect;
use tower_http::compression::CompressionLayer;

/// Everything that is served, for a listener of any kind.
///
/// The listener inserts [`LocalPeer`] into the requests of a unix socket,
/// [`ConnectInfo`](axum::extract::ConnectInfo) with the peer's address into those of a TCP socket, and [`OverTls`] where
/// that is encrypted.
pub fn router(state: DoorState) -> Router {
    let (native, document) = native::router(&state);
    let document = native::serialized(&document);
    let routed: Router<DoorState> = Router::new()
        .route("/", get(|| async { (StatusCode::FOUND, [(header::LOCATION, "/dashboard/")]) }))
        .route(
            "/hostler/openapi.json",
            get(|| async { ([(header::CONTENT_TYPE, "application/json")], document) }),
        )
        .merge(ops::router())
        .merge(native)
        .merge(isp::router(&state))
        .merge(vmpooler::router(&state))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(from_fn(observe::name_route))
        // Its default predicate leaves event streams alone.
        .layer(CompressionLayer::new());
    let routed = routed.with_state(state.clone());
    // Paths are made uniform before routing, so this layer goes around the router, not onto its routes.
    let heeding = tower::Layer::layer(&from_fn_with_state(state.clone(), closed::heed_maintenance), routed);
    let uniform = tower::Layer::layer(&from_fn(paths::uniform), heeding);
    Router::new().fallback_service(uniform).layer(from_fn_with_state(state, observe::observe))
}

/// The first path segment decides whose errors are answered.
fn is_native(path: &str) -> bool {
    path.strip_prefix("/hostler").is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

async fn not_found(request: Request) -> Response {
    let dialect = Dialect::of(request.uri().path());
    if dialect == Dialect::Isp && !isp::knows(request.method()) {
        return method_not_allowed(request).await;
    }
    dialect.answer(StatusCode::NOT_FOUND, "not_found", "there is nothing at this path")
}

async fn method_not_allowed(request: Request) -> Response {
    let dialect = Dialect::of(request.uri().path());
    if dialect == Dialect::Isp {
        return isp::method_not_allowed(request.method());
    }
    let text = format!("{} is not possible at this path", request.method());
    dialect.answer(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", &text)
}
