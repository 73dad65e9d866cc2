//! What becomes of golden machines: forks succeed and fail, templates and pools go.

use super::{Golden, GoldenState};
use crate::core::{Changes, Core};
use crate::error::Result;
use crate::machines::Machine;
use crate::pools::Pool;
use crate::ports::StoreError;
use crate::query::Filter;
use crate::record::Kind;
use crate::templates::{Template, TemplateState};
use crate::volumes::StoragePlace;

/// Forks that fail one after the other before the golden machine is suspect.
const SUSPECT_AFTER: u32 = 2;

impl Core {
    /// Every golden machine there is, in the order of their numbers.
    ///
    /// # Errors
    /// Internal only.
    pub async fn goldens(&self) -> Result<Vec<Golden>> {
        let mut goldens: Vec<Golden> = self.all(Filter::All).await?;
        goldens.sort_by_key(|golden| golden.number);
        Ok(goldens)
    }

    /// Golden machines that a pool's machines are forked from, or would be if they were well.
    ///
    /// # Errors
    /// Internal only.
    pub async fn goldens_of(&self, pool: &Pool) -> Result<Vec<Golden>> {
        let Ok(template) = self.template_named(pool.template()).await else { return Ok(Vec::new()) };
        let storage: StoragePlace = self.get(template.storage.0).await?;
        let flavor = template.flavor_for(pool);
        let mut goldens: Vec<Golden> = self.all(Filter::eq("template", template.id.0)).await?;
        goldens.retain(|golden| golden.suits(&template, storage.host, flavor));
        goldens.sort_by_key(|golden| golden.number);
        Ok(goldens)
    }

    /// A fork could not be made: noted in the same commit.
    pub(crate) async fn fork_failed(
        &self,
        changes: &mut Changes,
        machine: &Machine,
        why: &str,
    ) -> Result<()> {
        let Some(id) = machine.golden else { return Ok(()) };
        let Some(mut golden) = self.find::<Golden>(id.0).await? else { return Ok(()) };
        golden.failures = golden.failures.saturating_add(1);
        if golden.state == GoldenState::Ready && golden.failures >= SUSPECT_AFTER {
            let reason = format!("{} forks of it failed one after the other: {why}", golden.failures);
            golden.turn(GoldenState::Suspect, Some(reason), changes.now());
        }
        changes.update(&golden)
    }

    /// A machine of a pool is ready: when it was forked, its golden machine is beyond doubt; when it booted, the template
    /// is, and a golden machine of it that is suspect must be at fault itself.
    pub(crate) async fn birth_proves(&self, changes: &mut Changes, machine: &Machine) -> Result<()> {
        if let Some(id) = machine.golden {
            let Some(mut golden) = self.find::<Golden>(id.0).await? else { return Ok(()) };
            if golden.failures > 0 {
                golden.failures = 0;
                changes.update(&golden)?;
            }
            return Ok(());
        }
        let suspects = Filter::eq("template", machine.template.0)
            .and(Filter::eq("state", GoldenState::Suspect.word()))
            .and(Filter::eq("host", machine.host.0));
        for mut golden in self.all::<Golden>(suspects).await? {
            if golden.flavor.vcpus == machine.vcpus && golden.flavor.memory_mib == machine.memory_mib {
                golden.turn(GoldenState::Retired, golden.reason.clone(), changes.now());
                changes.update(&golden)?;
            }
        }
        Ok(())
    }

    /// Retires golden machines of this process's hosts that nothing asks for, and removes those that nothing needs.
    pub(crate) async fn goldens_kept(&self, pools: &[&Pool]) -> Result<()> {
        for local in self.local_hosts() {
            let here = Filter::eq("host", local.hypervisor.host().0);
            let goldens: Vec<Golden> = self.all(here).await?;
            if goldens.is_empty() {
                continue;
            }
            let mut asked = Vec::with_capacity(pools.len());
            for pool in pools.iter().filter(|pool| !pool.removing) {
                // One whose template does not exist asks for nothing.
                if let Ok(template) = self.template_named(pool.template()).await {
                    asked.push((*pool, template));
                }
            }
            for golden in goldens {
                match golden.state {
                    GoldenState::Making => {}
                    GoldenState::Retired => self.golden_leaves(&golden).await?,
                    GoldenState::Ready | GoldenState::Suspect | GoldenState::Failed => {
                        if let Some(why) = self.golden_useless(&golden, &asked).await? {
                            self.golden_turns(golden.id, GoldenState::Retired, why).await?;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Why nothing will be forked from it any more.
    async fn golden_useless(
        &self,
        golden: &Golden,
        asked: &[(&Pool, Template)],
    ) -> Result<Option<&'static str>> {
        for (pool, template) in asked.iter().filter(|(_, template)| template.state == TemplateState::Ready) {
            let storage: StoragePlace = self.get(template.storage.0).await?;
            if storage.host != golden.host {
                continue;
            }
            let flavor = self.forkable(pool, template, &storage)?;
            if flavor.is_some_and(|flavor| golden.suits(template, storage.host, flavor)) {
                return Ok(None);
            }
        }
        Ok(Some("no pool asks for it"))
    }

    async fn golden_leaves(&self, golden: &Golden) -> Result<()> {
        let above = self.store().count(Kind::Volume, Filter::eq("golden", golden.id.0)).await?;
        if above > 0 {
            return Ok(());
        }
        self.host(golden.host)?.hypervisor.golden_remove(golden.id).await?;
        let mut changes = self.changes();
        changes.delete(golden);
        match self.commit(changes).await {
            Ok(_) | Err(StoreError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
