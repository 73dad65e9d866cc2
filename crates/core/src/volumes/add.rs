//! A further disk for a machine, on or off: made and attached by one task, and gone with its machine.

use super::Volume;
use super::commands::{MAX_DISKS, check_size};
use super::model::VolumeState;
use crate::access::{Amount, Caller, acts};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, Result};
use crate::ids::{MachineId, VolumeId};
use crate::machines::{Machine, Observed, amount, disk_of, if_still_up, is_up};
use crate::ports::{IoLimits, VolumeSpec};
use crate::record::Kind;
use crate::tasks::{Accepted, Order, Outcome, Step, StepContext, StepError, Work, ordered};
use crate::templates::{ImageFormat, Template};
use serde::{Deserialize, Serialize};

/// Makes a volume and attaches it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Add {
    volume: VolumeId,
    machine: MachineId,
    position: u32,
}

impl Core {
    /// Gives a machine a further disk by the task `volume.add`. The disk goes with the machine.
    ///
    /// # Errors
    /// Invalid; not found; denied; busy; conflict `wrong_state`; no capacity.
    pub async fn disk_add(&self, caller: &Caller, machine: &str, size_mib: u64) -> Result<Accepted<Volume>> {
        check_size(size_mib)?;
        if size_mib == 0 {
            return Err(Error::invalid("size_mib", "a volume has at least 1 MiB"));
        }
        decided(async || self.disk_add_once(caller, machine, size_mib).await).await
    }

    async fn disk_add_once(
        &self,
        caller: &Caller,
        machine: &str,
        size_mib: u64,
    ) -> Result<Accepted<Volume>, Attempt> {
        let machine = self.machine_for(caller, acts::VOLUME_ATTACH, machine).await?;
        let mut machine = self.machine_settled(machine)?;
        let template: Template = self.get(machine.template.0).await?;
        let others = self.volumes_of(&machine).await?;
        if others.len() >= MAX_DISKS {
            return Err(Error::no_capacity(format!("a machine has at most {MAX_DISKS} volumes")).into());
        }
        // The first place is for what it boots from, and it has booted already.
        let first = u32::from(machine.observed.power != Observed::Off);
        let position = others.last().map_or(first, |last| last.position + 1);
        let mut changes = self.changes();
        let mut volume = Volume {
            id: VolumeId(self.ids().uuid()),
            number: 0,
            rev: 0,
            name: format!("{}-{position}", machine.name),
            owner: machine.owner,
            storage: others.first().map_or(template.storage, |first| first.storage),
            size_mib,
            growing_mib: None,
            format: ImageFormat::Qcow2,
            template: None,
            golden: None,
            machine: None,
            position,
            limits: IoLimits::default(),
            with_machine: true,
            state: VolumeState::Creating,
            reason: None,
            task: None,
            created_at: changes.now(),
        };
        let order = Order {
            kind: "volume.add",
            owner: caller.account,
            subject: volume.id.0,
            subject_kind: Kind::Volume.word(),
            subject_name: &volume.name,
            host: Some(machine.host),
        };
        let task = ordered(self, &order, &Add { volume: volume.id, machine: machine.id, position })?;
        volume.task = Some(task.id);
        machine.hold(task.id)?;
        machine.updated_at = changes.now();
        changes.insert(&volume)?;
        changes.insert(&task)?;
        changes.update(&machine)?;
        let growth = [(Amount::DiskMib, amount(size_mib))];
        self.within_quotas(&mut changes, volume.owner, &growth).await?;
        Ok(self.hand_over(caller, changes, volume, task).await?)
    }
}

impl Add {
    /// Both as they are let go of.
    async fn held(&self, core: &Core) -> Result<(Volume, Machine), StepError> {
        let (mut volume, mut machine): (Volume, Machine) =
            (core.get(self.volume.0).await?, core.get(self.machine.0).await?);
        volume.task = None;
        let reason = machine.reason.take();
        machine.let_go(reason);
        machine.updated_at = core.now();
        Ok((volume, machine))
    }
}

#[async_trait::async_trait]
impl Work for Add {
    fn step(&self) -> &'static str {
        "add"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let (mut volume, machine) = self.held(core).await?;
        let spec = VolumeSpec { id: volume.id, size_mib: volume.size_mib, backing: None };
        context.progress.report(0.1, "making the disk");
        core.storage(volume.storage)?.storage.volume_make(&spec).await?;
        let hypervisor = core.host(machine.host)?.hypervisor.clone();
        volume.state = VolumeState::Present;
        volume.machine = Some(machine.id);
        if is_up(hypervisor.as_ref(), machine.id).await? {
            context.progress.report(0.5, "giving the machine the disk");
            let done = hypervisor.disk_attach(machine.id, &disk_of(&volume)).await;
            if_still_up(hypervisor.as_ref(), machine.id, done).await?;
        }
        let mut changes = core.changes();
        changes.update(&volume)?;
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let (volume, machine) = self.held(core).await?;
        let hypervisor = core.host(machine.host)?.hypervisor.clone();
        if is_up(hypervisor.as_ref(), machine.id).await? {
            let undone = hypervisor.disk_detach(machine.id, volume.id).await;
            if_still_up(hypervisor.as_ref(), machine.id, undone).await?;
        }
        core.storage(volume.storage)?.storage.volume_remove(volume.id).await?;
        let mut changes = core.changes();
        changes.delete(&volume);
        changes.update(&machine)?;
        Ok(changes)
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let (mut volume, mut machine) = self.held(context.core).await?;
        volume.state = VolumeState::Deleting;
        machine.let_go(Some(why.to_owned()));
        let mut changes = context.core.changes();
        changes.update(&volume)?;
        changes.update(&machine)?;
        Ok(changes)
    }
}
