//! The one connection of this process that writes, and group commit.
//!
//! The writer takes what is queued, up to [`BATCH`], and runs it in one transaction: one wait for the disk for all
//! of it. A transaction begins by taking the right to write, a lock that all processes on the database share. So
//! commits have one order, events get their `seq` in that order and without gaps, numbers do too, and no two
//! transactions wait for each other in a circle. The lock goes with the transaction: whoever dies holding it holds
//! up nobody.
//!
//! A batch is first run without savepoints. When one of its requests is refused, all of it is run again with a
//! savepoint before each, so that the one does not sink its neighbours.
//!
//! Answers and events go out after the commit, never before. When the connection breaks in the very moment of the
//! commit nobody knows whether it was done; its callers are told that the store does not answer, and must look.

use super::connect::{Server, patiently};
use super::errors::{breaks, passes, spares_neighbours, store_error};
use super::run::{self, unreadable};
use super::teller::Teller;
use crate::commit::{Plan, hold, read};
use crate::jobs::{Job, again, refuse};
use crate::sql::Bound;
use crate::statements;
use hostler_core::events::NewEvent;
use hostler_core::fail::fail_point;
use hostler_core::ids::TaskId;
use hostler_core::ports::{Claimed, Committed, StoreError};
use hostler_core::record::Kind;
use hostler_core::time::Timestamp;
use sqlx::postgres::PgRow;
use sqlx::{Connection, Error, PgConnection, Row};
use std::sync::Arc;
use tokio::sync::mpsc;

/// At most this many requests share a commit. It is also how many savepoints a server keeps at hand for one
/// transaction; with more, everybody's reads become slower.
const BATCH: usize = 64;
/// A batch that met a deadlock or another serialization failure is run again so often.
const TRIES: usize = 5;

/// Begins, and takes the right to write: the letters of `hostler`, and 1.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(1752134516, 1)";
const SAVEPOINT: &str = "SAVEPOINT request";
const NEXT_SAVEPOINT: &str = "RELEASE SAVEPOINT request; SAVEPOINT request";
const TO_SAVEPOINT: &str = "ROLLBACK TO SAVEPOINT request";

/// What a job is answered with once it is durable.
enum Answer {
    Commit(Committed),
    Claim(Vec<Claimed>),
    Renew(Vec<TaskId>),
    Prune(u64),
}

/// Why a job was not done.
enum Trouble {
    /// It was refused, its neighbours are not concerned.
    Refused(StoreError),
    /// The transaction is lost.
    Lost(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Self {
        if spares_neighbours(&error) { Self::Refused(store_error(&error)) } else { Self::Lost(error) }
    }
}

/// How a batch meets a request that is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Care {
    /// Everything is undone.
    Together,
    /// A savepoint before each: only that one is undone.
    Apart,
}

/// What became of a transaction that was run to its end.
enum Ran {
    /// What each job is answered with, and the events with the first's `seq`.
    Done(Vec<Result<Answer, StoreError>>, i64, Vec<NewEvent>),
    /// One was refused, and nothing was done.
    Refused,
}

/// The task that writes.
pub(super) struct Writer {
    /// Where to connect to, should the connection break.
    pub(super) server: Server,
    /// Its connection, while there is one.
    pub(super) connection: Option<PgConnection>,
    /// What is queued.
    pub(super) jobs: mpsc::Receiver<Job>,
    /// Tells committed events.
    pub(super) teller: Arc<Teller>,
}

impl Writer {
    /// Runs until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        let mut jobs = Vec::with_capacity(BATCH);
        while self.jobs.recv_many(&mut jobs, BATCH).await > 0 {
            jobs.retain(|job| {
                let close = matches!(job, Job::Close);
                if close {
                    // What is queued already is still done.
                    self.jobs.close();
                }
                !close
            });
            if !jobs.is_empty() {
                self.batch(std::mem::take(&mut jobs)).await;
            }
        }
        if let Some(connection) = self.connection.take()
            && let Err(cause) = connection.close().await
        {
            tracing::debug!(%cause, "the database's writer did not close");
        }
    }

    /// Does these jobs in one transaction and answers them.
    async fn batch(&mut self, jobs: Vec<Job>) {
        let mut care = Care::Together;
        let mut tries = 0;
        loop {
            match self.attempt(&jobs, care).await {
                Ok(Ran::Done(answers, first, events)) => {
                    // Events first, so that whoever has the answer finds its events in the stream.
                    self.teller.committed(first, events).await;
                    jobs.into_iter().zip(answers).for_each(|(job, answer)| reply(job, answer));
                    return;
                }
                Ok(Ran::Refused) => care = Care::Apart,
                Err(error) if passes(&error) && tries < TRIES => {
                    tries += 1;
                    tracing::debug!(%error, tries, "a batch is run again");
                }
                Err(error) => {
                    let error = store_error(&error);
                    tracing::warn!(%error, requests = jobs.len(), "a commit failed");
                    jobs.into_iter().for_each(|job| refuse(job, again(&error)));
                    return;
                }
            }
        }
    }

    /// Runs the jobs in one transaction. After an error nothing was done, unless the connection broke in the commit.
    async fn attempt(&mut self, jobs: &[Job], care: Care) -> Result<Ran, Error> {
        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => self.server.connect_to_write().await?,
        };
        // What is left of it when its time is over ends with the connection.
        let ran = patiently(transaction(&mut connection, jobs, care)).await;
        let keep = match &ran {
            Ok(Ran::Done(..)) => true,
            Err(error) if breaks(error) => false,
            Ok(Ran::Refused) | Err(_) => patiently(run::command(&mut connection, "ROLLBACK")).await.is_ok(),
        };
        self.connection = keep.then_some(connection);
        ran
    }
}

async fn transaction(connection: &mut PgConnection, jobs: &[Job], care: Care) -> Result<Ran, Error> {
    run::command(connection, BEGIN).await?;
    let mut answers = Vec::with_capacity(jobs.len());
    let mut events: Vec<NewEvent> = Vec::new();
    for (place, job) in jobs.iter().enumerate() {
        if care == Care::Apart {
            run::command(connection, if place == 0 { SAVEPOINT } else { NEXT_SAVEPOINT }).await?;
        }
        match do_job(connection, job).await {
            Ok(answer) => {
                if let Job::Commit { plan, .. } = job {
                    events.extend(plan.events.iter().cloned());
                }
                answers.push(Ok(answer));
            }
            Err(Trouble::Refused(error)) if care == Care::Apart => {
                run::command(connection, TO_SAVEPOINT).await?;
                answers.push(Err(error));
            }
            // Alone there is nobody to spare.
            Err(Trouble::Refused(error)) if jobs.len() == 1 => {
                run::command(connection, "ROLLBACK").await?;
                return Ok(Ran::Done(vec![Err(error)], 0, Vec::new()));
            }
            Err(Trouble::Refused(_)) => return Ok(Ran::Refused),
            Err(Trouble::Lost(error)) => return Err(error),
        }
    }
    let first = if events.is_empty() { 0 } else { write_events(connection, &events).await? };
    fail_point("store.before_commit");
    run::command(connection, "COMMIT").await?;
    fail_point("store.after_commit");
    Ok(Ran::Done(answers, first, events))
}

async fn do_job(connection: &mut PgConnection, job: &Job) -> Result<Answer, Trouble> {
    match job {
        Job::Commit { plan, .. } => commit(connection, plan).await.map(Answer::Commit),
        Job::Claim { statement, .. } => claim(connection, statement).await.map(Answer::Claim),
        Job::Renew { leases, until, .. } => renew(connection, leases, *until).await.map(Answer::Renew),
        Job::Prune { statement, .. } => {
            let outcome = run::one(connection, &statement.sql, &statement.values).await?;
            Ok(Answer::Prune(outcome.changed))
        }
        Job::Close => Ok(Answer::Prune(0)),
    }
}

async fn commit(connection: &mut PgConnection, plan: &Plan) -> Result<Committed, Trouble> {
    let mut committed = Committed { stamps: Vec::new(), cancel_requested: false };
    for step in &plan.steps {
        let outcome = run::one(connection, &step.shape.bare, &step.values).await?;
        for (part, about) in &step.parts {
            read(*part, *about, &[outcome], &mut committed, &mut []).map_err(Trouble::Refused)?;
        }
    }
    for (statement, guard) in &plan.guards {
        let found = run::one(connection, &statement.sql, &statement.values).await?.answer.unwrap_or(0);
        hold(guard, found).map_err(Trouble::Refused)?;
    }
    Ok(committed)
}

async fn claim(connection: &mut PgConnection, statement: &Bound) -> Result<Vec<Claimed>, Trouble> {
    let rows = run::rows(connection, statement).await?;
    let read = |row: &PgRow| -> Result<(i64, Claimed), Error> {
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
    connection: &mut PgConnection,
    leases: &[(TaskId, i64)],
    until: Timestamp,
) -> Result<Vec<TaskId>, Trouble> {
    let mut lost = Vec::new();
    for (task, epoch) in leases {
        let statement = statements::renew(*task, *epoch, until);
        if run::one(connection, &statement.sql, &statement.values).await?.changed == 0 {
            lost.push(*task);
        }
    }
    Ok(lost)
}

/// Writes the events of a whole batch and tells the other processes where they end; answers the first's `seq`.
async fn write_events(connection: &mut PgConnection, events: &[NewEvent]) -> Result<i64, Error> {
    const WRITE: &str = "WITH taken AS (UPDATE counter SET next = next + $1 WHERE kind = 'event' \
        RETURNING next - $1 AS first), written AS (INSERT INTO event (seq, at, kind, change, subject, owner, body) \
        SELECT taken.first + told.place - 1, told.at, told.kind, told.change, told.subject, told.owner, told.body \
        FROM taken, unnest($2::bigint[], $3::text[], $4::text[], $5::uuid[], $6::uuid[], $7::text[]) \
        WITH ORDINALITY AS told (at, kind, change, subject, owner, body, place)) \
        SELECT first, pg_notify('hostler', (first + $1 - 1)::text) FROM taken";
    let count = i64::try_from(events.len()).unwrap_or(i64::MAX);
    let row = sqlx::query(WRITE)
        .bind(count)
        .bind(events.iter().map(|event| event.at.0).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.kind.word()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.change.word()).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.subject).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.owner.map(|owner| owner.0)).collect::<Vec<_>>())
        .bind(events.iter().map(|event| event.body.as_str()).collect::<Vec<_>>())
        .fetch_one(connection)
        .await?;
    row.try_get(0)
}

/// Answers a job. A failed send is a caller that has gone.
fn reply(job: Job, answer: Result<Answer, StoreError>) {
    match (job, answer) {
        (job, Err(error)) => refuse(job, error),
        (Job::Commit { reply, .. }, Ok(Answer::Commit(committed))) => drop(reply.send(Ok(committed))),
        (Job::Claim { reply, .. }, Ok(Answer::Claim(claimed))) => drop(reply.send(Ok(claimed))),
        (Job::Renew { reply, .. }, Ok(Answer::Renew(lost))) => drop(reply.send(Ok(lost))),
        (Job::Prune { reply, .. }, Ok(Answer::Prune(count))) => drop(reply.send(Ok(count))),
        (job, Ok(_)) => refuse(job, StoreError::Failed("the writer mixed up its answers".to_owned())),
    }
}
