//! One map of the old file, read key by key. What nobody has read is told at the end.

use super::yaml::{Node, Place, Value, Wrong};
use std::collections::BTreeSet;

/// Seconds of a minute and of an hour.
pub(super) const MINUTE: u64 = 60;
pub(super) const HOUR: u64 = 3600;

/// A map and where it stands, `config` for instance.
pub(super) struct Section<'a> {
    pub(super) name: String,
    pub(super) place: Place,
    entries: &'a [(String, Node)],
    read: BTreeSet<&'a str>,
}

impl<'a> Section<'a> {
    /// Of a value that must be a map; nothing is an empty one.
    ///
    /// # Errors
    /// It is something else.
    pub(super) fn of(name: &str, node: &'a Node) -> Result<Self, Wrong> {
        let entries: &[_] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar(_) | Value::List(_) => {
                return Err(Wrong::at(node.place, format!("{name} must be a map of keys and values")));
            }
        };
        Ok(Self { name: name.to_owned(), place: node.place, entries, read: BTreeSet::new() })
    }

    /// One without anything in it.
    pub(super) fn none(name: &str) -> Self {
        Self { name: name.to_owned(), place: Place::default(), entries: &[], read: BTreeSet::new() }
    }

    /// What a key is called in reports.
    pub(super) fn key(&self, key: &str) -> String {
        if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) }
    }

    /// A value, unless it is nothing.
    pub(super) fn take(&mut self, key: &str) -> Option<&'a Node> {
        let (name, node) = self.entries.iter().find(|(name, _)| name == key)?;
        self.read.insert(name);
        (node.value != Value::Null).then_some(node)
    }

    /// A section in it.
    pub(super) fn section(&mut self, key: &str) -> Result<Option<Section<'a>>, Wrong> {
        let name = self.key(key);
        self.take(key).map(|node| Section::of(&name, node)).transpose()
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, Wrong> {
        let name = self.key(key);
        self.take(key).map(|node| text(&name, node)).transpose()
    }

    /// A symbol or a text that stands for one.
    pub(super) fn word(&mut self, key: &str) -> Result<Option<String>, Wrong> {
        let text = self.text(key)?;
        Ok(text.map(|text| text.trim_start_matches(':').to_ascii_lowercase()))
    }

    /// One text, or several.
    pub(super) fn texts(&mut self, key: &str) -> Result<Vec<String>, Wrong> {
        let name = self.key(key);
        match self.take(key) {
            None => Ok(Vec::new()),
            Some(Node { value: Value::List(items), .. }) => {
                let items = items.iter().filter(|item| item.value != Value::Null);
                items.map(|item| text(&name, item)).collect()
            }
            Some(node) => Ok(vec![text(&name, node)?]),
        }
    }

    /// A whole number that is not negative; one in quotes counts, too.
    pub(super) fn number(&mut self, key: &str) -> Result<Option<u64>, Wrong> {
        let name = self.key(key);
        let Some(node) = self.take(key) else { return Ok(None) };
        let text = text(&name, node)?.replace('_', "");
        let number = text.trim().parse().ok();
        number.map(Some).ok_or_else(|| Wrong::at(node.place, format!("{name} must be a whole number")))
    }

    /// A time in units of so many seconds, in seconds.
    pub(super) fn time(&mut self, key: &str, unit_s: u64) -> Result<Option<u64>, Wrong> {
        let name = self.key(key);
        let Some(node) = self.take(key) else { return Ok(None) };
        let refused = || {
            let unit = if unit_s == HOUR { "hours" } else { "minutes" };
            Wrong::at(node.place, format!("{name} must be a number of {unit}"))
        };
        let text = text(&name, node)?.replace('_', "");
        if let Ok(whole) = text.trim().parse::<u64>() {
            return whole.checked_mul(unit_s).map(Some).ok_or_else(refused);
        }
        let (whole, part) = text.trim().split_once('.').ok_or_else(refused)?;
        let whole: u64 = whole.parse().map_err(|_| refused())?;
        let digits: u64 = part.parse().map_err(|_| refused())?;
        let scale = u32::try_from(part.len()).ok().and_then(|places| 10_u64.checked_pow(places));
        let fraction = digits.checked_mul(unit_s).zip(scale).map(|(digits, scale)| digits / scale);
        let whole = whole.checked_mul(unit_s).ok_or_else(refused)?;
        whole.checked_add(fraction.ok_or_else(refused)?).map(Some).ok_or_else(refused)
    }

    /// Yes or no, in any of YAML's words.
    pub(super) fn flag(&mut self, key: &str) -> Result<Option<bool>, Wrong> {
        let name = self.key(key);
        let Some(node) = self.take(key) else { return Ok(None) };
        match text(&name, node)?.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(Some(true)),
            "false" | "no" | "off" | "0" => Ok(Some(false)),
            _ => Err(Wrong::at(node.place, format!("{name} must be true or false"))),
        }
    }

    /// Where a key's value stands; the section's own place when it has none.
    pub(super) fn place_of(&self, key: &str) -> Place {
        let found = self.entries.iter().find(|(name, _)| name == key);
        found.map_or(self.place, |(_, node)| node.place)
    }

    /// Every key with its value, which counts as read.
    pub(super) fn all(&mut self) -> &'a [(String, Node)] {
        self.read.extend(self.entries.iter().map(|(name, _)| name.as_str()));
        self.entries
    }

    /// Keys that nobody has asked for.
    pub(super) fn unread(&self) -> impl Iterator<Item = &'a str> {
        let unread = |(name, _): &&'a (String, Node)| !self.read.contains(name.as_str());
        self.entries.iter().filter(unread).map(|(name, _)| name.as_str())
    }
}

pub(super) fn text(name: &str, node: &Node) -> Result<String, Wrong> {
    match &node.value {
        Value::Scalar(text) => Ok(text.clone()),
        Value::Null => Ok(String::new()),
        Value::List(_) | Value::Map(_) => {
            Err(Wrong::at(node.place, format!("{name} must be a single value")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::yaml::parse;

    #[test]
    fn values_are_read_as_ruby_reads_them() {
        let node =
            parse("a: '12'\nb: 1_000\nc: 0.5\nd: Yes\ne: :simple_tls\nf: [x, 'y', ~]\ng: x\nh: ~\n").unwrap();
        let mut section = Section::of("config", &node).unwrap();
        assert_eq!(section.number("a"), Ok(Some(12)));
        assert_eq!(section.time("b", MINUTE), Ok(Some(60_000)));
        assert_eq!(section.time("c", HOUR), Ok(Some(1800)));
        assert_eq!(section.flag("d"), Ok(Some(true)));
        assert_eq!(section.word("e"), Ok(Some("simple_tls".into())));
        assert_eq!(section.texts("f"), Ok(vec!["x".into(), "y".into()]));
        assert_eq!(section.unread().collect::<Vec<_>>(), ["g", "h"]);
        assert_eq!(section.texts("g"), Ok(vec!["x".into()]));
        assert_eq!(section.text("h"), Ok(None));
        assert_eq!(section.text("nobody"), Ok(None));
        assert_eq!(section.unread().count(), 0);
    }

    #[test]
    fn what_has_another_type_is_refused_where_it_stands() {
        let node = parse("a: twelve\nb: -1\nc: [1]\nd: maybe\ne: 18446744073709551615\n").unwrap();
        let mut section = Section::of("config", &node).unwrap();
        let wrong = section.number("a").unwrap_err();
        assert_eq!(wrong.to_string(), "1:4: config.a must be a whole number");
        assert!(section.time("b", HOUR).unwrap_err().text.contains("number of hours"));
        assert_eq!(section.text("c").unwrap_err().place.line, 3);
        assert!(section.flag("d").is_err());
        assert!(section.time("e", HOUR).is_err());
        assert!(Section::of("config", &parse("- 1").unwrap()).is_err());
    }
}
