//! The fields of a list, by which an [`Expression`] becomes a [`Filter`].
//!
//! A field's type decides what a literal means: `id EQ '5'` and `id EQ 5` are one question. Where a literal cannot be
//! a value of the field, nothing equals it and everything differs from it; only a field that does not exist is a
//! mistake.

use super::language::{Comparison, Expression, Literal, Malformed, Operator};
use super::{Compare, Filter};
use crate::record::{Kind, Value};
use crate::time::Timestamp;
use uuid::Uuid;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Whole numbers.
    Number,
    /// Text, compared without regard to the case of ASCII letters.
    Text,
    /// Text that is kept in lower case: compared like text, and by an index.
    Word,
    /// Yes or no.
    Bool,
    /// Moments.
    Time,
    /// Keys.
    Key,
}

/// Where a field's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A column of the list's own kind.
    Column(&'static str),
    /// A column of the record whose key is in the first column.
    Through(&'static str, Kind, &'static str),
}

/// A field that a list may be filtered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in the language; joined objects are named with a dot.
    pub name: &'static str,
    /// What it holds.
    pub holds: Holds,
    /// Where it is.
    pub place: Place,
}

impl Field {
    /// A field that has the name of its column.
    pub const fn own(name: &'static str, holds: Holds) -> Self {
        Self { name, holds, place: Place::Column(name) }
    }

    /// A field of another record, whose key is in `column`.
    pub const fn through(
        name: &'static str,
        holds: Holds,
        column: &'static str,
        kind: Kind,
        of: &'static str,
    ) -> Self {
        Self { name, holds, place: Place::Through(column, kind, of) }
    }
}

/// The filter that an expression means.
///
/// # Errors
/// With the place of the first field that is not among `fields`.
pub fn filter(expression: &Expression, fields: &[Field]) -> Result<Filter, Malformed> {
    let all =
        |parts: &[Expression]| parts.iter().map(|part| filter(part, fields)).collect::<Result<Vec<_>, _>>();
    Ok(match expression {
        Expression::Or(parts) => Filter::Or(all(parts)?),
        Expression::And(parts) => Filter::And(all(parts)?),
        Expression::Not(inner) => Filter::Not(Box::new(filter(inner, fields)?)),
        Expression::Comparison(comparison) => {
            let found = fields.iter().find(|field| field.name == comparison.field);
            compared(comparison, found.ok_or_else(|| unknown(comparison, fields))?)
        }
    })
}

fn unknown(comparison: &Comparison, fields: &[Field]) -> Malformed {
    let known: Vec<&str> = fields.iter().map(|field| field.name).collect();
    let shown: String = comparison.field.chars().take(80).collect();
    let text = format!("there is no field `{shown}` here; known: {}", known.join(", "));
    Malformed { position: comparison.position, text }
}

fn compared(comparison: &Comparison, field: &Field) -> Filter {
    match field.place {
        Place::Column(column) => condition(column, field.holds, comparison),
        Place::Through(column, kind, of) => through(column, kind, of, field.holds, comparison),
    }
}

/// A record that names no other has no value in that field: only what a missing value answers to holds of it.
fn through(
    column: &'static str,
    kind: Kind,
    of: &'static str,
    holds: Holds,
    comparison: &Comparison,
) -> Filter {
    let theirs = Filter::Through(column, kind, Box::new(condition(of, holds, comparison)));
    let missing = match (comparison.operator, comparison.literal.is_null()) {
        (Operator::Eq, null) => null,
        (Operator::Ne, null) => !null,
        _ => false,
    };
    if missing { Filter::Or(vec![theirs, Filter::eq(column, Value::Null)]) } else { theirs }
}

fn condition(column: &'static str, holds: Holds, comparison: &Comparison) -> Filter {
    let literal = &comparison.literal;
    let compare = match comparison.operator {
        Operator::Cp => return alike(column, holds, literal),
        Operator::Eq => Compare::Eq,
        Operator::Ne => Compare::Ne,
        Operator::Lt => Compare::Lt,
        Operator::Le => Compare::Le,
        Operator::Gt => Compare::Gt,
        Operator::Ge => Compare::Ge,
    };
    if literal.is_null() {
        return match compare {
            Compare::Eq | Compare::Ne => Filter::Is(column, compare, Value::Null),
            _ => nothing(),
        };
    }
    match (value(holds, literal.text()), holds) {
        (Some(value), Holds::Text) => Filter::Folded(column, compare, value),
        (Some(value), _) => Filter::Is(column, compare, value),
        (None, _) if compare == Compare::Ne => Filter::All,
        (None, _) => nothing(),
    }
}

/// CP. Numbers are compared as decimal text; so without a wildcard it is equality, and with one nothing but `%` is of
/// any use on a key or a moment.
fn alike(column: &'static str, holds: Holds, literal: &Literal) -> Filter {
    match holds {
        _ if literal.is_null() => nothing(),
        Holds::Text | Holds::Word | Holds::Number => Filter::Is(column, Compare::Like, literal.text().into()),
        Holds::Bool | Holds::Time | Holds::Key => match value(holds, literal.text()) {
            Some(value) => Filter::eq(column, value),
            None if literal.text().chars().all(|c| c == '%') => Filter::ne(column, Value::Null),
            None => nothing(),
        },
    }
}

fn nothing() -> Filter {
    Filter::Or(Vec::new())
}

/// What a literal means as a value of a field, if it can be one.
fn value(holds: Holds, text: &str) -> Option<Value> {
    match holds {
        Holds::Number => text.trim().parse::<i64>().ok().map(Value::Int),
        Holds::Text => Some(text.into()),
        Holds::Word => Some(text.to_ascii_lowercase().into()),
        Holds::Bool => match text.to_ascii_lowercase().as_str() {
            "true" | "1" | "on" => Some(true.into()),
            "false" | "0" | "off" => Some(false.into()),
            _ => None,
        },
        Holds::Time => Timestamp::read(text).map(|time| Value::Int(time.0)),
        Holds::Key => text.parse::<Uuid>().ok().map(Value::Id),
    }
}
