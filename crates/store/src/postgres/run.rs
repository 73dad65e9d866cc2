//! Running statements on a connection.

use crate::commit::Outcome;
use crate::page::Ordered;
use crate::schema::Type;
use crate::sql::{Bound, Sql};
use futures_util::TryStreamExt;
use hostler_core::ports::StoreError;
use hostler_core::record::{Document, Kind, Value};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgArguments, PgRow, PgTypeInfo};
use sqlx::{Arguments, Either, Encode, Error, Executor, PgConnection, Postgres, Row};
use uuid::Uuid;

/// No value, of the type that the statement asks for. A null of a named type would not do for the others.
struct Nothing;

impl sqlx::Type<Postgres> for Nothing {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(0))
    }
}

impl Encode<'_, Postgres> for Nothing {
    fn encode_by_ref(&self, _: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Ok(IsNull::Yes)
    }
}

/// Binds values.
pub(crate) fn arguments(values: &[Value]) -> Result<PgArguments, Error> {
    let mut arguments = PgArguments::default();
    arguments.reserve(values.len(), 0);
    for value in values {
        let added = match value {
            Value::Null => arguments.add(Nothing),
            Value::Int(value) => arguments.add(*value),
            Value::Text(value) => arguments.add(value.as_str()),
            Value::Id(value) => arguments.add(*value),
        };
        added.map_err(Error::Encode)?;
    }
    Ok(arguments)
}

/// Runs one statement; answers what it did.
pub(crate) async fn one(
    connection: &mut PgConnection,
    sql: &Sql,
    values: &[Value],
) -> Result<Outcome, Error> {
    let mut outcome = Outcome { answer: None, changed: 0, inserted: 0 };
    let mut results = connection.fetch_many(sqlx::query_with(sql, arguments(values)?));
    while let Some(result) = results.try_next().await? {
        match result {
            Either::Right(row) if outcome.answer.is_none() => outcome.answer = Some(row.try_get(0)?),
            Either::Right(_) => {}
            Either::Left(done) => outcome.changed = done.rows_affected(),
        }
    }
    Ok(outcome)
}

/// Runs one statement; answers its rows.
pub(crate) async fn rows(connection: &mut PgConnection, statement: &Bound) -> Result<Vec<PgRow>, Error> {
    let arguments = arguments(&statement.values)?;
    sqlx::query_with(&statement.sql, arguments).fetch_all(connection).await
}

/// Runs fixed text without values: one statement, or several that go in one message.
pub(crate) async fn command(connection: &mut PgConnection, text: &'static str) -> Result<(), Error> {
    sqlx::raw_sql(text).execute(connection).await.map(|_| ())
}

/// The record in a row of `id, number, rev, body`.
pub(crate) fn document(kind: Kind, row: &PgRow) -> Result<Document, Error> {
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
pub(crate) fn listed(kind: Kind, row: &PgRow, ordered: &[Ordered]) -> Result<Document, Error> {
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
