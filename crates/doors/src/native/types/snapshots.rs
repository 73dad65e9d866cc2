//! Snapshots on the wire.

use super::SnapshotState;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// The state of a machine's disks at one moment, and of its memory when that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Snapshot {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Name for people; not unique.
    pub name: String,
    /// Words of the owner.
    pub description: String,
    /// The account whose it is.
    pub owner: Uuid,
    /// The machine.
    pub machine: Uuid,
    /// Whether memory is in it: then going back means running on from that moment.
    pub memory: bool,
    /// The volumes in it, the one it boots from first.
    pub volumes: Vec<SnapshotVolume>,
    /// Virtual CPUs of the machine then.
    pub vcpus: u32,
    /// Memory of the machine then, MiB.
    pub memory_mib: u64,
    /// Where it is in its life.
    pub state: SnapshotState,
    /// Why it is not as it should be.
    pub reason: Option<String>,
    /// The task that holds it.
    pub task: Option<Uuid>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A volume as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SnapshotVolume {
    /// The volume.
    pub volume: Uuid,
    /// Its virtual size then, MiB.
    pub size_mib: u64,
}

/// A snapshot to be taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    /// Name for people.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
    /// Whether memory is kept, too. The machine must be on or paused; it stands still while it is saved.
    #[serde(default)]
    pub memory: bool,
}

/// How to go back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SnapshotRevert {
    /// Cut the power of a machine that is on, when the snapshot has no memory.
    #[serde(default)]
    pub force: bool,
}
