//! The book of addresses: which is whose, which is held by hand, which comes next.

use super::{Address, Network, Range};
use crate::access::{Amount, Caller};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::{AccountId, AddressId, MachineId};
use crate::machines::Machine;
use crate::ports::StoreError;
use crate::query::{Filter, Select};
use crate::record::Value;
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Addresses of one network that may be given out, at most.
pub(super) const MAX_ADDRESSES: usize = 65_536;

impl Core {
    /// The addresses of a network that are taken and that the caller may know of.
    pub async fn address_list(
        &self,
        caller: &Caller,
        network: &str,
        mut ask: ListAsk,
    ) -> Result<Page<Address>> {
        let network = self.network_named(Some(network)).await?;
        ask.filter =
            Filter::eq("network", network.id.0).and(caller.visible_through_machine()).and(ask.filter);
        self.page(ask).await
    }

    /// The reserved addresses of these machines' cards. The machines are the caller's right to know them.
    pub async fn addresses_of(&self, machines: &[Machine]) -> Result<HashMap<AddressId, IpAddr>> {
        let holders =
            machines.iter().filter(|machine| machine.nics.iter().any(|nic| !nic.addresses.is_empty()));
        let ids: Vec<Value> = holders.map(|machine| machine.id.0.into()).collect();
        if ids.is_empty() {
            return Ok(HashMap::new());
        }
        let found = self.all::<Address>(Filter::In("machine", ids)).await?;
        Ok(found.into_iter().map(|address| (address.id, address.ip)).collect())
    }

    /// Holds an address by hand, so that no machine gets it: this one, or the next free one.
    ///
    /// # Errors
    /// Denied; not found; invalid when it is not in the network's ranges; conflict `taken`; no capacity.
    pub async fn address_reserve(
        &self,
        caller: &Caller,
        network: &str,
        ip: Option<IpAddr>,
        note: &str,
    ) -> Result<Address> {
        self.administers(caller, "address.reserve", "reserve addresses").await?;
        decided(async || {
            let network = self.network_named(Some(network)).await?;
            let chosen = match ip {
                Some(ip) if network.gives_out(ip) => ip,
                Some(ip) => {
                    let text =
                        format!("{ip} is not among the addresses that network {} gives out", network.name);
                    return Err(Error::invalid("ip", text).into());
                }
                None => self.ip_free(&network, None).await?,
            };
            let mut address = self.address(&network, chosen, caller.account, None);
            address.note = note.chars().take(200).collect();
            let mut changes = self.changes();
            changes.unchanged(&network);
            changes.insert(&address)?;
            self.within_quotas(&mut changes, address.owner, &[(Amount::Addresses, 1)]).await?;
            let name = chosen.to_string();
            let about = ("address", address.id.0, name.as_str());
            self.deed_about(&mut changes, caller, "address.reserve", about)?;
            match self.commit(changes).await {
                Err(StoreError::Taken { .. }) if ip.is_none() => Err(Attempt::Stale),
                Err(StoreError::Taken { .. }) => {
                    Err(Error::conflict("taken", format!("{chosen} is taken already")).into())
                }
                other => {
                    let stamp = other?.stamps[0];
                    (address.number, address.rev) = (stamp.number, stamp.rev);
                    Ok(address)
                }
            }
        })
        .await
    }

    /// Frees an address that was held by hand.
    ///
    /// # Errors
    /// Denied; not found; conflict `in_use` when a machine has it.
    pub async fn address_release(&self, caller: &Caller, network: &str, ip: IpAddr) -> Result<()> {
        self.administers(caller, "address.release", "release addresses").await?;
        let network = self.network_named(Some(network)).await?;
        let found = self.select::<Address>(Select::new(at(&network, ip), 1)).await?.pop();
        let address = found.ok_or_else(|| Error::not_found("address", ip))?;
        if let Some(machine) = address.machine {
            return Err(Error::conflict("in_use", format!("machine {machine} has {ip}")));
        }
        let mut changes = self.changes();
        changes.delete(&address);
        let name = ip.to_string();
        let about = ("address", address.id.0, name.as_str());
        self.deed_about(&mut changes, caller, "address.release", about)?;
        self.commit(changes).await?;
        Ok(())
    }

    /// Addresses for a card of a machine: of each family that the network gives out, the one asked for or the next free
    /// one. They become the machine's with the commit that inserts them; if somebody else takes one first, that commit
    /// fails.
    ///
    /// # Errors
    /// Invalid for what is asked and not given out; conflict `taken`; no capacity.
    pub(super) async fn addresses_next(
        &self,
        network: &Network,
        machine: (MachineId, AccountId),
        asked: &[IpAddr],
    ) -> Result<Vec<Address>> {
        let mut addresses = Vec::new();
        for (place, ip) in asked.iter().enumerate() {
            let again = asked[..place].iter().any(|other| other.is_ipv4() == ip.is_ipv4());
            if again || !network.gives_out(*ip) {
                let why = if again { "a card has one address of each family" } else { "it is not given out" };
                let text = format!("{ip} cannot be had on network {}: {why}", network.name);
                return Err(Error::invalid(format!("addresses/{place}"), text));
            }
            if !self.select::<Address>(Select::new(at(network, *ip), 1)).await?.is_empty() {
                return Err(Error::conflict("taken", format!("{ip} is taken already")));
            }
            addresses.push(*ip);
        }
        for v4 in [true, false] {
            let given = network.ranges.iter().any(|range| range.first.is_ipv4() == v4);
            if given && !addresses.iter().any(|ip| ip.is_ipv4() == v4) {
                addresses.push(self.ip_free(network, Some(v4)).await?);
            }
        }
        addresses.sort_by_key(IpAddr::is_ipv6);
        let (machine, owner) = machine;
        Ok(addresses.into_iter().map(|ip| self.address(network, ip, owner, Some(machine))).collect())
    }

    fn address(
        &self,
        network: &Network,
        ip: IpAddr,
        owner: AccountId,
        machine: Option<MachineId>,
    ) -> Address {
        Address {
            id: AddressId(self.ids().uuid()),
            number: 0,
            rev: 0,
            network: network.id,
            ip,
            machine,
            owner,
            note: String::new(),
            created_at: self.now(),
        }
    }

    /// The next free address, of IPv4 or not when that matters.
    async fn ip_free(&self, network: &Network, v4: Option<bool>) -> Result<IpAddr> {
        let select = Select::new(Filter::eq("network", network.id.0), MAX_ADDRESSES as u32);
        let taken: HashSet<IpAddr> =
            self.select::<Address>(select).await?.iter().map(|address| address.ip).collect();
        free(network, v4, &taken).ok_or_else(|| {
            let family = match v4 {
                Some(true) => "IPv4 ",
                Some(false) => "IPv6 ",
                None => "",
            };
            Error::no_capacity(format!("network {} has no free {family}address", network.name))
        })
    }
}

fn at(network: &Network, ip: IpAddr) -> Filter {
    Filter::eq("network", network.id.0).and(Filter::eq("ip", ip.to_string()))
}

/// The first address of the network's ranges that is not taken and may be given out.
fn free(network: &Network, v4: Option<bool>, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
    let ranges = network.ranges.iter().filter(|range| v4.is_none_or(|v4| range.first.is_ipv4() == v4));
    ranges.flat_map(Range::iter).take(MAX_ADDRESSES).find(|ip| !taken.contains(ip) && network.gives_out(*ip))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, NetworkId};
    use crate::networks::NetworkKind;
    use crate::ports::{Subnet, Uplink};
    use crate::time::Timestamp;
    use uuid::Uuid;

    #[test]
    fn the_first_free_address_skips_taken_ones_and_the_gateway() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let network = Network {
            id: NetworkId(Uuid::nil()),
            number: 1,
            rev: 1,
            name: "lan".into(),
            kind: NetworkKind::User,
            cluster: ClusterId(Uuid::nil()),
            outbound: false,
            uplink: Uplink::None,
            bridge: None,
            subnets: vec![Subnet { gateway: ip("10.0.0.1"), prefix: 24 }],
            ranges: vec![
                Range::new(ip("10.0.0.0"), ip("10.0.0.3")).unwrap(),
                Range::new(ip("fd00::5"), ip("fd00::5")).unwrap(),
            ],
            domain: None,
            resolvers: Vec::new(),
            removing: false,
            created_at: Timestamp(0),
        };
        assert_eq!(free(&network, None, &HashSet::new()), Some(ip("10.0.0.2")));
        assert_eq!(free(&network, Some(true), &HashSet::from([ip("10.0.0.2")])), Some(ip("10.0.0.3")));
        assert_eq!(free(&network, Some(true), &HashSet::from([ip("10.0.0.2"), ip("10.0.0.3")])), None);
        assert_eq!(free(&network, Some(false), &HashSet::new()), Some(ip("fd00::5")));
    }
}
