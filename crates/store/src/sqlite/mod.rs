//! The store on SQLite: one file, one writer, a few readers.
//!
//! * The **writer** is a task that owns the only connection that writes. It takes what is queued and commits it
//!   together, so that many callers share one wait for the disk. A request lives in the queue, not in its caller:
//!   whoever stops waiting for the answer does not undo the work.
//! * The **readers** are a few connections that cannot write. Each read sees the last commit.
//! * The **cache** remembers what was read lately, until the writer changes it.
//! * The **checkpointer** is a task that moves the write-ahead log into the database, on a connection of its own,
//!   so that no commit has to wait for that.

mod cache;
mod checkpoint;
mod errors;
mod facts;
mod open;
mod reads;
pub(crate) mod run;
#[cfg(test)]
mod tests;
mod writer;

pub(crate) use errors::store_error;
pub(crate) use open::{newest, read_state, write_state};

use crate::commit::Plan;
use crate::jobs::Job;
use crate::open::OpenError;
use crate::sql::Engine;
use crate::statements;
use crate::{filter, page};
use cache::Cache;
use hostler_core::events::Event;
use hostler_core::ids::{HostId, TaskId};
use hostler_core::ports::{Claim, Claimed, Commit, Committed, Store, StoreError, StoreFacts};
use hostler_core::query::{Filter, Select};
use hostler_core::record::{Document, Kind, Value};
use hostler_core::time::Timestamp;
use reads::Readers;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The store in one SQLite database.
///
/// Made inside a tokio runtime, where its writer and checkpointer live. Call [`SqliteStore::close`] before the
/// runtime ends; without it nothing committed is lost, but the write-ahead log stays behind for the next start.
#[derive(Debug)]
pub struct SqliteStore {
    path: PathBuf,
    readers: Readers,
    cache: Arc<Cache>,
    jobs: mpsc::Sender<Job>,
    events: broadcast::Sender<Arc<Event>>,
    work: Mutex<Vec<JoinHandle<()>>>,
    /// Dropped last: the directory of a store that lives only as long as this.
    temporary: Option<open::TemporaryDirectory>,
}

impl SqliteStore {
    /// Opens the database, makes it when there is none (readable by this user only), and brings its tables up to
    /// date.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do about it.
    pub async fn open(path: &Path) -> Result<Self, OpenError> {
        open::open(path, open::Care::Durable, None).await
    }

    /// A store for tests: a fresh database that does not wait for the disk and goes when the store is dropped.
    ///
    /// # Errors
    /// [`OpenError`], when there is nowhere to put it.
    pub async fn temporary() -> Result<Self, OpenError> {
        open::temporary().await
    }

    /// Where the database is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it goes when it is dropped.
    pub fn is_temporary(&self) -> bool {
        self.temporary.is_some()
    }

    /// Finishes what is queued, moves the log into the database and closes all connections. Later calls answer
    /// [`StoreError::Unavailable`].
    pub async fn close(&self) {
        self.cache.close();
        self.readers.close().await;
        // Already closed when nobody takes it.
        let _ = self.jobs.send(Job::Close).await;
        let work = std::mem::take(&mut *self.work.lock().await);
        for task in work {
            if let Err(cause) = task.await {
                tracing::error!(%cause, "a task of the store ended badly");
            }
        }
    }

    /// Hands a job to the writer and waits for its answer.
    async fn ask<T>(
        &self,
        job: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Job,
    ) -> Result<T, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let (reply, answer) = oneshot::channel();
        self.jobs.send(job(reply)).await.map_err(|_| closed())?;
        answer.await.map_err(|_| closed())?
    }
}

#[async_trait::async_trait]
impl Store for SqliteStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let plan = Plan::new(Engine::Sqlite, commit)?;
        if plan.is_empty() {
            return Ok(Committed::default());
        }
        self.ask(|reply| Job::Commit { plan, reply }).await
    }

    async fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Document>, StoreError> {
        let reading = match self.cache.record(kind, id) {
            Ok(known) => return Ok(Some(known)),
            Err(reading) => reading,
        };
        let found = self.readers.get(kind, id).await?;
        if let Some(document) = &found {
            self.cache.keep_record(reading, document);
        }
        Ok(found)
    }

    async fn find(
        &self,
        kind: Kind,
        column: &'static str,
        value: Value,
    ) -> Result<Option<Document>, StoreError> {
        let select = Select::new(Filter::eq(column, value), 1);
        Ok(self.list(kind, select).await?.pop())
    }

    async fn list(&self, kind: Kind, select: Select) -> Result<Vec<Document>, StoreError> {
        let kept = !select.reaches_further();
        let (statement, ordered) = page::page(kind, select)?;
        if !kept {
            // Commits of other kinds change the answer, too; nothing would tell.
            return self.readers.page(kind, statement, &ordered).await;
        }
        let reading = match self.cache.answer(kind, &statement) {
            Ok(known) => return Ok(known),
            Err(reading) => reading,
        };
        let found = self.readers.page(kind, statement.clone(), &ordered).await?;
        self.cache.keep_answer(reading, statement, &found);
        Ok(found)
    }

    async fn count(&self, kind: Kind, filter: Filter) -> Result<u64, StoreError> {
        let counted = self.readers.number(filter::count(kind, filter)?).await?;
        Ok(u64::try_from(counted).unwrap_or(0))
    }

    async fn sum(&self, kind: Kind, column: &'static str, filter: Filter) -> Result<i64, StoreError> {
        self.readers.number(filter::sum(kind, column, filter)?).await
    }

    async fn claim(&self, claim: Claim) -> Result<Vec<Claimed>, StoreError> {
        if claim.limit == 0 {
            return Ok(Vec::new());
        }
        let statement = statements::claim(Engine::Sqlite, &claim);
        self.ask(|reply| Job::Claim { statement, reply }).await
    }

    async fn renew(&self, leases: Vec<(TaskId, i64)>, until: Timestamp) -> Result<Vec<TaskId>, StoreError> {
        if leases.is_empty() {
            return Ok(Vec::new());
        }
        self.ask(|reply| Job::Renew { leases, until, reply }).await
    }

    async fn disown(&self, worker: String) -> Result<u64, StoreError> {
        let statement = statements::disown(worker);
        self.ask(|reply| Job::Prune { statement, reply }).await
    }

    async fn next_due(&self, hosts: Vec<HostId>) -> Result<Option<Timestamp>, StoreError> {
        let [free, leased] = statements::next_due(&hosts);
        let free = self.readers.maybe_number(free).await?;
        let leased = self.readers.maybe_number(leased).await?;
        Ok(free.into_iter().chain(leased).min().map(Timestamp))
    }

    async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        self.readers.events_after(seq, limit).await
    }

    async fn event_bounds(&self) -> Result<(i64, i64), StoreError> {
        self.readers.event_bounds().await
    }

    async fn prune_events(&self, before: Timestamp, limit: u32) -> Result<u64, StoreError> {
        let statement = statements::prune_events(before, limit);
        self.ask(|reply| Job::Prune { statement, reply }).await
    }

    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        self.events.subscribe()
    }

    async fn recount(&self, mend: bool) -> Result<Vec<Kind>, StoreError> {
        let mut behind = Vec::new();
        for kind in Kind::ALL {
            if self.readers.number(statements::counter_behind(kind)).await? > 0 {
                behind.push(kind);
                if mend {
                    let statement = statements::counter_mend(kind);
                    self.ask(|reply| Job::Prune { statement, reply }).await?;
                }
            }
        }
        Ok(behind)
    }

    async fn facts(&self, thorough: bool) -> Result<StoreFacts, StoreError> {
        facts::facts(&self.path, &self.readers, thorough).await
    }
}
