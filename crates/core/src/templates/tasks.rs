//! The tasks that make and remove images.

use super::{Template, TemplateState};
use crate::core::Changes;
use crate::error::{Error, Result};
use crate::ids::TemplateId;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use serde::{Deserialize, Serialize};

/// What machines get when neither the caller nor the image says anything.
const DEFAULT_VCPUS: u32 = 1;
const DEFAULT_MEMORY_MIB: u64 = 512;

/// Makes an image: one long step, which leaves nothing half-made and may run again from its beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Make {
    template: TemplateId,
}

impl Make {
    pub(super) fn new(template: TemplateId) -> Self {
        Self { template }
    }

    async fn failed(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut template: Template = context.core.get(self.template.0).await?;
        template.state = TemplateState::Failed;
        template.reason = Some(why.to_owned());
        template.task = None;
        let mut changes = context.core.changes();
        changes.update(&template)?;
        Ok(changes)
    }
}

#[async_trait::async_trait]
impl Work for Make {
    fn step(&self) -> &'static str {
        "image"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let before: Template = core.get(self.template.0).await?;
        let storage = &core.storage(before.storage)?.storage;
        let image = storage.image_make(before.id, &before.source, context.progress).await?;
        let mut template: Template = core.get(self.template.0).await?;
        if template.vcpus == 0 {
            template.vcpus = image.vcpus.unwrap_or(DEFAULT_VCPUS);
        }
        if template.memory_mib == 0 {
            template.memory_mib = image.memory_mib.unwrap_or(DEFAULT_MEMORY_MIB);
        }
        template.image = Some(image);
        template.state = TemplateState::Ready;
        template.task = None;
        let mut changes = core.changes();
        changes.update(&template)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let template: Template = context.core.get(self.template.0).await?;
        context.core.storage(template.storage)?.storage.image_remove(template.id).await?;
        self.failed(context, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        self.failed(context, why).await
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Uses,
    Image,
}

/// Removes an image nothing stands on. Like every removal it cannot be cancelled: what was promised to go, goes. Only a
/// machine that was being made from it at the very moment of the promise turns it back, as "in use".
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Delete {
    template: TemplateId,
    stage: Stage,
    /// What to go back to when it turns out to be in use.
    before: TemplateState,
}

impl Delete {
    pub(super) fn new(template: &Template) -> Self {
        Self { template: template.id, stage: Stage::Uses, before: template.state }
    }
}

#[async_trait::async_trait]
impl Work for Delete {
    fn step(&self) -> &'static str {
        match self.stage {
            Stage::Uses => "uses",
            Stage::Image => "image",
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
        let template: Template = core.get(self.template.0).await?;
        if self.stage == Stage::Uses {
            core.template_unused(&template).await?;
            self.stage = Stage::Image;
            return Ok(Step { outcome: Outcome::Next, changes: core.changes(), progress: 0.2 });
        }
        core.storage(template.storage)?.storage.image_remove(template.id).await?;
        let mut changes = core.changes();
        changes.delete(&template);
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        self.abandon(context, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut template: Template = context.core.get(self.template.0).await?;
        template.task = None;
        if self.stage == Stage::Uses {
            template.state = self.before;
        } else {
            template.state = TemplateState::Failed;
            template.reason = Some(format!("it could not be removed: {why}"));
        }
        let mut changes = context.core.changes();
        changes.update(&template)?;
        Ok(changes)
    }
}
