//! The door of vmpooler's clients: v1, v2, v3 and the paths without a version, all at once and over one state.
//!
//! What differs between versions is [`wire::Version`]'s. Quirks, each of which a client needs:
//!
//! * every answer is JSON, indented by two, `ok` first, in this order: shell scripts look for lines in it ([`wire`]);
//! * bodies are read whatever they are said to be, and ignored where none is needed: the documented `curl -d --url …`
//!   posts the text `--url` ([`wire::Body`]);
//! * a path may begin twice with its version: beaker puts `/api/v1` before the disk's path, whatever its base is;
//! * names are bare or full in paths, answers are keyed by the bare name ([`machine::short`]);
//! * an answer to a checkout has nothing but pools at its top: vmfloaty takes whatever else is there for one;
//! * tags may be set without a token: beaker does ([`machine::change`]); a `disk` among the changes attaches one:
//!   vmfloaty says it so;
//! * a token that does not count is 401 with a challenge for Basic, which posh-vmpooler waits for ([`by`]).

mod by;
mod config;
mod counters;
mod dashboard;
mod extras;
mod lend;
mod machine;
mod prometheus;
mod requests;
mod settings;
mod status;
mod summary;
mod tokens;
mod wire;

pub use settings::{AuthStore, Settings};

pub(crate) use counters::Counters;
pub(crate) use wire::{bare, not_now, nothing_here};

use crate::state::DoorState;
use axum::routing::{delete, get, post};
use axum::{Extension, Router};
use wire::Version;

/// First segments of the paths that are this door's, without `/api/v1` and the like before them.
const SEGMENTS: [&str; 13] = [
    "vm",
    "token",
    "ondemandvm",
    "status",
    "summary",
    "poolstat",
    "totalrunning",
    "config",
    "full_config",
    "poolreset",
    "dashboard",
    "healthcheck",
    "prometheus",
];

/// Whether a path is this door's. `/vm/v3/…` was asked for before: it is VMmanager's.
pub(crate) fn is_mine(path: &str) -> bool {
    let mut segments = path.split('/').skip(1);
    match segments.next() {
        Some("api") => segments.next().is_none_or(|version| {
            version.strip_prefix('v').is_some_and(|rest| rest.bytes().all(|c| c.is_ascii_digit()))
        }),
        Some(first) => SEGMENTS.contains(&first),
        None => false,
    }
}

/// Every route under every prefix.
pub(crate) fn router() -> Router<DoorState> {
    let dashboard = Router::new()
        .route("/dashboard", get(dashboard::page))
        .route("/dashboard/stats/vmpooler/pool", get(dashboard::pools))
        .route("/dashboard/stats/vmpooler/running", get(dashboard::running))
        .route("/healthcheck", get(dashboard::healthcheck))
        .route("/prometheus", get(prometheus::show));
    let versions = [("/api/v1", Version::V1), ("/api/v2", Version::V2), ("/api/v3", Version::V3)];
    let mut all = routes(Version::V1).merge(dashboard);
    for (prefix, version) in versions {
        all = all.nest(prefix, routes(version)).nest(&format!("{prefix}{prefix}"), routes(version));
    }
    all
}

fn routes(version: Version) -> Router<DoorState> {
    Router::new()
        .route("/token", get(tokens::list).post(tokens::make))
        .route("/token/{token}", get(tokens::show).delete(tokens::end))
        .route("/vm", get(lend::pools).post(lend::batch))
        .route("/vm/{name}", get(machine::show).post(lend::path).put(machine::change).delete(machine::end))
        .route("/vm/{name}/disk/{size}", post(extras::disk).put(extras::disk))
        .route("/vm/{name}/snapshot", post(extras::snapshot))
        .route("/vm/{name}/snapshot/{snapshot}", post(extras::revert))
        .route("/ondemandvm", post(requests::batch))
        .route("/ondemandvm/{key}", get(requests::show).post(requests::path).delete(requests::end))
        .route("/status", get(status::status))
        .route("/poolstat", get(status::poolstat))
        .route("/totalrunning", get(status::totalrunning))
        .route("/summary", get(summary::whole))
        .route("/summary/{section}", get(summary::section))
        .route("/summary/{section}/{key}", get(summary::part))
        .route("/config", get(config::pools))
        .route("/full_config", get(config::whole))
        .route("/config/poolsize", post(config::size))
        .route("/config/poolsize/{pool}", delete(config::size_reset))
        .route("/config/pooltemplate", post(config::template))
        .route("/config/pooltemplate/{pool}", delete(config::template_reset))
        .route("/config/clonetarget", post(config::target))
        .route("/poolreset", post(config::drain))
        .layer(Extension(version))
}
