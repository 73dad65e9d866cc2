//! What a kind of task is made of, and the list of all kinds.

use crate::core::{Changes, Core};
use crate::error::{Error, Result};
use crate::ports::{DriverError, Progress, StoreError};
use crate::tasks::Task;
use crate::time::Timestamp;
use crate::{doctor, goldens, machines, media, snapshots, templates, volumes};
use serde::de::DeserializeOwned;

/// Every kind of task there is. Adding one: write its [`Work`], name it here and in [`decode`].
pub const TASK_KINDS: [&str; 29] = [
    "machine.create",
    "machine.start",
    "machine.stop",
    "machine.restart",
    "machine.reset",
    "machine.pause",
    "machine.resume",
    "machine.delete",
    "machine.keys",
    "machine.resize",
    "machine.medium",
    "nic.attach",
    "nic.detach",
    "snapshot.take",
    "snapshot.revert",
    "snapshot.remove",
    "golden.make",
    "template.make",
    "template.delete",
    "medium.make",
    "medium.delete",
    "volume.create",
    "volume.delete",
    "host.clean",
    "volume.add",
    "volume.attach",
    "volume.detach",
    "volume.grow",
    "volume.limit",
];

/// Version of the payloads' form that this program writes. Raised when a payload changes in a way that serde's
/// defaults cannot bridge; [`decode`] then reads both.
pub(crate) const PAYLOAD_VERSION: u32 = 1;

/// The typed work behind a task's row.
pub(crate) fn decode(task: &Task) -> Result<Box<dyn Work>> {
    if task.payload_version > PAYLOAD_VERSION {
        return Err(Error::internal(format!("task {} was ordered by a newer version of hostler", task.id)));
    }
    fn typed<W: Work + DeserializeOwned + 'static>(task: &Task) -> Result<Box<dyn Work>> {
        let work: W = serde_json::from_value(task.payload.clone()).map_err(Error::internal)?;
        Ok(Box::new(work))
    }
    if machines::turn::Turn::is_in(task) {
        return typed::<machines::turn::Turn>(task);
    }
    match task.kind.as_str() {
        "machine.create" => typed::<machines::create::Create>(task),
        "machine.start" | "machine.stop" | "machine.restart" | "machine.reset" | "machine.pause"
        | "machine.resume" => typed::<machines::power::PowerWork>(task),
        "machine.keys" => typed::<machines::keys::Keys>(task),
        "machine.delete" => typed::<machines::delete::Delete>(task),
        "machine.resize" | "machine.medium" | "nic.attach" | "nic.detach" => {
            typed::<machines::alter::Alter>(task)
        }
        "snapshot.take" => typed::<snapshots::Take>(task),
        "snapshot.revert" => typed::<snapshots::Revert>(task),
        "snapshot.remove" => typed::<snapshots::Remove>(task),
        "golden.make" => typed::<goldens::make::Make>(task),
        "template.make" => typed::<templates::tasks::Make>(task),
        "template.delete" => typed::<templates::tasks::Delete>(task),
        "medium.make" => typed::<media::tasks::Make>(task),
        "medium.delete" => typed::<media::tasks::Delete>(task),
        "volume.create" => typed::<volumes::tasks::Create>(task),
        "volume.delete" => typed::<volumes::tasks::Delete>(task),
        "host.clean" => typed::<doctor::clean::Clean>(task),
        "volume.add" => typed::<volumes::add::Add>(task),
        "volume.attach" | "volume.detach" | "volume.grow" | "volume.limit" => {
            typed::<volumes::alter::Alter>(task)
        }
        other => Err(Error::internal(format!("no task is of kind {other}"))),
    }
}

/// What a step may use.
pub(crate) struct StepContext<'a> {
    pub(crate) core: &'a Core,
    /// The task as it was when the step began.
    pub(crate) task: &'a Task,
    /// Progress within the step, 0..=1.
    pub(crate) progress: &'a Progress,
}

/// How a step ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// On to the step that the work now names.
    Next,
    /// The same step again, not before this; the work may have noted something.
    Wait { until: Timestamp, why: String },
    /// All done.
    Done,
}

/// A step's result: how it ended and what is committed with it.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) outcome: Outcome,
    pub(crate) changes: Changes,
    /// Part of the whole task that is done now.
    pub(crate) progress: f64,
}

/// Why a step did not end well.
#[derive(Debug)]
pub(crate) enum StepError {
    /// A driver failed; retried with a growing pause when that can help, else the task is undone.
    Driver(DriverError),
    /// Core's own refusal; the task is undone.
    Refused(Error),
    /// A record changed since it was read; the step runs again at once.
    Stale,
    /// The store failed; the step runs again after a pause.
    Store(StoreError),
}

impl From<DriverError> for StepError {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl From<Error> for StepError {
    /// A database that does not answer is no refusal, whichever way the step asked it.
    fn from(mut error: Error) -> Self {
        let Some(cause) = error.cause.take() else { return Self::Refused(error) };
        match cause.downcast::<StoreError>() {
            Ok(store) if matches!(*store, StoreError::Unavailable(_)) => Self::Store(*store),
            Ok(store) => Self::Refused(Error { cause: Some(store), ..error }),
            Err(cause) => Self::Refused(Error { cause: Some(cause), ..error }),
        }
    }
}

impl From<StoreError> for StepError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Stale { .. } => Self::Stale,
            other => Self::Store(other),
        }
    }
}

/// One kind of task. The value holds what the work needs to know and which step comes next.
#[async_trait::async_trait]
pub(crate) trait Work: Send + Sync {
    /// Name of the step that runs next.
    fn step(&self) -> &'static str;

    /// The work as it is kept in the task's row.
    fn payload(&self) -> Result<serde_json::Value>;

    /// Whether nothing has been decided yet, so that the task is still queued however often it has looked.
    fn is_waiting(&self) -> bool {
        false
    }

    /// Whether a wish to cancel is still honoured at this step.
    fn cancellable(&self) -> bool {
        true
    }

    /// Runs the current step and moves on. Idempotent.
    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError>;

    /// Undoes whatever was done, in the world first; answers the changes that end the task. Idempotent.
    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError>;

    /// The world could not be put back: the changes that let go of the subject and leave the reason on it.
    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_that_does_not_answer_is_waited_for() {
        let away = || StoreError::Unavailable("gone".into());
        assert!(matches!(StepError::from(Error::from(away())), StepError::Store(_)));
        let lost = Error::from(StoreError::Failed("broken".into()));
        assert!(matches!(StepError::from(lost), StepError::Refused(error) if error.cause.is_some()));
        let refused = StepError::from(Error::not_found("machine", "m"));
        assert!(matches!(refused, StepError::Refused(_)));
    }
}
