//! The store on PostgreSQL: one database that several processes share.
//!
//! * The **writer** is a task that owns the only connection of this process that writes. It commits together what is
//!   queued, one process at a time: see `writer`.
//! * The **readers** are a few connections. Each read sees the last commit of every process, so nothing that was
//!   read is remembered: see decision 009.
//! * The **teller** hands on the events of all processes, in their order.
//!
//! A server that goes away is answered with [`StoreError::Unavailable`] until it is back; connections are made anew
//! when they are next needed.

mod connect;
mod errors;
mod facts;
mod open;
mod reads;
pub(crate) mod run;
mod teller;
mod writer;

pub use open::Address;

pub(crate) use errors::store_error;
pub(crate) use open::open_state;

use crate::commit::Plan;
use crate::jobs::Job;
use crate::open::OpenError;
use crate::sql::Engine;
use crate::statements;
use crate::{filter, page};
use hostler_core::events::Event;
use hostler_core::ids::{HostId, TaskId};
use hostler_core::ports::{Claim, Claimed, Commit, Committed, Store, StoreError, StoreFacts};
use hostler_core::query::{Filter, Select};
use hostler_core::record::{Document, Kind, Value};
use hostler_core::time::Timestamp;
use reads::Readers;
use std::sync::Arc;
use teller::Teller;
use tokio::sync::{Mutex, broadcast, mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use uuid::Uuid;

/// The store in one PostgreSQL database.
///
/// Made inside a tokio runtime, where its writer and teller live.
#[derive(Debug)]
pub struct PostgresStore {
    name: String,
    readers: Arc<Readers>,
    teller: Arc<Teller>,
    jobs: mpsc::Sender<Job>,
    closing: watch::Sender<bool>,
    work: Mutex<Vec<JoinHandle<()>>>,
}

impl PostgresStore {
    /// Connects to the database, `postgres://user:password@host:port/name`, and brings its tables up to date.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do about it.
    pub async fn open(url: &str) -> Result<Self, OpenError> {
        Self::open_at(url.parse()?).await
    }

    /// The same, of an address that was read already.
    ///
    /// # Errors
    /// [`OpenError`], which says what to do about it.
    pub async fn open_at(address: Address) -> Result<Self, OpenError> {
        open::open(address.server()).await
    }

    /// The database and its server, without the password.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Finishes what is queued and closes all connections. Later calls answer [`StoreError::Unavailable`].
    pub async fn close(&self) {
        // Already closed when nobody takes it.
        let _ = self.jobs.send(Job::Close).await;
        self.closing.send_replace(true);
        let work = std::mem::take(&mut *self.work.lock().await);
        for task in work {
            if let Err(cause) = task.await {
                tracing::error!(%cause, "a task of the store ended badly");
            }
        }
        self.readers.close().await;
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
impl Store for PostgresStore {
    async fn commit(&self, commit: Commit) -> Result<Committed, StoreError> {
        let plan = Plan::new(Engine::Postgres, commit)?;
        if plan.is_empty() {
            return Ok(Committed::default());
        }
        self.ask(|reply| Job::Commit { plan, reply }).await
    }

    async fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Document>, StoreError> {
        self.readers.get(kind, id).await
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
        let (statement, ordered) = page::page(kind, select)?;
        self.readers.page(kind, statement, &ordered).await
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
        let statement = statements::claim(Engine::Postgres, &claim);
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
        self.teller.subscribe()
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
        facts::facts(&self.readers, thorough).await
    }
}
