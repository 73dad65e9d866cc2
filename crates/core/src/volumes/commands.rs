//! What callers may ask about volumes and storages.

use super::alter::{Alter, Deed};
use super::tasks::{Create, Delete};
use super::{StoragePlace, Volume, VolumeState};
use crate::access::{Act, Amount, Caller, Idempotency, Object, acts};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::hosts::Host;
use crate::ids::VolumeId;
use crate::machines::{Life, Machine, Observed, amount};
use crate::ports::{IoLimits, StorageFacts, StoreError};
use crate::query::Filter;
use crate::record::Kind;
use crate::snapshots::in_no_snapshot;
use crate::tasks::{Accepted, Order, Task, Work, ordered};
use crate::templates::ImageFormat;

/// The largest volume: 64 TiB.
const MAX_MIB: u64 = 64 * 1024 * 1024;
/// Disks that a machine can have.
pub(super) const MAX_DISKS: usize = 16;

/// An empty volume to be made.
#[derive(Clone, Debug)]
pub struct VolumeAsk {
    /// Name for people.
    pub name: String,
    /// Virtual size in MiB.
    pub size_mib: u64,
    /// Where it shall lie: a storage by id, number or name; that of this process's host when left out.
    pub storage: Option<String>,
}

pub(crate) fn check_size(size_mib: u64) -> Result<()> {
    if size_mib > MAX_MIB {
        return Err(Error::invalid(
            "size_mib",
            format!("a volume has at most {MAX_MIB} MiB, not {size_mib}"),
        ));
    }
    Ok(())
}

fn check_limits(limits: IoLimits) -> Result<()> {
    // Less than one block in a second stops a disk for good; more than this is beyond what QEMU counts.
    let most = 1_000_000_000_000_000;
    if limits.iops.is_some_and(|iops| iops == 0 || iops > most) {
        return Err(Error::invalid("iops", format!("a limit is 1 to {most} operations each second")));
    }
    if limits.bytes.is_some_and(|bytes| !(4096..=most).contains(&bytes)) {
        return Err(Error::invalid("bytes", format!("a limit is 4096 to {most} bytes each second")));
    }
    Ok(())
}

impl Core {
    /// Makes an empty volume by the task `volume.create`.
    ///
    /// # Errors
    /// Invalid, for name, size and storage.
    pub async fn volume_create(
        &self,
        caller: &Caller,
        ask: &VolumeAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Volume>> {
        self.creates(caller, "volume").await?;
        check_size(ask.size_mib)?;
        if ask.size_mib == 0 {
            return Err(Error::invalid("size_mib", "a volume has at least 1 MiB"));
        }
        if ask.name.is_empty() || ask.name.len() > 128 || ask.name.chars().any(char::is_control) {
            return Err(Error::invalid(
                "name",
                "a volume's name has 1 to 128 bytes and no control characters",
            ));
        }
        decided(async || {
            if let Some(replay) = self.replayed(caller, idempotency).await? {
                return Ok(self.accepted_before(&replay).await?);
            }
            self.volume_create_once(caller, ask, idempotency).await
        })
        .await
    }

    async fn volume_create_once(
        &self,
        caller: &Caller,
        ask: &VolumeAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Accepted<Volume>, Attempt> {
        let storage = self.storage_named(ask.storage.as_deref()).await?;
        let mut volume = Volume {
            id: VolumeId(self.ids().uuid()),
            number: 0,
            rev: 0,
            name: ask.name.clone(),
            owner: caller.account,
            storage: storage.id,
            size_mib: ask.size_mib,
            growing_mib: None,
            format: ImageFormat::Qcow2,
            template: None,
            golden: None,
            machine: None,
            position: 0,
            limits: IoLimits::default(),
            with_machine: false,
            state: VolumeState::Creating,
            reason: None,
            task: None,
            created_at: self.now(),
        };
        let task = self.volume_task(caller, &volume, "volume.create", &Create::new(volume.id)).await?;
        volume.task = Some(task.id);
        let mut changes = self.changes();
        changes.insert(&volume)?;
        changes.insert(&task)?;
        self.owner_stays(caller.account, &mut changes).await?;
        let growth = [(Amount::DiskMib, amount(volume.size_mib))];
        self.within_quotas(&mut changes, volume.owner, &growth).await?;
        if let Some(asked) = idempotency {
            changes.insert(&self.replay(caller, asked, volume.id.0, Some(task.id.0)))?;
        }
        match self.hand_over(caller, changes, volume, task).await {
            Err(StoreError::Taken { kind: Kind::Replay, .. }) => Err(Attempt::Stale),
            other => Ok(other?),
        }
    }

    async fn volume_task<W: Work + serde::Serialize>(
        &self,
        caller: &Caller,
        volume: &Volume,
        kind: &'static str,
        work: &W,
    ) -> Result<Task> {
        let place: StoragePlace = self.get(volume.storage.0).await?;
        let order = Order {
            kind,
            owner: caller.account,
            subject: volume.id.0,
            subject_kind: "volume",
            subject_name: &volume.name,
            host: Some(place.host),
        };
        ordered(self, &order, work)
    }

    /// One volume, by id or number.
    ///
    /// # Errors
    /// Not found, also when it is somebody else's.
    pub async fn volume_get(&self, caller: &Caller, key: &str) -> Result<Volume> {
        let volume = self.volume_named(key).await?;
        self.sees(caller, Object::of(&volume), key).await?;
        Ok(volume)
    }

    pub(crate) async fn volume_named(&self, key: &str) -> Result<Volume> {
        let found = match (key.parse::<VolumeId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => None,
        };
        found.ok_or_else(|| Error::not_found("volume", key))
    }

    /// The volumes that the caller may see.
    pub async fn volume_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Volume>> {
        ask.filter = caller.visible().and(ask.filter);
        self.page(ask).await
    }

    /// Gives a volume to a machine: at once while that is off, by the task `volume.attach` while it is on.
    ///
    /// # Errors
    /// Not found; busy; no capacity; conflict `attached`, `wrong_state`, or `other_host` when they are not on one host.
    pub async fn volume_attach(&self, caller: &Caller, key: &str, machine: &str) -> Result<Accepted<Volume>> {
        decided(async || {
            let volume = self.volume_free(caller, acts::VOLUME_ATTACH, key).await?;
            if let Some(holder) = volume.machine {
                return Err(Error::conflict("attached", format!("machine {holder} has this volume")).into());
            }
            let machine = self.machine_for(caller, acts::VOLUME_ATTACH, machine).await?;
            let machine = self.machine_settled(machine)?;
            self.on_one_host(&volume, &machine).await?;
            let others = self.volumes_of(&machine).await?;
            if others.len() >= MAX_DISKS {
                return Err(Error::no_capacity(format!("a machine has at most {MAX_DISKS} volumes")).into());
            }
            // The first place is for what it boots from, and it has booted already.
            let first = u32::from(machine.observed.power != Observed::Off);
            let position = others.last().map_or(first, |last| last.position + 1);
            self.volume_altered(caller, volume, Some(machine), Deed::Attach { position }).await
        })
        .await
    }

    /// Takes a volume from its machine: at once while that is off, by the task `volume.detach` while it is on.
    ///
    /// # Errors
    /// Not found; busy; conflict `not_attached`, `in_use` for the volume it boots from, `has_snapshots`, or
    /// `wrong_state`.
    pub async fn volume_detach(&self, caller: &Caller, key: &str) -> Result<Accepted<Volume>> {
        decided(async || {
            let volume = self.volume_free(caller, acts::VOLUME_DETACH, key).await?;
            let Some(holder) = volume.machine else {
                return Err(Error::conflict("not_attached", "no machine has this volume").into());
            };
            if volume.with_machine {
                let text = "this volume came with its machine and goes with it";
                return Err(Error::conflict("in_use", text).into());
            }
            let machine = self.machine_for(caller, acts::VOLUME_DETACH, &holder.to_string()).await?;
            let machine = self.machine_settled(machine)?;
            if volume.position == 0 && machine.observed.power != Observed::Off {
                let text = format!("machine {} runs from this volume", machine.name);
                return Err(Error::conflict("in_use", text).hint("stop it first").into());
            }
            in_no_snapshot(&volume, &self.snapshots_of(&machine).await?)?;
            self.volume_altered(caller, volume, Some(machine), Deed::Detach).await
        })
        .await
    }

    /// Grows a volume by the task `volume.grow`, whether its machine, if any, is on or off.
    ///
    /// # Errors
    /// Not found; busy; invalid when it would shrink; conflict `wrong_state`.
    pub async fn volume_grow(&self, caller: &Caller, key: &str, size_mib: u64) -> Result<Accepted<Volume>> {
        check_size(size_mib)?;
        decided(async || {
            let volume = self.volume_free(caller, acts::VOLUME_GROW, key).await?;
            if size_mib < volume.size_mib {
                let text = format!("the volume has {} MiB; it can only grow", volume.size_mib);
                return Err(Error::invalid("size_mib", text).into());
            }
            if size_mib == volume.size_mib {
                return Ok(Accepted { record: volume, task: None });
            }
            let machine = self.machine_with(&volume).await?;
            self.volume_altered(caller, volume, machine, Deed::Grow { size_mib }).await
        })
        .await
    }

    /// Sets how much a volume may do each second: at once while no machine runs with it, else by the task
    /// `volume.limit`.
    ///
    /// # Errors
    /// Not found; busy; invalid; conflict `wrong_state`.
    pub async fn volume_limit(
        &self,
        caller: &Caller,
        key: &str,
        limits: IoLimits,
    ) -> Result<Accepted<Volume>> {
        check_limits(limits)?;
        decided(async || {
            let volume = self.volume_free(caller, acts::VOLUME_LIMIT, key).await?;
            let machine = self.machine_with(&volume).await?;
            self.volume_altered(caller, volume, machine, Deed::Limit { limits }).await
        })
        .await
    }

    /// The machine that has a volume, if any; no task holds it.
    async fn machine_with(&self, volume: &Volume) -> Result<Option<Machine>> {
        match volume.machine {
            Some(holder) => Ok(Some(self.machine_settled(self.get(holder.0).await?)?)),
            None => Ok(None),
        }
    }

    /// Does it at once when records alone change, else by a task that holds volume and machine.
    async fn volume_altered(
        &self,
        caller: &Caller,
        mut volume: Volume,
        machine: Option<Machine>,
        deed: Deed,
    ) -> Result<Accepted<Volume>, Attempt> {
        let mut changes = self.changes();
        let running = machine.as_ref().is_some_and(|machine| machine.observed.power != Observed::Off);
        let work = Alter::new(volume.id, machine.as_ref().map(|machine| machine.id), deed);
        if !running && !matches!(deed, Deed::Grow { .. }) {
            // The machine cannot have been started meanwhile.
            machine.iter().for_each(|machine| changes.unchanged(machine));
            volume = work.then(&volume);
            changes.update(&volume)?;
            self.deed(&mut changes, caller, deed.task_kind(), &volume)?;
            volume.rev = self.commit(changes).await?.stamps[0].rev;
            return Ok(Accepted { record: volume, task: None });
        }
        let task = self.volume_task(caller, &volume, deed.task_kind(), &work).await?;
        volume.task = Some(task.id);
        if let Deed::Grow { size_mib } = deed {
            volume.growing_mib = Some(size_mib);
            let growth = [(Amount::DiskMib, amount(size_mib.saturating_sub(volume.size_mib)))];
            self.within_quotas(&mut changes, volume.owner, &growth).await?;
        }
        changes.update(&volume)?;
        changes.insert(&task)?;
        if let Some(mut machine) = machine {
            machine.hold(task.id)?;
            machine.updated_at = task.created_at;
            changes.update(&machine)?;
        }
        Ok(self.hand_over(caller, changes, volume, task).await?)
    }

    /// Removes a volume that no machine has, by the task `volume.delete`.
    ///
    /// # Errors
    /// Not found; busy; conflict `attached`.
    pub async fn volume_delete(&self, caller: &Caller, key: &str) -> Result<Accepted<Volume>> {
        decided(async || {
            let mut volume = self.volume_free(caller, acts::VOLUME_DELETE, key).await?;
            if let Some(holder) = volume.machine {
                let text = format!("machine {holder} has this volume");
                return Err(Error::conflict("attached", text).hint("detach it first").into());
            }
            let task = self.volume_task(caller, &volume, "volume.delete", &Delete::new(volume.id)).await?;
            volume.task = Some(task.id);
            volume.state = VolumeState::Deleting;
            let mut changes = self.changes();
            changes.update(&volume)?;
            changes.insert(&task)?;
            Ok(self.hand_over(caller, changes, volume, task).await?)
        })
        .await
    }

    /// A volume that the caller may do this with and that no task holds.
    async fn volume_free(&self, caller: &Caller, act: Act, key: &str) -> Result<Volume> {
        let volume = self.volume_named(key).await?;
        self.may(caller, act, Object::of(&volume), key).await?;
        if let Some(holder) = volume.task {
            return Err(Error::busy(format_args!("volume {}", volume.name), holder));
        }
        Ok(volume)
    }

    /// A machine as it is, when it is on or off and no task holds it.
    pub(super) fn machine_settled(&self, machine: Machine) -> Result<Machine> {
        let machine = self.shown_machine(machine);
        if let Some(holder) = machine.task {
            return Err(Error::busy(format_args!("machine {}", machine.name), holder));
        }
        let state = match (machine.life, machine.observed.power) {
            (Life::Present, Observed::Unknown) => Observed::Unknown.word(),
            (Life::Present, _) => return Ok(machine),
            (life, _) => life.word(),
        };
        let text = format!("machine {} is {state}; its disks cannot change now", machine.name);
        Err(Error::conflict("wrong_state", text))
    }

    /// A storage belongs to one host, so its volumes are of use to machines there only.
    pub(crate) async fn on_one_host(&self, volume: &Volume, machine: &Machine) -> Result<()> {
        let place: StoragePlace = self.get(volume.storage.0).await?;
        if place.host == machine.host {
            return Ok(());
        }
        let (there, here): (Host, Host) = (self.get(place.host.0).await?, self.get(machine.host.0).await?);
        let text = format!(
            "volume {} lies on host {}, but machine {} runs on host {}",
            volume.name, there.name, machine.name, here.name
        );
        let storages: Vec<StoragePlace> = self.all(Filter::eq("host", machine.host.0)).await?;
        let name = storages.first().map_or_else(String::new, |place| place.name.clone());
        Err(Error::conflict("other_host", text).hint(format!("make one with `--storage {name}`")))
    }

    /// All storages, each with how full it is when this process can tell.
    pub async fn storage_list(
        &self,
        _caller: &Caller,
        ask: ListAsk,
    ) -> Result<Page<(StoragePlace, Option<StorageFacts>)>> {
        let page = self.page::<StoragePlace>(ask).await?;
        let mut items = Vec::with_capacity(page.items.len());
        for place in page.items {
            let facts = match self.storage(place.id) {
                Ok(local) => local.storage.facts().await.ok(),
                Err(_) => None,
            };
            items.push((place, facts));
        }
        Ok(Page { items, next: page.next, total: page.total })
    }
}
