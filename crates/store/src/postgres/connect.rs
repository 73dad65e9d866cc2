//! Connections, and how each is set before anybody uses it.

use super::run;
use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Error, PgConnection, Row};
use std::time::Duration;

/// How long to wait until the server lets us in.
const CONNECT: Duration = Duration::from_secs(5);

/// How long one call may take before its connection is given up. Longer than what the server allows its statements,
/// so that this only ends what the network holds up.
pub(super) const PATIENCE: Duration = Duration::from_secs(25);

/// A statement ends after 20 s; whoever waits for the right to write gives up after 10 s; and a process that fell
/// asleep in the middle of a transaction loses it after 15 s, so that the others can go on. A failed-over server may
/// have other defaults than these, and a statement that relies on one would then mean something else.
const SETTINGS: &str = "SET statement_timeout = '20s'; SET lock_timeout = '10s'; \
    SET idle_in_transaction_session_timeout = '15s'; SET default_transaction_isolation = 'read committed'; \
    SET standard_conforming_strings = on; SET client_min_messages = warning";

/// Where to connect to.
#[derive(Clone, Debug)]
pub(super) struct Server {
    options: PgConnectOptions,
}

impl Server {
    pub(super) fn new(options: PgConnectOptions) -> Self {
        Self { options: options.application_name("hostler").statement_cache_capacity(256) }
    }

    /// The same server with other settings.
    pub(super) fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// How people know it: everything but the password.
    pub(super) fn name(&self) -> String {
        let options = &self.options;
        let database = options.get_database().unwrap_or(options.get_username());
        match options.get_socket() {
            Some(socket) => format!("{database} at {}", socket.display()),
            None => format!("{database} at {}:{}", options.get_host(), options.get_port()),
        }
    }

    /// A connection that is ready for use.
    ///
    /// # Errors
    /// Io, when nobody answers in time or it is a standby that cannot be written to.
    pub(super) async fn connect(&self) -> Result<PgConnection, Error> {
        let connecting = async {
            let mut connection = self.options.connect().await?;
            run::command(&mut connection, SETTINGS).await?;
            let standby = sqlx::query("SELECT pg_is_in_recovery()").fetch_one(&mut connection).await?;
            if standby.try_get::<bool, _>(0)? {
                // What it answers may be old, after a failover for as long as it is not told.
                return Err(failed(std::io::ErrorKind::ReadOnlyFilesystem, "it is a standby"));
            }
            Ok(connection)
        };
        self.within(connecting).await
    }

    /// A connection that tells others that the database is being served, for as long as it lasts.
    ///
    /// # Errors
    /// As for any other; and the server's, when somebody replaces everything in the database just now.
    pub(super) async fn connect_to_write(&self) -> Result<PgConnection, Error> {
        let mut connection = self.connect().await?;
        // The letters of `hostler`, and 3: held by all who serve, or by one who wants it for himself.
        patiently(run::command(&mut connection, "SELECT pg_advisory_lock_shared(1752134516, 3)")).await?;
        Ok(connection)
    }

    /// Gives up when the server takes too long to let us in.
    pub(super) async fn within<T>(
        &self,
        connecting: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(CONNECT, connecting).await {
            Ok(connected) => connected,
            Err(_) => Err(failed(std::io::ErrorKind::TimedOut, "it does not answer")),
        }
    }
}

/// One call on a connection, which must not be used any more when it took too long: it is in the middle of an answer.
///
/// # Errors
/// The call's; Io, when its time is over.
pub(super) async fn patiently<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    match tokio::time::timeout(PATIENCE, call).await {
        Ok(ended) => ended,
        Err(_) => Err(failed(std::io::ErrorKind::TimedOut, "it does not answer")),
    }
}

/// An error of the connection that the server did not tell.
pub(super) fn failed(kind: std::io::ErrorKind, why: &'static str) -> Error {
    Error::Io(std::io::Error::new(kind, why))
}
