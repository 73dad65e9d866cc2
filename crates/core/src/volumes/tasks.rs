//! The tasks that make and remove volumes of their own.

use super::{Volume, VolumeState};
use crate::core::Changes;
use crate::error::{Error, Result};
use crate::ids::VolumeId;
use crate::ports::VolumeSpec;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use serde::{Deserialize, Serialize};

/// Makes an empty volume.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Create {
    volume: VolumeId,
}

impl Create {
    pub(super) fn new(volume: VolumeId) -> Self {
        Self { volume }
    }
}

#[async_trait::async_trait]
impl Work for Create {
    fn step(&self) -> &'static str {
        "make"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut volume: Volume = core.get(self.volume.0).await?;
        let spec = VolumeSpec { id: volume.id, size_mib: volume.size_mib, backing: None };
        core.storage(volume.storage)?.storage.volume_make(&spec).await?;
        volume.state = VolumeState::Present;
        volume.task = None;
        let mut changes = core.changes();
        changes.update(&volume)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let volume: Volume = core.get(self.volume.0).await?;
        core.storage(volume.storage)?.storage.volume_remove(volume.id).await?;
        let mut changes = core.changes();
        changes.delete(&volume);
        Ok(changes)
    }

    async fn abandon(&self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        let mut volume: Volume = context.core.get(self.volume.0).await?;
        volume.state = VolumeState::Deleting;
        volume.task = None;
        let mut changes = context.core.changes();
        changes.update(&volume)?;
        Ok(changes)
    }
}

/// Removes a volume that no machine has. Cannot be taken back.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delete {
    volume: VolumeId,
}

impl Delete {
    pub(super) fn new(volume: VolumeId) -> Self {
        Self { volume }
    }
}

#[async_trait::async_trait]
impl Work for Delete {
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
        let volume: Volume = core.get(self.volume.0).await?;
        core.storage(volume.storage)?.storage.volume_remove(volume.id).await?;
        let mut changes = core.changes();
        changes.delete(&volume);
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        self.abandon(context, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        let mut volume: Volume = context.core.get(self.volume.0).await?;
        volume.task = None;
        let mut changes = context.core.changes();
        changes.update(&volume)?;
        Ok(changes)
    }
}
