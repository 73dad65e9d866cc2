//! The tasks that make and remove media.

use super::{Medium, MediumState};
use crate::core::Changes;
use crate::error::{Error, Result};
use crate::ids::MediumId;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use serde::{Deserialize, Serialize};

/// Makes a medium: one long step, which leaves nothing half-made and may run again from its beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Make {
    medium: MediumId,
}

impl Make {
    pub(super) fn new(medium: MediumId) -> Self {
        Self { medium }
    }
}

#[async_trait::async_trait]
impl Work for Make {
    fn step(&self) -> &'static str {
        "file"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let before: Medium = core.get(self.medium.0).await?;
        let storage = &core.storage(before.storage)?.storage;
        let facts = storage.medium_make(before.id, &before.source, context.progress).await?;
        let mut medium: Medium = core.get(self.medium.0).await?;
        medium.bytes = Some(facts.bytes);
        medium.digest = Some(facts.digest);
        medium.state = MediumState::Ready;
        medium.task = None;
        let mut changes = core.changes();
        changes.update(&medium)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let medium: Medium = context.core.get(self.medium.0).await?;
        context.core.storage(medium.storage)?.storage.medium_remove(medium.id).await?;
        self.abandon(context, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut medium: Medium = context.core.get(self.medium.0).await?;
        medium.state = MediumState::Failed;
        medium.reason = Some(why.to_owned());
        medium.task = None;
        let mut changes = context.core.changes();
        changes.update(&medium)?;
        Ok(changes)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Uses,
    File,
}

/// Removes a medium that no machine has. Like every removal it cannot be cancelled; only a machine that was given it at
/// the very moment of the promise turns it back, as "in use".
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delete {
    medium: MediumId,
    stage: Stage,
    /// What to go back to when it turns out to be in use.
    before: MediumState,
}

impl Delete {
    pub(super) fn new(medium: &Medium) -> Self {
        Self { medium: medium.id, stage: Stage::Uses, before: medium.state }
    }
}

#[async_trait::async_trait]
impl Work for Delete {
    fn step(&self) -> &'static str {
        match self.stage {
            Stage::Uses => "uses",
            Stage::File => "file",
        }
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    fn cancellable(&self) -> bool {
        false
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let medium: Medium = core.get(self.medium.0).await?;
        if self.stage == Stage::Uses {
            core.medium_unused(&medium).await?;
            self.stage = Stage::File;
            return Ok(Step { outcome: Outcome::Next, changes: core.changes(), progress: 0.2 });
        }
        core.storage(medium.storage)?.storage.medium_remove(medium.id).await?;
        let mut changes = core.changes();
        changes.delete(&medium);
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        self.abandon(context, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut medium: Medium = context.core.get(self.medium.0).await?;
        medium.task = None;
        if self.stage == Stage::Uses {
            medium.state = self.before;
        } else {
            medium.state = MediumState::Failed;
            medium.reason = Some(format!("it could not be removed: {why}"));
        }
        let mut changes = context.core.changes();
        changes.update(&medium)?;
        Ok(changes)
    }
}
