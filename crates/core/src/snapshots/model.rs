//! The record of a snapshot.

use crate::access::Object;
use crate::error::{Error, Result};
use crate::ids::{AccountId, MachineId, SnapshotId, TaskId, VolumeId};
use crate::ports::SnapshotSpec;
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use crate::volumes::Volume;
use serde::{Deserialize, Serialize};

/// Where a snapshot is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SnapshotState {
    /// Being taken.
    Creating,
    /// The machine can go back to it.
    Present,
    /// Being removed.
    Deleting,
}

impl SnapshotState {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Present => "present",
            Self::Deleting => "deleting",
        }
    }
}

/// A volume as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotVolume {
    /// Which volume.
    pub volume: VolumeId,
    /// Its virtual size then, MiB.
    pub size_mib: u64,
}

impl SnapshotVolume {
    /// These volumes as they are now.
    pub(crate) fn of(volumes: &[Volume]) -> Vec<Self> {
        volumes.iter().map(|volume| Self { volume: volume.id, size_mib: volume.size_mib }).collect()
    }
}

/// The state of a machine's volumes at one moment, and of its memory when that was asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The key; the name it has inside the volumes derives from it.
    pub id: SnapshotId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Name for people; not unique.
    pub name: String,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
    /// Whose it is.
    pub owner: AccountId,
    /// The machine.
    pub machine: MachineId,
    /// Whether memory is in it: then going back means running on from that moment.
    pub memory: bool,
    /// The volumes in it, in the order of their positions.
    pub volumes: Vec<SnapshotVolume>,
    /// Virtual CPUs of the machine then.
    pub vcpus: u32,
    /// Memory of the machine then, MiB.
    pub memory_mib: u64,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// Why it is not as it should be.
    #[serde(default)]
    pub reason: Option<String>,
    /// The task that holds it.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Snapshot {
    /// Whether this volume is part of it.
    pub(crate) fn has(&self, volume: VolumeId) -> bool {
        self.volumes.iter().any(|kept| kept.volume == volume)
    }

    /// What drivers need to know of it.
    pub(crate) fn spec(&self) -> SnapshotSpec {
        let volumes = self.volumes.iter().map(|kept| kept.volume).collect();
        SnapshotSpec { id: self.id, memory: self.memory, volumes }
    }

    /// Takes hold of it for a task.
    ///
    /// # Errors
    /// Busy, when another task holds it.
    pub(crate) fn hold(&mut self, task: TaskId) -> Result<()> {
        if let Some(holder) = self.task.filter(|holder| *holder != task) {
            return Err(Error::busy(format_args!("snapshot {}", self.name), holder));
        }
        self.task = Some(task);
        Ok(())
    }

    /// Lets go of it, with why it is not as it should be, or nothing when it is.
    pub(crate) fn let_go(&mut self, reason: Option<String>) {
        self.task = None;
        self.reason = reason;
    }
}

impl Snapshot {
    /// What rights on it go by: its machine.
    pub(crate) fn object(&self) -> Object {
        Object { kind: Kind::Machine, id: self.machine.0, owner: Some(self.owner) }
    }
}

impl Record for Snapshot {
    const KIND: Kind = Kind::Snapshot;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", self.name.as_str().into()),
            ("owner", self.owner.0.into()),
            ("machine", self.machine.0.into()),
            ("state", self.state.word().into()),
            ("task", self.task.map(|task| task.0).into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "name": self.name, "machine": self.machine, "state": self.state, "task": self.task,
        }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.owner)
    }
}
