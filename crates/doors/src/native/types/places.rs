//! Addresses, hosts and clusters on the wire.

use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;
use uuid::Uuid;

/// Addresses from first to last, both included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// First.
    #[schema(value_type = String)]
    pub first: IpAddr,
    /// Last.
    #[schema(value_type = String)]
    pub last: IpAddr,
}

/// One address that is taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Address {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// The network it is on.
    pub network: Uuid,
    /// The address.
    #[schema(value_type = String)]
    pub ip: IpAddr,
    /// The machine that has it; null when it is held by hand.
    pub machine: Option<Uuid>,
    /// The account that reserved it.
    pub owner: Uuid,
    /// Why it is held by hand.
    pub note: String,
    /// When it was reserved.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// An address to be held by hand.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AddressReserve {
    /// This one; the next free one when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub ip: Option<IpAddr>,
    /// Why, at most 200 characters.
    #[serde(default)]
    pub note: String,
}

/// Hosts that share networks and storages.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Cluster {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique name.
    pub name: String,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A computer that runs virtual machines.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Host {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique name.
    pub name: String,
    /// Its cluster.
    pub cluster: Uuid,
    /// What is known of it; null until it was first looked at.
    pub facts: Option<HostFacts>,
    /// When its process last said that it lives.
    #[schema(format = DateTime)]
    pub seen_at: Option<String>,
    /// Whether it is heard of.
    pub living: bool,
    /// Whether the process that answers is its own.
    pub here: bool,
    /// Where its process listens, as a URL.
    pub door: Option<String>,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct HostFacts {
    /// Version of the hypervisor.
    pub version: String,
    /// How guest code is run; null when nothing on this host can run a guest.
    pub accelerator: Option<Accelerator>,
    /// Logical processors.
    pub cpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Kernel release and architecture.
    pub kernel: String,
    /// What stands in the way, each a sentence.
    pub problems: Vec<String>,
}

/// How guest code is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Accelerator {
    /// `kvm` or `tcg`.
    pub name: String,
    /// CPU model given to guests.
    pub cpu: String,
    /// Why this one, in words.
    pub why: String,
}
