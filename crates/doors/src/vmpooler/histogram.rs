//! Histograms of Prometheus: of answers, and of how long machines of pools take.

use hostler_core::pools::Born;
use hostler_core::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::time::Duration;

/// Upper bounds in seconds of answers, and vmpooler's of making a machine and of its becoming ready.
pub(super) const OF_ANSWERS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];
const OF_CLONES: &[f64] = &[10.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 180.0, 240.0, 300.0, 600.0];
const OF_READINESS: &[f64] = &[30.0, 60.0, 120.0, 180.0, 240.0, 300.0, 500.0, 800.0, 1200.0, 1600.0];

/// What became ready so long ago has been committed.
const SETTLED: Duration = Duration::from_secs(10);

/// How many took how long.
#[derive(Clone, Debug)]
pub(super) struct Histogram {
    bounds: &'static [f64],
    within: Vec<u64>,
    count: u64,
    sum: f64,
}

impl Histogram {
    pub(super) fn new(bounds: &'static [f64]) -> Self {
        Self { bounds, within: vec![0; bounds.len()], count: 0, sum: 0.0 }
    }

    pub(super) fn add(&mut self, seconds: f64) {
        self.count += 1;
        self.sum += seconds;
        for (within, bound) in self.within.iter_mut().zip(self.bounds) {
            *within += u64::from(seconds <= *bound);
        }
    }

    /// As text, with these labels.
    pub(super) fn write(&self, text: &mut String, name: &str, labels: &str) {
        let mut line = |line: String| writeln!(text, "{line}").unwrap_or_default();
        for (within, bound) in self.within.iter().zip(self.bounds) {
            line(format!("{name}_bucket{{{labels},le=\"{bound}\"}} {within}"));
        }
        line(format!("{name}_bucket{{{labels},le=\"+Inf\"}} {}", self.count));
        line(format!("{name}_sum{{{labels}}} {}", self.sum));
        line(format!("{name}_count{{{labels}}} {}", self.count));
    }
}

/// What machines of one pool took.
#[derive(Clone, Debug)]
pub(super) struct Births {
    pub(super) clone: Histogram,
    pub(super) ready: Histogram,
}

impl Default for Births {
    fn default() -> Self {
        Self { clone: Histogram::new(OF_CLONES), ready: Histogram::new(OF_READINESS) }
    }
}

/// What machines of pools took since this process was started, as far as nothing is added to it any more. Each look adds
/// what became ready since the one before.
#[derive(Clone, Debug, Default)]
pub(super) struct Register {
    upto: Option<Timestamp>,
    settled: BTreeMap<String, Births>,
}

impl Register {
    /// From when on machines have to be looked at.
    pub(super) fn since(&self, started: Timestamp) -> Timestamp {
        self.upto.unwrap_or(started)
    }

    /// Everything by now, with what became ready since [`Self::since`].
    pub(super) fn with(
        &mut self,
        born: &[Born],
        started: Timestamp,
        now: Timestamp,
    ) -> BTreeMap<String, Births> {
        let upto = self.since(started).max(now.minus(SETTLED));
        for one in born.iter().filter(|one| one.ready_at < upto) {
            note(&mut self.settled, one);
        }
        self.upto = Some(upto);
        let mut all = self.settled.clone();
        born.iter().filter(|one| one.ready_at >= upto).for_each(|one| note(&mut all, one));
        all
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds of a machine's making are few")]
fn note(all: &mut BTreeMap<String, Births>, born: &Born) {
    let births = all.entry(born.pool.clone()).or_default();
    births.clone.add(born.clone_ms as f64 / 1000.0);
    births.ready.add((born.clone_ms + born.boot_ms) as f64 / 1000.0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_machine_is_counted_once_however_often_somebody_looks() {
        let at = |second: i64| Timestamp(second * 1000);
        let born =
            |second: i64| Born { pool: "a".into(), ready_at: at(second), clone_ms: 15_000, boot_ms: 30_000 };
        let machines = [born(1), born(5), born(20), born(29)];
        let mut register = Register::default();
        for now in [6, 6, 21, 30, 60, 60] {
            let since = register.since(at(0));
            let new: Vec<Born> = machines
                .iter()
                .filter(|one| one.ready_at >= since && one.ready_at <= at(now))
                .cloned()
                .collect();
            let all = register.with(&new, at(0), at(now));
            let expected = machines.iter().filter(|one| one.ready_at <= at(now)).count();
            assert_eq!(all["a"].clone.count, expected as u64, "{now}");
        }
        let mut text = String::new();
        register.settled["a"].ready.write(&mut text, "t", "p=\"a\"");
        assert!(text.contains("t_bucket{p=\"a\",le=\"30\"} 0\nt_bucket{p=\"a\",le=\"60\"} 4\n"), "{text}");
        assert!(text.ends_with("t_sum{p=\"a\"} 180\nt_count{p=\"a\"} 4\n"), "{text}");
    }
}
