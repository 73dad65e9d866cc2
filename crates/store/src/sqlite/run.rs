//! Running statements on a connection.

use crate::commit::Outcome;
use crate::page::Ordered;
use crate::schema::Type;
use crate::sql::{Bound, Sql};
use futures_util::TryStreamExt;
use hostler_core::ports::StoreError;
use hostler_core::record::{Document, Kind, Value};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments, Either, Error, Executor, Row, SqliteConnection};
use uuid::Uuid;

/// Binds values.
pub(crate) fn arguments(values: Vec<Value>) -> Result<SqliteArguments, Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        let added = match value {
            Value::Null => arguments.add(None::<i64>),
            Value::Int(value) => arguments.add(value),
            Value::Text(value) => arguments.add(value),
            Value::Id(value) => arguments.add(value),
        };
        added.map_err(Error::Encode)?;
    }
    Ok(arguments)
}

/// Runs a text of several statements; answers what each of them did, up to the first that failed.
pub(crate) async fn several(
    connection: &mut SqliteConnection,
    sql: &Sql,
    arguments: SqliteArguments,
    outcomes: &mut Vec<Outcome>,
) -> Result<(), Error> {
    let mut results = connection.fetch_many(sqlx::query_with(sql, arguments));
    let mut answer = None;
    let mut first = true;
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Right(row) if std::mem::take(&mut first) => answer = Some(row.try_get(0)?),
            Either::Right(_) => {}
            Either::Left(done) => {
                let (changed, inserted) = (done.rows_affected(), done.last_insert_rowid());
                outcomes.push(Outcome { answer: answer.take(), changed, inserted });
                first = true;
            }
        }
    }
    Ok(())
}

/// Runs one statement; answers its rows.
pub(crate) async fn rows(
    connection: &mut SqliteConnection,
    statement: Bound,
) -> Result<Vec<SqliteRow>, Error> {
    let arguments = arguments(statement.values)?;
    sqlx::query_with(&statement.sql, arguments).fetch_all(connection).await
}

/// Runs one statement; answers how many rows it changed.
pub(crate) async fn changes(connection: &mut SqliteConnection, statement: Bound) -> Result<u64, Error> {
    let arguments = arguments(statement.values)?;
    Ok(sqlx::query_with(&statement.sql, arguments).execute(connection).await?.rows_affected())
}

/// Runs fixed text without values.
pub(crate) async fn command(connection: &mut SqliteConnection, text: &'static str) -> Result<(), Error> {
    sqlx::query(text).execute(connection).await.map(|_| ())
}

/// The record in a row of `id, number, rev, body`.
pub(crate) fn document(kind: Kind, row: &SqliteRow) -> Result<Document, Error> {
    Ok(Document {
        kind,
        id: row.try_get(0)?,
        number: row.try_get(1)?,
        rev: row.try_get(2)?,
        columns: Vec::new(),
        body: row.try_get(3)?,
    })
}

/// The record in a row of a page, with what it was ordered by.
pub(crate) fn listed(kind: Kind, row: &SqliteRow, ordered: &[Ordered]) -> Result<Document, Error> {
    let mut document = document(kind, row)?;
    for Ordered { place, name, holds } in ordered {
        let value = match holds {
            Type::Int => row.try_get::<Option<i64>, _>(*place)?.into(),
            Type::Text => row.try_get::<Option<String>, _>(*place)?.into(),
            Type::Id => row.try_get::<Option<Uuid>, _>(*place)?.into(),
        };
        document.columns.push((name, value));
    }
    Ok(document)
}

/// A row of what the port promises could not be read.
pub(crate) fn unreadable(error: &Error) -> StoreError {
    StoreError::Failed(format!("a row cannot be read: {error}"))
}
