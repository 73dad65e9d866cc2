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
mod histogram;
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
use axum::routing::{MethodRouter, delete, get, post, put};
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

/// Method, path below a prefix, and who answers.
type Route = (&'static str, &'static str, MethodRouter<DoorState>);

/// Every route below a prefix.
fn routes() -> Vec<Route> {
    vec![
        ("GET", "/token", get(tokens::list)),
        ("POST", "/token", post(tokens::make)),
        ("GET", "/token/{token}", get(tokens::show)),
        ("DELETE", "/token/{token}", delete(tokens::end)),
        ("GET", "/vm", get(checkout::pools)),
        ("POST", "/vm", post(checkout::batch)),
        ("GET", "/vm/{name}", get(machine::show)),
        ("POST", "/vm/{name}", post(checkout::by_path)),
        ("PUT", "/vm/{name}", put(machine::change)),
        ("DELETE", "/vm/{name}", delete(machine::give_back)),
        ("POST", "/vm/{name}/disk/{size}", post(attached::disk)),
        // vmpooler's first route for disks was a PUT.
        ("PUT", "/vm/{name}/disk/{size}", put(attached::disk)),
        ("POST", "/vm/{name}/snapshot", post(attached::snapshot)),
        ("POST", "/vm/{name}/snapshot/{snapshot}", post(attached::revert)),
        ("POST", "/ondemandvm", post(ondemand::make)),
        ("GET", "/ondemandvm/{name}", get(ondemand::show)),
        ("POST", "/ondemandvm/{name}", post(ondemand::make_by_path)),
        ("DELETE", "/ondemandvm/{name}", delete(ondemand::take_back)),
        ("GET", "/status", get(status::status)),
        ("GET", "/poolstat", get(status::pool_stat)),
        ("GET", "/totalrunning", get(status::total_running)),
        ("GET", "/summary", get(summary::whole)),
        ("GET", "/summary/{section}", get(summary::section)),
        ("GET", "/summary/{section}/{key}", get(summary::part)),
        ("GET", "/config", get(config::show)),
        ("GET", "/full_config", get(config::show_all)),
        ("POST", "/config/poolsize", post(config::size)),
        ("DELETE", "/config/poolsize/{pool}", delete(config::size_reset)),
        ("POST", "/config/pooltemplate", post(config::template)),
        ("DELETE", "/config/pooltemplate/{pool}", delete(config::template_reset)),
        ("POST", "/config/clonetarget", post(config::clone_target)),
        ("POST", "/poolreset", post(config::reset)),
    ]
}

/// Every route that has no prefix.
fn single_routes() -> Vec<Route> {
    vec![
        ("GET", "/healthcheck", get(dashboard::health)),
        ("GET", "/prometheus", get(gauges::prometheus)),
        ("GET", "/dashboard", get(dashboard::page)),
        ("GET", "/dashboard/stats/vmpooler/pool", get(dashboard::pools)),
        ("GET", "/dashboard/stats/vmpooler/running", get(dashboard::running)),
    ]
}

/// Method and path of every route of this door, prefixes aside: for the walk over all doors.
pub fn vmpooler_routes() -> Vec<String> {
    let all = routes().into_iter().chain(single_routes());
    all.map(|(method, path, _)| format!("{method} {path}")).collect()
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
        for (_, path, answering) in routes() {
            router = router.route(&format!("{prefix}{path}"), answering);
        }
    }
    for (_, path, answering) in single_routes() {
        router = router.route(path, answering);
    }
    router.layer(from_fn_with_state(state.clone(), around))
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
