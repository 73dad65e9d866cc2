//! `orderby` and `limit`.

use super::{Field, Malformed, Place};
use crate::query::{By, Sort};
use crate::record::Value;

/// More terms are refused.
const MAX_TERMS: usize = 16;

/// An order over the fields of a list.
#[derive(Clone, Debug, Default)]
pub struct Order {
    terms: Vec<(Field, bool)>,
}

/// What ties are broken by, always ascending.
const TIES: &str = "number";

impl Order {
    /// Orders by this field.
    pub fn by(field: Field, descending: bool) -> Self {
        Self { terms: vec![(field, descending)] }
    }

    /// This order, and the other where it leaves ties.
    #[must_use]
    pub fn then(mut self, other: Self) -> Self {
        self.terms.extend(other.terms);
        self
    }

    /// What the list is ordered by: the terms, then the number, so that no two records tie.
    pub fn sorts(&self) -> Vec<Sort> {
        let mut sorts = self.own_sorts();
        if !sorts.iter().any(Sort::is_unique) {
            sorts.push(Sort::ascending(TIES));
        }
        sorts
    }

    /// The terms alone: ties are broken by the key, in the direction of the last term.
    pub fn own_sorts(&self) -> Vec<Sort> {
        self.terms.iter().map(|(field, descending)| field.sort(*descending)).collect()
    }

    /// Whether these can be the values that a record of a list in the order of `sorts` was ordered by.
    pub fn admits(&self, sorts: &[Sort], values: &[Value]) -> bool {
        let typed = |(place, value): (usize, &Value)| match self.terms.get(place) {
            Some((field, _)) => field.admits(value),
            None => matches!(value, Value::Int(_)),
        };
        sorts.len() == values.len() && values.iter().enumerate().all(typed)
    }
}

/// Reads an order.
pub(super) fn read(text: &str, fields: &[Field]) -> Result<Order, Malformed> {
    let mut terms = Vec::new();
    if text.trim().is_empty() {
        return Ok(Order { terms });
    }
    let mut begin = 0;
    for piece in text.split(',') {
        if terms.len() == MAX_TERMS {
            return Err(Malformed::at(text, begin, format!("an order has at most {MAX_TERMS} fields")));
        }
        terms.push(term(text, begin, piece, fields)?);
        begin += piece.len() + 1;
    }
    Ok(Order { terms })
}

fn term(text: &str, begin: usize, piece: &str, fields: &[Field]) -> Result<(Field, bool), Malformed> {
    let wrong = |at: usize, why: String| Malformed::at(text, at, why);
    let mut words = words(piece).map(|(at, word)| (begin + at, word));
    let (at, name) = words
        .next()
        .ok_or_else(|| wrong(begin + piece.len(), "the name of a field is expected".to_owned()))?;
    let position = super::characters(text, at);
    let field = fields.iter().find(|field| field.name == name);
    let field = field.ok_or_else(|| Malformed::unknown(name, position, fields))?;
    if let Place::Naming(..) = field.place {
        return Err(wrong(
            at,
            format!("a list cannot be ordered by `{name}`, of which there may be several"),
        ));
    }
    let descending = match words.next() {
        None => false,
        Some((_, word)) if word.eq_ignore_ascii_case("asc") => false,
        Some((_, word)) if word.eq_ignore_ascii_case("desc") => true,
        Some((at, _)) => return Err(wrong(at, "asc, desc or a comma is expected".to_owned())),
    };
    match words.next() {
        None => Ok((*field, descending)),
        Some((at, _)) => Err(wrong(at, "a comma or the end is expected".to_owned())),
    }
}

/// Words with the byte where each begins.
fn words(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_whitespace().map(move |word| (word.as_ptr().addr() - text.as_ptr().addr(), word))
}

impl Field {
    /// What a list is ordered by when it is ordered by this field.
    fn sort(&self, descending: bool) -> Sort {
        let by = match self.place {
            Place::Column(column) => By::Column(column),
            Place::Through(column, kind, of) => By::Through(column, kind, of),
            Place::Cases(cases) => By::First(self.in_order(cases).map(|case| (case.when)()).collect()),
            // No order has it: `read` refuses it, and there is no other way in but `Order::by`.
            Place::Naming(..) => By::First(Vec::new()),
        };
        Sort { by, folded: self.is_folded(), descending }
    }
}

/// Reads a limit: how many records are left out, and how many there are at most. White space alone is no limit.
///
/// # Errors
/// When it is neither `COUNT` nor `SKIP,COUNT`.
pub fn limit(text: &str) -> Result<Option<(u64, u32)>, Malformed> {
    if text.trim().is_empty() {
        return Ok(None);
    }
    let number = |begin: usize, piece: &str| -> Result<u64, Malformed> {
        let digits = piece.trim();
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            let at = begin + (piece.len() - piece.trim_start().len());
            return Err(Malformed::at(text, at, "a number from 0 up is expected".to_owned()));
        }
        // Beyond what a number can say there is nothing to skip and nothing to show.
        Ok(digits.parse().unwrap_or(u64::MAX))
    };
    let most = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    match text.split_once(',') {
        None => Ok(Some((0, most(number(0, text)?)))),
        Some((skip, count)) => Ok(Some((number(0, skip)?, most(number(skip.len() + 1, count)?)))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query::Filter;
    use crate::query::language::{Case, Holds};
    use crate::record::Kind;

    const FIELDS: &[Field] = &[
        Field::of("id", Holds::Number, "number"),
        Field::own("name", Holds::Text),
        Field::own("owner", Holds::Key),
        Field::through("cluster.name", Holds::Text, "cluster", Kind::Cluster, "name"),
        Field::naming("ip4.ip", Holds::Text, Kind::Address, "machine", "ip"),
        Field::cases("free", Holds::Bool, &[Case { word: "true", when: || Filter::All }]),
    ];

    #[test]
    fn orders_name_fields_and_directions() {
        let sort = |by, folded, descending| Sort { by, folded, descending };
        let ties = || Sort::ascending("number");
        for (text, sorts) in [
            (" ", vec![ties()]),
            ("id", vec![ties()]),
            ("id DESC", vec![Sort::descending("number")]),
            ("name", vec![sort(By::Column("name"), true, false), ties()]),
            (
                " cluster.name Desc ,owner asc",
                vec![
                    sort(By::Through("cluster", Kind::Cluster, "name"), true, true),
                    sort(By::Column("owner"), false, false),
                    ties(),
                ],
            ),
            ("free", vec![sort(By::First(vec![Filter::All]), false, false), ties()]),
        ] {
            assert_eq!(read(text, FIELDS).unwrap().sorts(), sorts, "{text}");
        }
        let both = read("name", FIELDS).unwrap().then(read("id desc", FIELDS).unwrap());
        assert_eq!(both.sorts().len(), 2);
    }

    #[test]
    fn bad_orders_are_told_with_their_place() {
        for (text, position, told) in [
            ("colour", 0, "there is no field `colour`"),
            ("name,", 5, "the name of a field"),
            (",name", 0, "the name of a field"),
            ("name sideways", 5, "asc, desc or a comma"),
            ("name asc  id", 10, "a comma or the end"),
            ("id, ü", 4, "there is no field"),
            ("ip4.ip", 0, "there may be several"),
        ] {
            let error = read(text, FIELDS).unwrap_err();
            assert_eq!(error.position, position, "{text}: {error}");
            assert!(error.text.contains(told), "{text}: {error}");
        }
        assert!(read(&["id"; MAX_TERMS].join(","), FIELDS).is_ok());
        assert!(read(&["id"; MAX_TERMS + 1].join(","), FIELDS).is_err());
    }

    #[test]
    fn limits_skip_and_count() {
        for (text, expected) in [
            ("", None),
            ("5", Some((0, 5))),
            ("0,50", Some((0, 50))),
            (" 7 , 0 ", Some((7, 0))),
            ("99999999999999999999,5000000000", Some((u64::MAX, u32::MAX))),
        ] {
            assert_eq!(limit(text).unwrap(), expected, "{text}");
        }
        for (text, position) in
            [("-1", 0), ("1,-2", 2), ("x", 0), ("1,", 2), ("1,2,3", 2), ("1.5", 0), ("+1", 0)]
        {
            assert_eq!(limit(text).unwrap_err().position, position, "{text}");
        }
    }

    #[test]
    fn values_must_be_of_the_fields_types() {
        let order = read("name desc, owner", FIELDS).unwrap();
        let sorts = order.sorts();
        let key = Value::Id(uuid::Uuid::nil());
        assert!(order.admits(&sorts, &["a".into(), key.clone(), 7.into()]));
        assert!(order.admits(&sorts, &[Value::Null, Value::Null, 7.into()]));
        for wrong in [vec![], vec!["a".into(), key.clone()], vec![1.into(), key.clone(), 7.into()]] {
            assert!(!order.admits(&sorts, &wrong), "{wrong:?}");
        }
        assert!(!order.admits(&sorts, &["a".into(), key, "7".into()]));
    }
}
