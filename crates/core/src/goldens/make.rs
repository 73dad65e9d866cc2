//! The task that boots a golden machine and saves it.

use super::{Golden, GoldenState};
use crate::core::{Changes, Core};
use crate::error::{Error, Result};
use crate::ids::GoldenId;
use crate::machines::boot_of;
use crate::ports::{GoldenSpec, Seed};
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use crate::templates::Template;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// One long step, which leaves nothing half-made and may run again from its beginning.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Make {
    golden: GoldenId,
}

impl Make {
    pub(super) fn new(golden: GoldenId) -> Self {
        Self { golden }
    }

    async fn failed(&self, core: &Core, why: &str) -> Result<Changes, StepError> {
        let mut changes = core.changes();
        let Some(mut golden) = core.find::<Golden>(self.golden.0).await? else { return Ok(changes) };
        golden.turn(GoldenState::Failed, Some(why.to_owned()), changes.now());
        golden.task = None;
        changes.update(&golden)?;
        Ok(changes)
    }
}

#[async_trait::async_trait]
impl Work for Make {
    fn step(&self) -> &'static str {
        "make"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let golden: Golden = core.get(self.golden.0).await?;
        let spec = core.golden_spec(&golden).await?;
        let facts = core.host(golden.host)?.hypervisor.golden_make(&spec, context.progress).await?;
        let mut golden: Golden = core.get(self.golden.0).await?;
        let mut changes = core.changes();
        golden.turn(GoldenState::Ready, None, changes.now());
        golden.facts = Some(facts);
        golden.task = None;
        changes.update(&golden)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let golden: Golden = context.core.get(self.golden.0).await?;
        context.core.host(golden.host)?.hypervisor.golden_remove(golden.id).await?;
        self.failed(context.core, why).await
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        self.failed(context.core, why).await
    }
}

impl Core {
    async fn golden_spec(&self, golden: &Golden) -> Result<GoldenSpec> {
        let template: Template = self.get(golden.template.0).await?;
        let image = template.image.clone();
        let image = image.ok_or_else(|| {
            Error::conflict("not_ready", format!("template {} has no image", template.name))
        })?;
        Ok(GoldenSpec {
            id: golden.id,
            vcpus: golden.flavor.vcpus,
            memory_mib: golden.flavor.memory_mib,
            template: template.id,
            disk_mib: golden.flavor.disk_mib,
            boot: boot_of(&image, template.firmware),
            seed: image.cloud_init.then(|| seed(golden.id)),
            image,
            patience: Duration::from_secs(golden.boot_deadline_s),
        })
    }
}

/// Nothing that only one machine may have: each fork is told that over its agent.
fn seed(golden: GoldenId) -> Seed {
    let config = serde_json::json!({
        "hostname": "golden", "preserve_hostname": false, "disable_root": false,
        "ssh_deletekeys": false, "ssh_genkeytypes": [],
    });
    Seed {
        user_data: format!("#cloud-config\n{config:#}\n"),
        meta_data: format!("instance-id: {golden}\nlocal-hostname: golden\n"),
        network_config: None,
    }
}
