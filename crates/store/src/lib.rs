//! The [`Store`](hostler_core::ports::Store) port over a database.
//!
//! Core hands over whole commits and never holds a transaction open; this crate makes them durable. There are two
//! engines: SQLite ([`SqliteStore`]), compiled in, for one process; and PostgreSQL ([`PostgresStore`]), a server that
//! several processes share. [`open`] chooses. What does not depend on the engine stands apart:
//!
//! * `schema`: which columns the table of each kind has; nothing else may be named in a statement
//! * `sql`: the text of every statement that is put together at run time, and the only place allowed to do so
//! * `filter`: core's filters and pages as SQL
//! * `commit`: a commit as a list of statements, and what their results mean
//! * `statements`: leases and events
//! * `jobs`: what is queued for the connection that writes
//! * [`state`]: everything that a database holds, for backups and moves
//! * `sqlite`, `postgres`: connections, the writer, the readers, migrations, what each has for itself
//!
//! The tests in `tests/conformance` say what any engine must do and take a `dyn Store`.
#![warn(missing_docs)]

mod commit;
mod filter;
mod jobs;
mod open;
mod page;
mod postgres;
mod schema;
mod sql;
mod sqlite;
pub mod state;
mod statements;

pub use open::{Database, OpenError, open};
pub use postgres::{Address, PostgresStore};
pub use sqlite::SqliteStore;
