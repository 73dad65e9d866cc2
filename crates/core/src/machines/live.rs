//! What callers may ask to be changed about a machine's devices: at once while it is off, by a task while it is on.

use super::alter::{Alter, Deed};
use super::commands::amount;
use super::identity::hashed_mac;
use super::limits::check_size;
use super::{Life, Machine, MachineEdit, Observed};
use crate::access::{Amount, Caller, Object, acts};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, Result};
use crate::hosts::Host;
use crate::media::{Medium, MediumState};
use crate::networks::Address;
use crate::ports::StoreError;
use crate::record::Kind;
use crate::tasks::Accepted;
use std::net::IpAddr;

/// Cards that a machine can have.
const MAX_NICS: usize = 8;

/// A network card to be added.
#[derive(Clone, Debug, Default)]
pub struct NicAsk {
    /// Network, by id, number or name; the first one when left out.
    pub network: Option<String>,
    /// Its address on networks that give out addresses; the next free one when left out.
    pub address: Option<IpAddr>,
    /// Six bytes with colons; one is made up when left out.
    pub mac: Option<String>,
}

impl Core {
    /// Gives a machine as many CPUs and as much memory: by the task `machine.resize` while it is on, when it can only
    /// grow.
    ///
    /// # Errors
    /// Not found; invalid; busy; no capacity; conflict `wrong_state` when it would shrink while it is on.
    pub async fn machine_resize(
        &self,
        caller: &Caller,
        key: &str,
        vcpus: Option<u32>,
        memory_mib: Option<u64>,
    ) -> Result<Accepted<Machine>> {
        let edit = MachineEdit { vcpus, memory_mib, ..MachineEdit::default() };
        self.machine_edit(caller, key, &edit).await
    }

    /// Whether and how a machine gets another size: nothing to do, at once, or by a task.
    pub(super) async fn resize_deed(&self, machine: &Machine, edit: &MachineEdit) -> Result<Option<Deed>> {
        let vcpus = edit.vcpus.unwrap_or(machine.vcpus);
        let memory_mib = edit.memory_mib.unwrap_or(machine.memory_mib);
        if (vcpus, memory_mib) == (machine.vcpus, machine.memory_mib) {
            return Ok(None);
        }
        let host: Host = self.get(machine.host.0).await?;
        check_size(vcpus, memory_mib, &host)?;
        if !is_off(machine)? && (vcpus < machine.vcpus || memory_mib < machine.memory_mib) {
            let text = format!(
                "machine {} is on, and a guest that runs cannot give CPUs or memory back",
                machine.name
            );
            return Err(Error::conflict("wrong_state", text).hint("stop it first"));
        }
        Ok(Some(Deed::Resize { vcpus, memory_mib }))
    }

    /// Puts a medium into a machine's drive in place of what is there; none empties the drive. `force` does so even
    /// when the guest has locked it. By the task `machine.medium` while the machine is on.
    ///
    /// # Errors
    /// Not found for machine and medium; busy; conflict `not_ready`, `wrong_state`, or `other_host`.
    pub async fn machine_medium(
        &self,
        caller: &Caller,
        key: &str,
        medium: Option<&str>,
        force: bool,
    ) -> Result<Accepted<Machine>> {
        decided(async || {
            let machine = self.machine_for(caller, acts::MACHINE_MEDIUM, key).await?;
            let mut changes = self.changes();
            let mut wanted = None;
            if let Some(name) = medium {
                let medium = self.medium_ready(caller, name, &machine).await?;
                changes.unchanged(&medium);
                wanted = Some(medium.id);
            }
            self.altered(caller, machine, Deed::Medium { medium: wanted, force }, changes).await
        })
        .await
    }

    /// A medium that can be inserted.
    async fn medium_ready(&self, caller: &Caller, key: &str, machine: &Machine) -> Result<Medium> {
        let medium = self.medium_named(key).await?;
        self.may(caller, acts::MEDIUM_USE, Object::of(&medium), key).await?;
        if medium.state != MediumState::Ready {
            let text = format!("medium {} is {}", medium.name, medium.state.word());
            return Err(Error::conflict("not_ready", text));
        }
        let place: crate::volumes::StoragePlace = self.get(medium.storage.0).await?;
        if place.host != machine.host {
            let text = format!("medium {} lies on another host than machine {}", medium.name, machine.name);
            return Err(Error::conflict("other_host", text));
        }
        Ok(medium)
    }

    /// Gives a machine another network card, by the task `nic.attach` while it is on.
    ///
    /// # Errors
    /// Not found for machine and network; invalid; busy; no capacity at eight cards or without a free address;
    /// conflict `taken`, `wrong_state`.
    pub async fn nic_attach(&self, caller: &Caller, key: &str, ask: &NicAsk) -> Result<Accepted<Machine>> {
        let given = ask.mac.as_deref().map(checked_mac).transpose()?;
        decided(async || {
            let machine = self.machine_for(caller, acts::NIC_ATTACH, key).await?;
            if machine.nics.len() >= MAX_NICS {
                return Err(Error::no_capacity(format!("a machine has at most {MAX_NICS} cards")).into());
            }
            let network = self.network_usable(caller, ask.network.as_deref()).await?;
            let has = |mac: &str| machine.nics.iter().any(|nic| nic.mac == mac);
            let place = (0..).find(|place| !has(&hashed_mac(machine.id, *place, 0))).unwrap_or_default();
            let holder = (machine.id, machine.owner);
            let asked: Vec<IpAddr> = ask.address.into_iter().collect();
            let (mut nic, addresses) = self.card_drafted(&network, holder, place, &asked).await?;
            if let Some(mac) = &given {
                self.mac_checked(&network, mac).await?;
                nic.mac.clone_from(mac);
            }
            if has(&nic.mac) {
                let text = format!("machine {} has a card with the MAC {}", machine.name, nic.mac);
                return Err(Error::conflict("taken", text).into());
            }
            let mut changes = self.changes();
            changes.unchanged(&network);
            for address in &addresses {
                changes.insert(address)?;
            }
            let growth = [(Amount::Addresses, amount(addresses.len() as u64))];
            self.within_quotas(&mut changes, machine.owner, &growth).await?;
            match self.altered(caller, machine, Deed::NicAttach { nic }, changes).await {
                // A chosen address stays taken; the next free one is another by now.
                Err(Attempt::Failed(error)) if error.code == "taken" && ask.address.is_none() => {
                    tracing::debug!(error = error.chain(), "an address was taken meanwhile");
                    Err(Attempt::Stale)
                }
                other => other,
            }
        })
        .await
    }

    /// Takes the card with this MAC from a machine, by the task `nic.detach` while it is on. Its address is free.
    ///
    /// # Errors
    /// Not found for machine and card; busy; conflict `wrong_state`, `in_use` for the first card while it is on.
    pub async fn nic_detach(&self, caller: &Caller, key: &str, mac: &str) -> Result<Accepted<Machine>> {
        let mac = checked_mac(mac)?;
        decided(async || {
            let machine = self.machine_for(caller, acts::NIC_DETACH, key).await?;
            let place = machine.nics.iter().position(|nic| nic.mac == mac);
            let place = place.ok_or_else(|| Error::not_found("network card", &mac))?;
            if place == 0 && !is_off(&machine)? {
                let text = "the first card is the one that the machine is reached by";
                return Err(Error::conflict("in_use", text).hint("stop the machine first").into());
            }
            let nic = machine.nics[place].clone();
            self.altered(caller, machine, Deed::NicDetach { nic }, self.changes()).await
        })
        .await
    }

    /// Does it at once to a machine that is off, else by a task that holds the machine. `beside` is committed with it.
    pub(super) async fn altered(
        &self,
        caller: &Caller,
        mut machine: Machine,
        deed: Deed,
        beside: Changes,
    ) -> Result<Accepted<Machine>, Attempt> {
        if let Some(holder) = machine.task {
            return Err(Error::busy(format_args!("machine {}", machine.name), holder).into());
        }
        let mut changes = self.changes();
        machine.updated_at = changes.now();
        if let Deed::Resize { vcpus, memory_mib } = deed {
            let more = [
                (Amount::Vcpus, i64::from(vcpus) - i64::from(machine.vcpus)),
                (Amount::MemoryMib, amount(memory_mib) - amount(machine.memory_mib)),
            ];
            self.within_quotas(&mut changes, machine.owner, &more).await?;
            machine.growing = Some((vcpus, memory_mib));
        }
        if !is_off(&machine)? {
            let kind = deed.task_kind();
            let comes = if let Deed::NicAttach { nic } = &deed { Some(nic.clone()) } else { None };
            let task = self.machine_task(caller, &machine, kind, &Alter::new(machine.id, deed))?;
            machine.hold(task.id)?;
            if let Some(nic) = comes {
                machine.nics.push(nic);
            }
            changes.update(&machine)?;
            changes.insert(&task)?;
            changes.append(beside);
            return self.hand_over(caller, changes, machine, task).await.map_err(not_free);
        }
        if let Deed::NicDetach { nic } = &deed {
            for id in &nic.addresses {
                if let Some(address) = self.find::<Address>(id.0).await? {
                    changes.delete(&address);
                }
            }
        }
        deed.record(&mut machine);
        machine.growing = None;
        let place = changes.commit.alterations.len();
        changes.update(&machine)?;
        changes.append(beside);
        self.deed(&mut changes, caller, deed.task_kind(), &machine)?;
        machine.rev = self.commit(changes).await.map_err(not_free)?.stamps[place].rev;
        Ok(Accepted { record: machine, task: None })
    }
}

fn not_free(error: StoreError) -> Attempt {
    match error {
        StoreError::Taken { kind: Kind::Address, .. } => {
            Attempt::Failed(Error::conflict("taken", "the address is taken already"))
        }
        other => other.into(),
    }
}

/// Whether the machine's devices are changed in its record alone.
fn is_off(machine: &Machine) -> Result<bool> {
    let state = match (machine.life, machine.observed.power) {
        (Life::Present, Observed::Off) => return Ok(true),
        (Life::Present, Observed::On | Observed::Paused) => return Ok(false),
        (Life::Present, Observed::Unknown) => Observed::Unknown.word(),
        (life, _) => life.word(),
    };
    Err(Error::conflict("wrong_state", format!("machine {} is {state}", machine.name)))
}

/// A MAC in our form. A group's address belongs to no card.
fn checked_mac(text: &str) -> Result<String> {
    let mac = text.to_ascii_lowercase();
    let bytes: Vec<Option<u8>> = mac
        .split(':')
        .map(|part| if part.len() == 2 { u8::from_str_radix(part, 16).ok() } else { None })
        .collect();
    match bytes[..] {
        [Some(first), Some(_), Some(_), Some(_), Some(_), Some(_)]
            if first & 1 == 0 && !mac.contains('+') =>
        {
            Ok(mac)
        }
        _ => Err(Error::invalid("mac", format!("`{text:.40}` is not the MAC address of a card"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_are_six_bytes_of_one_card() {
        assert_eq!(checked_mac("52:54:00:AB:cd:01").unwrap(), "52:54:00:ab:cd:01");
        for bad in [
            "",
            "52:54:00:ab:cd",
            "53:54:00:ab:cd:01",
            "52:54:00:ab:cd:0g",
            "52-54-00-ab-cd-01",
            "+2:54:00:ab:cd:01",
        ] {
            assert!(checked_mac(bad).is_err(), "{bad}");
        }
    }
}
