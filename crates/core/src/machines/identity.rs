//! What makes a guest this machine and no other. Derived, not stored: the same machine always gets the same.

use super::Machine;
use crate::access::Caller;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::ports::{Identity, Seed};
use crate::record::Kind;
use crate::secret::{Place, Secret};
use sha2::{Digest, Sha256};
use ssh_key::private::{Ed25519Keypair, KeypairData};
use ssh_key::{LineEnding, PrivateKey};

/// MAC of a machine's card: locally administered, from 40 bits of the machine's id and the card's place.
pub(super) fn mac(machine: MachineId, place: usize) -> String {
    let digest = Sha256::new_with_prefix(machine.0.as_bytes()).chain_update(place.to_be_bytes()).finalize();
    let [a, b, c, d, e] = [digest[0], digest[1], digest[2], digest[3], digest[4]];
    format!("52:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}")
}

/// Where a machine's user data is sealed.
pub(super) fn user_data_place(machine: MachineId) -> Place {
    Place { kind: Kind::Machine, record: machine.0, field: "user_data" }
}

impl Core {
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
            return Err(Error::denied("only its owner may read a machine's user data"));
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

    pub(crate) fn identity(&self, machine: &Machine) -> Identity {
        Identity {
            host_name: machine.name.to_string(),
            machine_id: machine.id.0.simple().to_string(),
            mac: machine.nics.first().map(|nic| nic.mac.clone()),
            addresses: Vec::new(),
            gateways: Vec::new(),
            ssh_host_key: self.host_key_seed(machine.id),
            authorized_keys: machine.ssh_keys.clone(),
            entropy: self.ids().secret(),
            time_ns: u64::try_from(self.now().0).unwrap_or(0).saturating_mul(1_000_000),
        }
    }

    /// cloud-init data: the owner's user data as it is, or ours with host name and keys.
    pub(super) fn seed(&self, machine: &Machine) -> Result<Seed> {
        let name = machine.name.as_str();
        let user_data = match &machine.user_data {
            Some(own) => self.unseal(user_data_place(machine.id), own)?.expose().to_owned(),
            None => self.default_user_data(machine)?,
        };
        let meta_data = format!("instance-id: {}\nlocal-hostname: {name}\n", machine.id);
        Ok(Seed { user_data, meta_data, network_config: None })
    }

    /// JSON is YAML, so that nothing a caller wrote can break out of its place.
    fn default_user_data(&self, machine: &Machine) -> Result<String> {
        let key = self.host_key(machine)?;
        let config = serde_json::json!({
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
        Ok(format!("#cloud-config\n{config:#}\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn macs_are_local_unicast_and_differ() {
        let first = mac(MachineId(Uuid::from_u128(1)), 0);
        assert_eq!(first.len(), 17);
        assert!(first.starts_with("52:"));
        assert_ne!(first, mac(MachineId(Uuid::from_u128(1)), 1));
        assert_ne!(first, mac(MachineId(Uuid::from_u128(2)), 0));
    }
}
