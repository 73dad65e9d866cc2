//! What PostgreSQL says, in the words of the port.

use hostler_core::ports::StoreError;
use hostler_core::record::Kind;
use sqlx::Error;
use sqlx::postgres::PgDatabaseError;

/// SQLSTATE codes, from <https://www.postgresql.org/docs/current/errcodes-appendix.html>.
pub(super) mod code {
    pub(in crate::postgres) const INVALID_PASSWORD: &str = "28P01";
    pub(in crate::postgres) const NOT_AUTHORIZED: &str = "28000";
    pub(in crate::postgres) const NO_DATABASE: &str = "3D000";
    pub(in crate::postgres) const NO_PRIVILEGE: &str = "42501";
    pub(in crate::postgres) const UNIQUE: &str = "23505";
    pub(in crate::postgres) const SERIALIZATION: &str = "40001";
    pub(in crate::postgres) const DEADLOCK: &str = "40P01";
    pub(in crate::postgres) const DISK_FULL: &str = "53100";
    pub(in crate::postgres) const LOCKED: &str = "55P03";
    pub(in crate::postgres) const CANCELLED: &str = "57014";
    pub(in crate::postgres) const READ_ONLY: &str = "25006";
}

/// Classes of codes after which the connection cannot be used: it is broken, the server ends, or is another one now.
const BROKEN: [&str; 3] = ["08", "57P", "25P"];
/// Classes of codes after which only the statement is lost: data, constraints, syntax, limits.
const REFUSED: [&str; 4] = ["22", "23", "42", "54"];
/// Classes of codes that tell of the server's state, not of our request: resources, states, operators.
const PASSING: [&str; 6] = ["08", "53", "55", "57", "58", "25"];

/// What the server said, if it was the server.
pub(super) fn said(error: &Error) -> Option<&PgDatabaseError> {
    error.as_database_error()?.try_downcast_ref()
}

fn is(error: &Error, classes: &[&str]) -> bool {
    said(error).is_some_and(|said| classes.iter().any(|class| said.code().starts_with(class)))
}

/// Whether the connection is of no further use.
pub(super) fn breaks(error: &Error) -> bool {
    match said(error) {
        Some(said) => said.code() == code::READ_ONLY || is(error, &BROKEN),
        None => true,
    }
}

/// Whether only this request failed, and the others of its transaction can go on from their savepoint.
pub(super) fn spares_neighbours(error: &Error) -> bool {
    is(error, &REFUSED)
}

/// Whether the same again may well succeed.
pub(super) fn passes(error: &Error) -> bool {
    is(error, &[code::SERIALIZATION, code::DEADLOCK])
}

/// The error as the port has it.
pub(crate) fn store_error(error: &Error) -> StoreError {
    let Some(said) = said(error) else {
        return match error {
            Error::Io(_) | Error::Tls(_) | Error::Protocol(_) | Error::WorkerCrashed => {
                StoreError::Unavailable(error.to_string())
            }
            _ => StoreError::Failed(error.to_string()),
        };
    };
    match said.code() {
        code::DISK_FULL => StoreError::Full,
        code::LOCKED => StoreError::Unavailable("another process holds the database".to_owned()),
        code::CANCELLED => StoreError::Unavailable("it took too long".to_owned()),
        code::UNIQUE => taken(said).unwrap_or_else(|| StoreError::Failed(said.message().to_owned())),
        code if code.starts_with("28") => StoreError::Unavailable(said.message().to_owned()),
        _ if passes(error) || is(error, &PASSING) => StoreError::Unavailable(said.message().to_owned()),
        _ => StoreError::Failed(said.message().to_owned()),
    }
}

/// Reads the name of the index, `address_ip_taken` for example: the details are in the server's language, names are
/// ours.
fn taken(said: &PgDatabaseError) -> Option<StoreError> {
    let table = said.table()?;
    let kind = Kind::ALL.into_iter().find(|kind| kind.word() == table)?;
    let name = said.constraint()?.strip_prefix(table)?.strip_prefix('_')?;
    let column = match name {
        "pkey" => "id",
        "number_key" => "number",
        other => other.strip_suffix("_taken").unwrap_or(other),
    };
    Some(StoreError::Taken { kind, column: column.to_owned() })
}
