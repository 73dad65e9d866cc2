//! Overrides: what an API changes about a pool, declared or not. They last until they are reset.

use super::commands::makes_the_same;
use super::spec::check_size;
use super::{Pool, PoolSpec};
use crate::access::Caller;
use crate::core::{Core, decided};
use crate::error::{Error, Result};

/// Changes of what is overridden: none leaves it, some value overrides, `Some(None)` resets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overriding {
    /// The size.
    pub size: Option<Option<u32>>,
    /// The template.
    pub template: Option<Option<String>>,
    /// Where it is made, in words of vmpooler.
    pub clone_target: Option<Option<String>>,
}

impl Overriding {
    /// Everything is as it was before it was overridden.
    pub fn reset() -> Self {
        Self { size: Some(None), template: Some(None), clone_target: Some(None) }
    }

    fn applied(&self, pool: &mut Pool) {
        let (template, target) = (pool.template().to_owned(), pool.clone_target().map(ToOwned::to_owned));
        if let Some(size) = self.size {
            pool.overrides.size = size.filter(|size| *size != pool.spec.size);
        }
        if let Some(wanted) = &self.template {
            pool.overrides.template = wanted.clone().filter(|wanted| *wanted != pool.spec.template);
        }
        if let Some(wanted) = &self.clone_target {
            pool.overrides.clone_target =
                wanted.clone().filter(|wanted| Some(wanted) != pool.spec.clone_target.as_ref());
        }
        let same = template == pool.template() && target.as_deref() == pool.clone_target();
        if !same {
            // What hindered the former may not hinder these.
            pool.trouble = None;
        }
    }
}

impl Core {
    /// Overrides properties of pools, of all or of none; answers each as it was and as it is. Administrators only.
    ///
    /// # Errors
    /// Denied; not found, which names the first that is not there; invalid.
    pub async fn pool_override(
        &self,
        caller: &Caller,
        asked: &[(String, Overriding)],
    ) -> Result<Vec<(Pool, Pool)>> {
        self.administers(caller, "pool.override", "change pools").await?;
        for (_, overriding) in asked {
            check_size(overriding.size.flatten().unwrap_or(0))?;
            let texts = [&overriding.template, &overriding.clone_target];
            let mut texts = texts.into_iter().flatten().flatten();
            if texts.any(|text| text.is_empty() || text.len() > 200) {
                return Err(Error::invalid("template", "a name has 1 to 200 bytes"));
            }
        }
        decided(async || {
            let mut changes = self.changes();
            let mut done = Vec::with_capacity(asked.len());
            for (key, overriding) in asked {
                let before = self.pool_fresh(caller, key).await?;
                let mut after = before.clone();
                overriding.applied(&mut after);
                if before.clone_target() != after.clone_target() {
                    after.drained_at = Some(changes.now());
                }
                if before != after {
                    changes.update(&after)?;
                    self.deed(&mut changes, caller, "pool.override", &after)?;
                }
                done.push((before, after));
            }
            self.pools_committed(changes).await?;
            Ok(done)
        })
        .await
    }
}

/// Takes over what is declared now; answers what differed.
pub(super) fn followed(pool: &mut Pool, spec: &PoolSpec) -> Vec<&'static str> {
    let old = &pool.spec;
    let differing = [
        ("description", old.description != spec.description),
        ("aliases", old.aliases != spec.aliases),
        ("weight", old.weight != spec.weight),
        ("template", old.template != spec.template),
        ("size", old.size != spec.size),
        ("vcpus", old.vcpus != spec.vcpus),
        ("memory", old.memory_mib != spec.memory_mib),
        ("disk", old.disk_mib != spec.disk_mib),
        ("network", old.network != spec.network),
        ("domain", old.domain != spec.domain),
        ("prefix", old.prefix != spec.prefix),
        ("probe", old.probe != spec.probe),
        ("ready_ttl", old.ready_ttl_s != spec.ready_ttl_s),
        ("boot_deadline", old.boot_deadline_s != spec.boot_deadline_s),
        ("check_interval", old.check_s != spec.check_s),
        ("lifetime", old.lifetime_s != spec.lifetime_s),
        ("lifetime_with_token", old.lifetime_with_token_s != spec.lifetime_with_token_s),
        ("lifetime_max", old.lifetime_max_s != spec.lifetime_max_s),
        ("clones", old.clones != spec.clones),
        ("fork", old.fork != spec.fork),
        ("ssh_keys", old.ssh_keys != spec.ssh_keys),
        ("clone_target", old.clone_target != spec.clone_target),
    ];
    let differing: Vec<_> =
        differing.into_iter().filter_map(|(name, differs)| differs.then_some(name)).collect();
    if !makes_the_same(old, spec) {
        pool.trouble = None;
    }
    pool.spec = spec.clone();
    differing
}
