//! What a list asks for: a filter, an order, a page. Independent of any dialect's list language.

mod evaluate;
pub mod fields;
pub mod language;

pub use evaluate::Row;

use crate::record::{Kind, Value};
use uuid::Uuid;

/// How a column is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compare {
    /// Equal; with [`Value::Null`]: has no value.
    Eq,
    /// Not equal; with [`Value::Null`]: has a value.
    Ne,
    /// Less than.
    Lt,
    /// Greater than.
    Gt,
    /// At most.
    Le,
    /// At least.
    Ge,
    /// Text that contains this text, ASCII case ignored.
    Contains,
    /// Text, or the decimals of a number, that is like this pattern from end to end, ASCII case ignored: `%` stands
    /// for any run of characters, `_` for one, and `\\` takes the meaning from the next.
    Like,
}

/// A condition on the columns of one kind of record. Column names are compiled in, never a caller's text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filter {
    /// Everything.
    All,
    /// One comparison.
    Is(&'static str, Compare, Value),
    /// One comparison of text with text, ASCII case ignored.
    Folded(&'static str, Compare, Value),
    /// The record of that kind whose key is in the column exists and matches.
    Through(&'static str, Kind, Box<Filter>),
    /// One of these values.
    In(&'static str, Vec<Value>),
    /// All of these; empty means everything.
    And(Vec<Filter>),
    /// Any of these; empty means nothing.
    Or(Vec<Filter>),
    /// Not this.
    Not(Box<Filter>),
}

impl Filter {
    /// `column` equals `value`.
    pub fn eq(column: &'static str, value: impl Into<Value>) -> Self {
        Self::Is(column, Compare::Eq, value.into())
    }

    /// `column` differs from `value`.
    pub fn ne(column: &'static str, value: impl Into<Value>) -> Self {
        Self::Is(column, Compare::Ne, value.into())
    }

    /// Both conditions.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, other) => other,
            (this, Self::All) => this,
            (Self::And(mut all), other) => {
                all.push(other);
                Self::And(all)
            }
            (this, other) => Self::And(vec![this, other]),
        }
    }
}

/// Where a page goes on: the ordering value and key of the last record of the page before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Value of the ordering column.
    pub value: Value,
    /// Key of that record, which breaks ties.
    pub id: Uuid,
}

/// One page of a list. Records come ordered by `order`, then by key; those without a value come first. Descending is
/// the exact reverse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// Which records.
    pub filter: Filter,
    /// The column to order by; `id` is the order of creation.
    pub order: &'static str,
    /// Largest first.
    pub descending: bool,
    /// Only what comes after this.
    pub after: Option<Cursor>,
    /// At most this many.
    pub limit: u32,
}

impl Select {
    /// Records that match, in order of creation, at most `limit`.
    pub fn new(filter: Filter, limit: u32) -> Self {
        Self { filter, order: "id", descending: false, after: None, limit }
    }
}
