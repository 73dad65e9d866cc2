//! The task's record.

use crate::ids::{AccountId, HostId, TaskId};
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Where a task is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TaskState {
    /// Not begun.
    Queued,
    /// Begun; a worker has it or will take it up again.
    Running,
    /// Something failed or it was cancelled; what it did is being undone.
    Undoing,
    /// Succeeded.
    Done,
    /// Ended without success; `error` says why.
    Failed,
    /// Ended because somebody asked.
    Cancelled,
}

impl TaskState {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Undoing => "undoing",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether there is anything left to do.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Undoing)
    }
}

/// Durable work. Leases live beside the record in the store, not in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Task {
    /// The key.
    pub id: TaskId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// What is done, e.g. `machine.create`.
    pub kind: String,
    /// Version of the payload's form.
    pub payload_version: u32,
    /// What the work needs to know and where it stands; typed by its kind.
    pub payload: serde_json::Value,
    /// Where it is.
    pub state: TaskState,
    /// Name of the step that runs or comes next.
    pub step: String,
    /// Failed tries of this step so far.
    pub attempt: u32,
    /// Part done, 0 to 1.
    pub progress: f64,
    /// What is being done or waited for, in words.
    pub message: String,
    /// Why it failed, in words.
    #[serde(default)]
    pub error: Option<String>,
    /// Stable name of that failure.
    #[serde(default)]
    pub error_code: Option<String>,
    /// Whose it is.
    pub owner: AccountId,
    /// Record it works on.
    pub subject: Uuid,
    /// Kind of that record, in its word.
    pub subject_kind: String,
    /// Its name at that time, for people.
    pub subject_name: String,
    /// The host whose process must run it; none means any.
    pub host: Option<HostId>,
    /// Not before this.
    pub due: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it began.
    #[serde(default)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
}

impl Record for Task {
    const KIND: Kind = Kind::Task;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("kind", self.kind.as_str().into()),
            ("state", self.state.word().into()),
            ("open", self.state.is_open().into()),
            ("due", self.due.0.into()),
            ("host", self.host.map(|id| id.0).into()),
            ("owner", self.owner.0.into()),
            ("subject", self.subject.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "kind": self.kind, "state": self.state, "step": self.step, "progress": self.progress,
            "message": self.message, "error": self.error, "subject": self.subject,
            "subject_kind": self.subject_kind, "subject_name": self.subject_name,
        }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.owner)
    }
}
