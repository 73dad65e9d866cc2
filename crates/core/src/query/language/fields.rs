//! The fields of a list, by which an [`Expression`] becomes a [`Filter`].
//!
//! A field's type decides what a literal means: `id EQ '5'` and `id EQ 5` are one question. Where a literal cannot be
//! a value of the field, nothing equals it and everything differs from it; only a field that does not exist is a
//! mistake. A missing value answers to `EQ null` and to `NE` with any value, and to nothing else.

use super::Malformed;
use super::literals::{begins, compare, incomparable, moment, nothing, number, shifted, shown_moment};
use super::syntax::{Comparison, Expression, Literal, Operator};
use crate::query::{Compare, Filter, Row};
use crate::record::{Kind, Value};
use uuid::Uuid;

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// Whole numbers.
    Number,
    /// Whole numbers that the list shows with so much added. A pattern without wildcards is compared as a number.
    Shifted(i64),
    /// Text, compared without regard to the case of ASCII letters.
    Text,
    /// Text that is kept in lower case: compared like text, and by an index.
    Word,
    /// Yes or no.
    Bool,
    /// Moments, compared as such; a literal is RFC 3339, or a day.
    Moment,
    /// Moments that the list shows as `2026-03-01 12:00:00` in UTC, compared as that text.
    Shown,
    /// Keys.
    Key,
}

/// Where a field's value is.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A column of the list's own kind.
    Column(&'static str),
    /// A column of the record whose key is in the first column.
    Through(&'static str, Kind, &'static str),
    /// A column of all the records of that kind that have this one's key in the first column. A comparison holds if
    /// it holds for any of them.
    Naming(Kind, &'static str, &'static str),
    /// A word that depends on conditions. Each record meets at most one of them.
    Cases(&'static [Case]),
}

/// A word, and the records that have it.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The word, as the list shows it.
    pub word: &'static str,
    /// Which records have it.
    pub when: fn() -> Filter,
}

/// A field that a list may be filtered and ordered by.
#[derive(Clone, Copy, Debug)]
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
        Self::of(name, holds, name)
    }

    /// A field of a column that has another name.
    pub const fn of(name: &'static str, holds: Holds, column: &'static str) -> Self {
        Self { name, holds, place: Place::Column(column) }
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

    /// A field of the records of `kind` that name this one in `column`.
    pub const fn naming(
        name: &'static str,
        holds: Holds,
        kind: Kind,
        column: &'static str,
        of: &'static str,
    ) -> Self {
        Self { name, holds, place: Place::Naming(kind, column, of) }
    }

    /// A field whose words are conditions in core. What it holds says how the words compare.
    pub const fn cases(name: &'static str, holds: Holds, cases: &'static [Case]) -> Self {
        Self { name, holds, place: Place::Cases(cases) }
    }

    /// Whether this can be a value that a record was ordered by.
    pub(super) fn admits(&self, value: &Value) -> bool {
        match (value, self.place, self.holds) {
            (Value::Null, _, _) => true,
            (Value::Int(_), Place::Cases(_), _) => true,
            (_, Place::Cases(_), _) => false,
            (Value::Text(_), _, Holds::Text | Holds::Word) => true,
            (Value::Id(_), _, Holds::Key) => true,
            (
                Value::Int(_),
                _,
                Holds::Number | Holds::Shifted(_) | Holds::Bool | Holds::Moment | Holds::Shown,
            ) => true,
            _ => false,
        }
    }

    /// Whether an order by it ignores case.
    pub(super) fn is_folded(&self) -> bool {
        self.holds == Holds::Text && !matches!(self.place, Place::Cases(_))
    }

    /// The cases in the order of their words.
    pub(super) fn in_order(&self, cases: &'static [Case]) -> impl Iterator<Item = &'static Case> {
        let mut sorted: Vec<&'static Case> = cases.iter().collect();
        match self.holds {
            Holds::Number => sorted.sort_by_key(|case| case.word.parse::<i64>().ok()),
            _ => sorted.sort_by_key(|case| case.word.to_ascii_lowercase()),
        }
        sorted.into_iter()
    }
}

/// The filter that an expression means.
///
/// # Errors
/// With the place of the first field that is not among `fields`.
pub(super) fn filter(expression: &Expression, fields: &[Field]) -> Result<Filter, Malformed> {
    let all =
        |parts: &[Expression]| parts.iter().map(|part| filter(part, fields)).collect::<Result<Vec<_>, _>>();
    Ok(match expression {
        Expression::Or(parts) => Filter::Or(all(parts)?),
        Expression::And(parts) => Filter::And(all(parts)?),
        Expression::Not(inner) => Filter::Not(Box::new(filter(inner, fields)?)),
        Expression::Comparison(comparison) => {
            let field = fields.iter().find(|field| field.name == comparison.field);
            let unknown = || Malformed::unknown(&comparison.field, comparison.position, fields);
            compared(field.ok_or_else(unknown)?, comparison)
        }
    })
}

fn compared(field: &Field, comparison: &Comparison) -> Filter {
    match field.place {
        Place::Column(column) => condition(column, field.holds, comparison.operator, &comparison.literal),
        Place::Through(column, kind, of) => {
            let theirs = |operator, literal: &Literal| {
                let theirs = condition(of, field.holds, operator, literal);
                Filter::Through(column, kind, Box::new(theirs))
            };
            one_or_none(comparison, theirs)
        }
        Place::Naming(kind, column, of) => {
            let any = |inner| Filter::NamedBy(kind, column, Box::new(inner));
            let held = any(condition(of, field.holds, comparison.operator, &comparison.literal));
            let none = Filter::Not(Box::new(any(Filter::All)));
            match (comparison.operator, comparison.literal.is_null()) {
                (Operator::Eq, true) | (Operator::Ne, false) => Filter::Or(vec![held, none]),
                _ => held,
            }
        }
        Place::Cases(cases) => one_or_none(comparison, |operator, literal| {
            let held = cases.iter().filter(|case| {
                let word = Word(one_value(field.holds, case.word));
                condition(Word::COLUMN, field.holds, operator, literal).holds(&word)
            });
            Filter::Or(held.map(|case| (case.when)()).collect())
        }),
    }
}

/// A comparison with one value that may be missing: what holds for a missing value is said as the negation of what
/// does not.
fn one_or_none(comparison: &Comparison, held: impl Fn(Operator, &Literal) -> Filter) -> Filter {
    let negated = match (comparison.operator, comparison.literal.is_null()) {
        (Operator::Eq, true) => Operator::Ne,
        (Operator::Ne, false) => Operator::Eq,
        (operator, _) => return held(operator, &comparison.literal),
    };
    Filter::Not(Box::new(held(negated, &comparison.literal)))
}

/// A word of a case as the one column of a record, so that it compares as any other value does.
struct Word(Value);

impl Word {
    const COLUMN: &str = "word";
}

impl Row for Word {
    fn value(&self, _: &str) -> Value {
        self.0.clone()
    }

    fn through(&self, _: &str, _: Kind) -> Option<&dyn Row> {
        None
    }

    fn naming(&self, _: Kind, _: &str) -> Vec<&dyn Row> {
        Vec::new()
    }
}

fn condition(column: &'static str, holds: Holds, operator: Operator, literal: &Literal) -> Filter {
    if literal.is_null() {
        return match operator {
            Operator::Eq | Operator::Ne => Filter::Is(column, compare(operator), Value::Null),
            _ => nothing(),
        };
    }
    let text = literal.text();
    if operator == Operator::Cp {
        return alike(column, holds, text);
    }
    match holds {
        Holds::Number => number(column, operator, text),
        Holds::Shifted(by) => shifted(column, operator, text, by),
        Holds::Moment => moment(column, operator, text),
        Holds::Shown => shown_moment(column, operator, text),
        Holds::Text => Filter::Folded(column, compare(operator), text.into()),
        Holds::Word => Filter::Is(column, compare(operator), text.to_ascii_lowercase().into()),
        Holds::Bool => match truth(text) {
            Some(value) => Filter::Is(column, compare(operator), value.into()),
            None => incomparable(operator),
        },
        Holds::Key => match text.parse::<Uuid>() {
            Ok(value) => Filter::Is(column, compare(operator), value.into()),
            Err(_) => incomparable(operator),
        },
    }
}

/// CP. Numbers are compared as decimal text. Of moments a pattern says the beginning, and of what has no text to speak
/// of the whole; other patterns match none of these.
fn alike(column: &'static str, holds: Holds, pattern: &str) -> Filter {
    let any = pattern.bytes().all(|byte| byte == b'%') && !pattern.is_empty();
    match holds {
        Holds::Text | Holds::Word | Holds::Number => Filter::Is(column, Compare::Like, pattern.into()),
        _ if any => Filter::ne(column, Value::Null),
        Holds::Shown => match pattern.strip_suffix('%') {
            Some(prefix) => begins(column, prefix),
            None => shown_moment(column, Operator::Eq, pattern),
        },
        Holds::Bool | Holds::Moment | Holds::Key | Holds::Shifted(_) => {
            condition(column, holds, Operator::Eq, &Literal::Quoted(pattern.to_owned()))
        }
    }
}

fn truth(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "on" => Some(true),
        "false" | "0" | "off" => Some(false),
        _ => None,
    }
}

/// The value that a case's word is.
fn one_value(holds: Holds, word: &str) -> Value {
    match holds {
        Holds::Number => word.parse::<i64>().ok().into(),
        Holds::Bool => truth(word).into(),
        _ => word.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::language;

    const FIELDS: &[Field] = &[
        Field::of("id", Holds::Number, "number"),
        Field::of("consul_id", Holds::Shifted(1_000_000_000), "number"),
        Field::own("name", Holds::Word),
        Field::own("created_at", Holds::Moment),
        Field::own("owner", Holds::Key),
        Field::through("cluster.name", Holds::Text, "cluster", Kind::Cluster, "name"),
        Field::naming("ip4.ip", Holds::Text, Kind::Address, "machine", "ip"),
        Field::cases(
            "state",
            Holds::Text,
            &[
                Case { word: "stopped", when: || Filter::eq("observed", "off") },
                Case { word: "active", when: || Filter::eq("observed", "on") },
            ],
        ),
        Field::cases("is_new", Holds::Bool, &[Case { word: "false", when: || Filter::All }]),
    ];

    fn read(text: &str) -> Filter {
        language::filter(text, FIELDS).unwrap()
    }

    fn not(filter: Filter) -> Filter {
        Filter::Not(Box::new(filter))
    }

    #[test]
    fn the_type_of_the_field_decides() {
        for (text, filter) in [
            ("id EQ '5'", Filter::eq("number", 5)),
            ("consul_id EQ '1000000007'", Filter::eq("number", 7)),
            ("consul_id CP 1000000007", Filter::eq("number", 7)),
            ("consul_id LT 1000000007.5", Filter::Is("number", Compare::Le, 7.into())),
            ("consul_id GE -99999999999999999999", Filter::ne("number", Value::Null)),
            ("id EQ x", Filter::Or(vec![])),
            ("id NE x", Filter::All),
            ("name EQ 'WEB'", Filter::eq("name", "web")),
            ("name CP 'W%'", Filter::Is("name", Compare::Like, "W%".into())),
            ("name GT null", Filter::Or(vec![])),
            ("name CP null", Filter::Or(vec![])),
            ("name EQ 'null'", Filter::eq("name", "null")),
            ("created_at GE 1970-01-02", Filter::Is("created_at", Compare::Ge, 86_400_000.into())),
            ("owner EQ web", Filter::Or(vec![])),
            ("owner EQ null", Filter::eq("owner", Value::Null)),
        ] {
            assert_eq!(read(text), filter, "{text}");
        }
    }

    #[test]
    fn joined_fields_know_what_is_missing() {
        let through = |inner| Filter::Through("cluster", Kind::Cluster, Box::new(inner));
        let main = |compare| Filter::Folded("name", compare, "main".into());
        assert_eq!(read("cluster.name GT main"), through(main(Compare::Gt)));
        assert_eq!(read("cluster.name NE main"), not(through(main(Compare::Eq))));
        assert_eq!(read("cluster.name EQ null"), not(through(Filter::ne("name", Value::Null))));
        let naming = |inner| Filter::NamedBy(Kind::Address, "machine", Box::new(inner));
        let ip = |compare| Filter::Folded("ip", compare, "10.0.0.1".into());
        assert_eq!(read("ip4.ip EQ 10.0.0.1"), naming(ip(Compare::Eq)));
        assert_eq!(
            read("ip4.ip NE 10.0.0.1"),
            Filter::Or(vec![naming(ip(Compare::Ne)), not(naming(Filter::All))])
        );
    }

    #[test]
    fn words_that_core_does_not_have_are_conditions() {
        let (on, off) = (Filter::eq("observed", "on"), Filter::eq("observed", "off"));
        assert_eq!(read("state EQ 'Active'"), Filter::Or(vec![on.clone()]));
        assert_eq!(read("state NE active"), not(Filter::Or(vec![on.clone()])));
        assert_eq!(read("state CP '%e%'"), Filter::Or(vec![off.clone(), on.clone()]));
        assert_eq!(read("state GT b"), Filter::Or(vec![off.clone()]));
        assert_eq!(read("state EQ null"), not(Filter::Or(vec![off.clone(), on.clone()])));
        assert_eq!(read("is_new EQ 0"), Filter::Or(vec![Filter::All]));
        assert_eq!(read("is_new EQ true"), Filter::Or(vec![]));
        let sorts = language::order("state desc", FIELDS).unwrap().sorts();
        assert_eq!(sorts[0].by, crate::query::By::First(vec![on, off]));
    }

    #[test]
    fn fields_that_do_not_exist_are_told_with_their_place() {
        let error = language::filter("(name EQ 'ü') AND colour EQ 1", FIELDS).unwrap_err();
        assert_eq!(error.position, 18);
        assert!(
            error.text.starts_with("there is no field `colour` here; known: id, consul_id, name"),
            "{error}"
        );
        // Names are told apart by case.
        assert!(language::filter("Name EQ 'a'", FIELDS).is_err());
    }
}
