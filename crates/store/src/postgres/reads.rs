//! The connections that read.

use super::connect::{PATIENCE, Server, failed};
use super::errors::{breaks, store_error};
use super::run::{self, unreadable};
use crate::page::Ordered;
use crate::sql::{Bound, Draft, Sql};
use crate::statements::{self, EventRow};
use hostler_core::events::Event;
use hostler_core::ports::StoreError;
use hostler_core::record::{Document, Kind, Value};
use sqlx::postgres::PgRow;
use sqlx::{Connection, Error, FromRow, PgConnection, Row};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

/// A few connections, made when they are needed. One that broke is thrown away, and with it those that were made
/// before: a server that restarts breaks all of them.
///
/// A read keeps its turn until its caller has polled it to the end: who begins one must not wait for anything else
/// before it goes on with it.
#[derive(Debug)]
pub(super) struct Readers {
    server: Server,
    free: Semaphore,
    idle: Mutex<Vec<PgConnection>>,
    count: u32,
}

impl Readers {
    /// Reads through at most so many.
    pub(super) fn new(server: Server, first: Option<PgConnection>, count: u32) -> Self {
        let free = Semaphore::new(count as usize);
        Self { server, free, idle: Mutex::new(first.into_iter().collect()), count }
    }

    /// Waits until nobody reads, then closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.free.acquire_many(self.count).await {
            for connection in self.forget() {
                if let Err(cause) = connection.close().await {
                    tracing::debug!(%cause, "a connection to the database did not close");
                }
            }
            self.free.close();
            drop(all);
        }
    }

    fn forget(&self) -> Vec<PgConnection> {
        std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner))
    }

    async fn permit(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        let closed = |_| StoreError::Unavailable("the store is closed".to_owned());
        self.free.acquire().await.map_err(closed)
    }

    /// The rows that this statement finds. A read that a broken connection cut off is done again on a new one.
    pub(super) async fn rows(&self, statement: Bound) -> Result<Vec<PgRow>, StoreError> {
        self.rows_within(statement, PATIENCE).await
    }

    /// The rows that this statement finds in this time.
    pub(super) async fn rows_within(
        &self,
        statement: Bound,
        patience: Duration,
    ) -> Result<Vec<PgRow>, StoreError> {
        let _permit = self.permit().await?;
        let known = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        if let Some(connection) = known {
            match self.read(connection, &statement, patience).await {
                Err(error) if breaks(&error) && !timed_out(&error) => {
                    tracing::debug!(%error, "a connection to the database is replaced");
                    drop(self.forget());
                }
                done => return done.map_err(|error| store_error(&error)),
            }
        }
        let connection = self.server.connect().await.map_err(|error| store_error(&error))?;
        self.read(connection, &statement, patience).await.map_err(|error| store_error(&error))
    }

    /// Keeps the connection only when the statement has ended and it is still good: a caller that stops waiting
    /// leaves one in the middle of an answer.
    async fn read(
        &self,
        mut connection: PgConnection,
        statement: &Bound,
        patience: Duration,
    ) -> Result<Vec<PgRow>, Error> {
        let late = || failed(std::io::ErrorKind::TimedOut, "it does not answer");
        let found = match tokio::time::timeout(patience, run::rows(&mut connection, statement)).await {
            Ok(found) => found,
            Err(_) => Err(late()),
        };
        if !found.as_ref().is_err_and(breaks) {
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
        found
    }

    /// The record with this key.
    pub(super) async fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Document>, StoreError> {
        // The read done most: its text is made once.
        static TEXTS: OnceLock<HashMap<Kind, Sql>> = OnceLock::new();
        let texts = TEXTS.get_or_init(|| {
            let text = |kind| {
                let mut draft = Draft::new(crate::page::DOCUMENT);
                draft.table(kind).push(" WHERE id = ").parameter(1).text()
            };
            Kind::ALL.into_iter().map(|kind| (kind, text(kind))).collect()
        });
        let sql = texts[&kind].clone();
        let found = self.documents(kind, Bound { sql, values: vec![Value::Id(id)] }).await?;
        Ok(found.into_iter().next())
    }

    /// The records that a statement over `id, number, rev, body` finds.
    pub(super) async fn documents(&self, kind: Kind, statement: Bound) -> Result<Vec<Document>, StoreError> {
        let rows = self.rows(statement).await?;
        rows.iter().map(|row| run::document(kind, row).map_err(|error| unreadable(&error))).collect()
    }

    /// The records of a page, with what they were ordered by.
    pub(super) async fn page(
        &self,
        kind: Kind,
        statement: Bound,
        ordered: &[Ordered],
    ) -> Result<Vec<Document>, StoreError> {
        let rows = self.rows(statement).await?;
        rows.iter().map(|row| run::listed(kind, row, ordered).map_err(|error| unreadable(&error))).collect()
    }

    /// The one number that a statement answers, if it answers any.
    pub(super) async fn maybe_number(&self, statement: Bound) -> Result<Option<i64>, StoreError> {
        let rows = self.rows(statement).await?;
        rows.first().map(|row| row.try_get(0)).transpose().map_err(|error| unreadable(&error))
    }

    /// The one number that a statement always answers.
    pub(super) async fn number(&self, statement: Bound) -> Result<i64, StoreError> {
        let number = self.maybe_number(statement).await?;
        number.ok_or_else(|| StoreError::Failed("a count answered nothing".to_owned()))
    }

    /// Events after `seq`, oldest first.
    pub(super) async fn events_after(&self, seq: i64, limit: u32) -> Result<Vec<Event>, StoreError> {
        let rows = self.rows(statements::events_after(seq, limit)).await?;
        let event = |row: &PgRow| {
            let row = EventRow::from_row(row).map_err(|error| unreadable(&error))?;
            statements::event(row)
        };
        rows.iter().map(event).collect()
    }

    /// First and last `seq` kept.
    pub(super) async fn event_bounds(&self) -> Result<(i64, i64), StoreError> {
        let rows = self.rows(statements::event_bounds()).await?;
        let bounds = rows.first().map(<(i64, i64)>::from_row);
        Ok(bounds.transpose().map_err(|error| unreadable(&error))?.unwrap_or((0, 0)))
    }
}

/// Whether we gave up. The same again would only wait as long again.
fn timed_out(error: &Error) -> bool {
    matches!(error, Error::Io(cause) if cause.kind() == std::io::ErrorKind::TimedOut)
}
