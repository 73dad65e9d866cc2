//! The records of volumes and storages.

use crate::ids::{AccountId, GoldenId, HostId, MachineId, StorageId, TaskId, TemplateId, VolumeId};
use crate::ports::IoLimits;
use crate::record::{Kind, Record, Value, stamped};
use crate::templates::ImageFormat;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a volume is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VolumeState {
    /// Being made.
    Creating,
    /// Usable.
    Present,
    /// Being removed.
    Deleting,
}

impl VolumeState {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Present => "present",
            Self::Deleting => "deleting",
        }
    }
}

/// A virtual disk.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Volume {
    /// The key; its file's name derives from it.
    pub id: VolumeId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Name for people; not unique.
    pub name: String,
    /// Whose it is.
    pub owner: AccountId,
    /// Where it lies.
    pub storage: StorageId,
    /// Virtual size in MiB.
    pub size_mib: u64,
    /// The size in MiB that a running task grows it to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growing_mib: Option<u64>,
    /// Format of its file. Set when it is made, never probed.
    pub format: ImageFormat,
    /// The template whose disk it is a copy-on-write overlay of. Counts as a use of that template.
    pub template: Option<TemplateId>,
    /// The golden machine whose disk it is a copy-on-write overlay of, which itself lies on the template's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<GoldenId>,
    /// The machine that has it.
    pub machine: Option<MachineId>,
    /// Place among that machine's disks; 0 is the one it boots from.
    #[serde(default)]
    pub position: u32,
    /// How much it may do each second.
    #[serde(default)]
    pub limits: IoLimits,
    /// Whether it goes when its machine goes.
    pub with_machine: bool,
    /// Where it is in its life.
    pub state: VolumeState,
    /// Why it is not as it should be.
    #[serde(default)]
    pub reason: Option<String>,
    /// The task that holds it.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Record for Volume {
    const KIND: Kind = Kind::Volume;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        // What it is growing to counts already, so that nothing else takes the room.
        let coming = self.growing_mib.unwrap_or_default();
        vec![
            ("name", self.name.as_str().into()),
            ("owner", self.owner.0.into()),
            ("storage", self.storage.0.into()),
            ("template", self.template.map(|id| id.0).into()),
            ("machine", self.machine.map(|id| id.0).into()),
            ("state", self.state.word().into()),
            ("task", self.task.map(|task| task.0).into()),
            ("size_mib", i64::try_from(self.size_mib.max(coming)).unwrap_or(i64::MAX).into()),
            ("created_at", self.created_at.0.into()),
            ("golden", self.golden.map(|id| id.0).into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "name": self.name, "state": self.state, "machine": self.machine, "size_mib": self.size_mib,
        }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.owner)
    }
}

/// A storage: a place on a host where images and volumes lie.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoragePlace {
    /// The key.
    pub id: StorageId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique name.
    pub name: String,
    /// The host that it belongs to.
    pub host: HostId,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for StoragePlace {
    const KIND: Kind = Kind::Storage;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", self.name.as_str().into()),
            ("host", self.host.0.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
}
