//! What `/metrics` shows, in OpenMetrics text.
//!
//! Counts of records are asked from the store when somebody looks; both columns are indexed. There are no series
//! per machine: their number would grow with the fleet.

use axum::http::{Method, StatusCode};
use hostler_core::machines::{Life, Observed};
use hostler_core::query::Filter;
use hostler_core::record::Kind;
use hostler_core::time::Timestamp;
use hostler_core::{Core, Error, Result};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answer {
    method: &'static str,
    route: String,
    status: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Served {
    route: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Seen {
    observed: &'static str,
}

fn latencies() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0])
}

/// Counters of this process, and gauges that are set when somebody looks.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Answer, Counter>,
    latency: Family<Served, Histogram, fn() -> Histogram>,
    tasks_open: Gauge,
    machines: Family<Seen, Gauge>,
    memory: Gauge,
}

const OBSERVED: [Observed; 4] = [Observed::On, Observed::Paused, Observed::Off, Observed::Unknown];

impl Metrics {
    pub(crate) fn new(started: Timestamp) -> Self {
        let mut registry = Registry::default();
        let requests = Family::default();
        let latency = Family::new_with_constructor(latencies as fn() -> Histogram);
        let (tasks_open, machines, memory) = (Gauge::default(), Family::default(), Gauge::default());
        let began: Gauge = Gauge::default();
        began.set(started.0 / 1000);
        registry.register("hostler_http_requests", "Requests answered", requests.clone());
        registry.register_with_unit(
            "hostler_http_request_duration",
            "Time until a request was answered",
            Unit::Seconds,
            latency.clone(),
        );
        registry.register("hostler_tasks_open", "Tasks that have not ended", tasks_open.clone());
        registry.register("hostler_machines", "Machines that are not gone, as last seen", machines.clone());
        registry.register("process_resident_memory_bytes", "Resident memory of the server", memory.clone());
        registry.register("process_start_time_seconds", "Start of the server since 1970", began);
        let version = [("version", env!("CARGO_PKG_VERSION"))];
        registry.register("hostler_build", "Which hostler this is", Info::new(version));
        Self { registry, requests, latency, tasks_open, machines, memory }
    }

    /// Counts an answer. `route` is a pattern, never a path.
    pub(crate) fn answered(&self, method: &Method, route: &str, status: StatusCode, took: Duration) {
        let label = Answer { method: method_label(method), route: route.to_owned(), status: status.as_u16() };
        self.requests.get_or_create(&label).inc();
        self.latency.get_or_create(&Served { route: route.to_owned() }).observe(took.as_secs_f64());
    }

    /// Everything, as OpenMetrics text.
    ///
    /// # Errors
    /// Unavailable, when the store does not answer.
    pub async fn text(&self, core: &Core) -> Result<String> {
        let store = core.store();
        let open = store.count(Kind::Task, Filter::eq("open", true)).await?;
        self.tasks_open.set(i64::try_from(open).unwrap_or(i64::MAX));
        for observed in OBSERVED {
            let filter = Filter::eq("observed", observed.word()).and(Filter::ne("life", Life::Gone.word()));
            let count = store.count(Kind::Machine, filter).await?;
            let gauge = self.machines.get_or_create_owned(&Seen { observed: observed.word() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        if let Some(bytes) = resident_bytes() {
            self.memory.set(bytes);
        }
        let mut text = String::new();
        encode(&mut text, &self.registry).map_err(Error::internal)?;
        Ok(text)
    }
}

/// Methods are the caller's text; only known ones become series.
fn method_label(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "HEAD" => "HEAD",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "OPTIONS" => "OPTIONS",
        _ => "other",
    }
}

/// `VmRSS` of this process; none where there is no procfs.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<i64>().ok().map(|kib| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_route_and_strange_methods_together() {
        let metrics = Metrics::new(Timestamp(1_700_000_000_000));
        let odd = Method::from_bytes(b"BREW").unwrap();
        for method in [&Method::GET, &odd] {
            metrics.answered(method, "/hostler/v1/machines", StatusCode::OK, Duration::from_millis(3));
        }
        let mut text = String::new();
        encode(&mut text, &metrics.registry).unwrap();
        for line in [
            r#"hostler_http_requests_total{method="GET",route="/hostler/v1/machines",status="200"} 1"#,
            r#"hostler_http_requests_total{method="other",route="/hostler/v1/machines",status="200"} 1"#,
            r#"hostler_http_request_duration_seconds_count{route="/hostler/v1/machines"} 2"#,
            "process_start_time_seconds 1700000000",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident_bytes().is_some_and(|bytes| bytes > 0));
    }
}
