//! Pools that a file declares, and what holds for all of them.

use super::Config;
use super::declared::BadTable;
use hostler_core::error::ErrorKind;
use hostler_core::pools::{Anonymous, PoolRules, PoolSpec, Probe};
use hostler_doors::vmpooler::Settings;
use regex::RegexBuilder;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Memory that one expression may take.
const MOST_REGEX: usize = 1 << 20;

/// One or several.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Names {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Several(Vec::new())
    }
}

impl Names {
    fn all(&self) -> Vec<String> {
        match self {
            Self::One(name) => vec![name.clone()],
            Self::Several(names) => names.clone(),
        }
    }
}

/// A pool, as a file declares it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(missing_docs, reason = "the properties are those of core's pools")]
pub struct Pool {
    pub name: String,
    pub template: String,
    #[serde(default = "one")]
    pub size: u32,
    #[serde(default)]
    pub description: String,
    #[serde(default)]
    pub aliases: Names,
    #[serde(default)]
    pub weight: Option<u32>,
    #[serde(default)]
    pub vcpus: Option<u32>,
    #[serde(default)]
    pub memory_mib: Option<u64>,
    #[serde(default)]
    pub disk_mib: Option<u64>,
    #[serde(default)]
    pub network: Option<String>,
    #[serde(default)]
    pub domain: Option<String>,
    #[serde(default)]
    pub prefix: Option<String>,
    #[serde(default)]
    pub probe: Probe,
    #[serde(default)]
    pub ready_ttl_s: Option<u64>,
    #[serde(default)]
    pub boot_deadline_s: Option<u64>,
    #[serde(default)]
    pub check_s: Option<u64>,
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    #[serde(default)]
    pub lifetime_with_token_s: Option<u64>,
    #[serde(default)]
    pub lifetime_max_s: Option<u64>,
    #[serde(default)]
    pub clones: Option<u32>,
    #[serde(default = "yes")]
    pub fork: bool,
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    #[serde(default)]
    pub clone_target: Option<String>,
}

fn one() -> u32 {
    1
}

fn yes() -> bool {
    true
}

impl Pool {
    /// The same, as core wants it.
    fn spec(&self, vmpooler: &Vmpooler) -> PoolSpec {
        let usual = PoolSpec::new(&self.name, &self.template, self.size);
        PoolSpec {
            description: self.description.clone(),
            aliases: self.aliases.all(),
            weight: self.weight,
            vcpus: self.vcpus,
            memory_mib: self.memory_mib,
            disk_mib: self.disk_mib,
            network: self.network.clone(),
            domain: self.domain.clone().or_else(|| vmpooler.domain.clone()),
            prefix: self.prefix.clone().unwrap_or_else(|| vmpooler.prefix.clone()),
            probe: self.probe.clone(),
            ready_ttl_s: self.ready_ttl_s,
            boot_deadline_s: self.boot_deadline_s.unwrap_or(usual.boot_deadline_s),
            check_s: self.check_s.unwrap_or(usual.check_s),
            lifetime_s: self.lifetime_s,
            lifetime_with_token_s: self.lifetime_with_token_s,
            lifetime_max_s: self.lifetime_max_s,
            clones: self.clones.unwrap_or(usual.clones),
            fork: self.fork,
            ssh_keys: self.ssh_keys.clone(),
            clone_target: self.clone_target.clone(),
            ..usual
        }
    }
}

/// Who knows the people that ask for vmpooler's tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Auth {
    /// Whoever can log in here.
    #[default]
    Local,
    /// The same, as people of directories can: vmpooler's word for it.
    Ldap,
    /// Nobody: no tokens.
    None,
}

/// What callers without a token may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Unnamed {
    /// Everything that vmpooler lets them do.
    #[default]
    Full,
    /// Look.
    Read,
    /// Nothing.
    Off,
}

/// What holds for all pools, and at vmpooler's door.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Vmpooler {
    /// Who knows the people that ask for tokens.
    pub auth: Auth,
    /// What callers without a token may do.
    pub anonymous: Unnamed,
    /// Whether a checkout needs its own owner.
    pub strict_ownership: bool,
    /// Whether even tags need a token.
    pub strict_put: bool,
    /// Whether pools may be changed there.
    pub experimental_features: bool,
    /// What the dashboard is called.
    pub site_name: String,
    /// Domain of pools without one.
    pub domain: Option<String>,
    /// What names of machines begin with.
    pub prefix: String,
    /// Seconds that a machine is lent for; 0 for ever.
    pub lifetime_s: u64,
    /// The same for who comes with a token.
    pub lifetime_with_token_s: Option<u64>,
    /// No lifetime reaches this.
    pub lifetime_max_s: Option<u64>,
    /// The only keys of tags; none means any.
    pub allowed_tags: Vec<String>,
    /// Expressions by the key of a tag; its groups are what is kept.
    pub tag_filters: BTreeMap<String, String>,
    /// Machines being made for all pools at once.
    pub clones: u32,
    /// Machines being made for requests at once.
    pub request_clones: u32,
    /// Machines of one name in a request.
    pub request_most: u32,
    /// Seconds that a request has.
    pub request_deadline_s: u64,
    /// Machines of a request that may fail.
    pub request_retries: u32,
    /// What names of metrics begin with.
    pub prometheus_prefix: String,
    /// Whether clients may ask so often a minute only.
    pub rate_limit: bool,
    /// Seconds for which a machine that is gone can be looked up there.
    pub keep_destroyed_s: u64,
}

impl Default for Vmpooler {
    fn default() -> Self {
        let (rules, settings) = (PoolRules::default(), Settings::default());
        Self {
            auth: Auth::default(),
            anonymous: Unnamed::default(),
            strict_ownership: rules.strict_ownership,
            strict_put: settings.strict_put,
            experimental_features: settings.experimental_features,
            site_name: settings.site_name,
            domain: None,
            prefix: String::new(),
            lifetime_s: rules.lifetime_s,
            lifetime_with_token_s: None,
            lifetime_max_s: None,
            allowed_tags: Vec::new(),
            tag_filters: BTreeMap::new(),
            clones: rules.clones,
            request_clones: rules.request_clones,
            request_most: rules.request_most,
            request_deadline_s: rules.request_deadline_s,
            request_retries: rules.request_retries,
            prometheus_prefix: settings.prometheus_prefix,
            rate_limit: settings.rate_limit,
            keep_destroyed_s: settings.keep_destroyed.as_secs(),
        }
    }
}

impl Vmpooler {
    /// What single values cannot say.
    pub(super) fn check(&self) -> Result<(), (&'static str, String)> {
        for (key, filter) in &self.tag_filters {
            if let Err(error) = RegexBuilder::new(filter).size_limit(MOST_REGEX).build() {
                return Err(("vmpooler.tag_filters", format!("the filter of tag `{key}`: {error}")));
            }
        }
        let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        if self.prometheus_prefix.is_empty() || !self.prometheus_prefix.chars().all(word) {
            let text = "names of metrics begin with letters, digits and _".to_owned();
            return Err(("vmpooler.prometheus_prefix", text));
        }
        for (key, count) in
            [("vmpooler.clones", self.clones), ("vmpooler.request_clones", self.request_clones)]
        {
            if count == 0 || count > 10_000 {
                return Err((key, "1 to 10000 machines may be made at once".to_owned()));
            }
        }
        Ok(())
    }
}

impl Config {
    /// The pools that are declared, as core wants them.
    pub fn pools(&self) -> Vec<PoolSpec> {
        self.pool.iter().map(|pool| pool.spec(&self.vmpooler)).collect()
    }

    /// What holds for all pools.
    pub fn pool_rules(&self) -> PoolRules {
        let all = &self.vmpooler;
        let filter = |(key, filter): (&String, &String)| {
            let filter = RegexBuilder::new(filter).size_limit(MOST_REGEX).build().ok()?;
            Some((key.clone(), filter))
        };
        PoolRules {
            strict_ownership: all.strict_ownership,
            anonymous: match all.anonymous {
                Unnamed::Full => Anonymous::Full,
                Unnamed::Read => Anonymous::Read,
                Unnamed::Off => Anonymous::Off,
            },
            lifetime_s: all.lifetime_s,
            lifetime_with_token_s: all.lifetime_with_token_s,
            lifetime_max_s: all.lifetime_max_s,
            allowed_tags: all.allowed_tags.clone(),
            // They were checked before.
            tag_filters: all.tag_filters.iter().filter_map(filter).collect(),
            request_most: all.request_most,
            request_clones: all.request_clones,
            request_deadline_s: all.request_deadline_s,
            request_retries: all.request_retries,
            clones: all.clones,
        }
    }

    /// What is decided about vmpooler's door.
    pub fn vmpooler_door(&self) -> Settings {
        let all = &self.vmpooler;
        Settings {
            auth: all.auth != Auth::None,
            experimental_features: all.experimental_features,
            strict_put: all.strict_put,
            site_name: all.site_name.clone(),
            domain: all.domain.clone(),
            prometheus_prefix: all.prometheus_prefix.clone(),
            rate_limit: all.rate_limit,
            keep_destroyed: Duration::from_secs(all.keep_destroyed_s),
        }
    }

    /// The first declared pool that makes no sense, or whose name another has.
    pub(super) fn check_pools(&self) -> Result<(), BadTable> {
        for (place, pool) in self.pool.iter().enumerate() {
            let bad = |key: &str, why: String| BadTable {
                table: "pool",
                place,
                key: key.to_owned(),
                text: format!("pool `{}`: {why}", pool.name),
            };
            if let Err(error) = pool.spec(&self.vmpooler).check() {
                let key = match &error.kind {
                    ErrorKind::Invalid { field } => field.split('/').next().unwrap_or_default(),
                    _ => "",
                };
                let key = in_file(key);
                return Err(bad(key, error.text.clone()));
            }
            if self.pool[..place].iter().any(|other| other.name == pool.name) {
                return Err(bad("name", "it is declared twice".to_owned()));
            }
        }
        Ok(())
    }
}

/// What a property is called in files, where its unit is part of its name.
fn in_file(key: &str) -> &str {
    match key {
        "boot_deadline" => "boot_deadline_s",
        "check_interval" => "check_s",
        "ready_ttl" => "ready_ttl_s",
        "lifetime" => "lifetime_s",
        "lifetime_with_token" => "lifetime_with_token_s",
        "lifetime_max" => "lifetime_max_s",
        other => other,
    }
}
