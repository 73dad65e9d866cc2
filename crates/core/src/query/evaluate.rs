//! Filters over rows in memory: what the store's SQL must agree with, and what decides about records that never were
//! in a list.

use super::{By, Compare, Filter, Sort};
use crate::record::{Kind, Value};
use std::cmp::Ordering;

/// A record by its columns.
pub trait Row {
    /// The value of a column; null when it has none.
    fn value(&self, column: &str) -> Value;

    /// The record of that kind whose key is in the column, if there is one.
    fn through(&self, column: &str, kind: Kind) -> Option<&dyn Row>;

    /// The records of that kind that have this one's key in the column.
    fn naming(&self, kind: Kind, column: &str) -> Vec<&dyn Row>;
}

impl Filter {
    /// Whether the row is one of those asked for.
    pub fn holds(&self, row: &dyn Row) -> bool {
        match self {
            Self::All => true,
            Self::Not(inner) => !inner.holds(row),
            Self::And(all) => all.iter().all(|part| part.holds(row)),
            Self::Or(any) => any.iter().any(|part| part.holds(row)),
            Self::In(column, values) => values.contains(&row.value(column)),
            Self::Is(column, compare, value) => compared(&row.value(column), *compare, value),
            Self::Folded(column, compare, value) => {
                compared(&folded(&row.value(column)), *compare, &folded(value))
            }
            Self::Through(column, kind, inner) => {
                row.through(column, *kind).is_some_and(|other| inner.holds(other))
            }
            Self::NamedBy(kind, column, inner) => {
                row.naming(*kind, column).into_iter().any(|other| inner.holds(other))
            }
        }
    }
}

impl Sort {
    /// What a row is ordered by.
    pub fn value(&self, row: &dyn Row) -> Value {
        let value = match &self.by {
            By::Column(column) => row.value(column),
            By::Through(column, kind, of) => {
                row.through(column, *kind).map_or(Value::Null, |other| other.value(of))
            }
            By::First(conditions) => {
                let place = conditions.iter().position(|condition| condition.holds(row));
                place.and_then(|place| i64::try_from(place).ok()).into()
            }
        };
        if self.folded { folded(&value) } else { value }
    }
}

/// Which of two rows comes first in a list of this order.
pub fn ordering(order: &[Sort], left: &dyn Row, right: &dyn Row) -> Ordering {
    let directed = |ordering: Ordering, descending| if descending { ordering.reverse() } else { ordering };
    let by = |sort: &Sort| {
        let (left, right) = (sort.value(left), sort.value(right));
        let missing = (left != Value::Null).cmp(&(right != Value::Null));
        directed(ordered(&left, &right).unwrap_or(missing), sort.descending)
    };
    let decided = order.iter().map(by).find(|ordering| ordering.is_ne());
    decided.unwrap_or_else(|| {
        let keys = ordered(&left.value("id"), &right.value("id")).unwrap_or(Ordering::Equal);
        directed(keys, order.last().is_some_and(|sort| sort.descending))
    })
}

fn compared(kept: &Value, compare: Compare, value: &Value) -> bool {
    let ordering = ordered(kept, value);
    match compare {
        Compare::Eq => kept == value,
        Compare::Ne => kept != value,
        Compare::Lt => ordering == Some(Ordering::Less),
        Compare::Gt => ordering == Some(Ordering::Greater),
        Compare::Le => ordering.is_some_and(Ordering::is_le),
        Compare::Ge => ordering.is_some_and(Ordering::is_ge),
        Compare::Contains => match (kept, value) {
            (Value::Text(kept), Value::Text(part)) => {
                kept.to_ascii_lowercase().contains(&part.to_ascii_lowercase())
            }
            _ => false,
        },
        Compare::Like => match (kept, value) {
            (Value::Text(kept), Value::Text(pattern)) => is_like(kept, pattern),
            (Value::Int(kept), Value::Text(pattern)) => is_like(&kept.to_string(), pattern),
            _ => false,
        },
    }
}

/// Values of one type by their order; a missing value has none.
fn ordered(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::Int(left), Value::Int(right)) => Some(left.cmp(right)),
        (Value::Text(left), Value::Text(right)) => Some(left.cmp(right)),
        (Value::Id(left), Value::Id(right)) => Some(left.cmp(right)),
        _ => None,
    }
}

fn folded(value: &Value) -> Value {
    match value {
        Value::Text(text) => Value::Text(text.to_ascii_lowercase()),
        other => other.clone(),
    }
}

/// A part of a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    /// `%`
    Run,
    /// `_`
    One,
    Character(char),
}

/// SQL's LIKE from end to end, ASCII case ignored. When a run was too short it is made longer by one and the rest is
/// tried again; only the last run can be in question, so this is no more work than length times length.
fn is_like(text: &str, pattern: &str) -> bool {
    let text: Vec<char> = text.to_ascii_lowercase().chars().collect();
    let pattern = pieces(&pattern.to_ascii_lowercase());
    let (mut at, mut piece, mut last_run) = (0, 0, None);
    while at < text.len() {
        match pattern.get(piece) {
            Some(Piece::Run) => {
                last_run = Some((piece, at));
                piece += 1;
            }
            Some(Piece::One) => (at, piece) = (at + 1, piece + 1),
            Some(Piece::Character(character)) if *character == text[at] => (at, piece) = (at + 1, piece + 1),
            _ => {
                let Some((run, from)) = last_run else { return false };
                (at, piece) = (from + 1, run + 1);
                last_run = Some((run, from + 1));
            }
        }
    }
    pattern[piece..].iter().all(|piece| *piece == Piece::Run)
}

fn pieces(pattern: &str) -> Vec<Piece> {
    let (mut pieces, mut characters) = (Vec::new(), pattern.chars());
    while let Some(character) = characters.next() {
        pieces.push(match character {
            '%' => Piece::Run,
            '_' => Piece::One,
            // A backslash at the end means itself.
            '\\' => Piece::Character(characters.next().unwrap_or('\\')),
            other => Piece::Character(other),
        });
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_hold_from_end_to_end() {
        for (text, pattern) in [
            ("web-1", "web-1"),
            ("Web-1", "wEB-%"),
            ("web-1", "%-1"),
            ("web-1", "w_b%"),
            ("", ""),
            ("", "%"),
            ("aXbXc", "a%x%c"),
            ("aab", "%ab"),
            ("100%", "100\\%"),
            ("a\\b", "a\\\\b"),
            ("a\\", "a\\"),
            ("ü", "_"),
        ] {
            assert!(is_like(text, pattern), "{text} {pattern}");
        }
        for (text, pattern) in
            [("web-1", "web"), ("web-1", "eb%"), ("a", ""), ("", "_"), ("1000", "100\\%"), ("ab", "%a")]
        {
            assert!(!is_like(text, pattern), "{text} {pattern}");
        }
        assert!(!is_like(&"a".repeat(2000), &format!("{}b", "a%".repeat(500))));
    }
}
