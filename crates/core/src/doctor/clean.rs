//! The task that removes what is left on a host of things that no record knows.

use crate::core::{Changes, Core};
use crate::error::Result;
use crate::ids::{GoldenId, HostId, MachineId, MediumId, NetworkId, TemplateId, VolumeId};
use crate::ports::StorageItem;
use crate::record::Kind;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;
use uuid::Uuid;

/// What is younger is left alone: somebody may be at work on it.
const GRACE: Duration = Duration::from_secs(3600);

/// Something on a host that no record knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Leftover {
    /// The process and directory of a machine.
    Machine(MachineId),
    /// The files of a template.
    Image(TemplateId),
    /// The file of a volume.
    Volume(VolumeId),
    /// The file of a medium.
    Medium(MediumId),
    /// The files and process of a golden machine.
    Golden(GoldenId),
    /// The bridge and services of a network.
    Network(NetworkId),
}

impl Leftover {
    fn known_as(self) -> (Kind, Uuid) {
        match self {
            Self::Machine(id) => (Kind::Machine, id.0),
            Self::Image(id) => (Kind::Template, id.0),
            Self::Volume(id) => (Kind::Volume, id.0),
            Self::Medium(id) => (Kind::Medium, id.0),
            Self::Golden(id) => (Kind::Golden, id.0),
            Self::Network(id) => (Kind::Network, id.0),
        }
    }
}

impl From<StorageItem> for Leftover {
    fn from(item: StorageItem) -> Self {
        match item {
            StorageItem::Image(id) => Self::Image(id),
            StorageItem::Volume(id) => Self::Volume(id),
            StorageItem::Medium(id) => Self::Medium(id),
        }
    }
}

impl fmt::Display for Leftover {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Machine(id) => write!(f, "machine {id}"),
            Self::Image(id) => write!(f, "images/{id}"),
            Self::Volume(id) => write!(f, "volumes/{id}"),
            Self::Medium(id) => write!(f, "media/{id}"),
            Self::Golden(id) => write!(f, "goldens/{id}"),
            Self::Network(id) => write!(f, "network {id}"),
        }
    }
}

/// Whether something is old enough to be nobody's work in hand. Ids tell when they were made; what has another kind of
/// id is none of ours.
pub(super) fn is_old(id: Uuid, now: Timestamp) -> bool {
    let Some(made) = id.get_timestamp().filter(|_| id.get_version_num() == 7) else { return false };
    let (seconds, nanos) = made.to_unix();
    let made = Duration::new(seconds, nanos);
    let made = Timestamp(i64::try_from(made.as_millis()).unwrap_or(i64::MAX));
    now.since(made) > GRACE
}

/// Removes leftovers of one host, one in each step.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Clean {
    host: HostId,
    left: Vec<Leftover>,
    count: usize,
}

impl Clean {
    pub(super) fn new(host: HostId, mut left: Vec<Leftover>) -> Self {
        // A machine goes before the disks that it has open.
        left.sort_by_key(|leftover| !matches!(leftover, Leftover::Machine(_)));
        let count = left.len();
        Self { host, left, count }
    }

    async fn remove(&self, core: &Core, leftover: Leftover) -> Result<(), StepError> {
        let (kind, id) = leftover.known_as();
        if core.store().get(kind, id).await?.is_some() {
            tracing::info!(%leftover, "it has a record by now and is kept");
            return Ok(());
        }
        tracing::info!(%leftover, "removing what belongs to no record");
        let local = core.host(self.host)?;
        match leftover {
            Leftover::Machine(id) => {
                local.hypervisor.power_off(id).await?;
                local.hypervisor.remove(id).await?;
            }
            Leftover::Image(id) => local.storage.image_remove(id).await?,
            Leftover::Volume(id) => local.storage.volume_remove(id).await?,
            Leftover::Medium(id) => local.storage.medium_remove(id).await?,
            Leftover::Golden(id) => local.hypervisor.golden_remove(id).await?,
            Leftover::Network(id) => local.switch.remove(id).await?,
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Work for Clean {
    fn step(&self) -> &'static str {
        "remove"
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(crate::Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let changes = context.core.changes();
        let Some(leftover) = self.left.first().copied() else {
            return Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 });
        };
        context.progress.report(0.0, &format!("removing {leftover}"));
        self.remove(context.core, leftover).await?;
        self.left.remove(0);
        let outcome = if self.left.is_empty() { Outcome::Done } else { Outcome::Next };
        let removed = self.count.saturating_sub(self.left.len());
        let progress = removed as f64 / self.count.max(1) as f64;
        Ok(Step { outcome, changes, progress })
    }

    /// What is removed stays removed, what is left is found again: there is nothing to put back.
    async fn undo(&mut self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        Ok(context.core.changes())
    }

    async fn abandon(&self, context: &StepContext<'_>, _why: &str) -> Result<Changes, StepError> {
        Ok(context.core.changes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_ids_of_ours_grow_old() {
        let made_ms = 1_767_225_600_000;
        let id = uuid::Builder::from_unix_timestamp_millis(made_ms, &[3; 10]).into_uuid();
        let at = |hours: i64| Timestamp(i64::try_from(made_ms).unwrap() + hours * 3_600_000 + 1);
        assert!(!is_old(id, at(0)) && is_old(id, at(1)));
        assert!(!is_old(Uuid::nil(), at(1)));
    }
}
