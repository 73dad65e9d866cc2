//! What SQLite says, in the words of the port.

use hostler_core::ports::StoreError;
use hostler_core::record::Kind;
use sqlx::Error;

/// Primary result codes, from <https://www.sqlite.org/rescode.html>.
pub(super) mod code {
    pub(in crate::sqlite) const ERROR: u32 = 1;
    pub(in crate::sqlite) const PERM: u32 = 3;
    pub(in crate::sqlite) const BUSY: u32 = 5;
    pub(in crate::sqlite) const LOCKED: u32 = 6;
    pub(in crate::sqlite) const READONLY: u32 = 8;
    pub(in crate::sqlite) const CORRUPT: u32 = 11;
    pub(in crate::sqlite) const FULL: u32 = 13;
    pub(in crate::sqlite) const CANTOPEN: u32 = 14;
    pub(in crate::sqlite) const TOOBIG: u32 = 18;
    pub(in crate::sqlite) const CONSTRAINT: u32 = 19;
    pub(in crate::sqlite) const MISMATCH: u32 = 20;
    pub(in crate::sqlite) const AUTH: u32 = 23;
    pub(in crate::sqlite) const RANGE: u32 = 25;
    pub(in crate::sqlite) const NOTADB: u32 = 26;
}

/// The primary result code, if the database said it.
pub(super) fn primary(error: &Error) -> Option<u32> {
    let extended: u32 = error.as_database_error()?.code()?.parse().ok()?;
    Some(extended & 0xff)
}

/// Whether only the statement failed. After anything else (no room, no memory, a broken disk) the transaction
/// cannot be relied on.
pub(super) fn spares_neighbours(error: &Error) -> bool {
    use code::{AUTH, CONSTRAINT, ERROR, MISMATCH, RANGE, TOOBIG};
    primary(error).is_some_and(|code| [ERROR, CONSTRAINT, TOOBIG, MISMATCH, AUTH, RANGE].contains(&code))
}

/// The error as the port has it.
pub(crate) fn store_error(error: &Error) -> StoreError {
    match primary(error) {
        Some(code::FULL) => StoreError::Full,
        Some(code::BUSY | code::LOCKED) => {
            StoreError::Unavailable("another process holds the database".to_owned())
        }
        Some(code::CONSTRAINT) => taken(error).unwrap_or_else(|| StoreError::Failed(error.to_string())),
        Some(_) => StoreError::Failed(error.to_string()),
        None => match error {
            Error::WorkerCrashed | Error::Io(_) => StoreError::Unavailable(error.to_string()),
            _ => StoreError::Failed(error.to_string()),
        },
    }
}

/// Reads `UNIQUE constraint failed: address.network, address.ip`. Of several columns the name counts, or else the
/// last: the others only say where it must be unique.
fn taken(error: &Error) -> Option<StoreError> {
    let message = error.as_database_error()?.message();
    let (_, columns) = message.split_once("UNIQUE constraint failed: ")?;
    let mut pairs = columns.split(", ").filter_map(|pair| pair.split_once('.'));
    let (table, first) = pairs.next()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == table)?;
    let column = if first == "name" { first } else { pairs.last().map_or(first, |(_, last)| last) };
    Some(StoreError::Taken { kind, column: column.to_owned() })
}
