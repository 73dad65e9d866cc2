//! Core's pages as SQL: what a list is ordered by, and where a page goes on.

use crate::filter::{admit, comparable, condition};
use crate::schema::{self, Column, Type};
use crate::sql::{Bound, Draft};
use hostler_core::ports::StoreError;
use hostler_core::query::{By, Cursor, Select, Sort};
use hostler_core::record::{Kind, Value};

/// What a row of records is read as, everywhere.
pub(crate) const DOCUMENT: &str = "SELECT id, number, rev, body FROM ";
/// Its columns; those after it are what the row was ordered by.
const ORDERED_FROM: usize = 4;

/// A value that rows of a page were ordered by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ordered {
    /// Where it stands in the row.
    pub(crate) place: usize,
    /// The column that it begins with.
    pub(crate) name: &'static str,
    /// What it is.
    pub(crate) holds: Type,
}

/// One term of an order, with what the schema knows of it.
#[derive(Clone, Copy, Debug)]
struct Term<'a> {
    sort: &'a Sort,
    /// What it begins with; the column itself, if the term is one.
    column: Column,
    holds: Type,
    nullable: bool,
}

impl<'a> Term<'a> {
    fn new(kind: Kind, sort: &'a Sort) -> Result<Self, StoreError> {
        let (column, holds, nullable) = match &sort.by {
            By::Column(name) => {
                let column = schema::column(kind, name)?;
                (column, column.holds, column.nullable)
            }
            By::Through(name, other, of) => {
                let column = schema::column(kind, name)?;
                if column.holds != Type::Id {
                    return Err(StoreError::Failed(format!("{name} names no record")));
                }
                (column, schema::column(*other, of)?.holds, true)
            }
            By::First(_) => (schema::column(kind, "number")?, Type::Int, true),
        };
        if sort.folded && holds != Type::Text {
            return Err(StoreError::Failed(format!("{} is no text", column.name)));
        }
        Ok(Self { sort, column, holds, nullable })
    }

    /// The column, when it is that and nothing more: an index may have it.
    fn plain(&self) -> Option<Column> {
        (matches!(self.sort.by, By::Column(_)) && !self.sort.folded).then_some(self.column)
    }

    fn write(&self, draft: &mut Draft, kind: Kind) -> Result<(), StoreError> {
        let folds = self.sort.folded;
        match &self.sort.by {
            By::Column(_) => {
                draft.push(if folds { "lower(" } else { "" }).column(self.column);
                draft.push(if folds { ")" } else { "" });
            }
            By::Through(_, other, of) => {
                draft.push(if folds { "(SELECT lower(other." } else { "(SELECT other." });
                draft.column(schema::column(*other, of)?).push(if folds { ")" } else { "" });
                draft.push(" FROM ").table(*other).push(" AS other WHERE other.id = ").table(kind);
                draft.push(".").column(self.column).push(")");
            }
            By::First(conditions) if conditions.is_empty() => {
                draft.push("CAST(NULL AS bigint)");
            }
            By::First(conditions) => {
                draft.push("CAST(CASE");
                for (place, filter) in conditions.iter().enumerate() {
                    draft.push(" WHEN ");
                    condition(draft, kind, filter.clone(), true)?;
                    draft.push(" THEN ").number(place);
                }
                draft.push(" END AS bigint)");
            }
        }
        Ok(())
    }
}

/// Statement for one page, and what stands in its rows after the record.
pub(crate) fn page(kind: Kind, select: Select) -> Result<(Bound, Vec<Ordered>), StoreError> {
    let terms: Vec<Term<'_>> =
        select.order.iter().map(|sort| Term::new(kind, sort)).collect::<Result<_, _>>()?;
    let mut draft = Draft::new("SELECT id, number, rev, body");
    let mut ordered = Vec::with_capacity(terms.len());
    for (place, term) in terms.iter().enumerate() {
        draft.push(", ");
        term.write(&mut draft, kind)?;
        ordered.push(Ordered { place: ORDERED_FROM + place, name: term.column.name, holds: term.holds });
    }
    draft.push(" FROM ").table(kind).push(" WHERE ");
    condition(&mut draft, kind, select.filter, true)?;
    if let Some(cursor) = select.after {
        draft.push(" AND ");
        after(&mut draft, kind, &terms, cursor)?;
    }
    order(&mut draft, &terms);
    draft.push(" LIMIT ").bind(Value::Int(select.limit.into()));
    if select.offset > 0 {
        let offset = i64::try_from(select.offset).unwrap_or(i64::MAX);
        draft.push(" OFFSET ").bind(Value::Int(offset));
    }
    Ok((draft.finish(), ordered))
}

fn order(draft: &mut Draft, terms: &[Term<'_>]) {
    draft.push(" ORDER BY ");
    for (place, term) in terms.iter().enumerate() {
        match term.plain() {
            Some(column) => draft.column(column),
            // The value that was selected: it is not worked out twice.
            None => draft.number(ORDERED_FROM + place + 1),
        };
        // Without a value comes first, or last when descending. It is what SQLite does anyway; said for the others.
        draft.push(match (term.nullable, term.sort.descending) {
            (false, false) => "",
            (false, true) => " DESC",
            (true, false) => " ASC NULLS FIRST",
            (true, true) => " DESC NULLS LAST",
        });
        if term.sort.is_unique() {
            return;
        }
        draft.push(", ");
    }
    draft.push(if ties_descending(terms) { "id DESC" } else { "id" });
}

fn ties_descending(terms: &[Term<'_>]) -> bool {
    terms.last().is_some_and(|term| term.sort.descending)
}

/// The records that come after the cursor.
fn after(draft: &mut Draft, kind: Kind, terms: &[Term<'_>], cursor: Cursor) -> Result<(), StoreError> {
    if cursor.values.len() != terms.len() {
        return Err(StoreError::Failed("a cursor is of another order".to_owned()));
    }
    for (term, value) in terms.iter().zip(&cursor.values) {
        admit(Column { holds: term.holds, ..term.column }, value)?;
    }
    let values: Vec<Value> = cursor.values.into_iter().map(comparable).collect();
    let id = Value::Id(cursor.id);
    if let ([term], [value]) = (terms, values.as_slice())
        && let Some(column) = term.plain()
        && !term.sort.is_unique()
        && *value != Value::Null
    {
        // This form of it lets an index on `(column, id)` seek there.
        let descending = term.sort.descending;
        draft.push("((").column(column).push(if descending { ", id) < (" } else { ", id) > (" });
        draft.bind_all([value.clone(), id]).push(")");
        if descending && term.nullable {
            draft.push(" OR ").column(column).push(" IS NULL");
        }
        draft.push(")");
        return Ok(());
    }
    if let (Some(term), Some(value)) = (terms.first(), values.first()) {
        begin(draft, term, value);
    }
    beyond(draft, kind, terms, &values, (id, ties_descending(terms)))
}

/// What the first term alone says of where a page can begin: an index on it can seek there, which it cannot with
/// alternatives.
fn begin(draft: &mut Draft, term: &Term<'_>, value: &Value) {
    let descending = term.sort.descending;
    if let Some(column) = term.plain()
        && *value != Value::Null
        && !(descending && term.nullable)
    {
        draft.column(column).push(if descending { " <= " } else { " >= " }).bind(value.clone()).push(" AND ");
    }
}

/// Records of which the first term is beyond its value, or the same and the next beyond, and so on to the key.
fn beyond(
    draft: &mut Draft,
    kind: Kind,
    terms: &[Term<'_>],
    values: &[Value],
    (id, descending): (Value, bool),
) -> Result<(), StoreError> {
    let (Some((term, terms)), Some((value, values))) = (terms.split_first(), values.split_first()) else {
        draft.push(if descending { "id < " } else { "id > " }).bind(id);
        return Ok(());
    };
    draft.push("(");
    past(draft, kind, term, value)?;
    if !term.sort.is_unique() {
        draft.push(" OR (");
        term.write(draft, kind)?;
        match value {
            Value::Null => draft.push(" IS NULL"),
            value => draft.push(" = ").bind(value.clone()),
        };
        draft.push(" AND ");
        beyond(draft, kind, terms, values, (id, descending))?;
        draft.push(")");
    }
    draft.push(")");
    Ok(())
}

/// Records of which the term is beyond the value.
fn past(draft: &mut Draft, kind: Kind, term: &Term<'_>, value: &Value) -> Result<(), StoreError> {
    match (value, term.sort.descending) {
        (Value::Null, true) => {
            draft.push("1 = 0");
        }
        (Value::Null, false) => {
            term.write(draft, kind)?;
            draft.push(" IS NOT NULL");
        }
        (value, false) => {
            term.write(draft, kind)?;
            draft.push(" > ").bind(value.clone());
        }
        (value, true) => {
            draft.push("(");
            term.write(draft, kind)?;
            draft.push(" < ").bind(value.clone());
            if term.nullable {
                draft.push(" OR ");
                term.write(draft, kind)?;
                draft.push(" IS NULL");
            }
            draft.push(")");
        }
    }
    Ok(())
}
