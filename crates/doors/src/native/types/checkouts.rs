//! What machines of pools carry, checkouts and requests on the wire.

use super::{Machine, StockState};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// What a machine of a pool carries.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Stock {
    /// The pool.
    pub pool: Uuid,
    /// Its name when the machine was made.
    pub pool_name: String,
    /// Where the machine is on its way.
    pub state: StockState,
    /// When it could first be lent.
    #[schema(format = DateTime)]
    pub ready_at: Option<String>,
    /// How it came to be; null while it is being made.
    pub birth: Option<Birth>,
    /// Milliseconds until its process ran.
    pub clone_ms: Option<u64>,
    /// Milliseconds from then until it was ready.
    pub boot_ms: Option<u64>,
    /// The request that it is made for.
    pub request: Option<Uuid>,
    /// Its checkout, once there was one.
    pub checkout: Option<Checkout>,
}

/// How a machine of a pool came to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Birth {
    /// Whether it was forked from a golden machine; else it booted.
    pub forked: bool,
    /// In their order.
    pub phases: Vec<Phase>,
}

/// A part of the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Phase {
    /// What was done.
    pub name: String,
    /// Milliseconds that it took.
    pub ms: u64,
}

/// A machine that is or was lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Checkout {
    /// When it began.
    #[schema(format = DateTime)]
    pub at: String,
    /// The name that was asked for: the pool's or an alias.
    pub asked: String,
    /// Who has it.
    pub account: Uuid,
    /// The login name of that account then.
    pub login: String,
    /// The door it was made through.
    pub door: String,
    /// When it ends; null never.
    #[schema(format = DateTime)]
    pub until: Option<String>,
    /// Words of whoever has it, by key.
    pub tags: BTreeMap<String, String>,
    /// When it ended.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
}

/// Machines to be lent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutCreate {
    /// How many of which pool, by its name or an alias: all of them are lent, or none.
    pub pools: BTreeMap<String, u32>,
    /// Seconds that they are lent for; 0 for ever; what is usual when left out.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    /// Words of the caller, by key.
    #[serde(default)]
    pub tags: BTreeMap<String, String>,
}

/// Changes to a checkout, all or none; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CheckoutEdit {
    /// Seconds that it lasts, counted from its beginning; 0 for ever.
    #[serde(default)]
    pub lifetime_s: Option<u64>,
    /// Added to its tags.
    #[serde(default)]
    pub tags: Option<BTreeMap<String, String>>,
}

/// Machines that were lent together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Lent {
    /// Each with its checkout in `stock`.
    pub items: Vec<Machine>,
}

/// Machines to be made for the caller, whatever stands ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct RequestCreate {
    /// What the caller calls it, unique; one is made up when left out.
    #[serde(default)]
    #[schema(min_length = 1, max_length = 128)]
    pub key: Option<String>,
    /// How many of which pool, by its name or an alias.
    pub pools: BTreeMap<String, u32>,
}

/// Machines that are made for somebody who waits for them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Request {
    /// The id.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// What the caller calls it.
    pub key: String,
    /// Who asked.
    pub account: Uuid,
    /// `open`, `ready`, `failed` or `deleted`.
    pub state: String,
    /// Why it failed.
    pub reason: Option<String>,
    /// Machines that are wanted.
    pub wanted: u32,
    /// Those of them that are ready, and lent.
    pub ready: u32,
    /// Machines that failed and were made anew.
    pub failures: u32,
    /// When it fails unless it is ready.
    #[schema(format = DateTime)]
    pub deadline: String,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it was ready, failed or deleted.
    #[schema(format = DateTime)]
    pub ended_at: Option<String>,
    /// Its machines that are ready; empty in lists.
    pub machines: Vec<Machine>,
}

/// Requests.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Requests {
    /// Newest first, at most 100.
    pub items: Vec<Request>,
}
