//! Whether a pool's next machine is forked or boots.

use super::make::Make;
use super::{Flavor, Golden, GoldenState};
use crate::core::{Core, decided};
use crate::error::Result;
use crate::hosts::Host;
use crate::ids::GoldenId;
use crate::pools::Pool;
use crate::query::Filter;
use crate::tasks::{Order, Task, ordered};
use crate::templates::Template;
use crate::volumes::StoragePlace;
use std::time::Duration;

/// A golden machine that could not be made is tried again after this long.
const AGAIN: Duration = Duration::from_secs(600);

/// How a pool's next machine comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// It boots.
    Boots,
    /// It is forked from this golden machine.
    Forked(GoldenId),
    /// The golden machine is being made. Booting others beside it would only delay both.
    Waits,
}

impl Core {
    /// How the next machine of a pool comes to be. Begins to make a golden machine when there shall be one and is not.
    pub(crate) async fn origin_for(&self, pool: &Pool, template: &Template) -> Result<Origin> {
        let storage: StoragePlace = self.get(template.storage.0).await?;
        let Some(flavor) = self.forkable(pool, template, &storage)? else { return Ok(Origin::Boots) };
        let all: Vec<Golden> = self.all(Filter::eq("template", template.id.0)).await?;
        let usable = |golden: &&Golden| {
            golden.state != GoldenState::Retired && golden.suits(template, storage.host, flavor)
        };
        for golden in all.iter().filter(usable) {
            match self.origin_by(golden).await? {
                Ok(origin) => return Ok(origin),
                Err(why) => self.golden_turns(golden.id, GoldenState::Retired, &why).await?,
            }
        }
        self.golden_begun(pool, template, &storage, flavor).await?;
        Ok(Origin::Waits)
    }

    /// How machines come to be while there is this golden machine, or why it is of no use any more.
    async fn origin_by(&self, golden: &Golden) -> Result<std::result::Result<Origin, String>> {
        Ok(match golden.state {
            GoldenState::Making if self.is_being_made(golden).await? => Ok(Origin::Waits),
            GoldenState::Making => Err("the task that made it is no more".to_owned()),
            GoldenState::Ready if self.is_like(golden).await? => Ok(Origin::Forked(golden.id)),
            GoldenState::Ready => Err("it was made with something that is not here any more".to_owned()),
            GoldenState::Failed if golden.changed_at.plus(AGAIN) <= self.now() => {
                Err(golden.reason.clone().unwrap_or_default())
            }
            GoldenState::Suspect | GoldenState::Failed | GoldenState::Retired => Ok(Origin::Boots),
        })
    }

    /// The size of a pool's machines, if they can be forked at all: template, pool, host and guest must agree.
    pub(crate) fn forkable(
        &self,
        pool: &Pool,
        template: &Template,
        storage: &StoragePlace,
    ) -> Result<Option<Flavor>> {
        let host = self.host(storage.host)?;
        let image = template.image.as_ref();
        // Without an agent a fork cannot be told who it is.
        let able = image.is_some_and(|image| image.agent) && host.hypervisor.capabilities().fork;
        if !(able && pool.spec.fork && template.fork) {
            return Ok(None);
        }
        Ok(Some(template.flavor_for(pool)))
    }

    /// Whether it can still be loaded where it lies.
    async fn is_like(&self, golden: &Golden) -> Result<bool> {
        let host: Host = self.get(golden.host.0).await?;
        let now = host.facts.map(|facts| facts.likeness).unwrap_or_default();
        let then = golden.facts.as_ref().map(|facts| facts.likeness.as_str()).unwrap_or_default();
        // What is not known is found out at the fork.
        Ok(now.is_empty() || now == then)
    }

    /// Whether its task goes on. One that a repair has ended would keep its pools waiting for ever.
    async fn is_being_made(&self, golden: &Golden) -> Result<bool> {
        let Some(id) = golden.task else { return Ok(false) };
        Ok(self.find::<Task>(id.0).await?.is_some_and(|task| task.state.is_open()))
    }

    async fn golden_begun(
        &self,
        pool: &Pool,
        template: &Template,
        storage: &StoragePlace,
        flavor: Flavor,
    ) -> Result<()> {
        let owner = self.pool_owner().await?;
        decided(async || {
            let mut changes = self.changes();
            let mut golden = Golden {
                id: GoldenId(self.ids().uuid()),
                number: 0,
                rev: 0,
                template: template.id,
                template_name: template.name.clone(),
                host: storage.host,
                flavor,
                boot_deadline_s: pool.spec.boot_deadline_s,
                state: GoldenState::Making,
                facts: None,
                failures: 0,
                reason: None,
                task: None,
                changed_at: changes.now(),
                created_at: changes.now(),
            };
            let name = format!("{} ({flavor})", template.name);
            let order = Order {
                kind: "golden.make",
                owner: owner.account,
                subject: golden.id.0,
                subject_kind: "golden",
                subject_name: &name,
                host: Some(golden.host),
            };
            let task = ordered(self, &order, &Make::new(golden.id))?;
            golden.task = Some(task.id);
            changes.unchanged(template);
            changes.insert(&golden)?;
            changes.insert(&task)?;
            self.commit(changes).await?;
            tracing::info!(
                template = template.name,
                pool = pool.spec.name,
                "making a golden machine of {flavor}"
            );
            Ok(())
        })
        .await
    }

    /// Changes the state of a golden machine, unless it has gone.
    pub(crate) async fn golden_turns(&self, id: GoldenId, state: GoldenState, why: &str) -> Result<()> {
        decided(async || {
            let Some(mut golden) = self.find::<Golden>(id.0).await? else { return Ok(()) };
            let mut changes = self.changes();
            golden.turn(state, Some(why.to_owned()), changes.now());
            changes.update(&golden)?;
            self.commit(changes).await?;
            Ok(())
        })
        .await
    }
}

impl Template {
    /// The size of a pool's machines.
    pub(crate) fn flavor_for(&self, pool: &Pool) -> Flavor {
        let disk_mib = self.root_disk_mib(pool.spec.disk_mib);
        Flavor {
            vcpus: pool.spec.vcpus.unwrap_or(self.vcpus),
            memory_mib: pool.spec.memory_mib.unwrap_or(self.memory_mib),
            disk_mib: (disk_mib > 0).then_some(disk_mib),
        }
    }

    /// The size in MiB of the first disk of its machines: what is asked for, else its own, never less than the image's.
    /// 0 means none.
    pub(crate) fn root_disk_mib(&self, asked_mib: Option<u64>) -> u64 {
        asked_mib.unwrap_or(self.disk_mib.max(self.image_disk_mib().unwrap_or(0)))
    }

    /// The size in MiB of the image's disk.
    pub(crate) fn image_disk_mib(&self) -> Option<u64> {
        Some(self.image.as_ref()?.disk.as_ref()?.size_mib)
    }
}
