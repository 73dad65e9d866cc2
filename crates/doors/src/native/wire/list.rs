//! Lists: which page of what, from the query string.
//!
//! Each list names the fields it may be filtered and ordered by, and the parameters that narrow it. Whatever else stands
//! in the query is refused by name: a misspelt filter that is silently ignored answers with too much.

use super::{Answer, Refusal, cursor};
use crate::native::types::Page;
use hostler_core::core as domain;
use hostler_core::core::ListAsk;
use hostler_core::query::language::{self, Expression, Field, Malformed, Order, Place};
use hostler_core::query::{Compare, Filter, Sort};
use hostler_core::record::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// How a parameter narrows a list.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pick {
    /// The column of this name contains the text.
    Contains,
    /// The column of this name equals the text.
    Text,
    /// The column of this name is one of these words; several are separated by commas.
    Words(&'static [&'static str]),
    /// The column of this name is this key.
    Key,
    /// The column of this name is `true` or `false`.
    Bool,
    /// The route sees to it.
    Own,
}

/// What a list may be asked.
#[derive(Debug)]
pub(crate) struct ListSpec {
    /// What `where` and `order_by` may name; by the first it is ordered when nothing is said.
    pub(crate) fields: &'static [Field],
    /// Parameters that narrow it.
    pub(crate) picks: &'static [(&'static str, Pick)],
}

/// What a list was asked.
#[derive(Debug)]
pub(crate) struct ListQuery {
    ask: ListAsk,
    /// The order as it was asked for, which its cursors belong to.
    order: String,
    own: BTreeMap<String, String>,
    /// What `where` said.
    expression: Option<Expression>,
}

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

impl ListQuery {
    /// Reads the parameters of a list.
    pub(crate) fn read(parameters: &BTreeMap<String, String>, spec: &ListSpec) -> Answer<Self> {
        let (order, sorts, name) = order_of(parameters, spec)?;
        let after = parameters.get("after").map(|text| {
            cursor::decode(text, &name, |values| order.admits(&sorts, values)).ok_or_else(|| {
                let text = "this is not a cursor of a list in this order";
                Refusal::malformed("after", text).hint("use `next` of the page before, with the same order")
            })
        });
        let expression = parameters.get("where").map(String::as_str).unwrap_or_default();
        let misread = |error: Malformed| Refusal::misread("where", &error);
        let expression = language::parse(expression).map_err(misread)?;
        let mut filter = match &expression {
            Some(expression) => expression.filter(spec.fields).map_err(misread)?,
            None => Filter::All,
        };
        let mut own = BTreeMap::new();
        for (name, value) in parameters {
            if ["limit", "after", "order", "order_by", "where"].contains(&name.as_str()) {
                continue;
            }
            let Some((column, pick)) = spec.picks.iter().find(|(known, _)| known == name) else {
                return Err(unknown(name, spec.picks.iter().map(|(known, _)| *known)));
            };
            match narrowed(column, *pick, value)? {
                Some(more) => filter = filter.and(more),
                None => {
                    own.insert(name.clone(), value.clone());
                }
            }
        }
        let ask = ListAsk {
            filter,
            order: sorts,
            after: after.transpose()?,
            limit: limit(parameters)?,
            ..ListAsk::default()
        };
        Ok(Self { ask, order: name, own, expression })
    }

    /// Whether `where` says anything of this field.
    pub(crate) fn speaks_of(&self, field: &str) -> bool {
        self.expression.as_ref().is_some_and(|expression| expression.speaks_of(field))
    }

    /// A parameter that the route sees to itself.
    pub(crate) fn own(&self, name: &str) -> Option<&str> {
        self.own.get(name).map(String::as_str)
    }

    /// Narrows the list further.
    pub(crate) fn narrow(&mut self, filter: Filter) {
        let before = std::mem::replace(&mut self.ask.filter, Filter::All);
        self.ask.filter = before.and(filter);
    }

    /// The question for core.
    pub(crate) fn ask(&self) -> ListAsk {
        self.ask.clone()
    }

    /// The page for the wire.
    pub(crate) fn page<R, T>(&self, page: domain::Page<R>, render: impl FnMut(R) -> T) -> Page<T> {
        let next = page.next.as_ref().map(|next| cursor::encode(&self.order, next));
        Page { items: page.items.into_iter().map(render).collect(), next }
    }
}

/// The order, what the list is ordered by, and the name that its cursors carry.
fn order_of(parameters: &BTreeMap<String, String>, spec: &ListSpec) -> Answer<(Order, Vec<Sort>, String)> {
    match (parameters.get("order"), parameters.get("order_by")) {
        (Some(_), Some(_)) => {
            Err(Refusal::malformed("order_by", "`order` and `order_by` exclude each other"))
        }
        (None, Some(text)) => {
            let order = language::order(text, spec.fields);
            let order = order.map_err(|error| Refusal::misread("order_by", &error))?;
            let sorts = order.sorts();
            Ok((order, sorts, format!("by {text}")))
        }
        (Some(text), None) => one_column(text, spec),
        (None, None) => one_column(spec.fields.first().map_or("id", |field| field.name), spec),
    }
}

/// An order by one column as it is kept, which an index may have; ties are broken by the key.
fn one_column(text: &str, spec: &ListSpec) -> Answer<(Order, Vec<Sort>, String)> {
    let (name, descending) = match text.strip_prefix('-') {
        Some(name) => (name, true),
        None => (text, false),
    };
    let columns = spec.fields.iter().filter_map(|field| match field.place {
        Place::Column(column) => Some((field, column)),
        _ => None,
    });
    let Some((field, column)) = columns.clone().find(|(field, _)| field.name == name) else {
        let known: Vec<&str> = columns.map(|(field, _)| field.name).collect();
        let text = format!("this list has no order `{}`; known: {}", shortened(text), known.join(", "));
        return Err(Refusal::malformed("order", text).hint("a minus sign before it turns the order around"));
    };
    let sort = Sort { descending, ..Sort::ascending(column) };
    Ok((Order::by(*field, descending), vec![sort], text.to_owned()))
}

fn limit(parameters: &BTreeMap<String, String>) -> Answer<u32> {
    let Some(text) = parameters.get("limit") else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Refusal::malformed("limit", format!("a limit is a number from 1 to {MAX_LIMIT}")))
}

/// The condition of a parameter, unless the route sees to it.
fn narrowed(column: &'static str, pick: Pick, value: &str) -> Answer<Option<Filter>> {
    let filter = match pick {
        Pick::Own => return Ok(None),
        Pick::Contains => Filter::Is(column, Compare::Contains, value.into()),
        Pick::Text => Filter::eq(column, value),
        Pick::Key => match value.parse::<Uuid>() {
            Ok(key) => Filter::eq(column, key),
            Err(_) => return Err(Refusal::malformed(column, format!("`{column}` is a UUID"))),
        },
        Pick::Bool => match value {
            "true" => Filter::eq(column, true),
            "false" => Filter::eq(column, false),
            _ => return Err(Refusal::malformed(column, format!("`{column}` is true or false"))),
        },
        Pick::Words(known) => {
            let words: Vec<&str> = value.split(',').collect();
            if let Some(odd) = words.iter().find(|word| !known.contains(word)) {
                let text = format!("`{column}` is not `{}`; known: {}", shortened(odd), known.join(", "));
                return Err(Refusal::malformed(column, text));
            }
            match words.as_slice() {
                [word] => Filter::eq(column, *word),
                _ => Filter::In(column, words.into_iter().map(Value::from).collect()),
            }
        }
    };
    Ok(Some(filter))
}

/// A parameter that a route does not know.
pub(super) fn unknown(name: &str, known: impl Iterator<Item = &'static str>) -> Refusal {
    let known: Vec<&str> = known.collect();
    let shown = shortened(name);
    let text = format!("there is no parameter `{shown}` here");
    let refusal = Refusal::malformed(shown, text);
    if known.is_empty() { refusal } else { refusal.hint(format!("known: {}", known.join(", "))) }
}

fn shortened(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::query::Cursor;
    use hostler_core::query::language::Holds;
    use hostler_core::record::Kind;

    const SPEC: ListSpec = ListSpec {
        fields: &[
            Field::own("id", Holds::Key),
            Field::own("name", Holds::Text),
            Field::own("created_at", Holds::Moment),
            Field::through("host.name", Holds::Word, "host", Kind::Host, "name"),
        ],
        picks: &[
            ("name", Pick::Contains),
            ("life", Pick::Words(&["creating", "present", "gone"])),
            ("host", Pick::Key),
            ("open", Pick::Bool),
            ("template", Pick::Own),
        ],
    };

    fn read(query: &[(&str, &str)]) -> Answer<ListQuery> {
        let parameters = query.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        ListQuery::read(&parameters, &SPEC)
    }

    fn refused_field(query: &[(&str, &str)]) -> String {
        let refusal = read(query).unwrap_err();
        let text = format!("{refusal:?}");
        text.split("field: Some(\"").nth(1).unwrap().split('"').next().unwrap().to_owned()
    }

    #[test]
    fn nothing_asked_is_the_first_hundred_in_order_of_creation() {
        let ask = read(&[]).unwrap().ask();
        assert_eq!((ask.filter, ask.order, ask.limit), (Filter::All, vec![Sort::ascending("id")], 100));
    }

    #[test]
    fn filters_become_conditions() {
        assert_eq!(
            read(&[("name", "we")]).unwrap().ask().filter,
            Filter::Is("name", Compare::Contains, "we".into())
        );
        assert_eq!(read(&[("life", "gone")]).unwrap().ask().filter, Filter::eq("life", "gone"));
        assert_eq!(
            read(&[("life", "creating,gone")]).unwrap().ask().filter,
            Filter::In("life", vec!["creating".into(), "gone".into()])
        );
        assert_eq!(read(&[("open", "true")]).unwrap().ask().filter, Filter::eq("open", true));
        let query = read(&[("template", "micro")]).unwrap();
        assert_eq!((query.own("template"), query.ask().filter), (Some("micro"), Filter::All));
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        for (name, value) in [
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "x"),
            ("order", "password"),
            ("order", ""),
            ("after", "garbage"),
            ("life", "alive"),
            ("life", ""),
            ("host", "x"),
            ("open", "1"),
            ("nmae", "x"),
            ("where", "colour EQ 1"),
            ("where", "name EQ"),
            ("order_by", "colour"),
            ("order", "host.name"),
        ] {
            assert_eq!(refused_field(&[(name, value)]), name, "{value}");
        }
    }

    #[test]
    fn the_language_narrows_what_parameters_leave() {
        let ask = read(&[("where", "host.name EQ 'a' OR name EQ B"), ("life", "gone")]).unwrap().ask();
        let host = Filter::Through("host", Kind::Host, Box::new(Filter::eq("name", "a")));
        let either = Filter::Or(vec![host, Filter::Folded("name", Compare::Eq, "B".into())]);
        assert_eq!(ask.filter, either.and(Filter::eq("life", "gone")));
        let query = read(&[("where", "NOT (name EQ x)")]).unwrap();
        assert!(query.speaks_of("name") && !query.speaks_of("id"));
    }

    #[test]
    fn the_next_page_goes_on_where_the_last_ended() {
        for (asked, descending, folded, values) in [
            ("order", "-name", false, vec!["b".into()]),
            ("order_by", "name desc", true, vec!["b".into(), 7.into()]),
            ("order_by", "host.name desc", false, vec![Value::Null, 7.into()]),
        ] {
            let first = read(&[(asked, descending), ("limit", "2")]).unwrap();
            let cursor = Cursor { values, id: Uuid::from_u128(2) };
            let next = Some(cursor.clone());
            let page = first.page(domain::Page { items: vec![1, 2], next, total: None }, |item| item);
            let next = page.next.unwrap();
            let second = read(&[(asked, descending), ("after", &next)]).unwrap().ask();
            assert_eq!(second.after, Some(cursor));
            assert_eq!((second.order[0].descending, second.order[0].folded), (true, folded));
            assert_eq!(refused_field(&[(asked, "name"), ("after", &next)]), "after");
        }
        assert_eq!(refused_field(&[("order", "id"), ("order_by", "id")]), "order_by");
    }
}
