//! The record of a golden machine.

use crate::ids::{GoldenId, HostId, TaskId, TemplateId};
use crate::machines::Machine;
use crate::ports::GoldenFacts;
use crate::record::{Kind, Record, Value, stamped};
use crate::templates::Template;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The size that all forks of a golden machine have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Flavor {
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Size of the disk in MiB; none when there is none.
    pub disk_mib: Option<u64>,
}

impl fmt::Display for Flavor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cpus = if self.vcpus == 1 { "CPU" } else { "CPUs" };
        write!(f, "{} {cpus}, {} MiB", self.vcpus, self.memory_mib)
    }
}

/// Where a golden machine is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GoldenState {
    /// Being booted and saved.
    Making,
    /// Machines are forked from it.
    Ready,
    /// Forks of it failed; the next machine boots, to see whether the template is to blame.
    Suspect,
    /// Could not be made.
    Failed,
    /// Not used any more; it goes when no disk lies on its disk.
    Retired,
}

impl GoldenState {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Making => "making",
            Self::Ready => "ready",
            Self::Suspect => "suspect",
            Self::Failed => "failed",
            Self::Retired => "retired",
        }
    }
}

/// A machine that was booted once and saved, so that others can be forked from it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Golden {
    /// The key; names of its files derive from it.
    pub id: GoldenId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// What it boots.
    pub template: TemplateId,
    /// That template's name then.
    pub template_name: String,
    /// Where it lies and where its forks run.
    pub host: HostId,
    /// The size of its forks.
    pub flavor: Flavor,
    /// How long it may take to boot, seconds.
    pub boot_deadline_s: u64,
    /// Where it is in its life.
    pub state: GoldenState,
    /// What was saved; none before.
    #[serde(default)]
    pub facts: Option<GoldenFacts>,
    /// Forks that failed one after the other.
    #[serde(default)]
    pub failures: u32,
    /// Why it is not used.
    #[serde(default)]
    pub reason: Option<String>,
    /// The task that makes it.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// When its state last changed.
    pub changed_at: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Golden {
    /// Changes its state.
    pub(crate) fn turn(&mut self, state: GoldenState, reason: Option<String>, now: Timestamp) {
        self.state = state;
        self.reason = reason;
        self.changed_at = now;
    }

    /// Whether machines of this template and size on this host can be forked from it.
    pub(crate) fn suits(&self, template: &Template, host: HostId, flavor: Flavor) -> bool {
        self.template == template.id && self.host == host && self.flavor == flavor
    }
}

impl Machine {
    /// Memory in MiB that its host must bear: forks share most of theirs.
    pub(crate) fn borne_mib(&self) -> u64 {
        let coming = self.growing.map_or(0, |(_, memory_mib)| memory_mib);
        borne_mib(self.memory_mib.max(coming), self.golden.is_some())
    }
}

/// What a fork writes to itself is at most this part of its memory; measured are a tenth for micro and a fifth for
/// Debian, just booted.
const SHARED: u64 = 4;

/// Memory in MiB that a host must bear for one machine.
pub(crate) fn borne_mib(memory_mib: u64, forked: bool) -> u64 {
    if forked { memory_mib.div_ceil(SHARED) } else { memory_mib }
}

impl Record for Golden {
    const KIND: Kind = Kind::Golden;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("template", self.template.0.into()),
            ("host", self.host.0.into()),
            ("state", self.state.word().into()),
            ("task", self.task.map(|task| task.0).into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "template": self.template_name, "state": self.state, "reason": self.reason,
        }))
    }
}
