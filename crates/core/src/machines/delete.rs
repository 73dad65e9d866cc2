//! The task that removes a machine: its process, what the hypervisor keeps of it, its own volumes.

use super::Machine;
use super::create::gone;
use crate::core::Changes;
use crate::error::Result;
use crate::ids::MachineId;
use crate::snapshots::erase_from;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    PowerOff,
    Remove,
    Volumes,
}

/// Removes a machine. Cannot be taken back once begun; when it fails the machine stays `deleting` with the reason,
/// and is tried again later.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delete {
    machine: MachineId,
    stage: Stage,
}

impl Delete {
    pub(crate) fn new(machine: MachineId) -> Self {
        Self { machine, stage: Stage::PowerOff }
    }
}

#[async_trait::async_trait]
impl Work for Delete {
    fn step(&self) -> &'static str {
        match self.stage {
            Stage::PowerOff => "power_off",
            Stage::Remove => "remove",
            Stage::Volumes => "volumes",
        }
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(crate::Error::internal)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let machine: Machine = core.get(self.machine.0).await?;
        let hypervisor = &core.host(machine.host)?.hypervisor;
        let next = |changes, progress| Ok(Step { outcome: Outcome::Next, changes, progress });
        match self.stage {
            Stage::PowerOff => {
                context.progress.report(0.0, "turning it off");
                hypervisor.power_off(machine.id).await?;
                self.stage = Stage::Remove;
                next(core.changes(), 0.3)
            }
            Stage::Remove => {
                context.progress.report(0.0, "removing what is left of it");
                hypervisor.remove(machine.id).await?;
                self.stage = Stage::Volumes;
                next(core.changes(), 0.6)
            }
            Stage::Volumes => {
                let volumes = core.volumes_of(&machine).await?;
                let (own, others): (Vec<_>, Vec<_>) = volumes.iter().partition(|volume| volume.with_machine);
                for volume in own {
                    core.storage(volume.storage)?.storage.volume_remove(volume.id).await?;
                }
                // What stays shall not keep a past that nobody can go back to.
                for snapshot in core.snapshots_of(&machine).await? {
                    for volume in others.iter().filter(|volume| snapshot.has(volume.id)) {
                        erase_from(core, volume, &snapshot).await?;
                    }
                }
                let changes = gone(core, machine, volumes, None).await?;
                Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
            }
        }
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        self.abandon(context, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut machine: Machine = context.core.get(self.machine.0).await?;
        machine.let_go(Some(format!("it could not be removed: {why}")));
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        Ok(changes)
    }
}
