//! What a list asks for: a filter, an order, a page. [`language`] makes filters and orders from what people write;
//! a dialect may make them in any other way.

mod evaluate;
pub mod language;

pub use evaluate::{Row, ordering};

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
    /// Some record of that kind has this one's key in the column and matches.
    NamedBy(Kind, &'static str, Box<Filter>),
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

    /// Whether records of other kinds decide, too.
    pub fn reaches_further(&self) -> bool {
        match self {
            Self::Through(..) | Self::NamedBy(..) => true,
            Self::Not(inner) => inner.reaches_further(),
            Self::And(parts) | Self::Or(parts) => parts.iter().any(Self::reaches_further),
            Self::All | Self::Is(..) | Self::Folded(..) | Self::In(..) => false,
        }
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

/// What one term of an order goes by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum By {
    /// A column.
    Column(&'static str),
    /// The second column of the record of that kind whose key is in the first; no value when there is none.
    Through(&'static str, Kind, &'static str),
    /// Which of these conditions is the first that holds, counted from 0; no value when none does.
    First(Vec<Filter>),
}

/// One term of an order. Records without a value come first; descending is the exact reverse.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sort {
    /// What it goes by.
    pub by: By,
    /// Text without regard to the case of ASCII letters.
    pub folded: bool,
    /// Largest first.
    pub descending: bool,
}

impl Sort {
    /// By a column, smallest first.
    pub fn ascending(column: &'static str) -> Self {
        Self { by: By::Column(column), folded: false, descending: false }
    }

    /// By a column, largest first.
    pub fn descending(column: &'static str) -> Self {
        Self { descending: true, ..Self::ascending(column) }
    }

    /// Whether no two records have the same place in it.
    pub fn is_unique(&self) -> bool {
        matches!(self.by, By::Column("id" | "number"))
    }

    fn reaches_further(&self) -> bool {
        match &self.by {
            By::Column(_) => false,
            By::Through(..) => true,
            By::First(conditions) => conditions.iter().any(Filter::reaches_further),
        }
    }
}

/// Where a page goes on: what the last record of the page before was ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Its value of each term of the order.
    pub values: Vec<Value>,
    /// Its key, which breaks ties.
    pub id: Uuid,
}

impl Cursor {
    /// After this record, in order of creation.
    pub fn after(id: Uuid) -> Self {
        Self { values: Vec::new(), id }
    }
}

/// One page of a list. Ties that the order leaves are broken by the key, in the direction of the last term; without
/// any term that is the order of creation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Select {
    /// Which records.
    pub filter: Filter,
    /// In which order.
    pub order: Vec<Sort>,
    /// Only what comes after this.
    pub after: Option<Cursor>,
    /// But for so many of them, the first.
    pub offset: u64,
    /// At most this many.
    pub limit: u32,
}

impl Select {
    /// Records that match, in order of creation, at most `limit`.
    pub fn new(filter: Filter, limit: u32) -> Self {
        Self { filter, order: Vec::new(), after: None, offset: 0, limit }
    }

    /// In this order.
    #[must_use]
    pub fn ordered(mut self, sort: Sort) -> Self {
        self.order.push(sort);
        self
    }

    /// Whether records of other kinds decide, too.
    pub fn reaches_further(&self) -> bool {
        self.filter.reaches_further() || self.order.iter().any(Sort::reaches_further)
    }
}
