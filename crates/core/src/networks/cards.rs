//! A machine's new card: its MAC, unique on its network, and the addresses that go with it.

use super::{Address, Network, NetworkKind};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::{AccountId, MachineId, NetworkId};
use crate::machines::{Nic, hashed_mac};
use crate::query::Filter;
use sha2::{Digest, Sha256};
use std::collections::HashSet;
use std::net::IpAddr;

impl Core {
    /// A card for a machine at this place among its cards, with addresses; both become real with the commit that
    /// inserts them, which must require the network to be unchanged.
    ///
    /// # Errors
    /// Conflict `removing`; invalid or conflict for addresses asked for that cannot be had; no capacity.
    pub(crate) async fn card_drafted(
        &self,
        network: &Network,
        machine: (MachineId, AccountId),
        place: usize,
        asked: &[IpAddr],
    ) -> Result<(Nic, Vec<Address>)> {
        if network.removing {
            return Err(Error::conflict("removing", format!("network {} is being removed", network.name)));
        }
        let addresses = self.addresses_next(network, machine, asked).await?;
        let mac = match addresses.iter().find_map(|address| given_mac(network.id, address.ip)) {
            Some(mac) if network.kind == NetworkKind::Bridge => mac,
            _ => self.mac_free(network, machine.0, place).await?,
        };
        let ids = addresses.iter().map(|address| address.id).collect();
        Ok((Nic { network: network.id, mac, addresses: ids, inbound: None }, addresses))
    }

    /// A MAC that somebody chose.
    ///
    /// # Errors
    /// Conflict `taken`, when a card on the network has it.
    pub(crate) async fn mac_checked(&self, network: &Network, mac: &str) -> Result<()> {
        // Every guest is alone on a user network.
        let shared = network.kind != NetworkKind::User;
        let others = if shared { self.machines_on(network, Filter::All).await? } else { Vec::new() };
        if others.iter().any(|machine| machine.nics.iter().any(|nic| nic.mac == mac)) {
            let text = format!("a machine on network {} has the MAC {mac} already", network.name);
            return Err(Error::conflict("taken", text));
        }
        Ok(())
    }

    /// A MAC from the machine's id; drawn again while somebody on the network has it.
    async fn mac_free(&self, network: &Network, machine: MachineId, place: usize) -> Result<String> {
        if network.kind == NetworkKind::User {
            // Every guest is alone there.
            return Ok(hashed_mac(machine, place, 0));
        }
        let others = self.machines_on(network, Filter::All).await?;
        let taken: HashSet<String> =
            others.into_iter().flat_map(|machine| machine.nics).map(|nic| nic.mac).collect();
        let drawn = (0..64).map(|draw| hashed_mac(machine, place, draw));
        let free = drawn.into_iter().find(|mac| !taken.contains(mac));
        free.ok_or_else(|| Error::no_capacity(format!("network {} has no free MAC", network.name)))
    }
}

/// The MAC that goes with an IPv4 address: the book of addresses gives an address out once, so the MAC is unique by the
/// same unique index, without another look. Not for IPv6, whose addresses do not fit.
fn given_mac(network: NetworkId, ip: IpAddr) -> Option<String> {
    let IpAddr::V4(ip) = ip else { return None };
    let [a, b, c, d] = ip.octets();
    let mark = Sha256::digest(network.0.as_bytes())[0];
    Some(format!("52:{mark:02x}:{a:02x}:{b:02x}:{c:02x}:{d:02x}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn an_address_brings_its_mac() {
        let mac = given_mac(NetworkId(Uuid::from_u128(1)), "10.0.1.255".parse().unwrap()).unwrap();
        assert!(mac.starts_with("52:") && mac.ends_with(":0a:00:01:ff"), "{mac}");
        assert_eq!(given_mac(NetworkId(Uuid::nil()), "fd00::1".parse().unwrap()), None);
    }
}
