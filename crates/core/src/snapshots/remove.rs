//! The task that removes a snapshot.

use super::world::{Seen, erase, look, wait};
use super::{Snapshot, SnapshotState};
use crate::core::{Changes, Core};
use crate::error::{Error, Result};
use crate::ids::SnapshotId;
use crate::machines::Machine;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Removes a snapshot. Cannot be taken back; when it fails the snapshot stays `deleting` with the reason, and may be
/// removed again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Remove {
    snapshot: SnapshotId,
    deadline: Timestamp,
}

impl Remove {
    pub(super) fn new(snapshot: SnapshotId) -> Self {
        Self { snapshot, deadline: Timestamp(0) }
    }
}

/// What is left of a snapshot is to be removed later; it and its machine are free.
pub(super) async fn left(core: &Core, id: SnapshotId, why: &str) -> Result<Changes, StepError> {
    let mut snapshot: Snapshot = core.get(id.0).await?;
    let mut machine: Machine = core.get(snapshot.machine.0).await?;
    snapshot.state = SnapshotState::Deleting;
    snapshot.let_go(Some(format!("it could not be removed: {why}")));
    let reason = machine.reason.take();
    machine.let_go(reason);
    let mut changes = core.changes();
    changes.update(&snapshot)?;
    changes.update(&machine)?;
    Ok(changes)
}

#[async_trait::async_trait]
impl Work for Remove {
    fn step(&self) -> &'static str {
        "remove"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let snapshot: Snapshot = core.get(self.snapshot.0).await?;
        let mut machine: Machine = core.get(snapshot.machine.0).await?;
        let seen = look(core, &machine).await?;
        if matches!(seen, Seen::Hidden) {
            return wait(core, &mut self.deadline);
        }
        erase(core, &machine, &snapshot, &seen).await?;
        let mut changes = core.changes();
        changes.delete(&snapshot);
        let reason = machine.reason.take();
        machine.let_go(reason);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        self.abandon(context, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        left(context.core, self.snapshot, why).await
    }
}
