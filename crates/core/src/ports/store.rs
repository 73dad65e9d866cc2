//! The seam to the database.
//!
//! Core reads, decides in pure code, then hands over one [`Commit`]: everything in it happens, durably, or nothing
//! does. There are no transactions that a caller holds open.

use crate::events::{Event, NewEvent};
use crate::ids::{HostId, TaskId};
use crate::query::{Filter, Select};
use crate::record::{Document, Kind, Value};
use crate::time::Timestamp;
use serde::Serialize;
use std::sync::Arc;
use tokio::sync::broadcast;
use uuid::Uuid;

/// One change of one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// A new record. A `number` of 0 is replaced by the next of its kind; another is kept and never allotted again.
    Insert(Document),
    /// The record as it shall be; its `rev` says which version it was made from.
    Update(Document),
    /// The record is removed, if it is still at this version.
    Delete {
        /// Its kind.
        kind: Kind,
        /// Its key.
        id: Uuid,
        /// The version it was read at.
        rev: i64,
    },
}

/// Proof that the writer still holds a task: the commit fails when the lease has gone to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fence {
    /// The task.
    pub task: TaskId,
    /// Epoch of the lease, from [`Claimed`].
    pub epoch: i64,
    /// Give the lease back with this commit.
    pub release: bool,
}

/// A bound on what there may be of something once a commit is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Guard {
    /// Which records are counted.
    pub kind: Kind,
    /// The integer column that is summed up; none counts the records.
    pub column: Option<&'static str>,
    /// Which of them.
    pub filter: Filter,
    /// The most that there may be.
    pub at_most: i64,
    /// How much of it the commit adds; for the message only.
    pub asked: i64,
    /// What is bounded and for whom, `machines of group tests` for instance; for the message only.
    pub what: String,
}

/// All or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Commit {
    /// Changes, in order.
    pub alterations: Vec<Alteration>,
    /// Events, in order.
    pub events: Vec<NewEvent>,
    /// Records that must still be at the version they were read at, though this commit does not change them.
    pub unchanged: Vec<(Kind, Uuid, i64)>,
    /// Lease that must still be held.
    pub fence: Option<Fence>,
    /// Ask the holder of this task to cancel it, and make it due at once. Needs no version: it only ever goes
    /// from no to yes.
    pub cancel: Option<TaskId>,
    /// Bounds that must hold once everything else is done. Commits follow one another, so that no two of them can pass
    /// a bound together. Not looked at when nothing else is asked.
    pub guards: Vec<Guard>,
}

/// What the store allotted to a changed record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The small integer.
    pub number: i64,
    /// The new version.
    pub rev: i64,
}

/// What became of a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// One for each alteration, in order (of a deleted record: as it was last).
    pub stamps: Vec<Stamp>,
    /// With a fence: somebody asked to cancel that task.
    pub cancel_requested: bool,
}

/// Who wants work.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Name of the process, unique among all that share the store.
    pub worker: String,
    /// Hosts it can act on; tasks that name another host are left alone.
    pub hosts: Vec<HostId>,
    /// Now.
    pub now: Timestamp,
    /// The lease ends then unless renewed.
    pub until: Timestamp,
    /// At most this many tasks.
    pub limit: u32,
    /// Only tasks that have begun: `state` is not `queued`.
    pub begun: bool,
}

/// A task whose lease is ours.
#[derive(Clone, Debug)]
pub struct Claimed {
    /// The task's record.
    pub document: Document,
    /// Epoch of the lease; every later write carries it.
    pub epoch: i64,
    /// Somebody asked to cancel it.
    pub cancel_requested: bool,
}

/// Condition of the store, for `doctor` and health checks.
#[derive(Clone, Debug, Serialize)]
pub struct StoreFacts {
    /// `sqlite` or `postgres`.
    pub engine: &'static str,
    /// Its version.
    pub version: String,
    /// Size on disk in bytes.
    pub bytes: u64,
    /// Newest migration applied.
    pub schema: i64,
    /// Damage found, each a sentence; empty when whole.
    pub damage: Vec<String>,
}

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A record changed since it was read, or is gone. Read again and decide again.
    #[error("{} {id} has changed meanwhile", kind.word())]
    Stale {
        /// Kind of the record.
        kind: Kind,
        /// Its key.
        id: Uuid,
    },
    /// Another record has this value already.
    #[error("another {} has this {column}", kind.word())]
    Taken {
        /// Kind of the record.
        kind: Kind,
        /// Which column must be unique.
        column: String,
    },
    /// There would be more of something than a bound allows.
    #[error("{} would be {found} and may be {}", .guard.what, .guard.at_most)]
    Exceeded {
        /// The bound.
        guard: Box<Guard>,
        /// How much there would be.
        found: i64,
    },
    /// The lease has gone to another worker.
    #[error("the lease of task {0} has been lost")]
    Fenced(TaskId),
    /// The disk of the store is full.
    #[error("the store's disk is full")]
    Full,
    /// The database cannot be reached just now.
    #[error("the store does not answer: {0}")]
    Unavailable(String),
    /// Anything else.
    #[error("the store failed: {0}")]
    Failed(String),
}

/// Keeps records durably.
///
/// Columns every table has: `id`, `number`, `rev`, `body`, and those of
/// [`Record::columns`](crate::record::Record::columns). Unique: machine `name` among those whose `life` is not
/// `gone`; template `name`+`version`; the names of storages, networks, hosts and clusters; account `login` and `email`; token `hash`;
/// address `network`+`ip`; replay `account`+`key`.
#[async_trait::async_trait]
pub trait Store: Send + Sync {
    /// Does all of it durably, or nothing. An abandoned call may still have been done.
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError>;

    /// The record with this key.
    async fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Document>, StoreError>;

    /// The first record whose column has this value, in order of creation. The column is indexed.
    async fn find(
        &self,
        kind: Kind,
        column: &'static str,
        value: Value,
    ) -> Result<Option<Document>, StoreError>;

    /// One page.
    async fn list(&self, kind: Kind, select: Select) -> Result<Vec<Document>, StoreError>;

    /// How many match.
    async fn count(&self, kind: Kind, filter: Filter) -> Result<u64, StoreError>;

    /// The sum of an integer column over the records that match.
    async fn sum(&self, kind: Kind, column: &'static str, filter: Filter) -> Result<i64, StoreError>;

    /// Takes leases on tasks that are open (`open` = 1), due (`due` ≤ now), for one of the claimant's hosts or for
    /// any, and not leased to somebody now; with `begun` only tasks that have begun. Earliest due first; each lease gets the next epoch.
    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError>;

    /// Prolongs leases (task, epoch) and answers those that were lost.
    async fn renew(&self, leases: Vec<(TaskId, i64)>, until: Timestamp) -> Result<Vec<TaskId>, StoreError>;

    /// Gives up every lease of a worker that is certainly dead, so that nobody waits for their end; answers how
    /// many there were.
    async fn disown(&self, worker: String) -> Result<u64, StoreError>;

    /// When the next open task falls due that this claimant could take, if there is any.
    async fn next_due(&self, hosts: Vec<HostId>) -> Result<Option<Timestamp>, StoreError>;

    /// Committed events after `seq`, oldest first.
    async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<Event>, StoreError>;

    /// First and last `seq` kept; 0 and 0 when none is.
    async fn event_bounds(&self) -> Result<(i64, i64), StoreError>;

    /// Forgets events from before `before`, at most `limit`; answers how many.
    async fn prune_events(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError>;

    /// Events as they are committed by this process (with PostgreSQL: by any). A slow reader loses some and must
    /// go on with [`Store::events_after`].
    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>>;

    /// Kinds whose next number is not greater than every number given, as after somebody edited the database; with
    /// `mend` counting goes on after the greatest.
    async fn recount(&self, mend: bool) -> Result<Vec<Kind>, StoreError>;

    /// Its condition; `thorough` also checks every page.
    async fn facts(&self, thorough: bool) -> Result<StoreFacts, StoreError>;
}
