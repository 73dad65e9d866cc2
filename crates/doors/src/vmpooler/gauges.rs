//! Counters of this door and figures of pools under the names that vmpooler gives them, as Prometheus reads them.
//!
//! Labels are the names of pools, accounts and routes. What a caller made up is never one, since every series costs
//! memory for as long as the server runs.

use super::asked::Asked;
use super::histogram::{Births, Histogram, OF_ANSWERS, Register};
use crate::state::DoorState;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hostler_core::Result;
use hostler_core::machines::Machine;
use hostler_core::pools::{Pool, PoolCounts};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Series, at most: then those of users that have not come yet are left out.
const MOST: usize = 20_000;

/// Counters that begin at zero, so that they are there before anything happened.
const PLAIN: [&str; 4] = [
    "delete_success",
    "delete_failed",
    "ondemandrequest_generate_success",
    "ondemandrequest_generate_duplicaterequests",
];

#[derive(Debug, Default)]
struct Books {
    /// By name, then by labels as they are written.
    counters: BTreeMap<&'static str, BTreeMap<String, u64>>,
    durations: BTreeMap<String, Histogram>,
}

/// What this process has counted.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    books: Mutex<Books>,
    register: tokio::sync::Mutex<Register>,
}

fn quoted(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

fn labels(all: &[(&str, &str)]) -> String {
    let each: Vec<String> = all.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
    each.join(",")
}

impl Counters {
    fn add(&self, name: &'static str, with: &[(&str, &str)]) {
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let series = books.counters.entry(name).or_default();
        let with = labels(with);
        if series.len() < MOST || series.contains_key(&with) {
            *series.entry(with).or_default() += 1;
        }
    }

    /// Counts one more.
    pub(super) fn count(&self, name: &'static str) {
        self.add(name, &[]);
    }

    /// Counts what was refused of pools; names that no pool has are counted together.
    pub(super) fn refused(&self, name: &'static str, names: &[String], pools: &[Arc<Pool>]) {
        for asked in names {
            let known = pools.iter().any(|pool| pool.spec.names().any(|here| here == asked));
            self.add(name, &[("poolname", if known { asked } else { "unknown" })]);
        }
    }

    /// Counts what was lent.
    pub(super) fn lent(&self, login: &str, lent: &[(String, Machine)]) {
        for (_, machine) in lent {
            self.add("checkout_success", &[("poolname", pool_name(machine))]);
            self.used(login, "allocate", machine);
        }
    }

    /// Counts what was given back.
    pub(super) fn given_back(&self, login: &str, machine: &Machine) {
        self.count("delete_success");
        self.used(login, "destroy", machine);
    }

    fn used(&self, login: &str, operation: &str, machine: &Machine) {
        let user = if login == "anonymous" { "unauthenticated" } else { login };
        self.add("user", &[("user", user), ("operation", operation), ("poolname", pool_name(machine))]);
    }

    fn answered(&self, method: &str, path: &str, code: StatusCode, seconds: f64) {
        self.add("http_requests_total", &[("code", code.as_str()), ("method", method), ("path", path)]);
        let mut books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let durations = books.durations.entry(labels(&[("method", method), ("path", path)]));
        durations.or_insert_with(|| Histogram::new(OF_ANSWERS)).add(seconds);
    }

    /// What machines of pools took, by the name of their pool.
    async fn births(&self, state: &DoorState) -> Result<BTreeMap<String, Births>> {
        let mut register = self.register.lock().await;
        let born = state.core().pool_births(register.since(state.started())).await?;
        Ok(register.with(&born, state.started(), state.core().clock().now()))
    }

    /// Everything, as text.
    fn text(&self, prefix: &str, counts: &[PoolCounts], births: &BTreeMap<String, Births>) -> String {
        let books = self.books.lock().unwrap_or_else(PoisonError::into_inner);
        let instance = labels(&[("vmpooler_instance", prefix)]);
        let with = |more: &str| if more.is_empty() { instance.clone() } else { format!("{instance},{more}") };
        let mut text = String::new();
        let mut line = |line: String| writeln!(text, "{line}").unwrap_or_default();
        for name in PLAIN.iter().filter(|name| !books.counters.contains_key(*name)) {
            line(format!("# TYPE {prefix}_{name} counter\n{prefix}_{name}{{{instance}}} 0"));
        }
        for (name, series) in &books.counters {
            line(format!("# TYPE {prefix}_{name} counter"));
            series
                .iter()
                .for_each(|(more, value)| line(format!("{prefix}_{name}{{{}}} {value}", with(more))));
        }
        for (name, of) in
            [("ready", (|counts| counts.ready) as fn(&PoolCounts) -> u64), ("running", |counts| counts.lent)]
        {
            line(format!("# TYPE {prefix}_{name} gauge"));
            for counts in counts {
                let labels = with(&labels(&[("poolname", &counts.pool.spec.name)]));
                line(format!("{prefix}_{name}{{{labels}}} {}", of(counts)));
            }
        }
        let name = format!("{prefix}_http_request_duration_seconds");
        let _ = writeln!(text, "# TYPE {name} histogram");
        books.durations.iter().for_each(|(more, durations)| durations.write(&mut text, &name, &with(more)));
        for (name, of) in [
            ("clone", (|births| &births.clone) as fn(&Births) -> &Histogram),
            ("time_to_ready_state", |births| &births.ready),
        ] {
            let name = format!("{prefix}_{name}");
            let _ = writeln!(text, "# TYPE {name} histogram");
            for (pool, births) in births {
                of(births).write(&mut text, &name, &with(&labels(&[("poolname", pool)])));
            }
        }
        text
    }
}

fn pool_name(machine: &Machine) -> &str {
    machine.stock.as_ref().map_or("", |stock| &stock.pool_name)
}

/// A path without names of machines, tokens and requests.
fn cut(path: &str) -> &str {
    for word in ["/vm", "/ondemandvm", "/token"] {
        if let Some(place) = path.find(&format!("{word}/")) {
            return &path[..place + word.len()];
        }
    }
    path
}

/// Counts an answer by its route.
pub(super) async fn counted(state: &DoorState, request: Request, next: Next) -> Response {
    let matched = request.extensions().get::<axum::extract::MatchedPath>().cloned();
    let method = request.method().clone();
    let began = Instant::now();
    let response = next.run(request).await;
    let path = matched.as_ref().map_or("unmatched", axum::extract::MatchedPath::as_str);
    let took = began.elapsed().as_secs_f64();
    let known = ["GET", "HEAD", "POST", "PUT", "DELETE"].into_iter().find(|name| *name == method.as_str());
    state.vmpooler_counters().answered(known.unwrap_or("other"), cut(path), response.status(), took);
    response
}

/// `GET /prometheus`. Names of accounts are in it, so it is for whoever may look.
pub(super) async fn prometheus(State(state): State<DoorState>, asked: Asked) -> Response {
    if let Err(refused) = asked.looking(&state).await {
        return refused.into_response();
    }
    match figures(&state).await {
        Ok(text) => {
            ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
        }
        Err(error) => {
            tracing::warn!(error = error.chain(), "figures of pools cannot be told");
            (StatusCode::SERVICE_UNAVAILABLE, "the store does not answer\n").into_response()
        }
    }
}

async fn figures(state: &DoorState) -> Result<String> {
    let (counts, counters) = (state.core().pool_counts().await?, state.vmpooler_counters());
    let births = counters.births(state).await?;
    Ok(counters.text(&state.vmpooler().prometheus_prefix, &counts, &births))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_never_become_labels() {
        assert_eq!(cut("/api/v1/vm/{name}/disk/{size}"), "/api/v1/vm");
        assert_eq!(cut("/token/{token}"), "/token");
        assert_eq!(cut("/ondemandvm/{name}"), "/ondemandvm");
        assert_eq!(cut("/summary/{section}"), "/summary/{section}");
        let counters = Counters::default();
        counters.refused("checkout_invalid", &["made\"up".to_owned(), "other".to_owned()], &[]);
        counters.answered("GET", "/vm", StatusCode::OK, 0.02);
        let text = counters.text("p", &[], &BTreeMap::new());
        assert!(
            text.contains("p_checkout_invalid{vmpooler_instance=\"p\",poolname=\"unknown\"} 2\n"),
            "{text}"
        );
        assert!(text.contains("p_delete_success{vmpooler_instance=\"p\"} 0\n"), "{text}");
        let bucket =
            "p_http_request_duration_seconds_bucket{vmpooler_instance=\"p\",method=\"GET\",path=\"/vm\",le=";
        assert!(text.contains(&format!("{bucket}\"0.01\"}} 0\n")), "{text}");
        assert!(text.contains(&format!("{bucket}\"0.025\"}} 1\n")), "{text}");
    }
}
