//! Networks and the rules of cards on the wire.

use super::{NetworkKind, Protocol, Range};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use utoipa::ToSchema;
use uuid::Uuid;

/// Where a bridge leads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "to", rename_all = "snake_case", deny_unknown_fields)]
pub enum Uplink {
    /// Nowhere: its machines reach each other, and the network's DNS and DHCP.
    #[default]
    None,
    /// Out through the host, under the host's own addresses.
    Nat,
    /// Out through the host, under the machines' addresses.
    Routed,
    /// Onto an interface of the host, whose network has its own services.
    Interface {
        /// Name of the interface.
        name: String,
    },
}

/// A subnet, by the host's own address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    /// The gateway, never given out.
    #[schema(value_type = String)]
    pub gateway: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}

/// A layer-2 network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Network {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique name.
    pub name: String,
    /// How it is made.
    pub kind: NetworkKind,
    /// The cluster it spans.
    pub cluster: Uuid,
    /// Whether guests may reach anything but us.
    pub outbound: bool,
    /// Where its bridge leads.
    pub uplink: Uplink,
    /// Name of its bridge on hosts; null when it has none.
    pub bridge: Option<String>,
    /// Its subnets, one of each family at most.
    pub subnets: Vec<Subnet>,
    /// Addresses that may be given out; empty when machines have no address of ours.
    pub ranges: Vec<Range>,
    /// Domain of its machines' names.
    pub domain: Option<String>,
    /// Where its DNS asks for names of others.
    #[schema(value_type = Vec<String>)]
    pub resolvers: Vec<IpAddr>,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

fn user() -> NetworkKind {
    NetworkKind::User
}

/// A network to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NetworkCreate {
    /// Unique name.
    #[schema(pattern = "^[a-zA-Z0-9._-]{1,63}$")]
    pub name: String,
    /// How it is made; `user` when left out.
    #[serde(default = "user")]
    pub kind: NetworkKind,
    /// Whether guests of a user network may reach anything but us. With this on they reach the host's loopback.
    #[serde(default)]
    pub outbound: bool,
    /// Where its bridge leads; nowhere when left out.
    #[serde(default)]
    pub uplink: Uplink,
    /// Name of its bridge on hosts, at most 15 characters; made up when left out. Must not be there yet.
    #[serde(default)]
    pub bridge: Option<String>,
    /// Its subnets, one of each family at most.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// Addresses that may be given out; on a bridge each range lies in one of the subnets.
    #[serde(default)]
    pub ranges: Vec<Range>,
    /// Domain of its machines' names.
    #[serde(default)]
    pub domain: Option<String>,
    /// Where its DNS asks for names of others; when left out it knows its machines only.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub resolvers: Vec<IpAddr>,
}

/// Some packets to a machine: of this protocol, to these ports, from these addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct InboundRule {
    /// What travels in them.
    pub protocol: Protocol,
    /// First port; all when left out. ICMP has none.
    #[serde(default)]
    pub first_port: Option<u16>,
    /// Last port; the first when left out.
    #[serde(default)]
    pub last_port: Option<u16>,
    /// Where they come from, as address and prefix length; anywhere when left out.
    #[serde(default)]
    pub source: Option<Source>,
}

/// Addresses that share a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// One of them.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Length of the prefix.
    pub prefix: u8,
}

/// What others may begin to send to a machine's card.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Inbound {
    /// Everything that is let through; null lets everything through, an empty list nothing but answers.
    #[serde(default)]
    pub rules: Option<Vec<InboundRule>>,
}
