//! The tasks that change a machine while it runs: its size, its cards, what lies in its drive.
//!
//! The record changes with the last commit; until then undoing means to bring the machine back to what it says. Only a
//! card that comes is recorded first: its network must know it before its guest is heard. CPUs and memory cannot be
//! taken back from a guest, so a driver decides on both before it adds anything.

use super::spec::nic_spec;
use super::{Machine, Nic, Observed};
use crate::core::{Changes, Core};
use crate::error::{Error, Result};
use crate::ids::{MachineId, MediumId};
use crate::networks::Address;
use crate::ports::{DriverError, DriverErrorKind, Hypervisor};
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What is done to the machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "deed", rename_all = "snake_case")]
pub(super) enum Deed {
    /// It gets as many CPUs and as much memory.
    Resize { vcpus: u32, memory_mib: u64 },
    /// This medium comes into its drive, or the drive is emptied.
    Medium { medium: Option<MediumId>, force: bool },
    /// It gets this card, which its record and its address have already.
    NicAttach { nic: Nic },
    /// It loses this card and its address.
    NicDetach { nic: Nic },
}

impl Deed {
    pub(super) fn task_kind(&self) -> &'static str {
        match self {
            Self::Resize { .. } => "machine.resize",
            Self::Medium { .. } => "machine.medium",
            Self::NicAttach { .. } => "nic.attach",
            Self::NicDetach { .. } => "nic.detach",
        }
    }

    /// Makes the record say that it is done.
    pub(super) fn record(&self, machine: &mut Machine) {
        match self {
            Self::Resize { vcpus, memory_mib } => {
                (machine.vcpus, machine.memory_mib) = (*vcpus, *memory_mib);
            }
            Self::Medium { medium, .. } => machine.medium = *medium,
            Self::NicAttach { nic } if machine.nics.iter().any(|one| one.mac == nic.mac) => {}
            Self::NicAttach { nic } => machine.nics.push(nic.clone()),
            Self::NicDetach { nic } => machine.nics.retain(|one| one.mac != nic.mac),
        }
    }
}

/// Changes a machine while it runs.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Alter {
    machine: MachineId,
    #[serde(flatten)]
    deed: Deed,
}

impl Alter {
    pub(super) fn new(machine: MachineId, deed: Deed) -> Self {
        Self { machine, deed }
    }

    async fn act(
        &self,
        core: &Core,
        machine: &Machine,
        up: &Arc<dyn Hypervisor>,
        deed: &Deed,
    ) -> Result<(), StepError> {
        let id = self.machine;
        let done = match deed {
            Deed::Resize { vcpus, memory_mib } => up.resize(id, *vcpus, *memory_mib).await,
            Deed::Medium { medium, force } => up.medium_change(id, *medium, *force).await,
            Deed::NicAttach { nic } => {
                // Before its guest is heard, the rules know the card.
                core.networks_ready(machine).await?;
                let spec = nic_spec(core, machine, nic).await?;
                up.nic_attach(id, &spec).await
            }
            Deed::NicDetach { nic } => up.nic_detach(id, &nic.mac).await,
        };
        if_still_up(up.as_ref(), id, done).await
    }

    /// What brings the machine back to its record, if anything can.
    fn reverse(&self, machine: &Machine) -> Option<Deed> {
        match &self.deed {
            Deed::Resize { .. } => None,
            Deed::Medium { force, .. } => Some(Deed::Medium { medium: machine.medium, force: *force }),
            Deed::NicAttach { nic } => Some(Deed::NicDetach { nic: nic.clone() }),
            Deed::NicDetach { nic } => Some(Deed::NicAttach { nic: nic.clone() }),
        }
    }

    /// The changes that end the task; the addresses of a card that is not there are free.
    async fn end(&self, core: &Core, mut machine: Machine, lost: Option<&Nic>) -> Result<Changes> {
        let mut changes = core.changes();
        machine.updated_at = changes.now();
        let reason = machine.reason.take();
        machine.let_go(reason);
        changes.update(&machine)?;
        for id in lost.iter().flat_map(|nic| &nic.addresses) {
            if let Some(address) = core.find::<Address>(id.0).await? {
                changes.delete(&address);
            }
        }
        Ok(changes)
    }
}

#[async_trait::async_trait]
impl Work for Alter {
    fn step(&self) -> &'static str {
        match self.deed {
            Deed::Resize { .. } => "resize",
            Deed::Medium { .. } => "medium",
            Deed::NicAttach { .. } => "attach",
            Deed::NicDetach { .. } => "detach",
        }
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        let hypervisor = core.host(machine.host)?.hypervisor.clone();
        if is_up(hypervisor.as_ref(), self.machine).await? {
            context.progress.report(0.1, "changing the running machine");
            self.act(core, &machine, &hypervisor, &self.deed).await?;
        }
        self.deed.record(&mut machine);
        let lost = if let Deed::NicDetach { nic } = &self.deed { Some(nic) } else { None };
        let changes = self.end(core, machine, lost).await?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        let hypervisor = core.host(machine.host)?.hypervisor.clone();
        if let Some(deed) = self.reverse(&machine) {
            if is_up(hypervisor.as_ref(), self.machine).await? {
                self.act(core, &machine, &hypervisor, &deed).await?;
            }
            deed.record(&mut machine);
        }
        let lost = if let Deed::NicAttach { nic } = &self.deed { Some(nic) } else { None };
        Ok(self.end(core, machine, lost).await?)
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut machine: Machine = context.core.get(self.machine.0).await?;
        machine.let_go(Some(why.to_owned()));
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        Ok(changes)
    }
}

/// What a driver answered about a machine that was up. One that went off meanwhile is looked at anew.
pub(crate) async fn if_still_up(
    hypervisor: &dyn Hypervisor,
    id: MachineId,
    answer: Result<(), DriverError>,
) -> Result<(), StepError> {
    match answer {
        Err(error)
            if matches!(error.kind, DriverErrorKind::Gone | DriverErrorKind::Refused)
                && !is_up(hypervisor, id).await? =>
        {
            Err(StepError::Stale)
        }
        other => Ok(other?),
    }
}

/// Whether the machine has a process whose devices can be changed.
pub(crate) async fn is_up(hypervisor: &dyn Hypervisor, id: MachineId) -> Result<bool, DriverError> {
    match hypervisor.observe(id).await {
        Ok(sighting) if sighting.observed == Observed::Unknown => Err(DriverError::new(
            DriverErrorKind::Unreachable,
            sighting.reason.unwrap_or_else(|| "the machine cannot be observed".into()),
        )),
        Ok(sighting) => Ok(sighting.observed != Observed::Off),
        Err(error) if error.kind == DriverErrorKind::Gone => Ok(false),
        Err(error) => Err(error),
    }
}
