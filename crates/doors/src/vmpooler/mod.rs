//! vmpooler's dialect: machines of pools, lent and given back, as vmfloaty, go-vmpooler, posh-vmpooler, beaker, vanagon
//! and shell scripts ask for them.
//!
//! Versions 1, 2 and 3 of its API and the one without a version are served at once, over one state. What differs between
//! them is whether a host name comes with its domain: [`asked::Version`].
//!
//! Quirks of paths, each of which a client needs:
//! * a slash too many means nothing ([`paths`](crate::paths) sees to it): beaker asks for `//vm/`;
//! * a prefix before the prefix means nothing: beaker asks for disks below `/api/v1`, whatever its base is;
//! * `/vm/v<number>` is VMmanager's, and everything else below `/vm` is served here: no pool and no machine has such a
//!   name;
//! * a method that a path does not have is 404, as a path that is not there.

mod asked;
mod attached;
mod checkout;
mod config;
mod dashboard;
mod gauges;
mod limits;
mod machine;
mod ondemand;
mod settings;
mod status;
mod summary;
mod tokens;
mod wire;

pub use settings::Settings;

use crate::isp::refused::Refused as IspRefused;
use crate::isp::service::Asked as IspAsked;
use crate::state::DoorState;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post};
pub(crate) use gauges::Counters;
pub(crate) use limits::Limits;
use wire::Refused;

/// How the audit trail and core know this door.
const DOOR: &str = "vmpooler";

/// First segments of its paths without a prefix.
const FIRST: [&str; 12] = [
    "vm",
    "token",
    "ondemandvm",
    "status",
    "poolstat",
    "totalrunning",
    "summary",
    "config",
    "full_config",
    "poolreset",
    "healthcheck",
    "api",
];

/// Whether errors at this path are this dialect's; others have been asked before.
pub(crate) fn is_ours(path: &str) -> bool {
    let first = path.strip_prefix('/').and_then(|path| path.split('/').next());
    first.is_some_and(|first| FIRST.contains(&first)) || path.starts_with("/dashboard/stats/")
}

/// An answer that no route gives.
pub(crate) fn answer(status: StatusCode, text: &str) -> Response {
    let refused = match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Refused::not_found(),
        _ => Refused::bare(status).saying("message", text),
    };
    refused.into_response()
}

/// "Not now".
pub(crate) fn refuse(error: hostler_core::Error) -> Response {
    Refused::from(error).into_response()
}

/// Every path below a prefix.
fn routes() -> Vec<(&'static str, MethodRouter<DoorState>)> {
    // vmpooler's first route for disks was a PUT.
    let disk = || post(attached::disk).put(attached::disk);
    vec![
        ("/token", get(tokens::list).post(tokens::make)),
        ("/token/{token}", get(tokens::show).delete(tokens::end)),
        ("/vm", get(checkout::pools).post(checkout::batch)),
        (
            "/vm/{name}",
            get(machine::show).post(checkout::by_path).put(machine::change).delete(machine::give_back),
        ),
        ("/vm/{name}/disk/{size}", disk()),
        ("/vm/{name}/snapshot", post(attached::snapshot)),
        ("/vm/{name}/snapshot/{snapshot}", post(attached::revert)),
        ("/ondemandvm", post(ondemand::make)),
        ("/ondemandvm/{name}", get(ondemand::show).post(ondemand::make_by_path).delete(ondemand::take_back)),
        ("/status", get(status::status)),
        ("/poolstat", get(status::pool_stat)),
        ("/totalrunning", get(status::total_running)),
        ("/summary", get(summary::whole)),
        ("/summary/{section}", get(summary::section)),
        ("/summary/{section}/{key}", get(summary::part)),
        ("/config", get(config::show)),
        ("/full_config", get(config::show_all)),
        ("/config/poolsize", post(config::size)),
        ("/config/poolsize/{pool}", delete(config::size_reset)),
        ("/config/pooltemplate", post(config::template)),
        ("/config/pooltemplate/{pool}", delete(config::template_reset)),
        ("/config/clonetarget", post(config::clone_target)),
        ("/poolreset", post(config::reset)),
    ]
}

/// `/api/v1`, `/api/v2`, `/api/v3`, none, and one after another.
fn prefixes() -> Vec<String> {
    let versions = || (1..=3).map(|version| format!("/api/v{version}"));
    let doubled = versions().flat_map(|first| versions().map(move |second| format!("{first}{second}")));
    std::iter::once(String::new()).chain(versions()).chain(doubled).collect()
}

/// Everything that is served here.
pub(crate) fn router(state: &DoorState) -> Router<DoorState> {
    let mut router = Router::new();
    for prefix in prefixes() {
        for (path, methods) in routes() {
            router = router.route(&format!("{prefix}{path}"), methods);
        }
    }
    router
        .route("/healthcheck", get(dashboard::health))
        .route("/prometheus", get(gauges::prometheus))
        .route("/dashboard", get(dashboard::page))
        .route("/dashboard/stats/vmpooler/pool", get(dashboard::pools))
        .route("/dashboard/stats/vmpooler/running", get(dashboard::running))
        .layer(from_fn_with_state(state.clone(), around))
}

/// Leaves to VMmanager what is its, refuses whoever asks too often, and counts.
async fn around(State(state): State<DoorState>, request: Request, next: Next) -> Response {
    if IspAsked::of(request.uri().path()).is_some() {
        return IspRefused::no_such_function().into_response();
    }
    let allowance = match limits::heed(&state, &request) {
        Ok(allowance) => allowance,
        Err(refused) => return *refused,
    };
    let mut response = gauges::counted(&state, request, next).await;
    allowance.told(response.headers_mut());
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn its_paths_are_told_from_those_of_others() {
        for path in ["/vm", "/vm/x", "/token/x", "/api", "/api/v3", "/api/v1/nothing", "/dashboard/stats/x"] {
            assert!(is_ours(path), "{path}");
        }
        for path in ["/", "/livez", "/vmx", "/hostler/v1", "/dashboard", "/statusx"] {
            assert!(!is_ours(path), "{path}");
        }
    }

    #[test]
    fn thirteen_prefixes_are_served() {
        let all = prefixes();
        assert_eq!(all.len(), 13);
        for prefix in ["", "/api/v1", "/api/v3/api/v1", "/api/v1/api/v1"] {
            assert!(all.iter().any(|here| here == prefix), "{prefix}");
        }
    }
}
