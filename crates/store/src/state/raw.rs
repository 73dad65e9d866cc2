//! A connection of either engine, for statements that both understand.

use crate::schema::Type;
use crate::sql::Bound;
use crate::{postgres, sqlite};
use hostler_core::ports::StoreError;
use hostler_core::record::Value;
use sqlx::{Connection as _, Error, PgConnection, Row, SqliteConnection};

/// A connection of either engine.
#[derive(Debug)]
pub(super) enum Connection {
    Sqlite(Box<SqliteConnection>),
    Postgres(Box<PgConnection>),
}

macro_rules! values {
    ($rows:expr, $types:expr) => {
        $rows
            .iter()
            .map(|row| {
                let types = $types.iter().enumerate();
                types
                    .map(|(place, holds)| {
                        Ok(match holds {
                            Type::Int => row.try_get::<Option<_>, _>(place)?.map(Value::Int),
                            Type::Text => row.try_get::<Option<_>, _>(place)?.map(Value::Text),
                            Type::Id => row.try_get::<Option<_>, _>(place)?.map(Value::Id),
                        }
                        .unwrap_or(Value::Null))
                    })
                    .collect::<Result<Vec<Value>, Error>>()
            })
            .collect::<Result<Vec<_>, Error>>()
    };
}

impl Connection {
    /// The rows that a statement finds, of columns of these types.
    pub(super) async fn rows(
        &mut self,
        statement: Bound,
        types: &[Type],
    ) -> Result<Vec<Vec<Value>>, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let failed = |error: Error| sqlite::store_error(&error);
                let rows = sqlite::run::rows(connection, statement).await.map_err(failed)?;
                values!(rows, types).map_err(failed)
            }
            Self::Postgres(connection) => {
                let failed = |error: Error| postgres::store_error(&error);
                let rows = postgres::run::rows(connection, &statement).await.map_err(failed)?;
                values!(rows, types).map_err(failed)
            }
        }
    }

    /// The one number that a statement answers.
    pub(super) async fn number(&mut self, statement: Bound) -> Result<i64, StoreError> {
        match self.rows(statement, &[Type::Int]).await?.first().and_then(|row| row.first()) {
            Some(Value::Int(number)) => Ok(*number),
            _ => Err(StoreError::Failed("a count answered nothing".to_owned())),
        }
    }

    /// Runs a statement; answers how many rows it changed.
    pub(super) async fn change(&mut self, statement: Bound) -> Result<u64, StoreError> {
        match self {
            Self::Sqlite(connection) => {
                let changed = sqlite::run::changes(connection, statement).await;
                changed.map_err(|error| sqlite::store_error(&error))
            }
            Self::Postgres(connection) => {
                let outcome = postgres::run::one(connection, &statement.sql, &statement.values).await;
                outcome.map(|outcome| outcome.changed).map_err(|error| postgres::store_error(&error))
            }
        }
    }

    /// Runs fixed text.
    pub(super) async fn command(&mut self, text: &'static str) -> Result<(), StoreError> {
        match self {
            Self::Sqlite(connection) => {
                sqlite::run::command(connection, text).await.map_err(|error| sqlite::store_error(&error))
            }
            Self::Postgres(connection) => {
                postgres::run::command(connection, text).await.map_err(|error| postgres::store_error(&error))
            }
        }
    }

    /// Says goodbye.
    pub(super) async fn close(self) {
        let closed = match self {
            Self::Sqlite(connection) => connection.close().await,
            Self::Postgres(connection) => connection.close().await,
        };
        if let Err(cause) = closed {
            tracing::debug!(%cause, "a connection to the database did not close");
        }
    }
}
