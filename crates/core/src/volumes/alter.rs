//! The tasks that change a volume in use: it comes to a machine that runs, leaves it, grows, or is slowed down.
//!
//! The task holds the volume and the machine that has or gets it. What the records say changes with the last commit;
//! until then undoing means to bring the machine back to what they say. A machine that went off meanwhile finds its
//! disks at its next start as the records have them.

use super::Volume;
use crate::core::{Changes, Core};
use crate::error::{Error, Result};
use crate::ids::{MachineId, VolumeId};
use crate::machines::{Machine, disk_of, if_still_up, is_up};
use crate::ports::{Hypervisor, IoLimits};
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is done to the volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "snake_case")]
pub(super) enum Deed {
    /// The machine gets it, at this place among its disks.
    Attach { position: u32 },
    /// The machine loses it.
    Detach,
    /// It gets this size. Cannot be taken back: what has grown stays grown, and is used when somebody asks again.
    Grow { size_mib: u64 },
    /// It may do no more than this.
    Limit { limits: IoLimits },
}

impl Deed {
    pub(super) fn task_kind(self) -> &'static str {
        match self {
            Self::Attach { .. } => "volume.attach",
            Self::Detach => "volume.detach",
            Self::Grow { .. } => "volume.grow",
            Self::Limit { .. } => "volume.limit",
        }
    }
}

/// Changes a volume in use.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alter {
    volume: VolumeId,
    /// The machine that has it or gets it.
    machine: Option<MachineId>,
    #[serde(flatten)]
    deed: Deed,
}

/// What the task holds.
struct Held {
    volume: Volume,
    machine: Option<Machine>,
    /// What runs the machine, while it is up.
    up: Option<Arc<dyn Hypervisor>>,
}

impl Held {
    /// The changes by which both are let go.
    fn let_go(mut self, core: &Core) -> Result<Changes> {
        let mut changes = core.changes();
        self.volume.task = None;
        self.volume.growing_mib = None;
        changes.update(&self.volume)?;
        if let Some(mut machine) = self.machine {
            machine.updated_at = changes.now();
            let reason = machine.reason.take();
            machine.let_go(reason);
            changes.update(&machine)?;
        }
        Ok(changes)
    }
}

impl Alter {
    pub(super) fn new(volume: VolumeId, machine: Option<MachineId>, deed: Deed) -> Self {
        Self { volume, machine, deed }
    }

    async fn held(&self, core: &Core) -> Result<Held, StepError> {
        let volume: Volume = core.get(self.volume.0).await?;
        let Some(id) = self.machine else { return Ok(Held { volume, machine: None, up: None }) };
        let machine: Machine = core.get(id.0).await?;
        let hypervisor = core.host(machine.host)?.hypervisor.clone();
        let up = is_up(hypervisor.as_ref(), id).await?.then_some(hypervisor);
        Ok(Held { volume, machine: Some(machine), up })
    }

    /// The volume as the machine has it once this is done.
    pub(super) fn then(&self, volume: &Volume) -> Volume {
        let mut volume = volume.clone();
        match self.deed {
            Deed::Attach { position } => (volume.machine, volume.position) = (self.machine, position),
            Deed::Detach => volume.machine = None,
            Deed::Grow { size_mib } => volume.size_mib = volume.size_mib.max(size_mib),
            Deed::Limit { limits } => volume.limits = limits,
        }
        volume
    }

    fn words(&self) -> &'static str {
        match self.deed {
            Deed::Attach { .. } => "giving the machine the disk",
            Deed::Detach => "waiting for the guest to let go of the disk",
            Deed::Grow { .. } => "growing the disk",
            Deed::Limit { .. } => "setting the disk's limits",
        }
    }
}

#[async_trait::async_trait]
impl Work for Alter {
    fn step(&self) -> &'static str {
        match self.deed {
            Deed::Attach { .. } => "attach",
            Deed::Detach => "detach",
            Deed::Grow { .. } => "grow",
            Deed::Limit { .. } => "limit",
        }
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut held = self.held(core).await?;
        let id = held.volume.id;
        match self.machine.zip(held.up.as_ref()) {
            Some((machine, up)) => {
                context.progress.report(0.1, self.words());
                let done = match self.deed {
                    Deed::Attach { .. } => up.disk_attach(machine, &disk_of(&self.then(&held.volume))).await,
                    Deed::Detach => up.disk_detach(machine, id).await,
                    Deed::Grow { size_mib } => up.disk_grow(machine, id, size_mib).await,
                    Deed::Limit { limits } => up.disk_limit(machine, id, limits).await,
                };
                if_still_up(up.as_ref(), machine, done).await?;
            }
            None => {
                // The file first: a record never promises more than there is, and growing twice is growing once.
                if let Deed::Grow { size_mib } = self.deed {
                    context.progress.report(0.1, self.words());
                    core.storage(held.volume.storage)?.storage.volume_grow(id, size_mib).await?;
                }
            }
        }
        held.volume = self.then(&held.volume);
        Ok(Step { outcome: Outcome::Done, changes: held.let_go(core)?, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let held = self.held(core).await?;
        let volume = &held.volume;
        if let Some((machine, up)) = self.machine.zip(held.up.as_ref()) {
            let undone = match self.deed {
                Deed::Attach { .. } => up.disk_detach(machine, volume.id).await,
                Deed::Detach => up.disk_attach(machine, &disk_of(volume)).await,
                Deed::Limit { .. } => up.disk_limit(machine, volume.id, volume.limits).await,
                Deed::Grow { .. } => Ok(()),
            };
            if_still_up(up.as_ref(), machine, undone).await?;
        }
        Ok(held.let_go(core)?)
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut volume: Volume = context.core.get(self.volume.0).await?;
        volume.task = None;
        volume.growing_mib = None;
        let mut changes = context.core.changes();
        changes.update(&volume)?;
        if let Some(id) = self.machine {
            let mut machine: Machine = context.core.get(id.0).await?;
            machine.let_go(Some(why.to_owned()));
            changes.update(&machine)?;
        }
        Ok(changes)
    }
}
