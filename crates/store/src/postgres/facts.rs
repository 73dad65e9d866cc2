//! The condition of the database, for `doctor`.

use super::reads::Readers;
use super::run::unreadable;
use crate::sql::Draft;
use hostler_core::ports::{StoreError, StoreFacts};
use hostler_core::record::Kind;
use sqlx::Row;
use std::time::Duration;

/// How long the thorough look may take.
const THOROUGH: Duration = Duration::from_secs(120);

/// Version, size and schema; with `thorough` what can be checked from outside: pages whose checksum was wrong, and
/// counters that would allot a number again.
pub(super) async fn facts(readers: &Readers, thorough: bool) -> Result<StoreFacts, StoreError> {
    let draft = Draft::new(
        "SELECT current_setting('server_version'), pg_database_size(current_database()), \
         (SELECT MAX(version) FROM schema_version), \
         COALESCE((SELECT checksum_failures FROM pg_stat_database WHERE datname = current_database()), 0)",
    );
    let rows = readers.rows_within(draft.finish(), THOROUGH).await?;
    let row =
        rows.first().ok_or_else(|| StoreError::Failed("the server told nothing of itself".to_owned()))?;
    let number = |place| row.try_get::<i64, _>(place).map_err(|error| unreadable(&error));
    let mut damage = Vec::new();
    let failures = number(3)?;
    if failures > 0 {
        damage.push(format!("the server found {failures} pages with a wrong checksum"));
    }
    if thorough {
        for kind in Kind::ALL {
            let mut draft =
                Draft::new("SELECT COALESCE(MAX(number), 0) - (SELECT next FROM counter WHERE kind = '");
            draft.word(kind).push("') FROM ").table(kind);
            if readers.number(draft.finish()).await? >= 0 {
                damage.push(format!("the counter of {} would allot a number again", kind.word()));
            }
        }
    }
    Ok(StoreFacts {
        engine: "postgres",
        version: row.try_get(0).map_err(|error| unreadable(&error))?,
        bytes: u64::try_from(number(1)?).unwrap_or(0),
        schema: number(2)?,
        damage,
    })
}
