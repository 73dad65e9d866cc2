//! The filters of lists: `where`, `orderby` and `limit` of a query string.
//!
//! Quirks, each of which a client of the products needs: names are of any case; `+` is a space; a `%` without two
//! hexadecimal digits stands for itself (people type `'%web%'`); of several `where` all must hold, of several `orderby`
//! the first counts most; a name without a value, and every other name, is ignored.

use crate::isp::refused::{Answer, Refused};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use hostler_core::core::ListAsk;
use hostler_core::query::language::{self, Field, Order};

/// What a list shall be filtered and ordered by, not yet understood.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Filters {
    wheres: Vec<String>,
    orders: Vec<String>,
    limits: Vec<String>,
}

impl<S: Send + Sync> FromRequestParts<S> for Filters {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        Ok(Self::read(parts.uri.query().unwrap_or("")))
    }
}

impl Filters {
    fn read(query: &str) -> Self {
        let mut filters = Self::default();
        for pair in query.split('&') {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let (name, value) = (decoded(name), decoded(value));
            if value.trim().is_empty() {
                continue;
            }
            match name.trim().to_ascii_lowercase().as_str() {
                "where" => filters.wheres.push(value),
                "orderby" => filters.orders.push(value),
                "limit" => filters.limits.push(value),
                _ => {}
            }
        }
        filters
    }

    /// The list that is meant, over these fields; counted, as all lists are.
    pub(crate) fn ask(&self, fields: &[Field]) -> Answer<ListAsk> {
        let mut ask = ListAsk { counted: true, limit: u32::MAX, ..ListAsk::default() };
        for text in &self.wheres {
            let filter = language::filter(text, fields);
            ask.filter = ask.filter.and(filter.map_err(|error| Refused::filter("where", &error))?);
        }
        let mut order = Order::default();
        for text in &self.orders {
            let next = language::order(text, fields).map_err(|error| Refused::filter("orderby", &error))?;
            order = order.then(next);
        }
        ask.order = order.sorts();
        for text in &self.limits {
            let limit = language::limit(text).map_err(|error| Refused::filter("limit", &error))?;
            (ask.offset, ask.limit) = limit.unwrap_or((ask.offset, ask.limit));
        }
        Ok(ask)
    }
}

/// A part of a query string as it was meant. What does not decode to UTF-8 gets replacement characters, which no name
/// of ours has.
fn decoded(text: &str) -> String {
    let hex = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let digits = hex(bytes.get(at + 1)).zip(hex(bytes.get(at + 2)));
        match (byte, digits) {
            (b'%', Some((high, low))) => {
                plain.extend(u8::try_from(high * 16 + low));
                at += 3;
                continue;
            }
            (b'+', _) => plain.push(b' '),
            _ => plain.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::query::language::Holds;
    use hostler_core::query::{Filter, Sort};

    const FIELDS: &[Field] = &[
        Field::of("id", Holds::Number, "number"),
        Field::own("name", Holds::Word),
        Field::own("email", Holds::Word),
    ];

    fn ask(query: &str) -> ListAsk {
        Filters::read(query).ask(FIELDS).unwrap()
    }

    #[test]
    fn a_query_is_decoded_as_clients_write_it() {
        for (raw, plain) in [
            ("a+b", "a b"),
            ("a%2Bb", "a+b"),
            ("(id+EQ+'1')", "(id EQ '1')"),
            ("%28id%20EQ%20%271%27%29", "(id EQ '1')"),
            ("'%web%'", "'%web%'"),
            ("'%25web%25'", "'%web%'"),
            ("100%", "100%"),
            ("%2", "%2"),
            ("%zz", "%zz"),
            ("%C3%A4", "ä"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decoded(raw), plain, "{raw}");
        }
    }

    #[test]
    fn repeated_filters_come_together() {
        let all = ask("WHERE=id+EQ+1&where=name+EQ+a&OrderBy=name+desc&orderby=id&LIMIT=5,10&force=false&x");
        assert_eq!(all.filter, Filter::And(vec![Filter::eq("number", 1), Filter::eq("name", "a")]));
        assert_eq!(all.order, [Sort::descending("name"), Sort::ascending("number")]);
        assert_eq!((all.offset, all.limit, all.counted), (5, 10, true));
        let none = ask("where=&orderby=&limit=&");
        assert_eq!((none.filter, none.offset, none.limit), (Filter::All, 0, u32::MAX));
        assert_eq!(none.order, [Sort::ascending("number")]);
        assert_eq!(ask("limit=0,0").limit, 0);
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (query, told) in [
            ("where=name+LIKE+'a'", r#""filter": String("where"), "position": Number(5)"#),
            ("where=(id+EQ+1", r#""filter": String("where")"#),
            ("where=id+EQ+1&where=colour+EQ+1", r#""position": Number(0)"#),
            ("orderby=name+down", r#""filter": String("orderby"), "position": Number(5)"#),
            ("limit=-1", r#""filter": String("limit"), "position": Number(0)"#),
            ("limit=a", r#""filter": String("limit")"#),
        ] {
            let refused = format!("{:?}", Filters::read(query).ask(FIELDS).unwrap_err());
            assert!(refused.contains("4002") && refused.contains(told), "{query}: {refused}");
        }
    }
}
