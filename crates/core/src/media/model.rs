//! The record of a medium.

use crate::ids::{AccountId, MediumId, StorageId, TaskId};
use crate::ports::ImageSource;
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Where a medium is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediumState {
    /// Being fetched.
    Creating,
    /// Can be inserted.
    Ready,
    /// Being removed.
    Deleting,
    /// Could not be fetched; `reason` says why.
    Failed,
}

impl MediumState {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
        }
    }
}

/// An ISO image that can be inserted into machines, read-only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Medium {
    /// The key; its file's name derives from it.
    pub id: MediumId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique name.
    pub name: String,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
    /// Whose it is.
    pub owner: AccountId,
    /// Where it lies.
    pub storage: StorageId,
    /// Where it came from.
    pub source: ImageSource,
    /// Size of its file, once ready.
    pub bytes: Option<u64>,
    /// SHA-256 of its file, hexadecimal, once ready.
    pub digest: Option<String>,
    /// Where it is in its life.
    pub state: MediumState,
    /// Why it failed.
    #[serde(default)]
    pub reason: Option<String>,
    /// The task that holds it.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Record for Medium {
    const KIND: Kind = Kind::Medium;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", self.name.as_str().into()),
            ("owner", self.owner.0.into()),
            ("storage", self.storage.0.into()),
            ("state", self.state.word().into()),
            ("task", self.task.map(|task| task.0).into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "name": self.name, "state": self.state, "reason": self.reason, "task": self.task,
        }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.owner)
    }
}
