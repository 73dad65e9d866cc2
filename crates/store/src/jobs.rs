//! What is queued for the one connection that writes, on either engine.
//!
//! A request lives in the queue, not in its caller: whoever stops waiting for the answer does not undo the work.

use crate::commit::Plan;
use crate::sql::Bound;
use hostler_core::ids::TaskId;
use hostler_core::ports::{Claimed, Committed, StoreError};
use hostler_core::time::Timestamp;
use tokio::sync::oneshot;

/// Where an answer goes.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

/// Something to write.
#[derive(Debug)]
pub(crate) enum Job {
    /// A commit of core.
    Commit { plan: Plan, reply: Reply<Committed> },
    /// Leases to take.
    Claim { statement: Bound, reply: Reply<Vec<Claimed>> },
    /// Leases to prolong.
    Renew { leases: Vec<(TaskId, i64)>, until: Timestamp, reply: Reply<Vec<TaskId>> },
    /// A statement that only counts: events to forget, leases to give up.
    Prune { statement: Bound, reply: Reply<u64> },
    /// Finish and go.
    Close,
}

/// Answers a job that was not tried.
pub(crate) fn refuse(job: Job, error: StoreError) {
    match job {
        Job::Commit { reply, .. } => drop(reply.send(Err(error))),
        Job::Claim { reply, .. } => drop(reply.send(Err(error))),
        Job::Renew { reply, .. } => drop(reply.send(Err(error))),
        Job::Prune { reply, .. } => drop(reply.send(Err(error))),
        Job::Close => {}
    }
}

/// The same error for another caller of the same batch.
pub(crate) fn again(error: &StoreError) -> StoreError {
    match error {
        StoreError::Full => StoreError::Full,
        StoreError::Unavailable(why) => StoreError::Unavailable(why.clone()),
        StoreError::Failed(why) => StoreError::Failed(why.clone()),
        StoreError::Stale { .. }
        | StoreError::Taken { .. }
        | StoreError::Exceeded { .. }
        | StoreError::Fenced(_) => StoreError::Failed(error.to_string()),
    }
}
