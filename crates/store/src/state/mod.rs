//! Everything that a database holds, as a stream of items that does not depend on the engine: for backups, and for
//! moving from one engine to the other.
//!
//! A [`Source`] reads one consistent moment while others go on writing. A [`Target`] fills an empty database in one
//! transaction: whatever ends it early leaves the database empty, and it can simply be tried again. Ids, numbers,
//! versions, positions of events and what is allotted next are kept; leases of tasks are not, but their epochs are,
//! so that a worker of before cannot write any more.

mod item;
mod raw;
mod source;
mod target;

pub use item::{Counts, Item};
pub use source::Source;
pub use target::Target;

use crate::{Address, OpenError};
use hostler_core::ports::StoreError;
use std::fmt;
use std::path::PathBuf;

/// The newest schema that this program knows.
pub fn newest_schema() -> i64 {
    crate::sqlite::newest()
}

/// Where a database is.
#[derive(Clone, Debug)]
pub enum Place {
    /// A file of SQLite.
    File(PathBuf),
    /// A database on a PostgreSQL server.
    Server(Address),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Server(address) => address.fmt(f),
        }
    }
}

/// Why everything could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The database cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It is being served.
    #[error("the database {0} is in use; stop every hostler that serves it first")]
    InUse(String),
    /// It has records already.
    #[error("the database {0} is not empty; name an empty one")]
    NotEmpty(String),
    /// It was written by an older hostler.
    #[error(
        "the database {database} has schema {found}; start this hostler on it once, which brings it to {known}"
    )]
    Older {
        /// The database.
        database: String,
        /// Its schema.
        found: i64,
        /// Ours.
        known: i64,
    },
    /// An item does not fit.
    #[error("{0}")]
    Unfit(String),
    /// What was written is not what was given.
    #[error("{given} of {table} were given, but {found} are there; nothing was kept")]
    Miscounted {
        /// The table.
        table: String,
        /// How many there should be.
        given: u64,
        /// How many there are.
        found: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
