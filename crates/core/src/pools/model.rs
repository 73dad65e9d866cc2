//! The records of pools: the pool itself, what a machine of one carries, a request, the figures of a day.

use super::spec::PoolSpec;
use crate::ids::{AccountId, CredentialId, DemandId, MachineId, PoolId, RequestId};
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use uuid::Uuid;

/// What an API has changed about a pool; it lasts until it is reset, whatever the configuration says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overrides {
    /// The size.
    #[serde(default)]
    pub size: Option<u32>,
    /// The template.
    #[serde(default)]
    pub template: Option<String>,
    /// Where it is made, in words of vmpooler.
    #[serde(default)]
    pub clone_target: Option<String>,
}

/// Why a pool is not filled just now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// In words.
    pub reason: String,
    /// Since when.
    pub since: Timestamp,
    /// Machines that failed one after the other.
    pub failures: u32,
    /// Not tried again before this.
    pub again_at: Timestamp,
}

/// A stock of ready machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Pool {
    /// The key.
    pub id: PoolId,
    /// A small integer; pools are listed in this order, which is that of the configuration.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// What it shall be, without what was overridden.
    pub spec: PoolSpec,
    /// Whether the configuration declares it.
    pub declared: bool,
    /// What was overridden.
    #[serde(default)]
    pub overrides: Overrides,
    /// Machines made before this are not lent and are replaced.
    #[serde(default)]
    pub drained_at: Option<Timestamp>,
    /// Whether it goes as soon as its stock has gone.
    #[serde(default)]
    pub removing: bool,
    /// Why it is not filled just now.
    #[serde(default)]
    pub trouble: Option<Trouble>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Pool {
    /// Ready machines that there shall be.
    pub fn size(&self) -> u32 {
        if self.removing { 0 } else { self.overrides.size.unwrap_or(self.spec.size) }
    }

    /// What its machines are made from.
    pub fn template(&self) -> &str {
        self.overrides.template.as_deref().unwrap_or(&self.spec.template)
    }

    /// Where it is made, in words of vmpooler.
    pub fn clone_target(&self) -> Option<&str> {
        self.overrides.clone_target.as_deref().or(self.spec.clone_target.as_deref())
    }
}

impl Record for Pool {
    const KIND: Kind = Kind::Pool;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![("name", self.spec.name.as_str().into()), ("created_at", self.created_at.0.into())]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "name": self.spec.name, "size": self.size(), "template": self.template(),
            "trouble": self.trouble.as_ref().map(|trouble| &trouble.reason),
        }))
    }
}

/// Where a machine of a pool is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StockState {
    /// Being made.
    Filling,
    /// May be lent.
    Ready,
    /// Lent.
    Lent,
    /// Given back, or at its end; being removed.
    Returned,
    /// Never became ready, or stopped answering; being removed, or removed.
    Failed,
}

impl StockState {
    /// Every state.
    pub const ALL: [Self; 5] = [Self::Filling, Self::Ready, Self::Lent, Self::Returned, Self::Failed];

    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Filling => "filling",
            Self::Ready => "ready",
            Self::Lent => "lent",
            Self::Returned => "returned",
            Self::Failed => "failed",
        }
    }
}

/// How a machine came to be, and where its time went.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Birth {
    /// Whether it was forked from a golden machine; else it booted.
    pub forked: bool,
    /// Milliseconds of each phase, in their order.
    #[serde(default)]
    pub phases: Vec<(String, u64)>,
}

/// A machine's checkout. It stays with the machine after its end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checkout {
    /// When it began.
    pub at: Timestamp,
    /// The name that was asked for: the pool's or an alias.
    pub asked: String,
    /// Who has it.
    pub account: AccountId,
    /// Login name of that account then.
    pub login: String,
    /// The token it was made with.
    #[serde(default)]
    pub token: Option<CredentialId>,
    /// The door it was made through.
    pub door: String,
    /// Its own lifetime in seconds; 0 for ever; the pool's when left out.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    /// When it ends; none never.
    #[serde(default)]
    pub until: Option<Timestamp>,
    /// Words of whoever has it, by key.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
    /// The request that it was made for.
    #[serde(default)]
    pub request: Option<RequestId>,
    /// What ties together machines that were lent by one idempotent request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch: Option<Uuid>,
    /// When it ended.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
}

/// What a machine of a pool carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stock {
    /// Its pool.
    pub pool: PoolId,
    /// The pool's name when it was made.
    pub pool_name: String,
    /// Where it is on its way.
    pub state: StockState,
    /// When it could first be lent.
    #[serde(default)]
    pub ready_at: Option<Timestamp>,
    /// How it came to be; none while it is being made.
    #[serde(default)]
    pub birth: Option<Birth>,
    /// Milliseconds until its process ran.
    #[serde(default)]
    pub clone_ms: Option<u64>,
    /// Milliseconds from then until it was ready.
    #[serde(default)]
    pub boot_ms: Option<u64>,
    /// The request that it is made for.
    #[serde(default)]
    pub request: Option<RequestId>,
    /// Its checkout, once there was one.
    #[serde(default)]
    pub checkout: Option<Checkout>,
}

/// A machine that was asked of a pool by a request, and has not failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wanted {
    /// The name that was asked for.
    pub asked: String,
    /// The pool that was drawn for it.
    pub pool: PoolId,
    /// The machine being made for it.
    #[serde(default)]
    pub machine: Option<MachineId>,
    /// Whether that is ready and lent.
    #[serde(default)]
    pub ready: bool,
}

/// What has become of a request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RequestState {
    /// Machines are being made.
    Open,
    /// All are there.
    Ready,
    /// Not all came in time, or too many failed; in words.
    Failed(String),
    /// Taken back.
    Deleted,
}

impl RequestState {
    /// Its word on the wire and in the store.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Ready => "ready",
            Self::Failed(_) => "failed",
            Self::Deleted => "deleted",
        }
    }
}

/// Machines that are made for somebody who waits for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// The key.
    pub id: RequestId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// What whoever asked calls it; unique.
    pub key: String,
    /// Who asked.
    pub account: AccountId,
    /// Login name of that account then.
    pub login: String,
    /// The token that was asked with.
    #[serde(default)]
    pub token: Option<CredentialId>,
    /// The door that was asked through.
    pub door: String,
    /// One for each machine.
    pub wanted: Vec<Wanted>,
    /// What has become of it.
    pub state: RequestState,
    /// Machines that failed and were made anew.
    #[serde(default)]
    pub failures: u32,
    /// When it fails unless it is ready.
    pub deadline: Timestamp,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it was ready, failed or deleted.
    #[serde(default)]
    pub ended_at: Option<Timestamp>,
}

impl Record for Request {
    const KIND: Kind = Kind::Request;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("key", self.key.as_str().into()),
            ("state", self.state.word().into()),
            ("owner", self.account.0.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({ "id": self.id, "key": self.key, "state": self.state.word() }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.account)
    }
}

/// Count, sum and bounds of durations in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// How many.
    pub count: u64,
    /// All together.
    pub total_ms: u64,
    /// The shortest; 0 when there is none.
    pub min_ms: u64,
    /// The longest.
    pub max_ms: u64,
}

impl Spread {
    /// Counts one more.
    pub fn add(&mut self, ms: u64) {
        self.merge(Self { count: 1, total_ms: ms, min_ms: ms, max_ms: ms });
    }

    /// Counts what another has counted.
    pub fn merge(&mut self, other: Self) {
        if other.count == 0 {
            return;
        }
        self.min_ms = if self.count == 0 { other.min_ms } else { self.min_ms.min(other.min_ms) };
        self.max_ms = self.max_ms.max(other.max_ms);
        self.count += other.count;
        self.total_ms = self.total_ms.saturating_add(other.total_ms);
    }
}

/// What was asked of a pool on one day, and how fast it was there.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Machines lent.
    #[serde(default)]
    pub checkouts: u64,
    /// Machines that could not be lent because none was ready.
    #[serde(default)]
    pub misses: u64,
    /// Machines that failed.
    #[serde(default)]
    pub failures: u64,
    /// From being asked for to a process that runs.
    #[serde(default)]
    pub clone: Spread,
    /// From there to being ready.
    #[serde(default)]
    pub boot: Spread,
    /// How many machines were tagged so, by key and value.
    #[serde(default)]
    pub tags: BTreeMap<String, BTreeMap<String, u64>>,
}

impl Figures {
    /// Counts what others have counted.
    pub fn merge(&mut self, other: &Self) {
        self.checkouts += other.checkouts;
        self.misses += other.misses;
        self.failures += other.failures;
        self.clone.merge(other.clone);
        self.boot.merge(other.boot);
        for (key, values) in &other.tags {
            let here = self.tags.entry(key.clone()).or_default();
            for (value, count) in values {
                *here.entry(value.clone()).or_default() += count;
            }
        }
    }
}

/// The figures of a pool on a day, as far as the machines that they tell of are no longer kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Demand {
    /// The key.
    pub id: DemandId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// The pool's name.
    pub pool: String,
    /// The day, as days since 1970, UTC.
    pub day: i64,
    /// What was counted.
    pub figures: Figures,
    /// When the first was written.
    pub created_at: Timestamp,
}

impl Record for Demand {
    const KIND: Kind = Kind::Demand;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("pool", self.pool.as_str().into()),
            ("day", self.day.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
}
