//! The condition of the database, for `doctor`.

use super::open;
use super::reads::Readers;
use super::run::unreadable;
use crate::sql::Draft;
use hostler_core::ports::{StoreError, StoreFacts};
use sqlx::Row;
use std::path::Path;

/// SQLite's answer when it found no damage.
const WHOLE: &str = "ok";

/// Version, size and schema; with `thorough` every page and index is checked.
pub(super) async fn facts(path: &Path, readers: &Readers, thorough: bool) -> Result<StoreFacts, StoreError> {
    let version = texts(readers, "SELECT sqlite_version()").await?.pop().unwrap_or_default();
    let schema = readers.number(Draft::new("SELECT MAX(version) FROM schema_version").finish()).await?;
    let mut damage = Vec::new();
    if thorough {
        damage = texts(readers, "PRAGMA integrity_check").await?;
        damage.retain(|sentence| sentence != WHOLE);
    }
    let mut bytes = 0;
    for file in [path.to_owned(), open::log_of(path)] {
        bytes += tokio::fs::metadata(file).await.map_or(0, |facts| facts.len());
    }
    Ok(StoreFacts { engine: "sqlite", version, bytes, schema, damage })
}

async fn texts(readers: &Readers, statement: &'static str) -> Result<Vec<String>, StoreError> {
    let rows = readers.rows(Draft::new(statement).finish()).await?;
    rows.iter().map(|row| row.try_get(0).map_err(|error| unreadable(&error))).collect()
}
