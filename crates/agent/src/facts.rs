//! What the guest says of itself.

use crate::netlink::Netlink;
use crate::{NAME, VERSION, files};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fs;

/// Everything at once. What cannot be read is left empty.
pub(crate) fn gather() -> Value {
    json!({
        "agent": NAME,
        "version": VERSION,
        "host_name": files::text("/proc/sys/kernel/hostname"),
        "os": os_name(&files::text("/etc/os-release")),
        "kernel": files::text("/proc/sys/kernel/osrelease"),
        "addresses": addresses(),
    })
}

/// The pretty name out of os-release(5), without its quotes.
fn os_name(release: &str) -> String {
    let value = |key: &str| release.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix('='));
    let name = value("PRETTY_NAME").or_else(|| value("NAME")).unwrap_or("Linux");
    name.trim_matches(|quote| quote == '"' || quote == '\'').to_owned()
}

/// Addresses by card, without the loopback's.
fn addresses() -> BTreeMap<String, Vec<String>> {
    let mut cards: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let held = Netlink::open().and_then(|mut netlink| netlink.addresses()).unwrap_or_default();
    let Ok(entries) = fs::read_dir("/sys/class/net") else { return cards };
    for entry in entries.flatten() {
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        let index = files::text(entry.path().join("ifindex")).parse().unwrap_or(0);
        if name != "lo" {
            let own = held.iter().filter(|one| one.index == index);
            cards.insert(name, own.map(|one| one.address.to_string()).collect());
        }
    }
    cards
}

#[cfg(test)]
mod tests {
    use super::os_name;

    #[test]
    fn the_pretty_name_is_taken_without_quotes() {
        assert_eq!(os_name("ID=x\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n"), "Debian GNU/Linux 12");
        assert_eq!(os_name("NAME=Tiny"), "Tiny");
        assert_eq!(os_name(""), "Linux");
    }
}
