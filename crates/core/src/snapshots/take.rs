//! The task that takes a snapshot.

use super::world::{Seen, erase, hidden, look, wait};
use super::{Snapshot, SnapshotState, SnapshotVolume};
use crate::core::Changes;
use crate::error::{Error, Result};
use crate::ids::SnapshotId;
use crate::machines::Machine;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Takes a snapshot: all disks in one go, by whoever has them open.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Take {
    snapshot: SnapshotId,
    /// Whether the machine was up when this was asked for. One that goes off meanwhile has written on: some disks
    /// may be kept from before, others would be from after.
    up: bool,
    deadline: Timestamp,
}

impl Take {
    pub(super) fn new(snapshot: SnapshotId, up: bool) -> Self {
        Self { snapshot, up, deadline: Timestamp(0) }
    }
}

#[async_trait::async_trait]
impl Work for Take {
    fn step(&self) -> &'static str {
        "take"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut snapshot: Snapshot = core.get(self.snapshot.0).await?;
        let mut machine: Machine = core.get(snapshot.machine.0).await?;
        let volumes = core.volumes_of(&machine).await?;
        // The machine was not held yet when the volumes were listed first.
        snapshot.volumes = SnapshotVolume::of(&volumes);
        let mut changes = core.changes();
        match (look(core, &machine).await?, self.up) {
            (Seen::Hidden, _) => return wait(core, &mut self.deadline),
            (Seen::Up(sighting), true) => {
                let hypervisor = &core.host(machine.host)?.hypervisor;
                let what = if snapshot.memory { "saving disks and memory" } else { "saving the disks" };
                context.progress.report(0.0, what);
                hypervisor.snapshot_take(machine.id, &snapshot.spec(), context.progress).await?;
                machine.saw(&sighting, changes.now());
            }
            (Seen::Down, false) => {
                for volume in &volumes {
                    let storage = &core.storage(volume.storage)?.storage;
                    storage.volume_snapshot(volume.id, snapshot.id).await?;
                }
            }
            (Seen::Down, true) => {
                let text = "the machine went off while its snapshot was to be taken";
                return Err(Error::conflict("wrong_state", text).into());
            }
            (Seen::Up(_), false) => {
                let text = "the machine went on while its snapshot was to be taken";
                return Err(Error::conflict("wrong_state", text).into());
            }
        }
        snapshot.state = SnapshotState::Present;
        snapshot.let_go(None);
        changes.update(&snapshot)?;
        let reason = machine.reason.take();
        machine.let_go(reason);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let snapshot: Snapshot = core.get(self.snapshot.0).await?;
        let mut machine: Machine = core.get(snapshot.machine.0).await?;
        let seen = look(core, &machine).await?;
        if matches!(seen, Seen::Hidden) {
            return Err(hidden());
        }
        erase(core, &machine, &snapshot, &seen).await?;
        let mut changes = core.changes();
        changes.delete(&snapshot);
        match &seen {
            Seen::Up(sighting) => machine.saw(sighting, changes.now()),
            Seen::Down | Seen::Hidden => machine.saw_nothing(changes.now()),
        }
        let reason = machine.reason.take();
        machine.let_go(reason);
        changes.update(&machine)?;
        Ok(changes)
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        super::remove::left(context.core, self.snapshot, why).await
    }
}
