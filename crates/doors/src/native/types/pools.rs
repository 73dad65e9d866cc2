//! Pools on the wire.

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

/// How a machine shows that it can be lent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolSpec {
    /// Unique name; letters, digits and `. _ -`.
    #[schema(min_length = 1, max_length = 100)]
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
    /// Seconds that a machine may stand ready before it is replaced; null for ever.
    #[serde(default)]
    pub ready_ttl_s: Option<u64>,
    /// Seconds that a machine has to become ready; 900 when left out.
    #[serde(default)]
    pub boot_deadline_s: Option<u64>,
    /// Seconds between two looks at a ready machine, 0 never; 60 when left out.
    #[serde(default)]
    pub check_s: Option<u64>,
    /// Seconds that a machine is lent for; 0 for ever; the usual when left out.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    /// The same for who comes with a token.
    #[serde(default)]
    pub lifetime_with_token_s: Option<u64>,
    /// No lifetime reaches this.
    #[serde(default)]
    pub lifetime_max_s: Option<u64>,
    /// Machines being made at the same time; 10 when left out.
    #[serde(default)]
    pub clones: Option<u32>,
    /// Whether its machines may be forked from a golden machine; true when left out.
    #[serde(default)]
    pub fork: Option<bool>,
    /// Lines for the administrators' `authorized_keys` in its machines.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// Where it is made, in words of vmpooler; kept and shown.
    #[serde(default)]
    pub clone_target: Option<String>,
}

/// What is changed about a pool, declared or not, until it is reset. What is left out or null stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PoolEdit {
    /// Ready machines that there shall be.
    #[serde(default)]
    pub size: Option<u32>,
    /// Template, by name or `name@version`.
    #[serde(default)]
    pub template: Option<String>,
    /// Where it is made, in words of vmpooler.
    #[serde(default)]
    pub clone_target: Option<String>,
}

/// A stock of ready machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pool {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique name.
    pub name: String,
    /// Words of the administrator.
    pub description: String,
    /// Further names that it is asked for by.
    pub aliases: Vec<String>,
    /// What its machines are made from.
    pub template: String,
    /// Ready machines that there shall be.
    pub size: u32,
    /// Ready machines that there are.
    pub ready: u64,
    /// Machines being made.
    pub filling: u64,
    /// Machines that are lent.
    pub lent: u64,
    /// Machines that were given back and are being removed.
    pub returned: u64,
    /// Machines that are wanted for requests.
    pub requested: u64,
    /// When a machine last became ready.
    #[schema(format = DateTime)]
    pub last_ready_at: Option<String>,
    /// Why it is not filled just now.
    pub trouble: Option<Trouble>,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// Whether it goes as soon as its stock has gone.
    pub removing: bool,
    /// What was changed about it until it is reset; null where nothing was.
    pub overrides: PoolEdit,
    /// What it shall be, without what was overridden; for those who see everything.
    pub spec: Option<PoolSpec>,
    /// Machines made before this are replaced.
    #[schema(format = DateTime)]
    pub drained_at: Option<String>,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// Why a pool is not filled just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Trouble {
    /// In words.
    pub reason: String,
    /// Since when.
    #[schema(format = DateTime)]
    pub since: String,
    /// Machines that failed one after the other.
    pub failures: u32,
    /// Not tried again before this.
    #[schema(format = DateTime)]
    pub again_at: String,
}

/// Pools.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Pools {
    /// In the order of the configuration.
    pub items: Vec<Pool>,
}

/// A pool with what became of its machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PoolShown {
    /// The pool.
    #[serde(flatten)]
    pub pool: Pool,
    /// From being asked for to a process that runs, in the last seven days.
    pub clone: Spread,
    /// From there to being ready.
    pub boot: Spread,
    /// Machines that failed, newest first; at most ten.
    pub failures: Vec<PoolFailure>,
    /// Golden machines that its machines are forked from, or would be.
    pub goldens: Vec<Golden>,
}

/// A machine that was booted once and saved, so that others can be forked from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Golden {
    /// The key.
    pub id: Uuid,
    /// `making`, `ready`, `suspect`, `failed` or `retired`.
    pub state: String,
    /// Why it is not used.
    pub reason: Option<String>,
    /// Forks that failed one after the other.
    pub failures: u32,
    /// What it was made with; forks need the same.
    pub likeness: Option<String>,
    /// SHA-256 over memory, devices and disk.
    pub digest: Option<String>,
    /// Bytes of its memory that are not zero.
    pub memory_bytes: Option<u64>,
    /// Bytes of its disk that differ from the template's.
    pub disk_bytes: Option<u64>,
    /// Milliseconds that it took to boot, to come to rest and to be saved.
    pub made_ms: Option<[u64; 3]>,
    /// When its state last changed.
    #[schema(format = DateTime)]
    pub changed_at: String,
}

/// A machine of a pool that failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolFailure {
    /// The machine.
    pub machine: Uuid,
    /// Its host name.
    pub name: String,
    /// Why.
    pub reason: Option<String>,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub at: String,
}

/// Count, sum and bounds of durations.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// All together, in milliseconds.
    pub total_ms: u64,
    /// The shortest; 0 when there is none.
    pub min_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

/// Which machines of pools. Orders: those of machines, stock.state, stock.ready_at, checkout.until.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct StockAsk {
    /// The name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of these (comma-separated): creating, present, deleting, gone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// One of these (comma-separated): filling, ready, lent, returned, failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stock: Option<String>,
    /// Of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
}

/// Which days, by UTC.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct FiguresAsk {
    /// The first, `2026-03-01`; six days before the last when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The last; today when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

/// What was asked of a pool on one day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolDay {
    /// The day, UTC.
    #[schema(format = Date)]
    pub day: String,
    /// The pool's name.
    pub pool: String,
    /// Machines lent.
    pub checkouts: u64,
    /// Machines that could not be lent because none was ready.
    pub misses: u64,
    /// Machines that failed.
    pub failures: u64,
    /// From being asked for to a process that runs.
    pub clone: Spread,
    /// From there to being ready.
    pub boot: Spread,
}

/// What was asked of pools, day by day.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct PoolFigures {
    /// By day, then by pool; days on which nothing happened are left out.
    pub items: Vec<PoolDay>,
}
