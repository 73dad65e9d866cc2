//! Core's filters as SQL.
//!
//! Core's logic has two values, SQL's has three: in SQL neither `x = 1` nor its negation holds where `x` has no
//! value. So negation is pushed down to the comparisons, and each comparison is written so that it is true or
//! false for every record. An ordered comparison or `Contains` with no value on either side is false.

use crate::schema::{self, Column, Type};
use crate::sql::{Bound, Draft};
use hostler_core::ports::StoreError;
use hostler_core::query::{Compare, Filter};
use hostler_core::record::{Kind, Value};

/// Statement for how many match.
pub(crate) fn count(kind: Kind, filter: Filter) -> Result<Bound, StoreError> {
    let mut draft = Draft::new("SELECT COUNT(*) FROM ");
    draft.table(kind).push(" WHERE ");
    condition(&mut draft, kind, filter, true)?;
    Ok(draft.finish())
}

/// Statement for a sum; 0 when nothing matches.
pub(crate) fn sum(kind: Kind, name: &'static str, filter: Filter) -> Result<Bound, StoreError> {
    let column = schema::column(kind, name)?;
    if column.holds != Type::Int {
        return Err(StoreError::Failed(format!("{} of {} cannot be summed", name, kind.word())));
    }
    let mut draft = Draft::new("SELECT CAST(COALESCE(SUM(");
    draft.column(column).push("), 0) AS bigint) FROM ").table(kind).push(" WHERE ");
    condition(&mut draft, kind, filter, true)?;
    Ok(draft.finish())
}

/// The condition, or with `holds` false its negation. One term, in parentheses where it needs them.
pub(crate) fn condition(
    draft: &mut Draft,
    kind: Kind,
    filter: Filter,
    holds: bool,
) -> Result<(), StoreError> {
    match filter {
        Filter::All => {
            draft.push(truth(holds));
            Ok(())
        }
        Filter::Not(inner) => condition(draft, kind, *inner, !holds),
        Filter::And(all) => join(draft, kind, all, holds, holds),
        Filter::Or(any) => join(draft, kind, any, holds, !holds),
        Filter::Is(name, compare, value) => {
            comparison(draft, schema::column(kind, name)?, compare, value, holds)
        }
        Filter::Folded(name, compare, value) => {
            folded(draft, schema::column(kind, name)?, compare, value, holds)
        }
        Filter::Through(name, other, inner) => {
            through(draft, schema::column(kind, name)?, other, *inner, holds)
        }
        Filter::NamedBy(other, name, inner) => {
            named_by(draft, other, schema::column(other, name)?, *inner, holds)
        }
        Filter::In(name, values) => among(draft, schema::column(kind, name)?, values, holds),
    }
}

/// Conditions joined by AND, or by OR. By De Morgan a negated conjunction is a disjunction of negations.
fn join(
    draft: &mut Draft,
    kind: Kind,
    mut parts: Vec<Filter>,
    holds: bool,
    and: bool,
) -> Result<(), StoreError> {
    if parts.is_empty() {
        draft.push(truth(and));
        return Ok(());
    }
    // Engines take a chain for a tree as deep as it is long, and refuse deep ones: many parts are joined by halves.
    let rest = if parts.len() > CHAIN { parts.split_off(parts.len() / 2) } else { Vec::new() };
    draft.push("(");
    if !rest.is_empty() {
        join(draft, kind, parts, holds, and)?;
        draft.push(if and { " AND " } else { " OR " });
        join(draft, kind, rest, holds, and)?;
        draft.push(")");
        return Ok(());
    }
    for (place, part) in parts.into_iter().enumerate() {
        if place > 0 {
            draft.push(if and { " AND " } else { " OR " });
        }
        condition(draft, kind, part, holds)?;
    }
    draft.push(")");
    Ok(())
}

/// Conditions in one chain, at most.
const CHAIN: usize = 16;

fn comparison(
    draft: &mut Draft,
    column: Column,
    compare: Compare,
    value: Value,
    holds: bool,
) -> Result<(), StoreError> {
    if compare == Compare::Like {
        return like(draft, column, value, holds);
    }
    admit(column, &value)?;
    let value = comparable(value);
    let (compare, holds) = match compare {
        Compare::Ne => (Compare::Eq, !holds),
        other => (other, holds),
    };
    let operator = match compare {
        Compare::Eq | Compare::Ne => return equality(draft, column, value, holds),
        Compare::Contains | Compare::Like => return contains(draft, column, value, holds),
        Compare::Lt => [" < ", " >= "],
        Compare::Gt => [" > ", " <= "],
        Compare::Le => [" <= ", " > "],
        Compare::Ge => [" >= ", " < "],
    };
    if value == Value::Null {
        draft.push(truth(!holds));
    } else if holds {
        draft.column(column).push(operator[0]).bind(value);
    } else {
        or_nothing(draft, column, |draft| {
            draft.column(column).push(operator[1]).bind(value);
        });
    }
    Ok(())
}

fn equality(draft: &mut Draft, column: Column, value: Value, holds: bool) -> Result<(), StoreError> {
    draft.column(column);
    match (value, holds) {
        (Value::Null, true) => draft.push(" IS NULL"),
        (Value::Null, false) => draft.push(" IS NOT NULL"),
        (value, true) => draft.push(" = ").bind(value),
        (value, false) if column.nullable => draft.push(" IS DISTINCT FROM ").bind(value),
        (value, false) => draft.push(" <> ").bind(value),
    };
    Ok(())
}

fn contains(draft: &mut Draft, column: Column, value: Value, holds: bool) -> Result<(), StoreError> {
    let Value::Text(text) = value else { return like(draft, column, value, holds) };
    let mut pattern = String::with_capacity(text.len() + 2);
    pattern.push('%');
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('%');
    like(draft, column, Value::Text(pattern), holds)
}

/// A pattern against text or decimals. Engines differ in whether LIKE heeds case, and a backslash at the end is an
/// error to some.
fn like(draft: &mut Draft, column: Column, value: Value, holds: bool) -> Result<(), StoreError> {
    let mut pattern = match comparable(value) {
        Value::Text(text) => text.to_ascii_lowercase(),
        Value::Null => {
            draft.push(truth(!holds));
            return Ok(());
        }
        other => return Err(mismatch(column, &other)),
    };
    if pattern.chars().rev().take_while(|c| *c == '\\').count() % 2 == 1 {
        pattern.push('\\');
    }
    let before = match column.holds {
        Type::Text => "lower(",
        Type::Int => "(CAST(",
        Type::Id => return Err(mismatch(column, &Value::Text(pattern))),
    };
    let term = |draft: &mut Draft, operator: &'static str| {
        draft.push(before).column(column);
        draft.push(if column.holds == Type::Int { " AS text))" } else { ")" });
        draft.push(operator).bind(Value::Text(pattern)).push(" ESCAPE '\\'");
    };
    if holds {
        term(draft, " LIKE ");
    } else {
        or_nothing(draft, column, |draft| term(draft, " NOT LIKE "));
    }
    Ok(())
}

/// Text compared with text, ASCII case ignored.
fn folded(
    draft: &mut Draft,
    column: Column,
    compare: Compare,
    value: Value,
    holds: bool,
) -> Result<(), StoreError> {
    let text = match comparable(value) {
        Value::Text(text) if column.holds == Type::Text => text.to_ascii_lowercase(),
        value @ (Value::Text(_) | Value::Int(_) | Value::Id(_)) => return Err(mismatch(column, &value)),
        value @ Value::Null => return comparison(draft, column, compare, value, holds),
    };
    let (compare, holds) = match compare {
        Compare::Ne => (Compare::Eq, !holds),
        other => (other, holds),
    };
    let operator = match (compare, holds) {
        (Compare::Eq | Compare::Ne, true) => " = ",
        (Compare::Eq | Compare::Ne, false) => " <> ",
        (Compare::Lt, true) | (Compare::Ge, false) => " < ",
        (Compare::Ge, true) | (Compare::Lt, false) => " >= ",
        (Compare::Gt, true) | (Compare::Le, false) => " > ",
        (Compare::Le, true) | (Compare::Gt, false) => " <= ",
        // Neither heeds case anyway.
        (Compare::Contains | Compare::Like, _) => {
            return comparison(draft, column, compare, Value::Text(text), holds);
        }
    };
    let term = |draft: &mut Draft| {
        draft.push("lower(").column(column).push(")").push(operator).bind(Value::Text(text));
    };
    if holds {
        term(draft);
    } else {
        or_nothing(draft, column, term);
    }
    Ok(())
}

/// The record that a column names. Keys are never null, so no negation meets a third value in the inner list.
fn through(
    draft: &mut Draft,
    column: Column,
    kind: Kind,
    inner: Filter,
    holds: bool,
) -> Result<(), StoreError> {
    if column.holds != Type::Id {
        return Err(StoreError::Failed(format!("{} names no record", column.name)));
    }
    let term = |draft: &mut Draft, operator: &'static str| {
        draft.column(column).push(operator).push("(SELECT id FROM ").table(kind).push(" WHERE ");
        let inner = condition(draft, kind, inner, true);
        draft.push(")");
        inner
    };
    if holds {
        return term(draft, " IN ");
    }
    draft.push("(");
    term(draft, " NOT IN ")?;
    if column.nullable {
        draft.push(" OR ").column(column).push(" IS NULL");
    }
    draft.push(")");
    Ok(())
}

/// The records that a column of theirs names. Keys are never null, and names that are would make a negation unknown.
fn named_by(
    draft: &mut Draft,
    kind: Kind,
    column: Column,
    inner: Filter,
    holds: bool,
) -> Result<(), StoreError> {
    if column.holds != Type::Id {
        return Err(StoreError::Failed(format!("{} names no record", column.name)));
    }
    draft.push(if holds { "id IN (SELECT " } else { "id NOT IN (SELECT " });
    draft.column(column).push(" FROM ").table(kind).push(" WHERE ");
    if column.nullable {
        draft.column(column).push(" IS NOT NULL AND ");
    }
    condition(draft, kind, inner, true)?;
    draft.push(")");
    Ok(())
}

fn among(draft: &mut Draft, column: Column, values: Vec<Value>, holds: bool) -> Result<(), StoreError> {
    for value in &values {
        admit(column, value)?;
    }
    let nothing = values.contains(&Value::Null);
    let values: Vec<Value> =
        values.into_iter().filter(|value| *value != Value::Null).map(comparable).collect();
    if values.is_empty() {
        return if nothing {
            equality(draft, column, Value::Null, holds)
        } else {
            draft.push(truth(!holds));
            Ok(())
        };
    }
    draft.push("(").column(column).push(if holds { " IN (" } else { " NOT IN (" }).bind_all(values).push(")");
    // With the null in the list a record without a value is in it; without, the record is not in it.
    match (nothing, holds) {
        (true, true) | (false, false) if column.nullable => {
            draft.push(" OR ").column(column).push(" IS NULL");
        }
        (true, false) => {
            draft.push(" AND ").column(column).push(" IS NOT NULL");
        }
        _ => {}
    }
    draft.push(")");
    Ok(())
}

/// A term that also holds where the column has no value.
fn or_nothing(draft: &mut Draft, column: Column, term: impl FnOnce(&mut Draft)) {
    if column.nullable {
        draft.push("(");
        term(draft);
        draft.push(" OR ").column(column).push(" IS NULL)");
    } else {
        term(draft);
    }
}

fn truth(holds: bool) -> &'static str {
    if holds { "1 = 1" } else { "1 = 0" }
}

pub(crate) fn admit(column: Column, value: &Value) -> Result<(), StoreError> {
    if column.admits(value) { Ok(()) } else { Err(mismatch(column, value)) }
}

/// The value as it can be compared. No text that is kept has a NUL in it, and PostgreSQL takes none: the control
/// character after it is in no name either and sorts where it would.
pub(crate) fn comparable(value: Value) -> Value {
    match value {
        Value::Text(text) if text.contains('\0') => Value::Text(text.replace('\0', "\u{1}")),
        other => other,
    }
}

fn mismatch(column: Column, value: &Value) -> StoreError {
    StoreError::Failed(format!("{} cannot be compared with {value:?}", column.name))
}
