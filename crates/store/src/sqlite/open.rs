//! Opening the database: what can be wrong with it, how its connections are set, migrations.

use super::SqliteStore;
use super::cache::Cache;
use super::checkpoint::Checkpointer;
use super::errors::{code, primary};
use super::reads::Readers;
use super::run;
use super::writer::Writer;
use crate::open::OpenError;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous};
use sqlx::{ConnectOptions, Error, Row, SqliteConnection};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify, broadcast, mpsc, oneshot};

/// Connections that read. Two cores keep two busy; the others are for long lists that must not hold up the rest.
const READERS: usize = 4;
/// Requests that may wait for the writer before their callers have to wait to ask.
const QUEUE: usize = 1024;
/// Events a slow subscriber may be behind.
const EVENTS: usize = 4096;
/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);

/// The migrations this program knows: number and text, in order, never changed once released.
const MIGRATIONS: [(i64, &str); 6] = [
    (1, include_str!("../../migrations/sqlite/0001_records.sql")),
    (2, include_str!("../../migrations/sqlite/0002_media_and_snapshots.sql")),
    (3, include_str!("../../migrations/sqlite/0003_identity.sql")),
    (4, include_str!("../../migrations/sqlite/0004_titles.sql")),
    (5, include_str!("../../migrations/sqlite/0005_pools.sql")),
    (6, include_str!("../../migrations/sqlite/0006_goldens.sql")),
];

fn open_error(path: &Path, error: &Error) -> OpenError {
    let database = path.display().to_string();
    let why = error.as_database_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
    match primary(error) {
        Some(code::CANTOPEN | code::READONLY | code::PERM) => OpenError::Denied { database, why },
        Some(code::NOTADB | code::CORRUPT) => OpenError::Damaged { database, why },
        Some(code::BUSY | code::LOCKED) => OpenError::Locked { database },
        _ => OpenError::Failed { database, why },
    }
}

/// Whether commits wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Care {
    /// They do.
    Durable,
    /// They do not: for tests.
    Fleeting,
}

/// A directory that goes with the store in it.
#[derive(Debug)]
pub(super) struct TemporaryDirectory(PathBuf);

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if let Err(cause) = std::fs::remove_dir_all(&self.0) {
            tracing::debug!(%cause, directory = %self.0.display(), "a temporary directory stays behind");
        }
    }
}

/// Opens a store in a new directory that goes with it.
pub(super) async fn temporary() -> Result<SqliteStore, OpenError> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let path = loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hostler-store-{}-{count}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => break path,
            // Left by a process that was killed and had our number.
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(cause) => {
                return Err(OpenError::Denied {
                    database: path.display().to_string(),
                    why: cause.to_string(),
                });
            }
        }
    };
    let directory = TemporaryDirectory(path);
    let path = directory.0.join("hostler.db");
    let mut store = open(&path, Care::Fleeting, None).await?;
    store.temporary = Some(directory);
    Ok(store)
}

/// Opens the store. `most_pages` limits the database's size, so that a test can fill it.
pub(super) async fn open(path: &Path, care: Care, most_pages: Option<u32>) -> Result<SqliteStore, OpenError> {
    let failed = |error: Error| open_error(path, &error);
    create(path)?;
    let base = SqliteConnectOptions::new().filename(path).foreign_keys(false).busy_timeout(BUSY);
    let writing = base
        .clone()
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(if care == Care::Durable { SqliteSynchronous::Full } else { SqliteSynchronous::Off })
        .pragma("wal_autocheckpoint", "0");
    let mut options = writing.clone().pragma("cache_size", "-16384").statement_cache_capacity(256);
    if let Some(pages) = most_pages {
        options = options.pragma("max_page_count", pages.to_string());
    }
    let reading = base.read_only(true).pragma("cache_size", "-8192").statement_cache_capacity(128);

    let mut connection = options.connect().await.map_err(failed)?;
    migrate(&mut connection, path).await?;
    let mut readers = Vec::with_capacity(READERS);
    for _ in 0..READERS {
        readers.push(reading.connect().await.map_err(failed)?);
    }
    let checkpoints = writing.connect().await.map_err(failed)?;

    let (jobs, queue) = mpsc::channel(QUEUE);
    let (events, _) = broadcast::channel(EVENTS);
    let (closing, closed) = oneshot::channel();
    let pause = Arc::new(Mutex::new(()));
    let written = Arc::new(Notify::new());
    let checkpointer = Checkpointer {
        connection: checkpoints,
        log: log_of(path),
        written: Arc::clone(&written),
        pause: Arc::clone(&pause),
        closing: closed,
    };
    let cache = Arc::new(Cache::new());
    let writer = Writer {
        connection,
        options,
        jobs: queue,
        events: events.clone(),
        cache: Arc::clone(&cache),
        changed: Vec::new(),
        pause,
        written,
        closing,
    };
    let work = vec![tokio::spawn(writer.run()), tokio::spawn(checkpointer.run())];
    Ok(SqliteStore {
        path: path.to_owned(),
        readers: Readers::new(readers),
        cache,
        jobs,
        events,
        work: Mutex::new(work),
        temporary: None,
    })
}

/// A connection that only reads, to a database that may be in use.
pub(crate) async fn read_state(path: &Path) -> Result<SqliteConnection, OpenError> {
    let failed = |error: Error| open_error(path, &error);
    let options = SqliteConnectOptions::new().filename(path).create_if_missing(false).busy_timeout(BUSY);
    let mut connection = options.connect().await.map_err(failed)?;
    match schema(&mut connection, path).await? {
        0 => Err(OpenError::Foreign { database: path.display().to_string() }),
        _ => Ok(connection),
    }
}

/// A connection that fills a database: made, private and brought up to date like any other.
pub(crate) async fn write_state(path: &Path) -> Result<SqliteConnection, OpenError> {
    create(path)?;
    let options = SqliteConnectOptions::new()
        .filename(path)
        .busy_timeout(BUSY)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full);
    let mut connection = options.connect().await.map_err(|error| open_error(path, &error))?;
    migrate(&mut connection, path).await?;
    Ok(connection)
}

/// The newest schema that this program knows.
pub(crate) fn newest() -> i64 {
    MIGRATIONS.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

/// The write-ahead log beside a database.
pub(super) fn log_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push("-wal");
    PathBuf::from(name)
}

/// Makes the file if there is none, for this user only: it will hold hashes of passwords and tokens. SQLite gives
/// its other files the same rights.
fn create(path: &Path) -> Result<(), OpenError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut how = std::fs::OpenOptions::new();
    how.read(true).write(true).create(true).truncate(false).mode(0o600);
    match how.open(path) {
        Ok(_) => Ok(()),
        Err(cause) => Err(OpenError::Denied { database: path.display().to_string(), why: cause.to_string() }),
    }
}

/// Brings the tables up to date.
async fn migrate(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: Error| open_error(path, &error);
    let known = newest();
    if schema(connection, path).await? == known {
        return Ok(());
    }
    // Asked again inside: another process may be doing the same.
    run::command(connection, "BEGIN IMMEDIATE").await.map_err(failed)?;
    let applied = apply(connection, path).await;
    let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = run::command(connection, end).await.map_err(failed);
    applied.and(ended)
}

async fn apply(connection: &mut SqliteConnection, path: &Path) -> Result<(), OpenError> {
    let failed = |error: Error| open_error(path, &error);
    let found = schema(connection, path).await?;
    let version = "CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL PRIMARY KEY)";
    run::command(connection, version).await.map_err(failed)?;
    for (version, text) in MIGRATIONS.into_iter().filter(|(version, _)| *version > found) {
        tracing::info!(version, "the database's tables are brought up to date");
        sqlx::raw_sql(text).execute(&mut *connection).await.map_err(failed)?;
        let note = sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(version);
        note.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

/// The schema of the database; 0 when it is empty.
async fn schema(connection: &mut SqliteConnection, path: &Path) -> Result<i64, OpenError> {
    let failed = |error: Error| open_error(path, &error);
    let tables =
        "SELECT COUNT(*), COALESCE(SUM(name = 'schema_version'), 0) FROM sqlite_master WHERE type = 'table'";
    let row = sqlx::query(tables).fetch_one(&mut *connection).await.map_err(failed)?;
    let (tables, ours): (i64, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    match (tables, ours) {
        (0, _) => return Ok(0),
        (_, 0) => return Err(OpenError::Foreign { database: path.display().to_string() }),
        _ => {}
    }
    let versions = "SELECT COALESCE(MAX(version), 0) FROM schema_version";
    let row = sqlx::query(versions).fetch_one(&mut *connection).await.map_err(failed)?;
    let found = row.try_get(0).map_err(failed)?;
    let known = newest();
    if found > known {
        return Err(OpenError::Newer { database: path.display().to_string(), found, known });
    }
    Ok(found)
}
