//! What makes a guest this machine and no other. Derived, not stored: the same machine always gets the same.

use super::Machine;
use crate::access::Caller;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::networks::{Address, Network, NetworkKind};
use crate::ports::{Identity, Seed, Uplink};
use crate::query::Filter;
use crate::record::Kind;
use crate::secret::{Place, Secret};
use sha2::{Digest, Sha256};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};
use std::collections::HashMap;
use std::net::IpAddr;

/// What a guest is told about one of its cards. Without addresses it asks DHCP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Card {
    mac: String,
    on_bridge: bool,
    addresses: Vec<(IpAddr, u8)>,
    gateways: Vec<IpAddr>,
    resolvers: Vec<IpAddr>,
    domain: Option<String>,
}

/// cloud-init's network configuration, version 2; none when every card is on a network that has no need of one.
fn network_config(cards: &[Card]) -> Option<String> {
    if !cards.iter().any(|card| card.on_bridge) {
        return None;
    }
    let one = |(place, card): (usize, &Card)| {
        let mut config = serde_json::json!({ "match": { "macaddress": card.mac } });
        if card.addresses.is_empty() {
            config["dhcp4"] = true.into();
            return (format!("nic{place}"), config);
        }
        let addresses = card.addresses.iter().map(|(address, prefix)| format!("{address}/{prefix}"));
        config["addresses"] = addresses.collect::<Vec<_>>().into();
        let route = |gateway: &IpAddr| {
            let to = if gateway.is_ipv4() { "0.0.0.0/0" } else { "::/0" };
            serde_json::json!({ "to": to, "via": gateway })
        };
        config["routes"] = card.gateways.iter().map(route).collect::<Vec<_>>().into();
        config["nameservers"] = serde_json::json!({
            "addresses": card.resolvers,
            "search": card.domain.iter().collect::<Vec<_>>(),
        });
        (format!("nic{place}"), config)
    };
    let ethernets: serde_json::Map<_, _> = cards.iter().enumerate().map(one).collect();
    // JSON is YAML.
    Some(format!("{:#}\n", serde_json::json!({ "version": 2, "ethernets": ethernets })))
}

/// What a guest is told of a card with these addresses.
fn card(network: &Network, mac: &str, ips: &[IpAddr]) -> Card {
    let on_bridge = network.kind == NetworkKind::Bridge;
    let subnets = || ips.iter().filter_map(|ip| Some((*ip, network.subnet_of(*ip)?))).filter(|_| on_bridge);
    let gateways: Vec<IpAddr> = subnets().map(|(_, subnet)| subnet.gateway).collect();
    Card {
        mac: mac.to_owned(),
        on_bridge,
        addresses: subnets().map(|(ip, subnet)| (ip, subnet.prefix)).collect(),
        resolvers: if network.has_services() { gateways.clone() } else { network.resolvers.clone() },
        gateways: if network.uplink == Uplink::None { Vec::new() } else { gateways },
        domain: network.domain.clone(),
    }
}

/// MAC of a machine's card: locally administered, from 40 bits of the machine's id and the card's place.
/// Another draw gives another MAC.
pub(crate) fn hashed_mac(machine: MachineId, place: usize, draw: u8) -> String {
    let digest = Sha256::new_with_prefix(machine.0.as_bytes()).chain_update(place.to_be_bytes());
    let digest = if draw == 0 { digest } else { digest.chain_update([draw]) }.finalize();
    let [a, b, c, d, e] = [digest[0], digest[1], digest[2], digest[3], digest[4]];
    format!("52:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
}

/// Where a machine's user data is sealed.
pub(super) fn user_data_place(machine: MachineId) -> Place {
    Place { kind: Kind::Machine, record: machine.0, field: "user_data" }
}

/// Where the password of a guest's administrator is sealed.
pub(super) fn password_place(machine: MachineId) -> Place {
    Place { kind: Kind::Machine, record: machine.0, field: "password" }
}

/// Makes cloud-init set the administrator's password. A list as one text is what each of its releases understands.
fn set_password(config: &mut serde_json::Value, password: &Secret) {
    let list = format!("root:{}\n", password.expose());
    config["chpasswd"] = serde_json::json!({ "expire": false, "list": list });
    config["ssh_pwauth"] = true.into();
}

impl Core {
    async fn cards_of(&self, machine: &Machine) -> Result<Vec<Card>> {
        let held: Vec<Address> = self.all(Filter::eq("machine", machine.id.0)).await?;
        let held: HashMap<_, _> = held.iter().map(|address| (address.id, address.ip)).collect();
        let mut cards = Vec::with_capacity(machine.nics.len());
        for nic in &machine.nics {
            let network: Network = self.get(nic.network.0).await?;
            let ips = nic.addresses.iter().filter_map(|id| held.get(id).copied());
            cards.push(card(&network, &nic.mac, &ips.collect::<Vec<_>>()));
        }
        Ok(cards)
    }

    fn host_key_seed(&self, machine: MachineId) -> [u8; 32] {
        let digest = Sha256::new_with_prefix(b"hostler ssh host key 1").chain_update(self.key());
        digest.chain_update(machine.0.as_bytes()).finalize().into()
    }

    /// The user data that its owner gave; none when there is none. For the owner alone, not even for administrators.
    ///
    /// # Errors
    /// Not found; denied; internal when it cannot be opened.
    pub async fn machine_user_data(&self, caller: &Caller, key: &str) -> Result<Option<Secret>> {
        let machine = self.machine_get(caller, key).await?;
        if machine.owner != caller.account {
            let (object, text) =
                ((Kind::Machine, machine.id.0), "only its owner may read a machine's user data");
            return Err(self.deny(caller, "machine.user_data", Some(object), text).await);
        }
        let sealed = machine.user_data.as_ref();
        sealed.map(|data| self.unseal(user_data_place(machine.id), data)).transpose()
    }

    fn host_key(&self, machine: &Machine) -> Result<PrivateKey> {
        let pair = Ed25519Keypair::from_seed(&self.host_key_seed(machine.id));
        PrivateKey::new(KeypairData::Ed25519(pair), machine.name.as_str()).map_err(Error::internal)
    }

    /// The public SSH host key of a machine, one line, so that clients need not trust on first use.
    ///
    /// # Errors
    /// Internal only.
    pub fn machine_host_key(&self, machine: &Machine) -> Result<String> {
        self.host_key(machine)?.public_key().to_openssh().map_err(Error::internal)
    }

    pub(crate) async fn identity(&self, machine: &Machine) -> Result<Identity> {
        let first = self.cards_of(machine).await?.into_iter().next().unwrap_or_default();
        Ok(Identity {
            host_name: machine.name.to_string(),
            machine_id: machine.id.0.simple().to_string(),
            mac: machine.nics.first().map(|nic| nic.mac.clone()),
            addresses: first.addresses,
            gateways: first.gateways,
            resolvers: first.resolvers,
            domain: first.domain,
            ssh_host_key: self.host_key_seed(machine.id),
            authorized_keys: machine.ssh_keys.clone(),
            entropy: self.ids().secret(),
            time_ns: u64::try_from(self.now().0).unwrap_or(0).saturating_mul(1_000_000),
        })
    }

    /// cloud-init data: the owner's user data as it is, or ours with host name and keys.
    pub(super) async fn seed(&self, machine: &Machine) -> Result<Seed> {
        let name = machine.name.as_str();
        let user_data = match &machine.user_data {
            Some(own) => self.unseal(user_data_place(machine.id), own)?.expose().to_owned(),
            None => self.default_user_data(machine)?,
        };
        let meta_data = format!("instance-id: {}\nlocal-hostname: {name}\n", machine.id);
        let network_config = network_config(&self.cards_of(machine).await?);
        Ok(Seed { user_data, meta_data, network_config })
    }

    /// JSON is YAML, so that nothing a caller wrote can break out of its place.
    fn default_user_data(&self, machine: &Machine) -> Result<String> {
        let key = self.host_key(machine)?;
        let mut config = serde_json::json!({
            "hostname": machine.name,
            "preserve_hostname": false,
            "disable_root": false,
            "ssh_deletekeys": true,
            "ssh_genkeytypes": [],
            "ssh_keys": {
                "ed25519_private": key.to_openssh(LineEnding::LF).map_err(Error::internal)?.as_str(),
                "ed25519_public": key.public_key().to_openssh().map_err(Error::internal)?,
            },
            "users": [{ "name": "root", "ssh_authorized_keys": machine.ssh_keys }],
        });
        if let Some(sealed) = &machine.password {
            set_password(&mut config, &self.unseal(password_place(machine.id), sealed)?);
        }
        Ok(format!("#cloud-config\n{config:#}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn a_password_is_set_by_cloud_init_and_does_not_expire() {
        let mut config = serde_json::json!({ "hostname": "m" });
        set_password(&mut config, &Secret::new("a: \"b"));
        assert_eq!(config["chpasswd"], serde_json::json!({ "expire": false, "list": "root:a: \"b\n" }));
        assert_eq!(config["hostname"], "m");
    }

    #[test]
    fn macs_are_local_unicast_and_differ() {
        let first = hashed_mac(MachineId(Uuid::from_u128(1)), 0, 0);
        assert_eq!(first.len(), 17);
        assert!(first.starts_with("52:"));
        assert_ne!(first, hashed_mac(MachineId(Uuid::from_u128(1)), 1, 0));
        assert_ne!(first, hashed_mac(MachineId(Uuid::from_u128(1)), 0, 1));
        assert_ne!(first, hashed_mac(MachineId(Uuid::from_u128(2)), 0, 0));
    }

    #[test]
    fn guests_with_addresses_are_told_all_of_it() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let card = Card {
            mac: "52:00:0a:00:00:02".into(),
            on_bridge: true,
            addresses: vec![(ip("10.0.0.2"), 24), (ip("fd00::2"), 64)],
            gateways: vec![ip("10.0.0.1"), ip("fd00::1")],
            resolvers: vec![ip("10.0.0.1")],
            domain: Some("lab.test".into()),
        };
        let asks = Card { mac: "52:00:00:00:00:03".into(), on_bridge: true, ..Card::default() };
        let text = network_config(&[card.clone(), asks.clone()]).unwrap();
        let config: serde_json::Value = serde_json::from_str(&text).unwrap();
        let first = &config["ethernets"]["nic0"];
        assert_eq!(first["match"]["macaddress"], "52:00:0a:00:00:02");
        assert_eq!(first["addresses"], serde_json::json!(["10.0.0.2/24", "fd00::2/64"]));
        assert_eq!(first["routes"][1], serde_json::json!({ "to": "::/0", "via": "fd00::1" }));
        assert_eq!(first["nameservers"]["search"][0], "lab.test");
        assert_eq!(config["ethernets"]["nic1"]["dhcp4"], true);
        assert_eq!(network_config(&[Card { on_bridge: false, ..asks }]), None);
    }
}
