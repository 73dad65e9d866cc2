//! Where a new machine goes, whose it is, and what its guest is called.

use super::{HostName, Life, Machine, MachineAsk};
use crate::access::Caller;
use crate::core::{Core, ListAsk};
use crate::error::{Error, Result};
use crate::hosts::{Cluster, Host};
use crate::ids::{AccountId, ClusterId, MachineId};
use crate::query::Filter;

impl Core {
    /// Whether the machine comes to lie where it was asked for: a template's machines run where the template lies.
    pub(super) async fn placed_as_asked(&self, caller: &Caller, ask: &MachineAsk, host: &Host) -> Result<()> {
        if let Some(key) = &ask.cluster {
            let cluster = self.cluster_get(caller, key).await?;
            if cluster.id != host.cluster {
                let text = format!("template {} does not lie in cluster {}", ask.template, cluster.name);
                return Err(Error::conflict("other_cluster", text).hint("leave the cluster out"));
            }
        }
        if let Some(key) = &ask.host {
            let asked = self.host_get(caller, key).await?;
            if asked.id != host.id {
                let text =
                    format!("template {} lies on host {}, not {}", ask.template, host.name, asked.name);
                return Err(Error::conflict("other_host", text).hint("leave the host out"));
            }
        }
        Ok(())
    }

    /// One cluster, by id, number or name.
    ///
    /// # Errors
    /// Not found.
    pub async fn cluster_get(&self, _caller: &Caller, key: &str) -> Result<Cluster> {
        let found = match (key.parse::<ClusterId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.find_by("name", key).await?,
        };
        found.ok_or_else(|| Error::not_found("cluster", key))
    }

    /// Whose a new machine shall be.
    pub(super) async fn owner_asked(&self, caller: &Caller, key: Option<&str>) -> Result<AccountId> {
        let Some(key) = key else { return Ok(caller.account) };
        let owner = self.account_get(caller, key).await?;
        if owner.id != caller.account {
            self.administers(caller, "machine.create", "make machines for others").await?;
        }
        Ok(owner.id)
    }

    /// A host name that is free, as near to the full name or the title as one can be.
    pub(super) async fn host_name_for(&self, id: MachineId, domain: &str, title: &str) -> Result<HostName> {
        // The last 48 bits of a version 7 UUID are random.
        let random = id.0.as_u128() & 0xffff_ffff_ffff;
        let label = domain.split('.').next().unwrap_or_default();
        let Some(wished) = [label, title].into_iter().find_map(as_host_name) else {
            return format!("m-{random:012x}").parse();
        };
        let taken = Filter::eq("name", wished.as_str()).and(Filter::ne("life", Life::Gone.word()));
        let taken = ListAsk { filter: taken, limit: 1, ..ListAsk::default() };
        if self.page::<Machine>(taken).await?.items.is_empty() {
            return Ok(wished);
        }
        let stem: String = wished.as_str().chars().take(50).collect();
        format!("{}-{random:012x}", stem.trim_end_matches('-')).parse()
    }
}

/// The text as a host name, with what may not be in one left out; nothing when nothing is left.
fn as_host_name(text: &str) -> Option<HostName> {
    let mut name = String::new();
    for c in text.chars().map(|c| c.to_ascii_lowercase()) {
        match c {
            'a'..='z' | '0'..='9' => name.push(c),
            _ if name.is_empty() || name.ends_with('-') => {}
            _ => name.push('-'),
        }
    }
    name.truncate(63);
    name.trim_end_matches('-').parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{HostName, as_host_name};

    #[test]
    fn host_names_are_made_of_what_people_write() {
        for (text, name) in [
            ("Web 1", Some("web-1")),
            ("  Übung (alt)", Some("bung-alt")),
            ("a__b", Some("a-b")),
            ("v1", None),
            ("42", None),
            ("", None),
            ("日本", None),
        ] {
            assert_eq!(as_host_name(text).as_ref().map(HostName::as_str), name, "{text}");
        }
        assert_eq!(as_host_name(&"a".repeat(200)).unwrap().as_str().len(), 63);
    }
}
