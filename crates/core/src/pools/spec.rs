//! What a pool shall be: declared in the configuration or given through an API.

use crate::error::{Error, Result};
use crate::machines::{check_keys, is_api_version};
use serde::{Deserialize, Serialize};

/// The largest pool.
pub(super) const MOST_STOCK: u32 = 100_000;
/// Names of one pool besides its own.
const MOST_ALIASES: usize = 64;
/// Seconds of a lifetime, a deadline or an interval at most: a century.
pub(super) const LONGEST_S: u64 = 100 * 366 * 86_400;

/// How a machine shows that it can be lent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Probe {
    /// The guest's agent has taken the machine's identity.
    #[default]
    Agent,
    /// An SSH server says its banner.
    Ssh,
    /// Something listens on this TCP port.
    Tcp(u16),
    /// This command ends with 0 in the guest.
    Command(Vec<String>),
}

/// What a pool shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolSpec {
    /// Unique name.
    pub name: String,
    /// Words of the administrator.
    #[serde(default)]
    pub description: String,
    /// Further names that it is asked for by; several pools may share one.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// How often it is drawn among pools that share a name; counts when all of them have one.
    #[serde(default)]
    pub weight: Option<u32>,
    /// Template, by name or `name@version`.
    pub template: String,
    /// Ready machines that there shall be; 0 for requests only.
    pub size: u32,
    /// Virtual CPUs; the template's when left out.
    #[serde(default)]
    pub vcpus: Option<u32>,
    /// Memory in MiB; the template's when left out.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Size of the disk in MiB; the template's when left out.
    #[serde(default)]
    pub disk_mib: Option<u64>,
    /// Network, by name; the first one when left out.
    #[serde(default)]
    pub network: Option<String>,
    /// Domain that its machines' names are in.
    #[serde(default)]
    pub domain: Option<String>,
    /// What a machine's name begins with.
    #[serde(default)]
    pub prefix: String,
    /// How machines show that they are ready.
    #[serde(default)]
    pub probe: Probe,
    /// Seconds that a machine may stand ready before it is replaced; none means for ever.
    #[serde(default)]
    pub ready_ttl_s: Option<u64>,
    /// Seconds that a machine has to become ready.
    #[serde(default = "usual_deadline")]
    pub boot_deadline_s: u64,
    /// Seconds between two looks at a ready machine; 0 never looks.
    #[serde(default = "usual_check")]
    pub check_s: u64,
    /// Seconds that a machine is lent for; 0 for ever; the usual when left out.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    /// The same for who comes with a token.
    #[serde(default)]
    pub lifetime_with_token_s: Option<u64>,
    /// No lifetime reaches this.
    #[serde(default)]
    pub lifetime_max_s: Option<u64>,
    /// Machines being made at the same time.
    #[serde(default = "usual_clones")]
    pub clones: u32,
    /// Whether its machines may be forked from a golden machine.
    #[serde(default = "yes")]
    pub fork: bool,
    /// Lines for the administrators' `authorized_keys` in its machines.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Where it is made, in words of vmpooler; kept and shown.
    #[serde(default)]
    pub clone_target: Option<String>,
}

fn usual_deadline() -> u64 {
    900
}

fn usual_check() -> u64 {
    60
}

fn usual_clones() -> u32 {
    10
}

fn yes() -> bool {
    true
}

impl PoolSpec {
    /// A pool of this name and template, with the usual of everything else.
    pub fn new(name: impl Into<String>, template: impl Into<String>, size: u32) -> Self {
        Self {
            name: name.into(),
            description: String::new(),
            aliases: Vec::new(),
            weight: None,
            template: template.into(),
            size,
            vcpus: None,
            memory_mib: None,
            disk_mib: None,
            network: None,
            domain: None,
            prefix: String::new(),
            probe: Probe::default(),
            ready_ttl_s: None,
            boot_deadline_s: usual_deadline(),
            check_s: usual_check(),
            lifetime_s: None,
            lifetime_with_token_s: None,
            lifetime_max_s: None,
            clones: usual_clones(),
            fork: true,
            ssh_keys: Vec::new(),
            clone_target: None,
        }
    }

    /// Refuses what makes no sense on any host.
    ///
    /// # Errors
    /// Invalid, with the field.
    pub fn check(&self) -> Result<()> {
        check_name("name", &self.name)?;
        if self.aliases.len() > MOST_ALIASES {
            return Err(Error::invalid("aliases", format!("a pool has at most {MOST_ALIASES} aliases")));
        }
        for (place, alias) in self.aliases.iter().enumerate() {
            check_name(&format!("aliases/{place}"), alias)?;
        }
        if self.template.is_empty() || self.template.len() > 200 {
            return Err(Error::invalid("template", "a pool names its template"));
        }
        check_size(self.size)?;
        if self.description.len() > 1024 {
            return Err(Error::invalid("description", "a description has at most 1024 bytes"));
        }
        if self.clones == 0 || self.clones > 1000 {
            return Err(Error::invalid("clones", "1 to 1000 machines may be made at the same time"));
        }
        check_keys(&self.ssh_keys)?;
        self.check_times()?;
        self.check_names()
    }

    fn check_times(&self) -> Result<()> {
        if self.boot_deadline_s == 0 {
            return Err(Error::invalid("boot_deadline", "a machine needs some time to become ready"));
        }
        let all = [
            ("boot_deadline", Some(self.boot_deadline_s)),
            ("check_interval", Some(self.check_s)),
            ("ready_ttl", self.ready_ttl_s),
            ("lifetime", self.lifetime_s),
            ("lifetime_with_token", self.lifetime_with_token_s),
            ("lifetime_max", self.lifetime_max_s),
        ];
        match all.into_iter().find(|(_, seconds)| seconds.is_some_and(|seconds| seconds > LONGEST_S)) {
            Some((field, _)) => Err(Error::invalid(field, "no time is longer than a century")),
            None => Ok(()),
        }
    }

    fn check_names(&self) -> Result<()> {
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if self.prefix.len() > 24 || !self.prefix.bytes().all(allowed) || self.prefix.starts_with('-') {
            let text = "what names begin with has at most 24 of a-z, 0-9 and -, and does not begin with -";
            return Err(Error::invalid("prefix", text));
        }
        let domain = self.domain.as_deref().unwrap_or("example");
        let fits = |label: &str| {
            !label.is_empty()
                && label.len() <= 63
                && label.bytes().all(|c| c.is_ascii_alphanumeric() || c == b'-' || c == b'_')
        };
        if domain.len() > 190 || !domain.split('.').all(fits) {
            return Err(Error::invalid("domain", format!("`{domain}` is not a domain")));
        }
        if let Probe::Command(argv) = &self.probe
            && (argv.is_empty() || argv.len() > 64 || argv.iter().map(String::len).sum::<usize>() > 4096)
        {
            return Err(Error::invalid("probe", "a command has 1 to 64 words of at most 4 KiB together"));
        }
        Ok(())
    }

    /// Every name that it may be asked for by.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.name.as_str()).chain(self.aliases.iter().map(String::as_str))
    }
}

/// Refuses a size that no pool has.
pub(crate) fn check_size(size: u32) -> Result<()> {
    if size > MOST_STOCK {
        return Err(Error::invalid("size", format!("a pool has at most {MOST_STOCK} ready machines")));
    }
    Ok(())
}

/// Names of pools are in paths, joined by `+`.
fn check_name(field: &str, name: &str) -> Result<()> {
    let allowed = |c: u8| c.is_ascii_alphanumeric() || b"._-".contains(&c);
    let refuse = |why: &str| Err(Error::invalid(field, format!("`{name}` is no name for a pool: {why}")));
    if name.is_empty() || name.len() > 100 {
        return refuse("it must have 1 to 100 characters");
    }
    if !name.bytes().all(allowed) || name.bytes().all(|c| c == b'.') {
        return refuse("only letters, digits and . _ - may be in it");
    }
    if is_api_version(name) {
        return refuse("names of the form v1 are paths of the API");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_paths_cannot_have_are_refused() {
        for good in ["debian-7-i386", "centos_6.9", "V1", "1"] {
            assert!(PoolSpec::new(good, "micro", 1).check().is_ok(), "{good}");
        }
        for bad in ["", "v1", "v03", "a+b", "a/b", "a b", "..", "ä", &"a".repeat(101)] {
            assert!(PoolSpec::new(bad, "micro", 1).check().is_err(), "{bad}");
            let aliased = PoolSpec { aliases: vec![bad.to_owned()], ..PoolSpec::new("a", "micro", 1) };
            assert!(aliased.check().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_its_field() {
        let good = || PoolSpec::new("a", "micro", 1);
        for (field, bad) in [
            ("size", PoolSpec { size: MOST_STOCK + 1, ..good() }),
            ("template", PoolSpec { template: String::new(), ..good() }),
            ("clones", PoolSpec { clones: 0, ..good() }),
            ("boot_deadline", PoolSpec { boot_deadline_s: 0, ..good() }),
            ("lifetime", PoolSpec { lifetime_s: Some(u64::MAX), ..good() }),
            ("ssh_keys/0", PoolSpec { ssh_keys: vec!["nonsense".into()], ..good() }),
            ("prefix", PoolSpec { prefix: "-a".into(), ..good() }),
            ("domain", PoolSpec { domain: Some("a..b".into()), ..good() }),
            ("probe", PoolSpec { probe: Probe::Command(Vec::new()), ..good() }),
        ] {
            let error = bad.check().unwrap_err();
            assert_eq!(error.kind, crate::error::ErrorKind::Invalid { field: field.into() });
        }
    }
}
