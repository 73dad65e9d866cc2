//! Metrics by vmpooler's names, for dashboards that know them.

use super::wire::refused;
use crate::state::DoorState;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use std::fmt::Write;

/// A value of a label, as the text format has it.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Writes metrics, each name with its type before its first series.
struct Page {
    text: String,
    prefix: String,
    last: String,
}

impl Page {
    fn series(&mut self, kind: &str, name: &str, labels: &[(&str, &str)], value: u64) {
        let whole = format!("{}_{name}", self.prefix);
        if self.last != whole {
            // Writing to a text cannot fail.
            let _ = writeln!(self.text, "# TYPE {whole} {kind}");
            self.last.clone_from(&whole);
        }
        let mut shown = format!("vmpooler_instance=\"{}\"", escaped(&self.prefix));
        for (label, value) in labels {
            let _ = write!(shown, ",{label}=\"{}\"", escaped(value));
        }
        let _ = writeln!(self.text, "{whole}{{{shown}}} {value}");
    }
}

/// `GET /prometheus`.
pub(super) async fn show(State(state): State<DoorState>) -> Result<Response, Response> {
    let counts = state.core().pool_counts().await.map_err(refused)?;
    let prefix = state.vmpooler().prometheus_prefix.clone();
    let mut page = Page { text: String::new(), prefix, last: String::new() };
    for (name, of) in [("ready", 0), ("running", 1)] {
        for counts in counts.iter() {
            let value = if of == 0 { counts.ready } else { counts.lent };
            page.series("gauge", name, &[("poolname", &counts.pool.spec.name)], value);
        }
    }
    for ((name, labels), value) in state.counters().all() {
        let labels: Vec<(&str, &str)> =
            labels.iter().map(|(label, value)| (*label, value.as_str())).collect();
        page.series("counter", name, &labels, value);
    }
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"))];
    Ok((StatusCode::OK, kind, page.text).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_has_its_type_once_and_values_are_escaped() {
        let mut page = Page { text: String::new(), prefix: "vmpooler".into(), last: String::new() };
        page.series("gauge", "ready", &[("poolname", "a\"b")], 3);
        page.series("gauge", "ready", &[("poolname", "c")], 0);
        assert_eq!(
            page.text,
            "# TYPE vmpooler_ready gauge\n\
             vmpooler_ready{vmpooler_instance=\"vmpooler\",poolname=\"a\\\"b\"} 3\n\
             vmpooler_ready{vmpooler_instance=\"vmpooler\",poolname=\"c\"} 0\n"
        );
    }
}
