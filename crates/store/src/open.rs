//! Opening a database of either engine, and why that fails.

use crate::{Address, PostgresStore, SqliteStore};
use hostler_core::ports::Store;
use std::path::Path;
use std::sync::Arc;

/// Why the database cannot be opened. Names the database, never a password.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No rights, or no such directory.
    #[error(
        "cannot open or create the database {database}: {why}; its directory must exist and be writable by this user"
    )]
    Denied {
        /// The database.
        database: String,
        /// What the system said.
        why: String,
    },
    /// Not a database, or a damaged one.
    #[error(
        "{database} is not a database or is damaged ({why}); restore it from a backup, or move it and its -wal file \
         away to begin with an empty one"
    )]
    Damaged {
        /// The database.
        database: String,
        /// What SQLite said.
        why: String,
    },
    /// A database, but of another program.
    #[error("{database} is a database of another program; name another one")]
    Foreign {
        /// The database.
        database: String,
    },
    /// Written by a newer hostler.
    #[error(
        "{database} has schema {found}, but this hostler knows only up to {known}; use the newer hostler that wrote \
         it, or restore the backup made before it"
    )]
    Newer {
        /// The database.
        database: String,
        /// Its schema.
        found: i64,
        /// The newest this program knows.
        known: i64,
    },
    /// Another process keeps it locked.
    #[error("the database {database} is locked by another process")]
    Locked {
        /// The database.
        database: String,
    },
    /// Not the address of a database.
    #[error("the database's address cannot be used: {0}; it looks like postgres://user@host:5432/database")]
    Address(String),
    /// Nobody answers, or nobody who could be written to.
    #[error(
        "the database {database} cannot be reached: {why}; is PostgreSQL running there, and is it the primary?"
    )]
    Unreachable {
        /// The database.
        database: String,
        /// What the system or the server said.
        why: String,
    },
    /// The server does not know us.
    #[error(
        "the database {database} does not let {user} in: {why}; check the password in store.url or store.url_file, \
         and the server's pg_hba.conf"
    )]
    Unauthorized {
        /// The database.
        database: String,
        /// Who asked.
        user: String,
        /// What the server said.
        why: String,
    },
    /// The server has no such database.
    #[error("there is no database {database}; make it: createdb --owner {user} NAME")]
    Missing {
        /// The database.
        database: String,
        /// Who asked.
        user: String,
    },
    /// The user may not make tables.
    #[error(
        "{user} may not make or change tables in the database {database}: {why}; make {user} the database's owner"
    )]
    Forbidden {
        /// The database.
        database: String,
        /// Who asked.
        user: String,
        /// What the server said.
        why: String,
    },
    /// The server is too old.
    #[error("the database {database} is on PostgreSQL {found}; hostler needs {least} or newer")]
    TooOld {
        /// The database.
        database: String,
        /// The server's version.
        found: String,
        /// The oldest that will do.
        least: i64,
    },
    /// Anything else.
    #[error("the database {database} cannot be used: {why}")]
    Failed {
        /// The database.
        database: String,
        /// What the engine or the system said.
        why: String,
    },
}

/// An open database of either engine.
#[derive(Clone, Debug)]
pub enum Database {
    /// One file.
    Sqlite(Arc<SqliteStore>),
    /// A database on a server.
    Postgres(Arc<PostgresStore>),
}

impl Database {
    /// The store in it.
    pub fn store(&self) -> Arc<dyn Store> {
        match self {
            Self::Sqlite(store) => store.clone(),
            Self::Postgres(store) => store.clone(),
        }
    }

    /// Finishes what is queued and closes all connections. Later calls answer
    /// [`StoreError::Unavailable`](hostler_core::ports::StoreError).
    pub async fn close(&self) {
        match self {
            Self::Sqlite(store) => store.close().await,
            Self::Postgres(store) => store.close().await,
        }
    }
}

/// Opens the database at this address, or the file when there is none.
///
/// # Errors
/// [`OpenError`], which says what to do about it.
pub async fn open(address: Option<Address>, file: &Path) -> Result<Database, OpenError> {
    match address {
        Some(address) => Ok(Database::Postgres(Arc::new(PostgresStore::open_at(address).await?))),
        None => Ok(Database::Sqlite(Arc::new(SqliteStore::open(file).await?))),
    }
}
