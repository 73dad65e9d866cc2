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

impl Subnet {
    /// Whether an address is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.gateway.is_ipv4() && bits(ip) & self.mask() == bits(self.gateway) & self.mask()
    }

    /// Whether two subnets share any address.
    pub fn overlaps(&self, other: &Self) -> bool {
        self.contains(other.gateway) && self.prefix <= other.prefix
            || other.contains(self.gateway) && other.prefix <= self.prefix
    }

    /// Whether an address stands for the subnet itself: its first, which also means every router of an IPv6 subnet,
    /// and the last of IPv4, which means everybody. Subnets of one or two addresses have none.
    pub fn reserves(&self, ip: IpAddr) -> bool {
        let host = bits(ip) & !self.mask() & self.widest();
        let most = !self.mask() & self.widest();
        self.contains(ip) && most > 1 && (host == 0 || ip.is_ipv4() && host == most)
    }

    fn widest(&self) -> u128 {
        if self.gateway.is_ipv4() { u32::MAX.into() } else { u128::MAX }
    }

    fn mask(&self) -> u128 {
        let length = if self.gateway.is_ipv4() { 32 } else { 128 };
        let host_bits = length - u32::from(self.prefix.min(if length == 32 { 32 } else { 128 }));
        self.widest().checked_shl(host_bits).unwrap_or(0) & self.widest()
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
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
    /// A domain of its own, in which the name is answered as well: its pool's.
    #[serde(default)]
    pub domain: Option<String>,
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

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(gateway: &str, prefix: u8) -> Subnet {
        Subnet { gateway: gateway.parse().unwrap(), prefix }
    }

    #[test]
    fn subnets_know_their_addresses() {
        let v4 = subnet("10.1.2.1", 24);
        let is = |ip: &str| ip.parse::<IpAddr>().unwrap();
        assert!(v4.contains(is("10.1.2.255")) && !v4.contains(is("10.1.3.0")) && !v4.contains(is("::1")));
        assert!(v4.reserves(is("10.1.2.0")) && v4.reserves(is("10.1.2.255")) && !v4.reserves(is("10.1.2.7")));
        assert!(!subnet("10.1.2.1", 31).reserves(is("10.1.2.0")));
        let v6 = subnet("fd00::1", 64);
        assert!(v6.contains(is("fd00::ffff")) && !v6.contains(is("fd00:0:0:1::1")));
        assert!(v6.reserves(is("fd00::")) && !v6.reserves(is("fd00::ffff:ffff:ffff:ffff")));
        assert!(subnet("10.0.0.1", 8).overlaps(&v4) && v4.overlaps(&subnet("10.0.0.1", 8)));
        assert!(!v4.overlaps(&subnet("10.1.3.1", 24)) && !v4.overlaps(&v6));
    }
}
