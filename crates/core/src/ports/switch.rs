//! The seam to the networks of one host.
//!
//! A [`NetworkSpec`] says everything about a network as it shall be, guests included, and [`Switch::apply`] makes it
//! so, whatever was there before: after a reboot, after a crash in the middle, or when nothing has changed at all.

use super::driver::DriverError;
use crate::ids::{HostId, MachineId, NetworkId};
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use tokio::sync::broadcast;

/// Where a bridge leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "to", rename_all = "snake_case")]
pub enum Uplink {
    /// Nowhere: its guests reach each other and the services of the network.
    None,
    /// Out through the host, under the host's own addresses.
    Nat,
    /// Out through the host, under the guests' addresses.
    Routed,
    /// Onto a physical interface of the host, whose network has its own services.
    Interface {
        /// Name of the interface.
        name: String,
    },
}

/// A range of addresses with the host's own address in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Subnet {
    /// The host's address on the bridge, the guests' gateway.
    pub gateway: IpAddr,
    /// Prefix length.
    pub prefix: u8,
}

/// What travels in a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Protocol {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP and ICMPv6.
    Icmp,
}

/// Some packets to a guest: of this protocol, to these ports, from these addresses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboundRule {
    /// What travels in them.
    pub protocol: Protocol,
    /// First and last port, both included; none means all, and ICMP has none.
    #[serde(default)]
    pub ports: Option<(u16, u16)>,
    /// Address and prefix length they come from; none means anywhere.
    #[serde(default)]
    pub source: Option<(IpAddr, u8)>,
}

/// A guest's card on a network: what it may call itself, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Port {
    /// The machine.
    pub machine: MachineId,
    /// Its host name, answered by the network's DNS.
    pub name: String,
    /// Its MAC.
    pub mac: String,
    /// Its addresses; empty on a network whose addresses are somebody else's.
    pub addresses: Vec<IpAddr>,
    /// What others may begin to send it, answers aside; none means anything.
    #[serde(default)]
    pub inbound: Option<Vec<InboundRule>>,
}

/// A bridge as it shall be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// The key.
    pub id: NetworkId,
    /// Name of the bridge on the host.
    pub bridge: String,
    /// Where it leads.
    pub uplink: Uplink,
    /// Its ranges, one of each family at most; none when its services are somebody else's.
    pub subnets: Vec<Subnet>,
    /// Domain of its guests' names.
    pub domain: Option<String>,
    /// Where names of others are asked for; empty answers only for guests.
    pub resolvers: Vec<IpAddr>,
    /// Its guests on this host.
    pub ports: Vec<Port>,
}

/// Makes networks on one host.
#[async_trait::async_trait]
pub trait Switch: Send + Sync {
    /// The host it acts on.
    fn host(&self) -> HostId;

    /// Why no bridges can be made here; none when they can.
    fn problem(&self) -> Option<String>;

    /// Whether the network could be made: refused when something that is not ours is in the way. Touches nothing.
    async fn examine(&self, network: &NetworkSpec) -> Result<(), DriverError>;

    /// Makes the network as described, and changes nothing that is as described. Refused when something that is not
    /// ours is in the way.
    async fn apply(&self, network: &NetworkSpec) -> Result<(), DriverError>;

    /// Removes everything of a network. Success when nothing of it is there.
    async fn remove(&self, network: NetworkId) -> Result<(), DriverError>;

    /// Networks of ours of which anything is there.
    async fn networks(&self) -> Result<Vec<NetworkId>, DriverError>;

    /// What is not as it was last applied, each a sentence: a service that died, rules that somebody removed.
    async fn defects(&self, network: &NetworkSpec) -> Result<Vec<String>, DriverError>;

    /// Networks of which something changed by itself. A hint to apply them again, never the truth: it may be lost.
    fn events(&self) -> broadcast::Receiver<NetworkId>;
}
