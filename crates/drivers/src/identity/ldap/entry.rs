//! From entries to people.

use super::LdapConfig;
use hostler_core::ports::Person;
use ldap3::SearchEntry;
use std::collections::HashSet;

/// The values of an attribute, whatever the case its name is written in.
pub(super) fn values(entry: &SearchEntry, attribute: &str) -> Vec<String> {
    let named = |name: &&String| name.eq_ignore_ascii_case(attribute);
    let text = entry.attrs.keys().find(named).and_then(|name| entry.attrs.get(name));
    text.cloned().unwrap_or_default()
}

/// The person that an entry speaks of.
pub(super) fn person(config: &LdapConfig, entry: &SearchEntry, groups: Vec<String>) -> Person {
    let first = |attribute: &str| values(entry, attribute).into_iter().next().unwrap_or_default();
    Person {
        key: key(entry, &config.key_attribute),
        dn: entry.dn.clone(),
        login: first(&config.login_attributes[0]),
        email: first(&config.email_attribute),
        full_name: first(&config.name_attribute),
        groups,
    }
}

/// What never changes, as text: some directories keep bytes there.
fn key(entry: &SearchEntry, attribute: &str) -> String {
    let bytes = || {
        let named = |(name, _): &(&String, _)| name.eq_ignore_ascii_case(attribute);
        entry.bin_attrs.iter().find(named).and_then(|(_, values)| values.first()).map(hex::encode)
    };
    match values(entry, attribute).into_iter().next() {
        Some(text) if text.chars().all(|c| c.is_ascii_graphic()) => text,
        Some(text) => hex::encode(text),
        None => bytes().unwrap_or_default(),
    }
}

/// A name of an entry in one spelling: case and spaces around separators mean nothing.
fn uniform(dn: &str) -> String {
    let dn = dn.to_lowercase();
    let part = |part: &str| part.split('=').map(str::trim).collect::<Vec<_>>().join("=");
    dn.split(',').map(part).collect::<Vec<_>>().join(",")
}

/// Whether two names are of one entry.
pub(super) fn same_dn(one: &str, other: &str) -> bool {
    uniform(one) == uniform(other)
}

/// Who is in a group, by its own words.
pub(super) struct Members {
    dns: HashSet<String>,
    uids: HashSet<String>,
}

impl Members {
    pub(super) fn of(group: &SearchEntry) -> Self {
        let dns = values(group, "member").into_iter().chain(values(group, "uniqueMember"));
        let uids = values(group, "memberUid");
        Self {
            dns: dns.map(|dn| uniform(&dn)).collect(),
            uids: uids.iter().map(|uid| uid.to_lowercase()).collect(),
        }
    }

    pub(super) fn have(&self, dn: &str, uid: &[String]) -> bool {
        self.dns.contains(&uniform(dn))
            || uid.first().is_some_and(|uid| self.uids.contains(&uid.to_lowercase()))
    }
}
