//! The connections that read.

use super::errors::store_error;
use super::run::{self, unreadable};
use crate::page::Ordered;
use crate::sql::{Bound, Draft};
use crate::statements::{self, EventRow};
use hostler_core::events::Event;
use hostler_core::ports::StoreError;
use hostler_core::record::{Document, Kind, Value};
use sqlx::sqlite::SqliteRow;
use sqlx::{Connection, FromRow, Row, SqliteConnection};
use std::collections::HashMap;
use std::sync::{Mutex, OnceLock, PoisonError};
use tokio::sync::{Semaphore, SemaphorePermit};
use uuid::Uuid;

/// A few connections that cannot write. A pool without timers: a test that stops the clock must not see its reads
/// time out.
#[derive(Debug)]
pub(super) struct Readers {
    free: Semaphore,
    idle: Mutex<Vec<SqliteConnection>>,
    count: u32,
}

/// A connection in use. Given back when dropped, also by a caller that stopped waiting: the connection then ends
/// the abandoned statement before it takes the next.
struct Reading<'a> {
    readers: &'a Readers,
    connection: Option<SqliteConnection>,
    _permit: SemaphorePermit<'a>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(connection);
        }
    }
}

impl Readers {
    /// Reads through these.
    pub(super) fn new(connections: Vec<SqliteConnection>) -> Self {
        let count = u32::try_from(connections.len()).unwrap_or(u32::MAX);
        Self { free: Semaphore::new(connections.len()), idle: Mutex::new(connections), count }
    }

    /// Waits until nobody reads, then closes the connections.
    pub(super) async fn close(&self) {
        if let Ok(all) = self.free.acquire_many(self.count).await {
            let idle = std::mem::take(&mut *self.idle.lock().unwrap_or_else(PoisonError::into_inner));
            for connection in idle {
                if let Err(cause) = connection.close().await {
                    tracing::warn!(%cause, "a connection to the database did not close");
                }
            }
            self.free.close();
            drop(all);
        }
    }

    async fn reading(&self) -> Result<Reading<'_>, StoreError> {
        let closed = || StoreError::Unavailable("the store is closed".to_owned());
        let permit = self.free.acquire().await.map_err(|_| closed())?;
        // The one used last: its page cache is warm.
        let connection = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        Ok(Reading { readers: self, connection: Some(connection.ok_or_else(closed)?), _permit: permit })
    }

    /// The rows that this statement finds.
    pub(super) async fn rows(&self, statement: Bound) -> Result<Vec<SqliteRow>, StoreError> {
        let mut reading = self.reading().await?;
        let Some(connection) = reading.connection.as_mut() else { return Ok(Vec::new()) };
        run::rows(connection, statement).await.map_err(|error| store_error(&error))
    }

    /// The record with this key.
    pub(super) async fn get(&self, kind: Kind, id: Uuid) -> Result<Option<Document>, StoreError> {
        // The read done most: its text is made once.
        static TEXTS: OnceLock<HashMap<Kind, crate::sql::Sql>> = OnceLock::new();
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
        let event = |row: &SqliteRow| {
            let row = EventRow::from_row(row).map_err(|error| unreadable(&error))?;
            statements::event(row)
        };
        rows.iter().map(event).collect()
    }

    /// First and last `seq` kept.
    pub(super) async fn event_bounds(&self) -> Result<(i64, i64), StoreError> {
        let rows = self.rows(statements::event_bounds()).await?;
        let bounds =
            rows.first().map(<(i64, i64)>::from_row).transpose().map_err(|error| unreadable(&error))?;
        Ok(bounds.unwrap_or((0, 0)))
    }
}
