//! One thing that a database holds, in a form that outlives engines and versions.

use super::StateError;
use crate::schema::{self, Type};
use hostler_core::record::{Kind, Value};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How many of each table.
pub type Counts = BTreeMap<String, u64>;

/// One thing that a database holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "item", rename_all = "snake_case", deny_unknown_fields)]
pub enum Item {
    /// A record.
    Record {
        /// Its kind, as [`Kind::word`].
        kind: String,
        /// Its key.
        id: Uuid,
        /// Its small integer.
        number: i64,
        /// Its version.
        rev: i64,
        /// What it is filtered by: whole numbers, text, keys as text, or null.
        columns: Map<String, serde_json::Value>,
        /// A task's epoch and whether somebody asked to cancel it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lease: Option<(i64, i64)>,
        /// The record.
        body: String,
    },
    /// An event.
    Event {
        /// Its position.
        seq: i64,
        /// When, in milliseconds.
        at: i64,
        /// What it is about.
        kind: String,
        /// What happened.
        change: String,
        /// Whom it is about.
        subject: Uuid,
        /// Whose business it is.
        owner: Option<Uuid>,
        /// What is told.
        body: String,
    },
    /// What is allotted next: the small integer of a kind, or the position of an `event`.
    Counter {
        /// Of what.
        kind: String,
        /// The next.
        next: i64,
    },
}

impl Item {
    /// The table it is in.
    pub fn table(&self) -> &str {
        match self {
            Self::Record { kind, .. } => kind,
            Self::Event { .. } => "event",
            Self::Counter { .. } => "counter",
        }
    }
}

/// The kind of this name.
pub(super) fn kind(word: &str) -> Result<Kind, StateError> {
    let unknown = || StateError::Unfit(format!("there is no kind of record called {word:?} here"));
    Kind::ALL.into_iter().find(|kind| kind.word() == word).ok_or_else(unknown)
}

/// A record's columns by name.
pub(super) fn named(kind: Kind, values: Vec<Value>) -> Map<String, serde_json::Value> {
    let columns = schema::columns(kind).iter().zip(values);
    columns.map(|(column, value)| (column.name.to_owned(), json(value))).collect()
}

fn json(value: Value) -> serde_json::Value {
    match value {
        Value::Null => serde_json::Value::Null,
        Value::Int(value) => value.into(),
        Value::Text(value) => value.into(),
        Value::Id(value) => value.to_string().into(),
    }
}

/// A record's columns in the order of the table.
pub(super) fn ordered(
    kind: Kind,
    mut given: Map<String, serde_json::Value>,
) -> Result<Vec<Value>, StateError> {
    let mut values = Vec::with_capacity(given.len());
    for column in schema::columns(kind) {
        let unfit = |value: &serde_json::Value| {
            StateError::Unfit(format!("{} cannot keep {value} as {}", kind.word(), column.name))
        };
        let value = given.remove(column.name).unwrap_or_default();
        values.push(match (&value, column.holds) {
            (serde_json::Value::Null, _) if column.nullable => Value::Null,
            (serde_json::Value::Number(number), Type::Int) => {
                Value::Int(number.as_i64().ok_or_else(|| unfit(&value))?)
            }
            (serde_json::Value::String(text), Type::Text) => Value::Text(text.clone()),
            (serde_json::Value::String(text), Type::Id) => {
                Value::Id(Uuid::parse_str(text).map_err(|_| unfit(&value))?)
            }
            _ => return Err(unfit(&value)),
        });
    }
    match given.keys().next() {
        Some(name) => Err(StateError::Unfit(format!("{} has no column {name:?} here", kind.word()))),
        None => Ok(values),
    }
}
