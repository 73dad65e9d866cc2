//! What can be asked for about pools.

use crate::cli::args::Listing;
use crate::cli::show::units;
use clap::{Args, Subcommand};
use hostler_doors::native::types::{PoolSpec, Probe};

/// What can be done with pools. A pool is named by its name, number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum PoolCommand {
    /// List pools: how full they are, and why not
    #[command(visible_alias = "ls")]
    List,
    /// Show everything about a pool: why it is not full, how long its machines took, which failed
    Show {
        /// The pool
        pool: String,
    },
    /// Add a pool; it is filled at once
    Create(Box<Create>),
    /// Change what a pool shall be; what is not given stays
    #[command(after_help = "\
Ready machines that are not what the pool shall have now are replaced; what is lent stays. Pools that the
configuration declares follow the configuration: see `resize`, `template` and `reset`.

Example:
  hostler pool change ci --memory 4G --lifetime 2h")]
    Change(Box<Change>),
    /// Give a pool another size until it is reset
    Resize {
        /// The pool
        pool: String,
        /// Ready machines that there shall be
        size: u32,
    },
    /// Give a pool another template until it is reset
    Template {
        /// The pool
        pool: String,
        /// Name or name@version
        template: String,
    },
    /// Drop what `resize` and `template` have changed
    Reset {
        /// The pool
        pool: String,
    },
    /// Replace what is ready; what is lent stays
    Drain {
        /// The pool
        pool: String,
    },
    /// Remove a pool of which nothing is lent, with what is ready
    #[command(visible_alias = "rm")]
    Delete {
        /// The pool
        pool: String,
    },
    /// List the machines of a pool; who is no administrator sees those lent to them
    #[command(after_help = "Example:\n  hostler pool stock ci --state ready,filling")]
    Stock(Stock),
    /// List the machines of a pool that failed, newest first, with their reasons
    Failures {
        /// The pool
        pool: String,
    },
    /// Show day by day what was asked of pools
    Figures {
        /// The first day, e.g. 2026-03-01 [default: six days before the last]
        #[arg(long, value_name = "DAY")]
        from: Option<String>,
        /// The last day [default: today]
        #[arg(long, value_name = "DAY")]
        to: Option<String>,
    },
}

/// Options of `pool create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hostler pool create ci --template debian-12 --size 5
  hostler pool create web --template micro --size 3 --alias www --lifetime 2h --probe tcp:80
  hostler pool create rare --template debian-12 --size 0        for requests only")]
pub(in crate::cli) struct Create {
    /// Its name
    pub(super) name: String,
    /// What its machines are made from: name or name@version
    #[arg(long, short)]
    pub(super) template: String,
    /// Ready machines that there shall be; 0 for requests only
    #[arg(long, short, value_name = "COUNT")]
    pub(super) size: u32,
    #[command(flatten)]
    pub(super) properties: Properties,
}

/// Options of `pool change`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Change {
    /// The pool
    pub(super) pool: String,
    /// What its machines are made from: name or name@version
    #[arg(long, short)]
    pub(super) template: Option<String>,
    /// Ready machines that there shall be; 0 for requests only
    #[arg(long, short, value_name = "COUNT")]
    pub(super) size: Option<u32>,
    #[command(flatten)]
    pub(super) properties: Properties,
}

/// What a pool may have beside its template and size.
#[derive(Args, Debug)]
pub(in crate::cli) struct Properties {
    /// Words about it
    #[arg(long)]
    description: Option<String>,
    /// Further name that it is asked for by; repeatable; empty for none
    #[arg(long = "alias", value_name = "NAME")]
    aliases: Vec<String>,
    /// How often it is drawn among pools that share a name
    #[arg(long, value_name = "NUMBER")]
    weight: Option<u32>,
    /// Virtual CPUs [default: the template's]
    #[arg(long, value_name = "COUNT")]
    vcpus: Option<u32>,
    /// Memory, e.g. 512M or 2G [default: the template's]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    memory: Option<u64>,
    /// Size of the disk, e.g. 20G [default: the template's]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    disk: Option<u64>,
    /// Network [default: the first one]
    #[arg(long)]
    network: Option<String>,
    /// Domain that its machines' names are in
    #[arg(long)]
    domain: Option<String>,
    /// What its machines' names begin with
    #[arg(long)]
    prefix: Option<String>,
    /// What shows that a machine can be lent: agent, ssh, or tcp:PORT [default: agent]
    #[arg(long, value_name = "PROBE", value_parser = probe)]
    probe: Option<Probe>,
    /// A command that ends with 0 in a guest that can be lent, split at spaces
    #[arg(long, value_name = "COMMAND", conflicts_with = "probe")]
    probe_command: Option<String>,
    /// How long a machine may stand ready before it is replaced, e.g. 2d; never for ever
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    ready_ttl: Option<u64>,
    /// How long a machine has to become ready [default: 15m]
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    boot_deadline: Option<u64>,
    /// How often a ready machine is looked at; never not at all [default: 60s]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    check: Option<u64>,
    /// How long a machine is lent for; never for without an end [default: 12h, or what is configured]
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    lifetime: Option<u64>,
    /// The same for who comes with a token
    #[arg(long, value_name = "TIME", value_parser = lifetime)]
    lifetime_with_token: Option<u64>,
    /// No lifetime reaches this
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    lifetime_max: Option<u64>,
    /// Machines being made at the same time [default: 10]
    #[arg(long, value_name = "COUNT")]
    clones: Option<u32>,
    /// Whether its machines may be forked from a golden machine [default: true]
    #[arg(long, value_name = "BOOL", num_args = 0..=1, default_missing_value = "true")]
    fork: Option<bool>,
    /// Line for the administrators' authorized_keys in its machines; repeatable; empty for none
    #[arg(long = "ssh-key", value_name = "KEY")]
    ssh_keys: Vec<String>,
}

impl Properties {
    /// Puts what is given in the place of what there was.
    pub(super) fn put(self, spec: &mut PoolSpec) {
        fn set<T>(there: &mut T, given: Option<T>) {
            if let Some(given) = given {
                *there = given;
            }
        }
        /// One that is empty stands for none.
        fn several(there: &mut Vec<String>, given: Vec<String>) {
            if !given.is_empty() {
                *there = given.into_iter().filter(|one| !one.is_empty()).collect();
            }
        }
        let words = |command: String| Probe::Command(command.split_whitespace().map(str::to_owned).collect());
        set(&mut spec.description, self.description);
        several(&mut spec.aliases, self.aliases);
        spec.weight = self.weight.or(spec.weight);
        spec.vcpus = self.vcpus.or(spec.vcpus);
        spec.memory_mib = self.memory.or(spec.memory_mib);
        spec.disk_mib = self.disk.or(spec.disk_mib);
        spec.network = self.network.or_else(|| spec.network.take());
        spec.domain = self.domain.or_else(|| spec.domain.take());
        set(&mut spec.prefix, self.prefix);
        set(&mut spec.probe, self.probe.or(self.probe_command.map(words)));
        if let Some(seconds) = self.ready_ttl {
            spec.ready_ttl_s = (seconds > 0).then_some(seconds);
        }
        spec.boot_deadline_s = self.boot_deadline.or(spec.boot_deadline_s);
        spec.check_s = self.check.or(spec.check_s);
        spec.lifetime_s = self.lifetime.or(spec.lifetime_s);
        spec.lifetime_with_token_s = self.lifetime_with_token.or(spec.lifetime_with_token_s);
        spec.lifetime_max_s = self.lifetime_max.or(spec.lifetime_max_s);
        spec.clones = self.clones.or(spec.clones);
        spec.fork = self.fork.or(spec.fork);
        several(&mut spec.ssh_keys, self.ssh_keys);
    }
}

/// Options of `pool stock`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Stock {
    /// The pool
    pub(super) pool: String,
    /// Only these, with commas between: filling, ready, lent, returned, failed
    #[arg(long, value_name = "STATES")]
    state: Option<String>,
    #[command(flatten)]
    listing: Listing,
}

impl Stock {
    /// The API's parameters for it.
    pub(super) fn query(&self) -> Vec<(&'static str, String)> {
        let state = self.state.clone().map(|state| ("stock", state));
        state.into_iter().chain(self.listing.clone().query()).collect()
    }
}

fn probe(text: &str) -> Result<Probe, String> {
    match text.split_once(':') {
        None if text == "agent" => Ok(Probe::Agent),
        None if text == "ssh" => Ok(Probe::Ssh),
        Some(("tcp", port)) => {
            let port = port.parse().ok().filter(|port| *port > 0);
            port.map(Probe::Tcp).ok_or_else(|| format!("`{text}` has no port: write e.g. tcp:80"))
        }
        _ => Err(format!("`{text}` is no probe: write agent, ssh, tcp:PORT, or use --probe-command")),
    }
}

fn seconds(text: &str) -> Result<u64, String> {
    units::parse_duration(text).map(|time| time.as_secs())
}

/// Seconds; 0 stands for ever.
pub(super) fn lifetime(text: &str) -> Result<u64, String> {
    match text {
        "0" | "never" => Ok(0),
        _ => seconds(text).map_err(|why| format!("{why}, or never")),
    }
}

/// `POOL` or `POOL=COUNT`.
pub(super) fn wanted(text: &str) -> Result<(String, u32), String> {
    let (name, count) = text.split_once('=').unwrap_or((text, "1"));
    let count = count.parse().ok().filter(|count| *count > 0);
    let wrong = || format!("`{text}` is not so many of a pool: write POOL or POOL=COUNT, e.g. ci=2");
    match count {
        Some(count) if !name.is_empty() => Ok((name.to_owned(), count)),
        _ => Err(wrong()),
    }
}

/// `KEY=VALUE`.
pub(super) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err(format!("`{text}` is no tag: write KEY=VALUE")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn machines_are_asked_for_by_pool_and_count() {
        assert_eq!(wanted("ci"), Ok(("ci".into(), 1)));
        assert_eq!(wanted("ci=3"), Ok(("ci".into(), 3)));
        for wrong in ["", "=2", "ci=", "ci=0", "ci=-1", "ci=many", "ci=1=2", "ci=99999999999"] {
            assert!(wanted(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn probes_tags_and_lifetimes_are_read_as_people_write_them() {
        assert_eq!(
            ["agent", "ssh", "tcp:80"].map(|text| probe(text).unwrap()),
            [Probe::Agent, Probe::Ssh, Probe::Tcp(80)]
        );
        for wrong in ["", "tcp", "tcp:", "tcp:0", "tcp:70000", "http"] {
            assert!(probe(wrong).is_err(), "{wrong}");
        }
        assert_eq!(["0", "never", "90", "2h"].map(|text| lifetime(text).unwrap()), [0, 0, 90, 7200]);
        assert!(lifetime("soon").is_err_and(|why| why.ends_with(", or never")));
        assert_eq!(tag("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert_eq!(tag("a="), Ok(("a".into(), String::new())));
        assert!(tag("a").is_err() && tag("=b").is_err());
    }

    #[test]
    fn what_is_not_given_of_a_pool_stays() {
        let spec = serde_json::json!({
            "name": "a", "template": "micro", "size": 1, "aliases": ["b"], "memory_mib": 512, "ready_ttl_s": 60,
            "ssh_keys": ["k"], "lifetime_s": 60,
        });
        let before: PoolSpec = serde_json::from_value(spec).unwrap();
        let changed = |line: &str| {
            let command = Properties::augment_args(clap::Command::new("x"));
            let matches = command.try_get_matches_from(line.split(' ')).unwrap();
            let mut spec = before.clone();
            <Properties as clap::FromArgMatches>::from_arg_matches(&matches).unwrap().put(&mut spec);
            spec
        };
        assert_eq!(changed("x"), before);
        let after =
            changed("x --alias= --ssh-key n --ready-ttl never --lifetime never --memory 1G --fork false");
        assert_eq!((after.aliases.len(), &after.ssh_keys[..]), (0, &["n".to_owned()][..]));
        assert_eq!((after.ready_ttl_s, after.lifetime_s), (None, Some(0)));
        assert_eq!((after.memory_mib, after.fork), (Some(1024), Some(false)));
        assert_eq!(changed("x --probe-command true").probe, Probe::Command(vec!["true".into()]));
    }
}
