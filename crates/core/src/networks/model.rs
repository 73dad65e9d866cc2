//! The records of networks and addresses.

use crate::error::{Error, Result};
use crate::ids::{AccountId, AddressId, ClusterId, MachineId, NetworkId};
use crate::ports::{Subnet, Uplink};
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// How a network is made on a host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// QEMU's own user-mode network: needs no rights, every guest is alone on it, SSH comes by a forwarded port.
    User,
    /// A bridge on every host of the cluster: guests reach each other, and what lies behind its uplink.
    Bridge,
}

/// Addresses that may be given out: first to last, both included, same family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// First.
    pub first: IpAddr,
    /// Last.
    pub last: IpAddr,
}

impl Range {
    /// A range, checked.
    ///
    /// # Errors
    /// Invalid, when the families differ or the last comes before the first.
    pub fn new(first: IpAddr, last: IpAddr) -> Result<Self> {
        if first.is_ipv4() != last.is_ipv4() {
            return Err(Error::invalid("ranges", format!("{first} and {last} are of different families")));
        }
        if last < first {
            return Err(Error::invalid(
                "ranges",
                format!("the range {first} to {last} ends before it begins"),
            ));
        }
        Ok(Self { first, last })
    }

    /// Whether `ip` is in it.
    pub fn contains(&self, ip: IpAddr) -> bool {
        ip.is_ipv4() == self.first.is_ipv4() && self.first <= ip && ip <= self.last
    }

    /// Its addresses in order.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + use<> {
        let (first, last, v4) = (bits(self.first), bits(self.last), self.first.is_ipv4());
        (first..=last).map(move |bits| from_bits(bits, v4))
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_bits().into(),
        IpAddr::V6(ip) => ip.to_bits(),
    }
}

fn from_bits(bits: u128, v4: bool) -> IpAddr {
    match u32::try_from(bits) {
        Ok(bits) if v4 => IpAddr::V4(bits.into()),
        _ => IpAddr::V6(bits.into()),
    }
}

/// A layer-2 network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    /// The key.
    pub id: NetworkId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique name.
    pub name: String,
    /// How it is made.
    pub kind: NetworkKind,
    /// The hosts it spans.
    pub cluster: ClusterId,
    /// Whether guests may reach anything but us. Off by default: a guest on a user network would reach this
    /// host's loopback.
    #[serde(default)]
    pub outbound: bool,
    /// Where its bridge leads.
    #[serde(default = "nowhere")]
    pub uplink: Uplink,
    /// Name of its bridge on hosts; none for networks without one.
    #[serde(default)]
    pub bridge: Option<String>,
    /// Its subnets, one of each family at most. Their gateways are never given out.
    #[serde(default)]
    pub subnets: Vec<Subnet>,
    /// Addresses that may be given out; empty when machines have no address of ours.
    #[serde(default)]
    pub ranges: Vec<Range>,
    /// Domain of its machines' names.
    #[serde(default)]
    pub domain: Option<String>,
    /// Where its DNS asks for names of others; empty answers for its machines only.
    #[serde(default)]
    pub resolvers: Vec<IpAddr>,
    /// Whether it is being removed: no machine may join it any more.
    #[serde(default)]
    pub removing: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

fn nowhere() -> Uplink {
    Uplink::None
}

impl Network {
    /// The subnet that this address is in.
    pub fn subnet_of(&self, ip: IpAddr) -> Option<&Subnet> {
        self.subnets.iter().find(|subnet| subnet.contains(ip))
    }

    /// Whether an address may be a machine's: in a range, nobody's gateway, and no address that stands for a subnet.
    pub fn gives_out(&self, ip: IpAddr) -> bool {
        self.ranges.iter().any(|range| range.contains(ip))
            && !self.subnets.iter().any(|subnet| subnet.gateway == ip || subnet.reserves(ip))
    }

    /// Whether hostler answers DHCP and DNS on it.
    pub fn has_services(&self) -> bool {
        let ours = !matches!(self.uplink, Uplink::Interface { .. });
        self.kind == NetworkKind::Bridge && ours && !self.subnets.is_empty()
    }
}

impl Record for Network {
    const KIND: Kind = Kind::Network;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", self.name.as_str().into()),
            ("cluster", self.cluster.0.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({ "id": self.id, "name": self.name }))
    }
}

/// One reserved address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Address {
    /// The key.
    pub id: AddressId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// The network it is on.
    pub network: NetworkId,
    /// The address; unique within its network.
    pub ip: IpAddr,
    /// The machine that has it; none when it is held by hand.
    pub machine: Option<MachineId>,
    /// Who reserved it.
    pub owner: AccountId,
    /// Why it is held by hand.
    #[serde(default)]
    pub note: String,
    /// When it was reserved.
    pub created_at: Timestamp,
}

impl Record for Address {
    const KIND: Kind = Kind::Address;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("network", self.network.0.into()),
            ("ip", self.ip.to_string().into()),
            ("machine", self.machine.map(|id| id.0).into()),
            ("owner", self.owner.0.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_count_in_both_families() {
        let v4 = Range::new("10.0.0.254".parse().unwrap(), "10.0.1.1".parse().unwrap()).unwrap();
        assert_eq!(
            v4.iter().map(|ip| ip.to_string()).collect::<Vec<_>>(),
            ["10.0.0.254", "10.0.0.255", "10.0.1.0", "10.0.1.1"]
        );
        let v6 = Range::new("fd00::1".parse().unwrap(), "fd00::3".parse().unwrap()).unwrap();
        assert_eq!(v6.iter().count(), 3);
        assert!(!v6.contains("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn ranges_refuse_nonsense() {
        assert!(Range::new("10.0.0.2".parse().unwrap(), "10.0.0.1".parse().unwrap()).is_err());
        assert!(Range::new("10.0.0.2".parse().unwrap(), "fd00::1".parse().unwrap()).is_err());
    }
}
