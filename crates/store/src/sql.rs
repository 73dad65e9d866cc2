//! Statement text put together at run time. No other module may do that.
//!
//! A [`Draft`] takes text that was compiled in, names from the schema and numbers of parameters, nothing else:
//! whatever a caller brings is bound as a value. The finished [`Sql`] is what the rest of the crate can run.

use crate::schema::Column;
use hostler_core::record::{Kind, Value};
use sqlx::{AssertSqlSafe, SqlSafeStr, SqlStr};
use std::fmt::Write;
use std::sync::Arc;

/// Which database a text is for, where they differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Engine {
    /// The one that is compiled in.
    Sqlite,
    /// A server.
    Postgres,
}

/// The text of one statement, or of several.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sql(Arc<str>);

impl SqlSafeStr for &Sql {
    fn into_sql_str(self) -> SqlStr {
        AssertSqlSafe(Arc::clone(&self.0)).into_sql_str()
    }
}

/// A statement with the values it is run with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Bound {
    /// The text.
    pub(crate) sql: Sql,
    /// The values of `$1`, `$2` and so on.
    pub(crate) values: Vec<Value>,
}

impl Bound {
    /// Bytes that it takes, roughly.
    pub(crate) fn weight(&self) -> usize {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        self.sql.0.len() + self.values.iter().map(|value| size_of::<Value>() + text(value)).sum::<usize>()
    }
}

#[cfg(test)]
impl Bound {
    /// The statement that tells how the engine would run this one.
    pub(crate) fn explained(self) -> Self {
        Self { sql: Sql(format!("EXPLAIN QUERY PLAN {}", self.sql.0).into()), values: self.values }
    }
}

/// A statement that is being put together.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    text: String,
    values: Vec<Value>,
}

impl Draft {
    /// A draft that begins with this text.
    pub(crate) fn new(text: &'static str) -> Self {
        let mut draft = Self { text: String::with_capacity(256), values: Vec::new() };
        draft.push(text);
        draft
    }

    /// Adds text.
    pub(crate) fn push(&mut self, text: &'static str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Adds the name of the table of this kind.
    pub(crate) fn table(&mut self, kind: Kind) -> &mut Self {
        // Some words, `group` and `grant`, are words of SQL, too.
        self.text.push('"');
        self.text.push_str(kind.word());
        self.text.push('"');
        self
    }

    /// Adds the word for this kind, to stand within quotes.
    pub(crate) fn word(&mut self, kind: Kind) -> &mut Self {
        self.text.push_str(kind.word());
        self
    }

    /// Adds the name of a column.
    pub(crate) fn column(&mut self, column: Column) -> &mut Self {
        self.text.push_str(column.name);
        self
    }

    /// Adds a number.
    pub(crate) fn number(&mut self, number: usize) -> &mut Self {
        // Writing to a string cannot fail.
        let _ = write!(self.text, "{number}");
        self
    }

    /// Adds the parameter of this number, counted from 1.
    pub(crate) fn parameter(&mut self, number: usize) -> &mut Self {
        self.push("$").number(number)
    }

    /// Adds the next parameter and binds this value to it.
    pub(crate) fn bind(&mut self, value: Value) -> &mut Self {
        self.values.push(value);
        self.parameter(self.values.len())
    }

    /// Adds parameters bound to these values, with commas between.
    pub(crate) fn bind_all(&mut self, values: impl IntoIterator<Item = Value>) -> &mut Self {
        for (place, value) in values.into_iter().enumerate() {
            if place > 0 {
                self.push(", ");
            }
            self.bind(value);
        }
        self
    }

    /// The text alone, when the values are kept elsewhere.
    pub(crate) fn text(&self) -> Sql {
        Sql(self.text.as_str().into())
    }

    /// The statement with its values.
    pub(crate) fn finish(self) -> Bound {
        Bound { sql: Sql(self.text.into()), values: self.values }
    }
}
