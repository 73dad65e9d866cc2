//! Records against each other: what points at nothing, what is held by nobody, what is counted wrong.

use super::Finding;
use super::books::Books;
use super::repair::Repair;
use crate::core::Core;
use crate::error::Result;
use crate::ids::TaskId;
use crate::machines::{Life, Machine};
use crate::record::Kind;
use crate::volumes::VolumeState;
use std::collections::HashSet;
use uuid::Uuid;

/// Keys of everything that records point at.
struct Keys {
    hosts: HashSet<Uuid>,
    storages: HashSet<Uuid>,
    networks: HashSet<Uuid>,
    templates: HashSet<Uuid>,
    machines: HashSet<Uuid>,
    media: HashSet<Uuid>,
    addresses: HashSet<Uuid>,
    tasks: HashSet<TaskId>,
}

impl Keys {
    fn of(books: &Books) -> Self {
        Self {
            hosts: books.hosts.iter().map(|host| host.id.0).collect(),
            storages: books.storages.iter().map(|storage| storage.id.0).collect(),
            networks: books.networks.iter().map(|network| network.id.0).collect(),
            templates: books.templates.iter().map(|template| template.id.0).collect(),
            machines: books.machines.iter().map(|machine| machine.id.0).collect(),
            media: books.media.iter().map(|medium| medium.id.0).collect(),
            addresses: books.addresses.iter().map(|address| address.id.0).collect(),
            tasks: books.tasks.iter().map(|task| task.id).collect(),
        }
    }
}

impl Core {
    pub(super) async fn examine_records(&self, books: &Books, findings: &mut Vec<Finding>) -> Result<()> {
        let keys = Keys::of(books);
        let before = findings.len();
        for machine in &books.machines {
            self.examine_machine(machine, &keys, findings).await?;
        }
        self.examine_volumes(books, &keys, findings).await?;
        self.examine_images(books, &keys, findings).await?;
        self.examine_addresses(books, &keys, findings).await?;
        self.examine_holders(books, &keys, findings).await?;
        examine_owners(books, findings);
        for kind in self.store().recount(false).await? {
            let text = format!("the next {} would get a number that another has", kind.word());
            findings.push(
                Finding::problem("record", text)
                    .because("somebody has edited the database")
                    .repair(Repair::Recount { kind }),
            );
        }
        if findings.len() == before {
            findings.push(Finding::ok("record", "records agree with each other"));
        }
        Ok(())
    }

    /// Whether a record is missing for sure: it may be unreadable, or have come after the books were read.
    async fn missing(&self, known: &HashSet<Uuid>, kind: Kind, id: Uuid) -> Result<bool> {
        Ok(!known.contains(&id) && !super::books::exists(self, kind, id).await?)
    }

    async fn examine_machine(
        &self,
        machine: &Machine,
        keys: &Keys,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let name = &machine.name;
        let mut lost = Vec::new();
        if self.missing(&keys.hosts, Kind::Host, machine.host.0).await? {
            lost.push(format!("host {}", machine.host));
        }
        if self.missing(&keys.templates, Kind::Template, machine.template.0).await? {
            lost.push(format!("template {}", machine.template));
        }
        for nic in &machine.nics {
            if self.missing(&keys.networks, Kind::Network, nic.network.0).await? {
                lost.push(format!("network {}", nic.network));
            }
            for address in nic.addresses.iter().filter(|_| machine.life == Life::Present) {
                if self.missing(&keys.addresses, Kind::Address, address.0).await? {
                    lost.push(format!("address {address}, which others may get now"));
                }
            }
        }
        findings.extend(lost.into_iter().map(|what| {
            let hint = format!(
                "restore that record from a backup, or delete the machine: `hostler machine delete {name}`"
            );
            Finding::problem("machine", format!("machine {name} names a record that is not there: {what}"))
                .hint(hint)
        }));
        if let Some(medium) = machine.medium
            && self.missing(&keys.media, Kind::Medium, medium.0).await?
        {
            let text = format!("machine {name} has a medium in its drive that is not there: {medium}");
            let repair = Repair::EmptyDrive { machine: machine.id };
            findings.push(repairable(Finding::problem("machine", text), repair, machine.task.is_none()));
        }
        Ok(())
    }

    async fn examine_volumes(&self, books: &Books, keys: &Keys, findings: &mut Vec<Finding>) -> Result<()> {
        for volume in &books.volumes {
            let (name, id) = (&volume.name, volume.id);
            if volume.state != VolumeState::Present && volume.task.is_none() && volume.machine.is_none() {
                let text = format!("volume {name} ({id}) is {}, and no task sees to it", volume.state.word());
                let hint = format!("`hostler volume delete {}`", volume.number);
                findings.push(Finding::problem("volume", text).hint(hint));
            }
            if self.missing(&keys.storages, Kind::Storage, volume.storage.0).await? {
                let text =
                    format!("volume {name} ({id}) names a storage that is not there: {}", volume.storage);
                findings.push(Finding::problem("volume", text).hint("restore that record from a backup"));
            }
            if let Some(template) = volume.template
                && self.missing(&keys.templates, Kind::Template, template.0).await?
            {
                let text = format!("volume {name} ({id}) stands on a template that is not there: {template}");
                findings.push(Finding::problem("volume", text).hint("restore that record from a backup"));
            }
            let Some(holder) = volume.machine.filter(|holder| !keys.machines.contains(&holder.0)) else {
                continue;
            };
            // A machine that cannot be read is there all the same.
            let machine: Option<Machine> = match self.find(holder.0).await {
                Ok(found) => found,
                Err(_) => continue,
            };
            if machine.is_some_and(|machine| machine.life != Life::Gone) {
                continue;
            }
            let text = format!("volume {name} ({id}) is with machine {holder}, which is no more");
            let finding = Finding::problem("volume", text)
                .hint(format!("what is on it is kept; `hostler volume delete {}` removes it", volume.number));
            findings.push(repairable(finding, Repair::Detach { volume: id }, volume.task.is_none()));
        }
        Ok(())
    }

    async fn examine_images(&self, books: &Books, keys: &Keys, findings: &mut Vec<Finding>) -> Result<()> {
        let templates = books.templates.iter().map(|one| ("template", &one.name, one.storage));
        let media = books.media.iter().map(|one| ("medium", &one.name, one.storage));
        for (what, name, storage) in templates.chain(media) {
            if self.missing(&keys.storages, Kind::Storage, storage.0).await? {
                let text = format!("{what} {name} names a storage that is not there: {storage}");
                findings.push(Finding::problem(what, text).hint("restore that record from a backup"));
            }
        }
        for snapshot in &books.snapshots {
            let machine = snapshot.machine;
            if self.missing(&keys.machines, Kind::Machine, machine.0).await? {
                let text = format!("snapshot {} is of machine {machine}, which is no more", snapshot.name);
                findings.push(
                    Finding::problem("snapshot", text)
                        .hint("it is of no use without it; restore the machine's record from a backup, or delete this one"),
                );
            }
        }
        Ok(())
    }

    async fn examine_addresses(&self, books: &Books, keys: &Keys, findings: &mut Vec<Finding>) -> Result<()> {
        for address in &books.addresses {
            if self.missing(&keys.networks, Kind::Network, address.network.0).await? {
                let text =
                    format!("address {} is of a network that is not there: {}", address.ip, address.network);
                findings.push(Finding::problem("address", text).hint("restore that record from a backup"));
            }
            let Some(holder) = address.machine.filter(|holder| !keys.machines.contains(&holder.0)) else {
                continue;
            };
            if let Ok(None | Some(Machine { life: Life::Gone, .. })) = self.find::<Machine>(holder.0).await {
                let text = format!("address {} is taken by machine {holder}, which is no more", address.ip);
                let repair = Repair::FreeAddress { address: address.id };
                findings.push(Finding::problem("address", text).repair(repair));
            }
        }
        Ok(())
    }

    /// What a task holds that has ended or vanished would be busy for ever.
    async fn examine_holders(&self, books: &Books, keys: &Keys, findings: &mut Vec<Finding>) -> Result<()> {
        let machines =
            books.machines.iter().map(|one| (Kind::Machine, one.id.0, one.name.to_string(), one.task));
        let templates =
            books.templates.iter().map(|one| (Kind::Template, one.id.0, one.name.clone(), one.task));
        let volumes = books.volumes.iter().map(|one| (Kind::Volume, one.id.0, one.name.clone(), one.task));
        let media = books.media.iter().map(|one| (Kind::Medium, one.id.0, one.name.clone(), one.task));
        let snapshots =
            books.snapshots.iter().map(|one| (Kind::Snapshot, one.id.0, one.name.clone(), one.task));
        for (kind, id, name, task) in machines.chain(templates).chain(volumes).chain(media).chain(snapshots) {
            let Some(task) = task.filter(|task| !keys.tasks.contains(task)) else { continue };
            if !self.is_held_by_nobody(kind, id, task).await? {
                continue;
            }
            let text =
                format!("{} {name} is held by task {task}, which has ended or is no more", kind.word());
            findings.push(Finding::problem("task", text).repair(Repair::LetGo { kind, id }));
        }
        Ok(())
    }
}

fn repairable(finding: Finding, repair: Repair, free: bool) -> Finding {
    if free { finding.repair(repair) } else { finding }
}

fn examine_owners(books: &Books, findings: &mut Vec<Finding>) {
    let machines = books.machines.iter().map(|one| (Kind::Machine, one.name.to_string(), one.owner));
    let volumes = books.volumes.iter().map(|one| (Kind::Volume, one.name.clone(), one.owner));
    let templates = books.templates.iter().map(|one| (Kind::Template, one.name.clone(), one.owner));
    for (kind, name, owner) in machines.chain(volumes).chain(templates) {
        if !books.accounts.contains(&owner) {
            let text = format!("{} {name} belongs to account {owner}, which is not there", kind.word());
            let hint = "administrators still see it; restore the account's record from a backup";
            findings.push(Finding::problem("record", text).hint(hint));
        }
    }
}
