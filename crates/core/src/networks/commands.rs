//! What callers may ask about networks and addresses.

use super::{Address, Network, NetworkKind, Range};
use crate::access::Caller;
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::hosts::Cluster;
use crate::ids::{AddressId, NetworkId};
use crate::machines::{Life, Machine};
use crate::ports::StoreError;
use crate::query::{Filter, Select};
use crate::record::{Kind, Value};
use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

/// Addresses of one network that may be given out, at most.
const MAX_ADDRESSES: usize = 65_536;

/// A network to be added.
#[derive(Clone, Debug)]
pub struct NetworkAsk {
    /// Unique name.
    pub name: String,
    /// How it is made.
    pub kind: NetworkKind,
    /// Whether guests may reach anything but us.
    pub outbound: bool,
    /// Prefix length of its addresses.
    pub prefix: Option<u8>,
    /// Its gateway, never given out.
    pub gateway: Option<IpAddr>,
    /// Addresses that may be given out.
    pub ranges: Vec<Range>,
}

impl Core {
    /// Adds a network.
    ///
    /// # Errors
    /// Denied; invalid; conflict `name_taken`.
    pub async fn network_create(&self, caller: &Caller, ask: &NetworkAsk) -> Result<Network> {
        caller.may_administer("add networks")?;
        check(ask)?;
        let cluster: Cluster = self.first().await?;
        let mut network = Network {
            id: NetworkId(self.ids().uuid()),
            number: 0,
            rev: 0,
            name: ask.name.clone(),
            kind: ask.kind,
            cluster: cluster.id,
            outbound: ask.outbound,
            prefix: ask.prefix,
            gateway: ask.gateway,
            ranges: ask.ranges.clone(),
            created_at: self.now(),
        };
        let mut changes = self.changes();
        changes.insert(&network)?;
        let stamp = self.commit(changes).await?.stamps[0];
        (network.number, network.rev) = (stamp.number, stamp.rev);
        Ok(network)
    }

    /// One network, by id, number or name.
    ///
    /// # Errors
    /// Not found.
    pub async fn network_get(&self, _caller: &Caller, key: &str) -> Result<Network> {
        self.network_named(Some(key)).await
    }

    /// The network of this key, or the first one.
    pub(crate) async fn network_named(&self, key: Option<&str>) -> Result<Network> {
        let Some(key) = key else { return self.first().await };
        let found = match (key.parse::<NetworkId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.find_by("name", key).await?,
        };
        found.ok_or_else(|| Error::not_found("network", key))
    }

    /// All networks; everybody may use them.
    pub async fn network_list(&self, _caller: &Caller, ask: ListAsk) -> Result<Page<Network>> {
        self.page(ask).await
    }

    /// Removes a network that no machine is on and whose addresses are all free.
    ///
    /// # Errors
    /// Denied; not found; conflict `in_use`.
    pub async fn network_delete(&self, caller: &Caller, key: &str) -> Result<()> {
        caller.may_administer("remove networks")?;
        let network = self.network_named(Some(key)).await?;
        let taken = self.store().count(Kind::Address, Filter::eq("network", network.id.0)).await?;
        let machines: Vec<Machine> = self.all(Filter::ne("life", Life::Gone.word())).await?;
        let users = machines
            .iter()
            .filter(|machine| machine.nics.iter().any(|nic| nic.network == network.id))
            .count();
        if taken > 0 || users > 0 {
            let text =
                format!("network {} is in use by {users} machines and {taken} addresses", network.name);
            return Err(Error::conflict("in_use", text));
        }
        let mut changes = self.changes();
        changes.delete(&network);
        self.commit(changes).await?;
        Ok(())
    }

    /// The addresses of a network that are taken.
    pub async fn address_list(
        &self,
        caller: &Caller,
        network: &str,
        mut ask: ListAsk,
    ) -> Result<Page<Address>> {
        let network = self.network_named(Some(network)).await?;
        ask.filter = Filter::eq("network", network.id.0).and(caller.visible()).and(ask.filter);
        self.page(ask).await
    }

    /// The reserved addresses of these machines' cards. The machines are the caller's right to know them.
    pub async fn addresses_of(&self, machines: &[Machine]) -> Result<HashMap<AddressId, IpAddr>> {
        let holders = machines.iter().filter(|machine| machine.nics.iter().any(|nic| nic.address.is_some()));
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
        caller.may_administer("reserve addresses")?;
        decided(async || {
            let network = self.network_named(Some(network)).await?;
            let chosen = match ip {
                Some(ip) if network.ranges.iter().any(|range| range.contains(ip)) => ip,
                Some(ip) => {
                    let text =
                        format!("{ip} is not among the addresses that network {} gives out", network.name);
                    return Err(Error::invalid("ip", text).into());
                }
                None => self.ip_free(&network).await?,
            };
            let mut address = self.address(&network, chosen, caller);
            address.note = note.chars().take(200).collect();
            let mut changes = self.changes();
            changes.unchanged(&network);
            changes.insert(&address)?;
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
        caller.may_administer("release addresses")?;
        let network = self.network_named(Some(network)).await?;
        let filter = Filter::eq("network", network.id.0).and(Filter::eq("ip", ip.to_string()));
        let found = self.select::<Address>(Select::new(filter, 1)).await?.pop();
        let address = found.ok_or_else(|| Error::not_found("address", ip))?;
        if let Some(machine) = address.machine {
            return Err(Error::conflict("in_use", format!("machine {machine} has {ip}")));
        }
        let mut changes = self.changes();
        changes.delete(&address);
        self.commit(changes).await?;
        Ok(())
    }

    /// The next free address for a machine; none on networks that give out none. Becomes the machine's with the
    /// commit that inserts it; if somebody else takes it first, that commit fails.
    pub(crate) async fn address_next(&self, network: &Network, machine: &Machine) -> Result<Option<Address>> {
        if network.ranges.is_empty() {
            return Ok(None);
        }
        let ip = self.ip_free(network).await?;
        let now = self.now();
        Ok(Some(Address {
            id: AddressId(self.ids().uuid()),
            number: 0,
            rev: 0,
            network: network.id,
            ip,
            machine: Some(machine.id),
            owner: machine.owner,
            note: String::new(),
            created_at: now,
        }))
    }

    fn address(&self, network: &Network, ip: IpAddr, caller: &Caller) -> Address {
        Address {
            id: AddressId(self.ids().uuid()),
            number: 0,
            rev: 0,
            network: network.id,
            ip,
            machine: None,
            owner: caller.account,
            note: String::new(),
            created_at: self.now(),
        }
    }

    async fn ip_free(&self, network: &Network) -> Result<IpAddr> {
        let select = Select::new(Filter::eq("network", network.id.0), MAX_ADDRESSES as u32);
        let taken: HashSet<IpAddr> =
            self.select::<Address>(select).await?.iter().map(|address| address.ip).collect();
        free(network, &taken)
            .ok_or_else(|| Error::no_capacity(format!("network {} has no free address", network.name)))
    }
}

/// The first address of the network's ranges that is neither taken nor its gateway.
fn free(network: &Network, taken: &HashSet<IpAddr>) -> Option<IpAddr> {
    let all = network.ranges.iter().flat_map(Range::iter);
    all.take(MAX_ADDRESSES).find(|ip| !taken.contains(ip) && network.gateway != Some(*ip))
}

fn check(ask: &NetworkAsk) -> Result<()> {
    let good = (1..=63).contains(&ask.name.len())
        && ask.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !ask.name.bytes().all(|c| c.is_ascii_digit());
    if !good {
        return Err(Error::invalid("name", "a network's name has 1 to 63 of a-z, A-Z, 0-9, -, _ and ."));
    }
    let sizes = ask.ranges.iter().map(|range| range.iter().take(MAX_ADDRESSES + 1).count());
    if sizes.sum::<usize>() > MAX_ADDRESSES {
        return Err(Error::invalid(
            "ranges",
            format!("a network gives out at most {MAX_ADDRESSES} addresses"),
        ));
    }
    for (place, range) in ask.ranges.iter().enumerate() {
        let overlaps = |other: &Range| other.contains(range.first) || range.contains(other.first);
        if ask.ranges[..place].iter().any(overlaps) {
            let text = format!("the range {} to {} overlaps another", range.first, range.last);
            return Err(Error::invalid(format!("ranges/{place}"), text));
        }
    }
    let longest = if ask.ranges.iter().any(|range| range.first.is_ipv6()) { 128 } else { 32 };
    if ask.prefix.is_some_and(|prefix| prefix > longest) {
        return Err(Error::invalid("prefix", format!("a prefix length is at most {longest}")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterId;
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
            prefix: Some(24),
            gateway: Some(ip("10.0.0.1")),
            ranges: vec![Range::new(ip("10.0.0.1"), ip("10.0.0.3")).unwrap()],
            created_at: Timestamp(0),
        };
        assert_eq!(free(&network, &HashSet::new()), Some(ip("10.0.0.2")));
        assert_eq!(free(&network, &HashSet::from([ip("10.0.0.2")])), Some(ip("10.0.0.3")));
        assert_eq!(free(&network, &HashSet::from([ip("10.0.0.2"), ip("10.0.0.3")])), None);
    }
}
