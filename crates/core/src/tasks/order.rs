//! Ordering work: the row of a new task, and the commit that hands a record over to it.

use super::work::PAYLOAD_VERSION;
use super::{Task, TaskState, Work};
use crate::access::{Caller, Replay};
use crate::core::{Changes, Core};
use crate::error::Result;
use crate::ids::{AccountId, HostId, TaskId};
use crate::ports::StoreError;
use crate::record::Record;
use uuid::Uuid;

/// A command's answer: the record, and the task that carries it out unless it was so already.
#[derive(Clone, Debug)]
pub struct Accepted<R> {
    /// The record as committed.
    pub record: R,
    /// The task.
    pub task: Option<Task>,
}

/// What a command wants done.
pub(crate) struct Order<'a> {
    pub(crate) kind: &'static str,
    pub(crate) owner: AccountId,
    pub(crate) subject: Uuid,
    pub(crate) subject_kind: &'static str,
    pub(crate) subject_name: &'a str,
    pub(crate) host: Option<HostId>,
}

/// The row of a new task.
pub(crate) fn ordered(core: &Core, order: &Order<'_>, work: &dyn Work) -> Result<Task> {
    let now = core.now();
    Ok(Task {
        id: TaskId(core.ids().uuid()),
        number: 0,
        rev: 0,
        kind: order.kind.to_owned(),
        payload_version: PAYLOAD_VERSION,
        payload: work.payload()?,
        state: TaskState::Queued,
        step: work.step().to_owned(),
        attempt: 0,
        progress: 0.0,
        message: String::new(),
        error: None,
        error_code: None,
        owner: order.owner,
        subject: order.subject,
        subject_kind: order.subject_kind.to_owned(),
        subject_name: order.subject_name.to_owned(),
        host: order.host,
        due: now,
        created_at: now,
        started_at: None,
        ended_at: None,
    })
}

impl Core {
    /// Commits changes that begin with a record and the task that now holds it, and answers both as committed. In the
    /// audit trail the command has the name of its task.
    pub(crate) async fn hand_over<R: Record>(
        &self,
        caller: &Caller,
        mut changes: Changes,
        mut record: R,
        mut task: Task,
    ) -> Result<Accepted<R>, StoreError> {
        let object = (task.subject_kind.as_str(), task.subject, task.subject_name.as_str());
        let written = self.deed_about(&mut changes, caller, &task.kind, object);
        written.map_err(|error| StoreError::Failed(error.chain()))?;
        let committed = self.commit(changes).await?;
        let [first, second, ..] = committed.stamps[..] else {
            return Err(StoreError::Failed("a commit was answered with too few stamps".into()));
        };
        record.stamp(first.number, first.rev);
        task.stamp(second.number, second.rev);
        Ok(Accepted { record, task: Some(task) })
    }

    /// The answer to a request that was answered before under the same idempotency key.
    pub(crate) async fn accepted_before<R: Record>(&self, replay: &Replay) -> Result<Accepted<R>> {
        let record = self.get(replay.subject).await?;
        let task = match replay.task {
            Some(id) => self.find(id).await?,
            None => None,
        };
        Ok(Accepted { record, task })
    }
}
