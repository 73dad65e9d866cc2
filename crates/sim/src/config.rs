//! The `[sim]` section of the configuration file: how long things take and how often they fail.

use crate::faults::Verb;
use hostler_core::ports::DriverErrorKind;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How the simulated world behaves. A time of 0 means at once, without any timer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SimConfig {
    /// From power on until the guest's agent answers, milliseconds.
    pub boot_ms: u64,
    /// Until guest code runs after `start`, milliseconds.
    pub start_ms: u64,
    /// From the power button until the guest has turned itself off, milliseconds.
    pub shutdown_ms: u64,
    /// To make, grow or remove a volume, milliseconds.
    pub volume_ms: u64,
    /// To make an image, milliseconds.
    pub image_ms: u64,
    /// Calls out of a million that fail as unreachable; `adopt` never does by this.
    pub fail_per_million: u32,
    /// Where chance begins; the same seed fails the same calls.
    pub seed: u64,
    /// Whether machines, images and volumes survive the end of the process, in files under `sim/` of the data
    /// directory. Turn it off for benchmarks with very many machines.
    pub persist: bool,
    /// Logical processors that each host claims to have.
    pub cpus: u32,
    /// Memory that each host claims to have, MiB.
    pub memory_mib: u64,
    /// Whether machines can be forked from golden ones; if not, every machine boots.
    pub fork: bool,
    /// Faults by verb, present from the start.
    pub faults: BTreeMap<Verb, FaultConfig>,
}

impl Default for SimConfig {
    /// Quick, but slow enough that a human sees machines boot; a host that is hard to fill.
    fn default() -> Self {
        Self {
            boot_ms: 500,
            start_ms: 50,
            shutdown_ms: 200,
            volume_ms: 10,
            image_ms: 1_000,
            fail_per_million: 0,
            seed: 1,
            persist: true,
            cpus: 1_024,
            memory_mib: 8 * 1024 * 1024,
            fork: true,
            faults: BTreeMap::new(),
        }
    }
}

impl SimConfig {
    /// Nothing takes time, nothing fails, nothing is kept on disk, every machine boots: for tests and benchmarks.
    pub fn instant() -> Self {
        Self {
            boot_ms: 0,
            start_ms: 0,
            shutdown_ms: 0,
            volume_ms: 0,
            image_ms: 0,
            persist: false,
            fork: false,
            ..Self::default()
        }
    }
}

/// What goes wrong with one verb from the start, e.g. `[sim.faults.start]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FaultConfig {
    /// So many first calls fail.
    pub fail: u32,
    /// So many calls out of a million fail.
    pub per_million: u32,
    /// How they fail.
    pub kind: FaultKind,
    /// Each call takes so much longer, milliseconds.
    pub delay_ms: u64,
}

/// The configuration file's words for [`DriverErrorKind`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// The thing acted on does not exist there.
    Gone,
    /// Understood and refused.
    Refused,
    /// No connection.
    #[default]
    Unreachable,
    /// No answer in time.
    Timeout,
    /// An answer that makes no sense.
    Protocol,
    /// Something is used up there.
    Exhausted,
    /// The driver cannot do this at all.
    Unsupported,
    /// A defect in the driver.
    Internal,
}

impl From<FaultKind> for DriverErrorKind {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Gone => Self::Gone,
            FaultKind::Refused => Self::Refused,
            FaultKind::Unreachable => Self::Unreachable,
            FaultKind::Timeout => Self::Timeout,
            FaultKind::Protocol => Self::Protocol,
            FaultKind::Exhausted => Self::Exhausted,
            FaultKind::Unsupported => Self::Unsupported,
            FaultKind::Internal => Self::Internal,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{FaultKind, SimConfig};
    use crate::faults::Verb;
    use serde_json::json;

    #[test]
    fn every_field_has_a_default() -> anyhow::Result<()> {
        assert_eq!(serde_json::from_value::<SimConfig>(json!({}))?, SimConfig::default());
        let config: SimConfig = serde_json::from_value(json!({
            "boot_ms": 7, "faults": { "volume_make": { "fail": 2, "kind": "timeout" } }
        }))?;
        assert_eq!(config.boot_ms, 7);
        let fault = &config.faults[&Verb::VolumeMake];
        assert_eq!((fault.fail, fault.kind), (2, FaultKind::Timeout));
        Ok(())
    }

    #[test]
    fn unknown_words_are_errors() {
        for wrong in [
            json!({ "bot_ms": 7 }),
            json!({ "faults": { "strat": {} } }),
            json!({ "faults": { "start": { "time": 1 } } }),
            json!({ "faults": { "start": { "kind": "bad" } } }),
        ] {
            assert!(serde_json::from_value::<SimConfig>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
