//! What callers may ask about volumes and storages.

use super::tasks::{Create, Delete};
use super::{StoragePlace, Volume, VolumeState};
use crate::access::{Caller, Idempotency};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::hosts::Host;
use crate::ids::VolumeId;
use crate::machines::{Life, Machine, Observed};
use crate::ports::{IoLimits, StorageFacts, StoreError};
use crate::query::Filter;
use crate::record::Kind;
use crate::snapshots::in_no_snapshot;
use crate::tasks::{Accepted, Order, Task, Work, ordered};
use crate::templates::ImageFormat;

/// The largest volume: 64 TiB.
const MAX_MIB: u64 = 64 * 1024 * 1024;
/// Disks that a machine can have.
const MAX_DISKS: usize = 16;

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
            format: ImageFormat::Qcow2,
            template: None,
            machine: None,
            position: 0,
            limits: IoLimits::default(),
            with_machine: false,
            state: VolumeState::Creating,
            task: None,
            created_at: self.now(),
        };
        let task = self.volume_task(caller, &volume, "volume.create", &Create::new(volume.id)).await?;
        volume.task = Some(task.id);
        let mut changes = self.changes();
        changes.insert(&volume)?;
        changes.insert(&task)?;
        if let Some(asked) = idempotency {
            changes.insert(&self.replay(caller, asked, volume.id.0, Some(task.id.0)))?;
        }
        match self.hand_over(changes, volume, task).await {
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
        let found = match (key.parse::<VolumeId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => None,
        };
        let volume: Volume = found.ok_or_else(|| Error::not_found("volume", key))?;
        caller.may_use(volume.owner, "volume", key)?;
        Ok(volume)
    }

    /// The caller's volumes; an administrator sees everybody's.
    pub async fn volume_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Volume>> {
        ask.filter = caller.visible().and(ask.filter);
        self.page(ask).await
    }

    /// Gives a volume to a machine that is off; it is there at the next start.
    ///
    /// # Errors
    /// Not found; busy; conflict `attached`, `wrong_state`, or `other_host` when they are not on one host.
    pub async fn volume_attach(&self, caller: &Caller, key: &str, machine: &str) -> Result<Volume> {
        decided(async || {
            let mut volume = self.volume_free(caller, key).await?;
            if let Some(holder) = volume.machine {
                return Err(Error::conflict("attached", format!("machine {holder} has this volume")).into());
            }
            let machine = self.machine_off(caller, machine).await?;
            self.on_one_host(&volume, &machine).await?;
            let others = self.volumes_of(&machine).await?;
            if others.len() >= MAX_DISKS {
                return Err(Error::no_capacity(format!("a machine has at most {MAX_DISKS} volumes")).into());
            }
            volume.machine = Some(machine.id);
            volume.position = others.last().map_or(0, |last| last.position + 1);
            self.volume_changed_off(volume, &machine).await
        })
        .await
    }

    /// Takes a volume from a machine that is off.
    ///
    /// # Errors
    /// Not found; busy; conflict `not_attached`, `in_use` for the volume it boots from, `has_snapshots`, or
    /// `wrong_state`.
    pub async fn volume_detach(&self, caller: &Caller, key: &str) -> Result<Volume> {
        decided(async || {
            let mut volume = self.volume_free(caller, key).await?;
            let Some(holder) = volume.machine else {
                return Err(Error::conflict("not_attached", "no machine has this volume").into());
            };
            if volume.with_machine {
                let text = "this volume came with its machine and goes with it";
                return Err(Error::conflict("in_use", text).into());
            }
            let machine = self.machine_off(caller, &holder.to_string()).await?;
            in_no_snapshot(&volume, &self.snapshots_of(&machine).await?)?;
            volume.machine = None;
            self.volume_changed_off(volume, &machine).await
        })
        .await
    }

    /// Grows a volume whose machine, if any, is off.
    ///
    /// # Errors
    /// Not found; busy; invalid when it would shrink; conflict `wrong_state`, `other_host`.
    pub async fn volume_grow(&self, caller: &Caller, key: &str, size_mib: u64) -> Result<Volume> {
        check_size(size_mib)?;
        let volume = self.volume_free(caller, key).await?;
        if size_mib < volume.size_mib {
            let text = format!("the volume has {} MiB; it can only grow", volume.size_mib);
            return Err(Error::invalid("size_mib", text));
        }
        if let Some(holder) = volume.machine {
            self.machine_off(caller, &holder.to_string()).await?;
        }
        // The file first: a record never promises more than there is, and growing twice is growing once.
        let local = self.storage_here(volume.storage, &format!("volume {}", volume.name)).await?;
        local.storage.volume_grow(volume.id, size_mib).await?;
        decided(async || {
            let mut volume = self.volume_free(caller, key).await?;
            volume.size_mib = volume.size_mib.max(size_mib);
            let mut changes = self.changes();
            changes.update(&volume)?;
            volume.rev = self.commit(changes).await?.stamps[0].rev;
            Ok(volume)
        })
        .await
    }

    /// Removes a volume that no machine has, by the task `volume.delete`.
    ///
    /// # Errors
    /// Not found; busy; conflict `attached`.
    pub async fn volume_delete(&self, caller: &Caller, key: &str) -> Result<Accepted<Volume>> {
        decided(async || {
            let mut volume = self.volume_free(caller, key).await?;
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
            Ok(self.hand_over(changes, volume, task).await?)
        })
        .await
    }

    /// A volume that no task holds.
    async fn volume_free(&self, caller: &Caller, key: &str) -> Result<Volume> {
        let volume = self.volume_get(caller, key).await?;
        if let Some(holder) = volume.task {
            return Err(Error::busy(format_args!("volume {}", volume.name), holder));
        }
        Ok(volume)
    }

    async fn machine_off(&self, caller: &Caller, key: &str) -> Result<Machine> {
        let machine = self.machine_get(caller, key).await?;
        if let Some(holder) = machine.task {
            return Err(Error::busy(format_args!("machine {}", machine.name), holder));
        }
        if machine.life != Life::Present || machine.observed.power != Observed::Off {
            let state = if machine.life == Life::Present {
                machine.observed.power.word()
            } else {
                machine.life.word()
            };
            let text = format!("machine {} is {state}; its disks change only while it is off", machine.name);
            return Err(Error::conflict("wrong_state", text).hint("stop it first"));
        }
        Ok(machine)
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

    /// Commits the volume if the machine has not changed: it cannot have been started meanwhile.
    async fn volume_changed_off(&self, mut volume: Volume, machine: &Machine) -> Result<Volume, Attempt> {
        let mut changes = self.changes();
        changes.unchanged(machine);
        changes.update(&volume)?;
        volume.rev = self.commit(changes).await?.stamps[0].rev;
        Ok(volume)
    }

    /// All storages, each with how full it is when this process can tell.
    pub async fn storage_list(&self, _caller: &Caller) -> Result<Vec<(StoragePlace, Option<StorageFacts>)>> {
        let mut list = Vec::new();
        for place in self.all::<StoragePlace>(Filter::All).await? {
            let facts = match self.storage(place.id) {
                Ok(local) => local.storage.facts().await.ok(),
                Err(_) => None,
            };
            list.push((place, facts));
        }
        Ok(list)
    }
}
