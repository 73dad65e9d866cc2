//! Moves the write-ahead log into the database.
//!
//! SQLite would do it inside the commit that makes the log long, and that caller would wait. Here it happens a
//! little after each burst of writes, while the writer goes on. A log that writers keep ahead of us never starts
//! again from its beginning, so when it is long the writer is held for the little that is left.

use super::run;
use sqlx::{Connection, Row, SqliteConnection};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{Mutex, Notify, oneshot};

/// How long after a write the log is moved; writes in between are moved together.
const PACE: Duration = Duration::from_millis(500);
/// Pages in the log above which the writer is held for a moment: 16 MiB.
const LONG: i64 = 4096;
/// Size of the log's file above which it is also cut.
const HUGE: u64 = 256 * 1024 * 1024;

/// How often the tables' statistics are looked at. Without them SQLite takes any index for a good one, and sorts a
/// hundred thousand machines that are all present because there is an index on `life`.
const STATISTICS: Duration = Duration::from_secs(300);

/// The task that does it.
pub(super) struct Checkpointer {
    /// Its own connection.
    pub(super) connection: SqliteConnection,
    /// The log's file.
    pub(super) log: PathBuf,
    /// Told after each batch of writes.
    pub(super) written: Arc<Notify>,
    /// Held by the writer during each batch.
    pub(super) pause: Arc<Mutex<()>>,
    /// Ends when the writer has closed.
    pub(super) closing: oneshot::Receiver<()>,
}

impl Checkpointer {
    /// Runs until the writer has closed, then empties the log.
    pub(super) async fn run(mut self) {
        let mut counted: Option<Instant> = None;
        loop {
            tokio::select! {
                () = self.written.notified() => {}
                _ = &mut self.closing => break,
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                _ = &mut self.closing => break,
            }
            if let Err(cause) = self.checkpoint().await {
                tracing::warn!(%cause, "the write-ahead log could not be moved into the database");
            }
            if counted.is_none_or(|at| at.elapsed() >= STATISTICS) {
                counted = Some(Instant::now());
                if let Err(cause) = self.count().await {
                    tracing::warn!(%cause, "the tables' statistics could not be brought up to date");
                }
            }
        }
        if let Err(cause) = run::command(&mut self.connection, "PRAGMA wal_checkpoint(TRUNCATE)").await {
            tracing::warn!(%cause, "the write-ahead log could not be moved into the database");
        }
        if let Err(cause) = self.connection.close().await {
            tracing::warn!(%cause, "a connection to the database did not close");
        }
    }

    async fn checkpoint(&mut self) -> Result<(), sqlx::Error> {
        if self.passive().await? < LONG {
            return Ok(());
        }
        let _held = self.pause.lock().await;
        let size = tokio::fs::metadata(&self.log).await.map_or(0, |facts| facts.len());
        if size > HUGE {
            run::command(&mut self.connection, "PRAGMA wal_checkpoint(TRUNCATE)").await
        } else {
            // With everything moved, the next commit begins the log anew, in blocks the file already has.
            let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut self.connection).await?;
            let left = row.try_get::<i64, _>(1)? - row.try_get::<i64, _>(2)?;
            tracing::trace!(left, "write-ahead log moved with the writer held");
            Ok(())
        }
    }

    /// Brings the statistics of tables that have none, or have grown a lot, up to date from a sample.
    async fn count(&mut self) -> Result<(), sqlx::Error> {
        let _held = self.pause.lock().await;
        run::command(&mut self.connection, "PRAGMA optimize(0x10002)").await
    }

    /// Moves what no reader still needs; answers the pages in the log.
    async fn passive(&mut self) -> Result<i64, sqlx::Error> {
        let row = sqlx::query("PRAGMA wal_checkpoint(PASSIVE)").fetch_one(&mut self.connection).await?;
        row.try_get(1)
    }
}
