//! `:pools:`: what vmpooler calls a pool is one here, too.

use super::report::Report;
use super::section::{MINUTE, Section};
use super::yaml::{Node, Value, Wrong};
use super::{Draft, DraftPool};
use std::collections::BTreeMap;

/// What the rest of the file says of pools that say nothing of it themselves.
#[derive(Debug, Default)]
pub(super) struct Usual {
    pub(super) clone_target: Option<String>,
    pub(super) boot_deadline_s: Option<u64>,
    pub(super) check_s: Option<u64>,
    pub(super) ready_ttl_s: Option<u64>,
    /// Weights by clone target.
    pub(super) weights: BTreeMap<String, u64>,
    /// Domains by the name of what serves their names.
    pub(super) dns: BTreeMap<String, String>,
    /// Domains by provider, as version 2 had them.
    pub(super) providers: BTreeMap<String, String>,
}

/// Templates by the names that vmpooler knows them by.
pub(super) struct Templates<'a> {
    given: &'a BTreeMap<String, String>,
    used: BTreeMap<String, Named>,
}

struct Named {
    name: String,
    given: bool,
    pools: Vec<String>,
}

impl<'a> Templates<'a> {
    pub(super) fn new(given: &'a BTreeMap<String, String>) -> Self {
        Self { given, used: BTreeMap::new() }
    }

    /// What a template is called here: as it was asked for, else the last part of its path.
    fn name(&mut self, old: &str, pool: &str) -> String {
        let given = self.given.get(old).or_else(|| self.given.get(base(old)));
        let named = self.used.entry(old.to_owned()).or_insert_with(|| Named {
            name: given.map_or_else(|| base(old).to_owned(), Clone::clone),
            given: given.is_some(),
            pools: Vec::new(),
        });
        named.pools.push(pool.to_owned());
        named.name.clone()
    }

    /// Names that were given and that no pool has.
    pub(super) fn unused(&self) -> Vec<&'a str> {
        let used = |given: &str| self.used.keys().any(|old| old == given || base(old) == given);
        self.given.keys().map(String::as_str).filter(|given| !used(given)).collect()
    }

    pub(super) fn tell(self, report: &mut Report) {
        for (old, Named { name, given, pools }) in self.used {
            let otherwise = if given { "" } else { "; --template OLD=NEW gives it another name" };
            let text = format!(
                "make or import the template `{name}` with an SSH server in it, for {}{otherwise}",
                several("pool", &pools)
            );
            report.due(&format!("template {old}"), text);
        }
    }
}

/// The last part of a path.
fn base(path: &str) -> &str {
    path.rsplit('/').find(|part| !part.is_empty()).unwrap_or(path)
}

/// `pool a`, or `pools a, b and 3 more`.
fn several(what: &str, names: &[String]) -> String {
    const SHOWN: usize = 4;
    match names {
        [one] => format!("{what} {one}"),
        _ if names.len() <= SHOWN => format!("{what}s {}", names.join(", ")),
        _ => format!("{what}s {} and {} more", names[..SHOWN].join(", "), names.len() - SHOWN),
    }
}

/// Why a key of a pool has no counterpart.
fn why_left(key: &str) -> &'static str {
    match key {
        "provider" => "machines are made by hostler itself, on the hosts that it has",
        "folder" | "datastore" | "datacenter" | "resource_pool" | "host" => {
            "hostler chooses host and storage; [[pool]] has vcpus, memory_mib, disk_mib and network"
        }
        "create_linked_clone" | "create_linked_clones" => {
            "disks of machines always lie upon their template's"
        }
        "timeout_notification" => "a pool says at once why it is not full",
        "check_loop_delay_min" | "check_loop_delay_max" | "check_loop_delay_decay" => {
            "pools are filled when something changes, not in rounds"
        }
        "check_hostname_for_mismatch" => "hostler names its machines itself",
        "snapshot_mainMem_ioBlockPages" | "snapshot_mainMem_iowait" => "a setting of vSphere",
        _ => "not known to hostler",
    }
}

/// Reads the pools, in their order.
///
/// # Errors
/// A pool without a name, template or size, two of one name, or a value of the wrong type; with the place.
pub(super) fn read(
    node: &Node,
    usual: &Usual,
    templates: &mut Templates<'_>,
    draft: &mut Draft,
) -> Result<(), Wrong> {
    let Value::List(items) = &node.value else {
        return Err(Wrong::at(node.place, "pools must be a list"));
    };
    let mut left: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for item in items {
        let mut section = Section::of("pools", item)?;
        let name = required(&mut section, "name")?;
        if draft.pools.iter().any(|pool| pool.name == name) {
            return Err(Wrong::at(section.place_of("name"), format!("there are two pools `{name}`")));
        }
        section.name = format!("pool {name}");
        let pool = pool(&mut section, &name, usual, templates, draft)?;
        draft.pools.push(pool);
        // Told as left, though a domain may come of it.
        for key in section.unread().chain(item_has(item, "provider").then_some("provider")) {
            left.entry(key).or_default().push(name.clone());
        }
    }
    let names: Vec<String> = draft.pools.iter().map(|pool| pool.name.clone()).collect();
    if !names.is_empty() {
        draft.report.taken("pools", format!("{} [[pool]]: {}", names.len(), names.join(", ")));
    }
    for (key, pools) in left {
        draft
            .report
            .left(&format!("pools.{key}"), format!("{} ({})", why_left(key), several("pool", &pools)));
    }
    Ok(())
}

fn item_has(item: &Node, key: &str) -> bool {
    matches!(&item.value, Value::Map(entries) if entries.iter().any(|(name, node)| name == key && node.value != Value::Null))
}

fn required(section: &mut Section<'_>, key: &str) -> Result<String, Wrong> {
    let text = section.text(key)?.filter(|text| !text.is_empty());
    text.ok_or_else(|| Wrong::at(section.place, format!("a pool needs a {key}")))
}

fn pool(
    section: &mut Section<'_>,
    name: &str,
    usual: &Usual,
    templates: &mut Templates<'_>,
    draft: &mut Draft,
) -> Result<DraftPool, Wrong> {
    let mut made = DraftPool { place: section.place, name: name.to_owned(), settings: Vec::new() };
    made.set("name", name);
    let mut aliases = section.texts("alias")?;
    aliases.retain(|alias| alias != name && !alias.is_empty());
    let mut seen = std::collections::BTreeSet::new();
    aliases.retain(|alias| seen.insert(alias.clone()));
    if !aliases.is_empty() {
        made.set("aliases", aliases);
    }
    let old = required(section, "template")?;
    made.set("template", templates.name(&old, name));
    let size = section.number("size")?;
    let size = size.ok_or_else(|| Wrong::at(section.place, "a pool needs a size"))?;
    made.number("size", size);
    // What vmpooler waits for.
    made.set("probe", "ssh");
    let times = [
        ("boot_deadline_s", section.time("timeout", MINUTE)?.or(usual.boot_deadline_s)),
        ("check_s", usual.check_s),
        ("ready_ttl_s", section.time("ready_ttl", MINUTE)?.or(usual.ready_ttl_s).filter(|ttl| *ttl > 0)),
    ];
    for (key, seconds) in times {
        if let Some(seconds) = seconds {
            made.number(key, seconds);
        }
    }
    let target = section.text("clone_target")?;
    if let Some(weight) = target.as_ref().or(usual.clone_target.as_ref()).and_then(|at| usual.weights.get(at))
    {
        made.number("weight", *weight);
    }
    if let Some(target) = target.or_else(|| usual.clone_target.clone()) {
        made.set("clone_target", target);
    }
    domain(section, usual, &mut made, draft)?;
    Ok(made)
}

/// A pool's domain is what serves its names in version 3, and its provider's in version 2.
fn domain(
    section: &mut Section<'_>,
    usual: &Usual,
    made: &mut DraftPool,
    draft: &mut Draft,
) -> Result<(), Wrong> {
    let (plugin, provider) = (section.text("dns_plugin")?, section.text("provider")?);
    let served = plugin.as_ref().and_then(|plugin| usual.dns.get(plugin.trim_start_matches(':')));
    if let (Some(plugin), None) = (&plugin, served) {
        let text = format!("dns_configs has no domain for `{plugin}`: set domain, if it shall have one");
        draft.report.due(&section.key("dns_plugin"), text);
    }
    let provided = provider.and_then(|provider| usual.providers.get(provider.trim_start_matches(':')));
    if let Some(domain) = served.or(provided) {
        made.set("domain", domain.as_str());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_called_by_the_end_of_their_path_unless_they_are_given_a_name() {
        let given = [("debian-7".to_owned(), "wheezy".to_owned()), ("nobody".to_owned(), "x".to_owned())];
        let given = BTreeMap::from(given);
        let mut templates = Templates::new(&given);
        assert_eq!(templates.name("templates/debian-7", "a"), "wheezy");
        assert_eq!(templates.name("Templates/linux/centos-6/", "b"), "centos-6");
        assert_eq!(templates.unused(), ["nobody"]);
        let mut report = Report::default();
        templates.tell(&mut report);
        let text = report.to_string();
        assert!(text.contains("`wheezy`") && text.contains("pool b; --template OLD=NEW"), "{text}");
    }
}
