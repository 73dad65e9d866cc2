//! Lists: which page of what, from the query string.
//!
//! Each list names the columns it may be ordered by and the parameters that narrow it. Whatever else stands in the
//! query is refused by name: a misspelt filter that is silently ignored answers with too much.

use super::{Answer, Refusal, cursor};
use crate::native::types::Page;
use hostler_core::core as domain;
use hostler_core::core::ListAsk;
use hostler_core::query::{Compare, Filter};
use hostler_core::record::Value;
use std::collections::BTreeMap;
use uuid::Uuid;

/// A column that a list may be ordered by, with the type of its values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    /// Text.
    Text(&'static str),
    /// Numbers and times.
    Int(&'static str),
    /// Keys.
    Id(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Int(name) | Self::Id(name) => name,
        }
    }
}

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
    /// Columns to order by; the first is the default.
    pub(crate) orders: &'static [Column],
    /// Parameters that narrow it.
    pub(crate) picks: &'static [(&'static str, Pick)],
}

/// What a list was asked.
#[derive(Debug)]
pub(crate) struct ListQuery {
    ask: ListAsk,
    order: String,
    own: BTreeMap<String, String>,
}

const DEFAULT_LIMIT: u32 = 100;
const MAX_LIMIT: u32 = 1000;

impl ListQuery {
    /// Reads the parameters of a list.
    pub(crate) fn read(parameters: &BTreeMap<String, String>, spec: &ListSpec) -> Answer<Self> {
        let default = spec.orders.first().copied().unwrap_or(Column::Id("id"));
        let order = parameters.get("order").map_or_else(|| default.name().to_owned(), String::clone);
        let (column, descending) = order_of(&order, spec)?;
        let after = parameters.get("after").map(|text| {
            cursor::decode(text, &order, &column).ok_or_else(|| {
                let text = "this is not a cursor of a list in this order";
                Refusal::malformed("after", text).hint("use `next` of the page before, with the same `order`")
            })
        });
        let mut filter = Filter::All;
        let mut own = BTreeMap::new();
        for (name, value) in parameters {
            if ["limit", "after", "order"].contains(&name.as_str()) {
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
            order: column.name(),
            descending,
            after: after.transpose()?,
            limit: limit(parameters)?,
        };
        Ok(Self { ask, order, own })
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

fn order_of(order: &str, spec: &ListSpec) -> Answer<(Column, bool)> {
    let (name, descending) = match order.strip_prefix('-') {
        Some(name) => (name, true),
        None => (order, false),
    };
    let found = spec.orders.iter().find(|column| column.name() == name);
    found.map(|column| (*column, descending)).ok_or_else(|| {
        let known: Vec<&str> = spec.orders.iter().map(|column| column.name()).collect();
        let text = format!("this list has no order `{}`; known: {}", shortened(order), known.join(", "));
        Refusal::malformed("order", text).hint("a minus sign before it turns the order around")
    })
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

    const SPEC: ListSpec = ListSpec {
        orders: &[Column::Id("id"), Column::Text("name"), Column::Int("created_at")],
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
        assert_eq!((ask.filter, ask.order, ask.descending, ask.limit), (Filter::All, "id", false, 100));
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
        ] {
            assert_eq!(refused_field(&[(name, value)]), name, "{value}");
        }
    }

    #[test]
    fn the_next_page_goes_on_where_the_last_ended() {
        let first = read(&[("order", "-name"), ("limit", "2")]).unwrap();
        let cursor = Cursor { value: "b".into(), id: Uuid::from_u128(2) };
        let page = first.page(domain::Page { items: vec![1, 2], next: Some(cursor.clone()) }, |item| item);
        let next = page.next.unwrap();
        let second = read(&[("order", "-name"), ("after", &next)]).unwrap().ask();
        assert_eq!((second.after, second.order, second.descending), (Some(cursor), "name", true));
        assert_eq!(refused_field(&[("order", "name"), ("after", &next)]), "after");
    }
}
