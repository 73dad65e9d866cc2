//! Opening the database: what can be wrong with it, migrations.

use super::PostgresStore;
use super::connect::Server;
use super::errors::{code, said};
use super::reads::Readers;
use super::run;
use super::teller::Teller;
use super::writer::Writer;
use crate::open::OpenError;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Error, PgConnection, Row};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use tokio::sync::{Mutex, broadcast, mpsc, watch};

/// Connections that read, at most. A server has a hundred in all unless told otherwise, three of them kept for its
/// administrator; with the one that writes, the one that listens and the one that reads what is told, nine processes
/// fit.
const READERS: u32 = 7;
/// Connections that read what is told. Never those of the readers: the writer waits until its events are told, and
/// who reads may just be waiting for the writer.
const TELLERS: u32 = 1;
/// Requests that may wait for the writer before their callers have to wait to ask.
const QUEUE: usize = 1024;
/// Events a slow subscriber may be behind.
const EVENTS: usize = 4096;
/// The oldest version of the server that will do, as its `server_version_num` begins.
const LEAST: i64 = 13;

/// The migrations this program knows: number and text, in order, never changed once released. Numbers are those of
/// SQLite's, so that a schema means the same on both.
const MIGRATIONS: [(i64, &str); 6] = [
    (1, include_str!("../../migrations/postgres/0001_records.sql")),
    (2, include_str!("../../migrations/postgres/0002_media_and_snapshots.sql")),
    (3, include_str!("../../migrations/postgres/0003_identity.sql")),
    (4, include_str!("../../migrations/postgres/0004_titles.sql")),
    (5, include_str!("../../migrations/postgres/0005_pools.sql")),
    (6, include_str!("../../migrations/postgres/0006_goldens.sql")),
];

/// Begins, and takes the right to migrate, which is another than that to write: a process of an older version that
/// is writing must not hold it up for long, and does not.
const BEGIN: &str = "BEGIN; SELECT pg_advisory_xact_lock(1752134516, 2)";

/// The address of a database, which may have a password in it: shown without.
#[derive(Clone)]
pub struct Address(Box<Server>);

impl Address {
    /// Whether there is a password in it.
    pub fn has_password(url: &str) -> bool {
        let (_, rest) = url.split_once("://").unwrap_or(("", url));
        let before_path = rest.split(['/', '?']).next().unwrap_or_default();
        let in_front = before_path.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'));
        in_front || rest.split(['?', '&']).skip(1).any(|option| option.starts_with("password="))
    }

    pub(super) fn server(self) -> Server {
        *self.0
    }
}

impl FromStr for Address {
    type Err = OpenError;

    fn from_str(url: &str) -> Result<Self, OpenError> {
        if !["postgres://", "postgresql://"].iter().any(|scheme| url.starts_with(scheme)) {
            return Err(OpenError::Address("it does not begin with postgres://".to_owned()));
        }
        // What the parser says may quote the address, password and all.
        let options: PgConnectOptions =
            url.parse().map_err(|_: Error| OpenError::Address("it is not well formed".to_owned()))?;
        Ok(Self(Box::new(Server::new(options))))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name())
    }
}

impl fmt::Debug for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Address({self})")
    }
}

/// Opens the store.
pub(super) async fn open(server: Server) -> Result<PostgresStore, OpenError> {
    let failed = |error: Error| open_error(&server, &error);
    check_version(&server).await?;
    let mut writing = server.connect_to_write().await.map_err(failed)?;
    migrate(&mut writing, &server).await?;
    let mut reading = server.connect().await.map_err(failed)?;
    let last = sqlx::query("SELECT next - 1 FROM counter WHERE kind = 'event'");
    let last = last.fetch_one(&mut reading).await.map_err(failed)?;
    let told = last.try_get(0).map_err(failed)?;

    let (jobs, queue) = mpsc::channel(QUEUE);
    let (events, _) = broadcast::channel(EVENTS);
    let (closing, closed) = watch::channel(false);
    let readers = Arc::new(Readers::new(server.clone(), Some(reading), READERS));
    let teller = Arc::new(Teller::new(told, events, Readers::new(server.clone(), None, TELLERS)));
    let writer = Writer {
        server: server.clone(),
        connection: Some(writing),
        jobs: queue,
        teller: Arc::clone(&teller),
    };
    let listening = Arc::clone(&teller).listen(server.clone(), closed);
    let work = vec![tokio::spawn(writer.run()), tokio::spawn(listening)];
    Ok(PostgresStore { name: server.name(), readers, teller, jobs, closing, work: Mutex::new(work) })
}

/// A connection for everything at once, without the limits of the others. None when somebody serves the database and
/// `alone` is asked for; nobody can begin to serve it then until the connection ends.
pub(crate) async fn open_state(
    address: &Address,
    make: bool,
    alone: bool,
) -> Result<Option<PgConnection>, OpenError> {
    let server: &Server = &address.0;
    let failed = |error: Error| open_error(server, &error);
    check_version(server).await?;
    let mut connection = server.connect().await.map_err(failed)?;
    if alone {
        let alone = sqlx::query("SELECT pg_try_advisory_lock(1752134516, 3)");
        let alone = alone.fetch_one(&mut connection).await.map_err(failed)?;
        if !alone.try_get::<bool, _>(0).map_err(failed)? {
            return Ok(None);
        }
    }
    if make {
        migrate(&mut connection, server).await?;
    } else if schema(&mut connection, server).await? == 0 {
        return Err(OpenError::Foreign { database: server.name() });
    }
    run::command(&mut connection, "SET statement_timeout = 0; SET idle_in_transaction_session_timeout = 0")
        .await
        .map_err(failed)?;
    Ok(Some(connection))
}

/// Asked before anything else is set or made: an older server may not understand it.
async fn check_version(server: &Server) -> Result<(), OpenError> {
    let failed = |error: Error| open_error(server, &error);
    let connecting = server.within(server.options().connect());
    let mut connection = connecting.await.map_err(failed)?;
    let row = sqlx::query(
        "SELECT current_setting('server_version_num')::bigint, current_setting('server_version')",
    )
    .fetch_one(&mut connection)
    .await
    .map_err(failed)?;
    let number: i64 = row.try_get(0).map_err(failed)?;
    let found: String = row.try_get(1).map_err(failed)?;
    if number / 10_000 < LEAST {
        return Err(OpenError::TooOld { database: server.name(), found, least: LEAST });
    }
    connection.close().await.map_err(failed)
}

/// What went wrong, with what to do about it.
fn open_error(server: &Server, error: &Error) -> OpenError {
    let (database, user) = (server.name(), server.options().get_username().to_owned());
    let Some(said) = said(error) else {
        return OpenError::Unreachable { database, why: error.to_string() };
    };
    let why = said.message().to_owned();
    match said.code() {
        code::INVALID_PASSWORD | code::NOT_AUTHORIZED => OpenError::Unauthorized { database, user, why },
        code::NO_DATABASE => OpenError::Missing { database, user },
        code::NO_PRIVILEGE => OpenError::Forbidden { database, user, why },
        code::LOCKED => OpenError::Locked { database },
        other if ["08", "53", "57"].iter().any(|class| other.starts_with(class)) => {
            OpenError::Unreachable { database, why }
        }
        _ => OpenError::Failed { database, why },
    }
}

/// Brings the tables up to date.
async fn migrate(connection: &mut PgConnection, server: &Server) -> Result<(), OpenError> {
    if schema(connection, server).await? == newest() {
        return Ok(());
    }
    run::command(connection, BEGIN).await.map_err(|error| open_error(server, &error))?;
    let applied = apply(connection, server).await;
    let end = if applied.is_ok() { "COMMIT" } else { "ROLLBACK" };
    let ended = run::command(connection, end).await.map_err(|error| open_error(server, &error));
    applied.and(ended)
}

/// Asks again what there is: another process may have done the same while we waited.
async fn apply(connection: &mut PgConnection, server: &Server) -> Result<(), OpenError> {
    let failed = |error: Error| open_error(server, &error);
    let found = schema(connection, server).await?;
    let version = "CREATE TABLE IF NOT EXISTS schema_version (version bigint NOT NULL PRIMARY KEY)";
    run::command(connection, version).await.map_err(failed)?;
    for (version, text) in MIGRATIONS.into_iter().filter(|(version, _)| *version > found) {
        tracing::info!(version, "the database's tables are brought up to date");
        run::command(connection, text).await.map_err(failed)?;
        let note = sqlx::query("INSERT INTO schema_version (version) VALUES ($1)").bind(version);
        note.execute(&mut *connection).await.map_err(failed)?;
    }
    Ok(())
}

fn newest() -> i64 {
    MIGRATIONS.iter().map(|(version, _)| *version).max().unwrap_or(0)
}

/// The schema of the database; 0 when it is empty.
async fn schema(connection: &mut PgConnection, server: &Server) -> Result<i64, OpenError> {
    let failed = |error: Error| open_error(server, &error);
    let tables = "SELECT COUNT(*), COUNT(*) FILTER (WHERE tablename = 'schema_version') FROM pg_tables \
        WHERE schemaname = current_schema()";
    let row = sqlx::query(tables).fetch_one(&mut *connection).await.map_err(failed)?;
    let (tables, ours): (i64, i64) = (row.try_get(0).map_err(failed)?, row.try_get(1).map_err(failed)?);
    match (tables, ours) {
        (0, _) => return Ok(0),
        (_, 0) => return Err(OpenError::Foreign { database: server.name() }),
        _ => {}
    }
    let versions = "SELECT COALESCE(MAX(version), 0) FROM schema_version";
    let row = sqlx::query(versions).fetch_one(&mut *connection).await.map_err(failed)?;
    let found = row.try_get(0).map_err(failed)?;
    if found > newest() {
        return Err(OpenError::Newer { database: server.name(), found, known: newest() });
    }
    Ok(found)
}
