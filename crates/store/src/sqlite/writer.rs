//! The one connection that writes, and group commit.
//!
//! The writer takes what is queued, up to [`BATCH`], and runs it in one transaction: one wait for the disk for all
//! of it. Batches form by themselves while the disk is busy; a lone request does not wait for company. Each request
//! of a batch runs after a savepoint, so that one that is refused does not sink its neighbours. Only when the
//! commit itself fails does everybody get that error, and nothing was done.
//!
//! Answers and events go out after the commit, never before: who was told something finds it after a crash.

use super::cache::Cache;
use super::errors::{spares_neighbours, store_error};
use super::run::{self, arguments, unreadable};
use crate::commit::{ALONE, AMONG, Plan, Step, hold, read};
use crate::jobs::{Job, Reply, again, refuse};
use crate::sql::Bound;
use crate::statements;
use hostler_core::events::Event;
use hostler_core::fail::fail_point;
use hostler_core::ids::TaskId;
use hostler_core::ports::{Claimed, Committed, StoreError};
use hostler_core::record::Kind;
use hostler_core::time::Timestamp;
use sqlx::sqlite::{SqliteConnectOptions, SqliteRow};
use sqlx::{ConnectOptions, Connection, Error, Row, SqliteConnection};
use std::sync::Arc;
use tokio::sync::{Mutex, Notify, broadcast, mpsc, oneshot};
use uuid::Uuid;

/// At most this many requests share a commit: beyond it the wait for the disk no longer matters, but the first of
/// them would wait for the last.
const BATCH: usize = 64;

/// A job that is done but not yet durable. Nobody may hear of it before.
enum Done {
    Commit(Reply<Committed>, Committed, Vec<Event>),
    Claim(Reply<Vec<Claimed>>, Vec<Claimed>),
    Renew(Reply<Vec<TaskId>>, Vec<TaskId>),
    Prune(Reply<u64>, u64),
}

/// Why a job was not done.
enum Trouble {
    /// It was refused, its neighbours are not concerned.
    Refused(StoreError),
    /// The transaction is lost.
    Lost(StoreError),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        if spares_neighbours(&error) {
            Self::Refused(store_error(&error))
        } else {
            Self::Lost(store_error(&error))
        }
    }
}

/// How a job finds the transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    /// It is the only one and begins the transaction itself.
    Alone,
    /// It is one of several, in a transaction that has begun and has a savepoint.
    Among,
}

/// The task that writes.
pub(super) struct Writer {
    /// Its connection.
    pub(super) connection: SqliteConnection,
    /// How to make another, should this one break.
    pub(super) options: SqliteConnectOptions,
    /// What is queued.
    pub(super) jobs: mpsc::Receiver<Job>,
    /// Where committed events go.
    pub(super) events: broadcast::Sender<Arc<Event>>,
    /// Must not know what has changed.
    pub(super) cache: Arc<Cache>,
    /// What this batch changes.
    pub(super) changed: Vec<(Kind, Uuid)>,
    /// Held during each batch; the checkpointer takes it to stop writes for a moment.
    pub(super) pause: Arc<Mutex<()>>,
    /// Tells the checkpointer that the log has grown.
    pub(super) written: Arc<Notify>,
    /// Dropped when the writer has closed, which ends the checkpointer.
    pub(super) closing: oneshot::Sender<()>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH);
        let pause = Arc::clone(&self.pause);
        while self.jobs.recv_many(&mut jobs, BATCH).await > 0 {
            jobs.retain(|job| {
                let close = matches!(job, Job::Close);
                if close {
                    // What is queued already is still done.
                    self.jobs.close();
                }
                !close
            });
            if jobs.is_empty() {
                continue;
            }
            let held = pause.lock().await;
            self.batch(&mut jobs).await;
            drop(held);
            self.written.notify_one();
        }
        if let Err(cause) = self.connection.close().await {
            tracing::warn!(%cause, "the database's writer did not close");
        }
        drop(self.closing);
    }

    /// Does these jobs in one transaction and answers them.
    async fn batch(&mut self, jobs: &mut Vec<Job>) {
        let place = if jobs.len() == 1 { Place::Alone } else { Place::Among };
        let mut jobs = jobs.drain(..);
        if place == Place::Among
            && let Err(error) = self.begin("BEGIN IMMEDIATE; SAVEPOINT request").await
        {
            jobs.for_each(|job| refuse(job, again(&error)));
            return;
        }
        self.changed.clear();
        let mut done = Vec::with_capacity(jobs.len());
        while let Some(job) = jobs.next() {
            match self.job(job, place).await {
                Ok(one) => done.push(one),
                // It has its answer already; the others go on.
                Err(None) => {}
                Err(Some(lost)) => {
                    self.roll_back().await;
                    done.into_iter().for_each(|one: Done| one.fail(&lost));
                    jobs.for_each(|job| refuse(job, again(&lost)));
                    return;
                }
            }
        }
        if done.is_empty() {
            self.roll_back().await;
            return;
        }
        fail_point("store.before_commit");
        if let Err(error) = self.make_durable().await {
            let error = store_error(&error);
            tracing::error!(%error, requests = done.len(), "a commit failed");
            self.roll_back().await;
            done.into_iter().for_each(|one| one.fail(&error));
        } else {
            fail_point("store.after_commit");
            done.into_iter().for_each(|one| one.tell(&self.events));
        }
    }

    /// Commits, with the cache knowing nothing of it at any moment when readers could.
    async fn make_durable(&mut self) -> Result<(), Error> {
        self.cache.committing(&self.changed);
        let committed = run::command(&mut self.connection, "COMMIT").await;
        self.cache.committed(&self.changed);
        committed
    }

    /// Does one job. An error is `None` when only this job failed, which has its answer then.
    async fn job(&mut self, job: Job, place: Place) -> Result<Done, Option<StoreError>> {
        match job {
            Job::Commit { plan, reply } => match self.commit(plan, place).await {
                Ok((committed, events)) => Ok(Done::Commit(reply, committed, events)),
                Err(trouble) => Err(self.failed(trouble, reply, place).await),
            },
            Job::Claim { statement, reply } => match self.claim(statement, place).await {
                Ok(claimed) => Ok(Done::Claim(reply, claimed)),
                Err(trouble) => Err(self.failed(trouble, reply, place).await),
            },
            Job::Renew { leases, until, reply } => match self.renew(leases, until, place).await {
                Ok(lost) => Ok(Done::Renew(reply, lost)),
                Err(trouble) => Err(self.failed(trouble, reply, place).await),
            },
            Job::Prune { statement, reply } => match self.prune(statement, place).await {
                Ok(count) => Ok(Done::Prune(reply, count)),
                Err(trouble) => Err(self.failed(trouble, reply, place).await),
            },
            Job::Close => Err(None),
        }
    }

    /// Answers a job that failed and undoes what it had done. Answers an error when the transaction is lost.
    async fn failed<T>(&mut self, trouble: Trouble, reply: Reply<T>, place: Place) -> Option<StoreError> {
        let (error, mut lost) = match trouble {
            Trouble::Refused(error) => (error, None),
            Trouble::Lost(error) => {
                let lost = again(&error);
                (error, Some(lost))
            }
        };
        if lost.is_none()
            && place == Place::Among
            && let Err(cause) = run::command(&mut self.connection, "ROLLBACK TO SAVEPOINT request").await
        {
            lost = Some(store_error(&cause));
        }
        // Nobody waits any more when the caller has gone.
        let _ = reply.send(Err(error));
        lost
    }

    /// Begins a transaction. A connection that has broken is replaced once.
    async fn begin(&mut self, text: &'static str) -> Result<(), StoreError> {
        let error = match run::command(&mut self.connection, text).await {
            Ok(()) => return Ok(()),
            Err(error) => store_error(&error),
        };
        if matches!(error, StoreError::Unavailable(_)) && !self.broken().await {
            return Err(error);
        }
        tracing::warn!(%error, "the database's writer begins anew");
        self.reconnect().await?;
        run::command(&mut self.connection, text).await.map_err(|error| store_error(&error))
    }

    async fn broken(&mut self) -> bool {
        self.connection.ping().await.is_err()
    }

    async fn reconnect(&mut self) -> Result<(), StoreError> {
        self.connection = self.options.connect().await.map_err(|error| store_error(&error))?;
        Ok(())
    }

    /// Ends the transaction without effect. SQLite may have done so itself after an error of the disk.
    async fn roll_back(&mut self) {
        if let Err(cause) = run::command(&mut self.connection, "ROLLBACK").await {
            tracing::debug!(%cause, "there was nothing to roll back");
            if self.broken().await
                && let Err(error) = self.reconnect().await
            {
                tracing::error!(%error, "the database cannot be opened again");
            }
        }
    }

    async fn commit(&mut self, plan: Plan, place: Place) -> Result<(Committed, Vec<Event>), Trouble> {
        let mut committed = Committed { stamps: Vec::new(), cancel_requested: false };
        let mut seqs = vec![0; plan.events.len()];
        let mut outcomes = Vec::new();
        for (number, step) in plan.steps.into_iter().enumerate() {
            outcomes.clear();
            let Step { shape, parts, values } = step;
            let (sql, mut at) = match (number, place) {
                (0, Place::Alone) => (&shape.alone, ALONE),
                (0, Place::Among) => (&shape.among, AMONG),
                _ => (&shape.bare, 0),
            };
            let ran = run::several(&mut self.connection, sql, arguments(values)?, &mut outcomes).await;
            // A part that ran without effect comes before the error of a later one.
            for (part, about) in parts {
                let next = at + part.statements();
                let Some(results) = outcomes.get(at..next) else { break };
                at = next;
                self.changed.extend(about.changes());
                read(part, about, results, &mut committed, &mut seqs).map_err(Trouble::Refused)?;
            }
            ran?;
        }
        for (statement, guard) in plan.guards {
            let rows = run::rows(&mut self.connection, statement).await?;
            let found = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
            hold(&guard, found).map_err(Trouble::Refused)?;
        }
        let event = |(seq, event)| Event { seq, event };
        Ok((committed, seqs.into_iter().zip(plan.events).map(event).collect()))
    }

    /// Readies the transaction for a job that is not a commit.
    async fn enter(&mut self, place: Place) -> Result<(), Trouble> {
        let text = match place {
            Place::Alone => "BEGIN IMMEDIATE",
            Place::Among => "RELEASE SAVEPOINT request; SAVEPOINT request",
        };
        match place {
            Place::Alone => self.begin(text).await.map_err(Trouble::Lost),
            Place::Among => Ok(run::command(&mut self.connection, text).await?),
        }
    }

    async fn claim(&mut self, statement: Bound, place: Place) -> Result<Vec<Claimed>, Trouble> {
        self.enter(place).await?;
        let rows = run::rows(&mut self.connection, statement).await?;
        let read = |row: &SqliteRow| -> Result<(i64, Claimed), Error> {
            let document = run::document(Kind::Task, row)?;
            let cancel_requested = row.try_get::<i64, _>(5)? == 1;
            Ok((row.try_get(6)?, Claimed { document, epoch: row.try_get(4)?, cancel_requested }))
        };
        let claimed: Result<Vec<_>, Error> = rows.iter().map(read).collect();
        let mut claimed = claimed.map_err(|error| Trouble::Refused(unreadable(&error)))?;
        // RETURNING promises no order.
        claimed.sort_by_key(|(due, task)| (*due, task.document.id));
        Ok(claimed.into_iter().map(|(_, task)| task).collect())
    }

    async fn renew(
        &mut self,
        leases: Vec<(TaskId, i64)>,
        until: Timestamp,
        place: Place,
    ) -> Result<Vec<TaskId>, Trouble> {
        self.enter(place).await?;
        let mut lost = Vec::new();
        for (task, epoch) in leases {
            let statement = statements::renew(task, epoch, until);
            if run::changes(&mut self.connection, statement).await? == 0 {
                lost.push(task);
            }
        }
        Ok(lost)
    }

    async fn prune(&mut self, statement: Bound, place: Place) -> Result<u64, Trouble> {
        self.enter(place).await?;
        Ok(run::changes(&mut self.connection, statement).await?)
    }
}

impl Done {
    /// It is durable: events first, so that whoever has the answer finds its events in the stream.
    fn tell(self, events: &broadcast::Sender<Arc<Event>>) {
        // A failed send is a caller that has gone, or a stream that nobody listens to.
        match self {
            Self::Commit(reply, committed, told) => {
                for event in told {
                    let _ = events.send(Arc::new(event));
                }
                let _ = reply.send(Ok(committed));
            }
            Self::Claim(reply, claimed) => drop(reply.send(Ok(claimed))),
            Self::Renew(reply, lost) => drop(reply.send(Ok(lost))),
            Self::Prune(reply, count) => drop(reply.send(Ok(count))),
        }
    }

    /// It is not durable.
    fn fail(self, error: &StoreError) {
        match self {
            Self::Commit(reply, ..) => drop(reply.send(Err(again(error)))),
            Self::Claim(reply, _) => drop(reply.send(Err(again(error)))),
            Self::Renew(reply, _) => drop(reply.send(Err(again(error)))),
            Self::Prune(reply, _) => drop(reply.send(Err(again(error)))),
        }
    }
}
