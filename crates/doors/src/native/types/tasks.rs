//! Tasks, events, the doctor's findings and facts of the server on the wire.

use super::{Level, TaskState};
use hostler_core::maintenance::Maintenance as CoreMaintenance;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::ToSchema;
use uuid::Uuid;

/// Durable work.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Task {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// What is done, e.g. `machine.create`.
    pub kind: String,
    /// Where it is.
    pub state: TaskState,
    /// Whether there is anything left to do.
    pub open: bool,
    /// Name of the step that runs or comes next.
    pub step: String,
    /// Failed tries of this step so far.
    pub attempt: u32,
    /// Part done, 0 to 1.
    pub progress: f64,
    /// What is being done or waited for, in words.
    pub message: String,
    /// Why it failed, in words.
    pub error: Option<String>,
    /// Stable name of that failure.
    pub error_code: Option<String>,
    /// The account whose it is.
    pub owner: Uuid,
    /// The object it works on.
    pub subject: Uuid,
    /// Kind of that object, e.g. `machine`.
    pub subject_kind: String,
    /// Name of that object when the task was made.
    pub subject_name: String,
    /// The host whose process must run it; null means any.
    pub host: Option<Uuid>,
    /// Its next step is not run before this.
    #[schema(format = DateTime)]
    pub due: String,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it began.
    #[schema(format = DateTime)]
    pub started_at: Option<String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

/// Something that happened: the data of a server-sent event whose `id` is `seq` and whose `event` is `name`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Event {
    /// Position in the order of commits.
    pub seq: i64,
    /// What happened, e.g. `machine.updated`.
    pub name: String,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Kind of object, e.g. `machine`.
    pub kind: String,
    /// Key of the object.
    pub subject: Uuid,
    /// A summary of the object as it was then.
    #[schema(value_type = Object)]
    pub body: serde_json::Value,
}

/// What the doctor found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Doctor {
    /// The worst level among the findings.
    pub worst: Level,
    /// Everything that was looked at.
    pub findings: Vec<Finding>,
}

/// One thing that the doctor looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Finding {
    /// What was looked at, e.g. `accelerator`.
    pub check: String,
    /// How bad it is.
    pub level: Level,
    /// What was found.
    pub text: String,
    /// Why, when that is known.
    pub cause: Option<String>,
    /// What to do about it.
    pub hint: Option<String>,
    /// What a repair would do about it, where something safe can be done.
    pub repair: Option<String>,
}

/// Asks for repairs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RepairAsk {
    /// Only say what would be done.
    #[serde(default)]
    pub preview: bool,
    /// Do no other repairs than these, in the words of a preview.
    #[serde(default)]
    pub only: Option<Vec<String>>,
}

/// What came of repairs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Repairs {
    /// One for each finding that can be repaired.
    pub items: Vec<RepairDone>,
}

/// What came of one repair.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RepairDone {
    /// What was found.
    pub finding: Finding,
    /// What is done about it.
    pub repair: String,
    /// How far it is.
    pub outcome: RepairOutcome,
    /// The task that does it, when it was ordered.
    pub task: Option<Task>,
    /// Why it was refused.
    pub error: Option<String>,
}

/// How far a repair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum RepairOutcome {
    /// It would be done.
    Proposed,
    /// It is done.
    Done,
    /// A task does it.
    Ordered,
    /// It was not done.
    Refused,
}

/// Whether nobody may change anything now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Maintenance {
    /// Whether it is on.
    pub on: bool,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: Option<String>,
    /// Login name of who began it.
    pub by: Option<String>,
    /// Why, as everybody is told; empty when nothing was said.
    pub reason: Option<String>,
}

impl From<Option<Arc<CoreMaintenance>>> for Maintenance {
    fn from(now: Option<Arc<CoreMaintenance>>) -> Self {
        let on = now.is_some();
        let since = now.as_ref().map(|now| now.since.to_string());
        let (by, reason) = now.map(|now| (now.by.clone(), now.reason.clone())).unzip();
        Self { on, since, by, reason }
    }
}

/// What maintenance shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MaintenanceSet {
    /// Whether it shall be on.
    pub on: bool,
    /// Why, shown to everybody who is turned away; one line of at most 500 characters.
    #[serde(default)]
    pub reason: String,
}

/// Facts of the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Info {
    /// Version of hostler.
    pub version: String,
    /// Versions of the native API that are served.
    pub apis: Vec<String>,
    /// When this process was started.
    #[schema(format = DateTime)]
    pub started_at: String,
    /// The time it is there.
    #[schema(format = DateTime)]
    pub now: String,
}
