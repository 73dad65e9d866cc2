//! YAML as a tree in which every value knows where it stands.
//!
//! What is read was written by others, so it is bounded: bytes, depth, and values after aliases are followed. A value
//! that contains itself cannot be written: its anchor counts from its end.

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use std::collections::HashMap;
use std::fmt;

/// Bytes of a file, at most.
pub(crate) const MOST_BYTES: usize = 4 << 20;
/// Values inside of values, at most.
const DEEPEST: usize = 32;
/// Values in all, each alias counted as all that it stands for.
const MOST_VALUES: usize = 200_000;

/// Where a value stands, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) line: usize,
    pub(super) column: usize,
}

impl From<Span> for Place {
    fn from(span: Span) -> Self {
        Self { line: span.start.line(), column: span.start.col() + 1 }
    }
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) place: Place,
    pub(super) text: String,
}

impl Wrong {
    pub(super) fn at(place: Place, text: impl Into<String>) -> Self {
        Self { place, text: text.into() }
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.place.line, self.place.column, self.text)
    }
}

/// A value with its place.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) place: Place,
    pub(super) value: Value,
}

/// A value. What a scalar means decides who reads it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// Nothing: `~`, `null`, or nothing written.
    Null,
    /// Text, a number, a word.
    Scalar(String),
    /// Several.
    List(Vec<Node>),
    /// By key; Ruby's symbols are without their colon.
    Map(Vec<(String, Node)>),
}

impl Node {
    /// Values in it, itself included.
    fn values(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Self::values).sum(),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.values()).sum(),
        }
    }

    fn depth(&self) -> usize {
        1 + match &self.value {
            Value::Null | Value::Scalar(_) => 0,
            Value::List(items) => items.iter().map(Self::depth).max().unwrap_or(0),
            Value::Map(entries) => entries.iter().map(|(_, node)| node.depth()).max().unwrap_or(0),
        }
    }

    /// Lays another file over this one: maps key by key, lists one behind the other, anything else replaced.
    pub(super) fn lay_over(&mut self, other: Self) {
        match (&mut self.value, other.value) {
            (Value::Map(own), Value::Map(others)) => {
                for (key, node) in others {
                    match own.iter_mut().find(|(known, _)| *known == key) {
                        Some((_, known)) => known.lay_over(node),
                        None => own.push((key, node)),
                    }
                }
            }
            (Value::List(own), Value::List(others)) => own.extend(others),
            (own, others) => {
                *own = others;
                self.place = other.place;
            }
        }
    }
}

/// A list or map that is not at its end.
struct Open {
    place: Place,
    anchor: usize,
    inside: Inside,
}

enum Inside {
    List(Vec<Node>),
    Map { entries: Vec<(String, Node)>, merged: Vec<Node>, key: Option<String> },
}

/// What an anchor stands for, with its size.
struct Anchored {
    node: Node,
    values: usize,
    depth: usize,
}

#[derive(Default)]
struct Tree {
    open: Vec<Open>,
    anchors: HashMap<usize, Anchored>,
    values: usize,
    root: Option<Node>,
}

/// The one document of a file.
///
/// # Errors
/// No YAML, several documents, or more than the bounds allow; with the place.
pub(super) fn parse(text: &str) -> Result<Node, Wrong> {
    if text.len() > MOST_BYTES {
        let text = format!("the file has more than {MOST_BYTES} bytes");
        return Err(Wrong::at(Place { line: 1, column: 1 }, text));
    }
    let mut tree = Tree::default();
    for event in Parser::new_from_str(text.strip_prefix('\u{feff}').unwrap_or(text)) {
        let (event, span) = event.map_err(|error| {
            let mark = error.marker();
            Wrong::at(Place { line: mark.line(), column: mark.col() + 1 }, error.info())
        })?;
        tree.take(event, span.into())?;
    }
    Ok(tree.root.unwrap_or(Node { place: Place { line: 1, column: 1 }, value: Value::Null }))
}

impl Tree {
    fn take(&mut self, event: Event<'_>, place: Place) -> Result<(), Wrong> {
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let nothing = matches!(text.as_ref(), "" | "~" | "null" | "Null" | "NULL");
                let value = if style == ScalarStyle::Plain && nothing {
                    Value::Null
                } else {
                    Value::Scalar(text.into_owned())
                };
                self.put(Node { place, value }, anchor)
            }
            Event::SequenceStart(anchor, _) => self.begin(place, anchor, Inside::List(Vec::new())),
            Event::MappingStart(anchor, _) => {
                let inside = Inside::Map { entries: Vec::new(), merged: Vec::new(), key: None };
                self.begin(place, anchor, inside)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(place, anchor),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Wrong::at(place, "the file has more than one document"))
            }
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => Ok(()),
        }
    }

    fn begin(&mut self, place: Place, anchor: usize, inside: Inside) -> Result<(), Wrong> {
        if self.open.len() >= DEEPEST {
            return Err(Wrong::at(place, format!("values are nested more than {DEEPEST} deep")));
        }
        if let Some(Open { inside: Inside::Map { key: None, .. }, .. }) = self.open.last() {
            return Err(Wrong::at(place, "a key is a list or a map"));
        }
        self.open.push(Open { place, anchor, inside });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Wrong> {
        let Some(Open { place, anchor, inside }) = self.open.pop() else { return Ok(()) };
        let value = match inside {
            Inside::List(items) => Value::List(items),
            Inside::Map { mut entries, merged, .. } => {
                for node in merged {
                    merge(&mut entries, node)?;
                }
                Value::Map(entries)
            }
        };
        self.put(Node { place, value }, anchor)
    }

    fn alias(&mut self, place: Place, anchor: usize) -> Result<(), Wrong> {
        let Some(anchored) = self.anchors.get(&anchor) else {
            return Err(Wrong::at(place, "a value contains itself"));
        };
        if self.open.len() + anchored.depth > DEEPEST + 1 {
            return Err(Wrong::at(place, format!("values are nested more than {DEEPEST} deep")));
        }
        // Before anything is copied: this is what makes a small file large.
        self.count(place, anchored.values)?;
        let Some(anchored) = self.anchors.get(&anchor) else { return Ok(()) };
        let mut node = anchored.node.clone();
        node.place = place;
        self.values -= 1;
        self.put(node, 0)
    }

    fn count(&mut self, place: Place, values: usize) -> Result<(), Wrong> {
        self.values += values;
        if self.values > MOST_VALUES {
            return Err(Wrong::at(place, format!("there are more than {MOST_VALUES} values")));
        }
        Ok(())
    }

    /// A value that is complete goes where it belongs.
    fn put(&mut self, node: Node, anchor: usize) -> Result<(), Wrong> {
        self.count(node.place, 1)?;
        if anchor != 0 {
            let (values, depth) = (node.values(), node.depth());
            self.count(node.place, values)?;
            self.anchors.insert(anchor, Anchored { node: node.clone(), values, depth });
        }
        match self.open.last_mut().map(|open| &mut open.inside) {
            None => self.root = Some(node),
            Some(Inside::List(items)) => items.push(node),
            Some(Inside::Map { entries, merged, key }) => match (key.take(), node.value) {
                (Some(key), value) => {
                    let node = Node { place: node.place, value };
                    if key == "<<" {
                        merged.push(node);
                    } else if let Some((_, known)) = entries.iter_mut().find(|(known, _)| *known == key) {
                        // Ruby's reader lets the last one win.
                        *known = node;
                    } else {
                        entries.push((key, node));
                    }
                }
                (None, Value::Scalar(text)) => {
                    *key = Some(text.strip_prefix(':').unwrap_or(&text).to_owned());
                }
                (None, Value::Null) => *key = Some(String::new()),
                (None, Value::List(_) | Value::Map(_)) => {
                    return Err(Wrong::at(node.place, "a key is a list or a map"));
                }
            },
        }
        Ok(())
    }
}

/// `<<`: what a map has itself wins.
fn merge(entries: &mut Vec<(String, Node)>, node: Node) -> Result<(), Wrong> {
    match node.value {
        Value::Map(others) => {
            for (key, node) in others {
                if !entries.iter().any(|(known, _)| *known == key) {
                    entries.push((key, node));
                }
            }
            Ok(())
        }
        Value::List(nodes) => nodes.into_iter().try_for_each(|node| merge(entries, node)),
        Value::Null | Value::Scalar(_) => Err(Wrong::at(node.place, "only a map can be merged with <<")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(node: &Node) -> Vec<&str> {
        match &node.value {
            Value::Map(entries) => entries.iter().map(|(key, _)| key.as_str()).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn symbols_lose_their_colon_and_values_know_their_place() {
        let node = parse("---\n:config:\n  vm_lifetime: 12\nplain: ~\n").unwrap();
        assert_eq!(keys(&node), ["config", "plain"]);
        let Value::Map(entries) = &node.value else { panic!() };
        let Value::Map(config) = &entries[0].1.value else { panic!() };
        assert_eq!(config[0].1.value, Value::Scalar("12".into()));
        assert_eq!(config[0].1.place, Place { line: 3, column: 16 });
        assert_eq!(entries[1].1.value, Value::Null);
    }

    #[test]
    fn anchors_are_followed_and_merged_below_what_a_map_has_itself() {
        let node = parse("a: &x {size: 1, timeout: 2}\nb:\n  <<: *x\n  size: 3\nc: *x\n").unwrap();
        let Value::Map(entries) = &node.value else { panic!() };
        assert_eq!(keys(&entries[1].1), ["size", "timeout"]);
        let Value::Map(b) = &entries[1].1.value else { panic!() };
        assert_eq!(b[0].1.value, Value::Scalar("3".into()));
        assert_eq!(keys(&entries[2].1), ["size", "timeout"]);
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_place() {
        let wrong = parse("a: 1\nb: [1, 2\nc: 3\n").unwrap_err();
        assert!(wrong.place.line >= 2, "{wrong}");
        let wrong = parse("a: 1\nb: \"x\n").unwrap_err();
        assert!(wrong.place.line >= 2, "{wrong}");
        assert_eq!(parse("a: 1\n---\nb: 2\n").unwrap_err().place.line, 2);
        assert_eq!(parse("? [a]\n: 1\n").unwrap_err().text, "a key is a list or a map");
        assert_eq!(parse("a: *nobody\n").unwrap_err().place, Place { line: 1, column: 4 });
    }

    #[test]
    fn aliases_of_aliases_of_aliases_do_not_fill_memory() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..12 {
            let before = vec![format!("*a{}", level - 1); 10].join(", ");
            bomb.push_str(&format!("a{level}: &a{level} [{before}]\n"));
        }
        let wrong = parse(&bomb).unwrap_err();
        assert!(wrong.text.contains("more than 200000 values"), "{wrong}");
    }

    #[test]
    fn depth_is_bounded_however_it_is_made() {
        for deep in ["[".repeat(40), "- ".repeat(40), "[".repeat(100_000), "- ".repeat(100_000)] {
            let wrong = parse(&deep).unwrap_err();
            // The reader of lists in brackets looks ahead, and has a bound of its own.
            let bounded =
                wrong.text.contains("nested more than 32 deep") || wrong.text.contains("recursion limit");
            assert!(bounded, "{wrong}");
        }
        let fits = format!("{}{}", "[".repeat(32), "]".repeat(32));
        assert!(parse(&fits).is_ok());
        let by_alias = format!(
            "a: &a {}{}\nb: {}*a{}\n",
            "[".repeat(20),
            "]".repeat(20),
            "[".repeat(20),
            "]".repeat(20)
        );
        assert!(parse(&by_alias).unwrap_err().text.contains("nested"));
        assert!(parse("a: &a [*a]\n").is_err());
    }

    #[test]
    fn a_file_that_is_laid_over_adds_pools_and_replaces_settings() {
        let mut node = parse("config: {size: 1, other: 2}\npools: [{name: a}]\n").unwrap();
        node.lay_over(parse("config: {size: 3}\npools: [{name: b}]\n").unwrap());
        let Value::Map(entries) = &node.value else { panic!() };
        let Value::Map(config) = &entries[0].1.value else { panic!() };
        assert_eq!(config[0].1.value, Value::Scalar("3".into()));
        assert!(matches!(&entries[1].1.value, Value::List(pools) if pools.len() == 2));
    }
}
