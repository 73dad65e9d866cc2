//! What callers may ask about pools.

use super::{Pool, PoolSpec, StockState};
use crate::access::Caller;
use crate::core::{Attempt, Changes, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::PoolId;
use crate::machines::Machine;
use crate::ports::StoreError;
use crate::query::{Filter, Select, Sort};
use crate::record::Kind;
use std::sync::Arc;

impl Core {
    /// All pools, in the order of their numbers. Everybody may see them.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pool_list(&self, _caller: &Caller) -> Result<Vec<Arc<Pool>>> {
        Ok(self.pools().await?.iter().filter(|pool| !pool.removing).cloned().collect())
    }

    /// One pool, by id, number or name.
    ///
    /// # Errors
    /// Not found.
    pub async fn pool_get(&self, _caller: &Caller, key: &str) -> Result<Arc<Pool>> {
        let pools = self.pools().await?;
        let named = pools.iter().find(|pool| pool.spec.name == key);
        let found = named.or_else(|| match (key.parse::<PoolId>(), key.parse::<i64>()) {
            (Ok(id), _) => pools.iter().find(|pool| pool.id == id),
            (_, Ok(number)) => pools.iter().find(|pool| pool.number == number),
            _ => None,
        });
        found.cloned().ok_or_else(|| Error::not_found("pool", key))
    }

    /// The pool as it is in the store, to be changed.
    pub(super) async fn pool_fresh(&self, caller: &Caller, key: &str) -> Result<Pool> {
        let known = self.pool_get(caller, key).await?;
        self.get(known.id.0).await
    }

    /// Makes a pool. It is filled in the background. Administrators only.
    ///
    /// # Errors
    /// Denied; invalid; conflict `name_taken`.
    pub async fn pool_create(&self, caller: &Caller, spec: &PoolSpec) -> Result<Pool> {
        self.administers(caller, "pool.create", "make pools").await?;
        self.pool_made(caller, spec, false).await
    }

    pub(super) async fn pool_made(&self, caller: &Caller, spec: &PoolSpec, declared: bool) -> Result<Pool> {
        spec.check()?;
        // Whose its stock will be is there before the first machine.
        self.pool_owner().await?;
        let mut changes = self.changes();
        let mut pool = Pool {
            id: PoolId(self.ids().uuid()),
            number: 0,
            rev: 0,
            spec: spec.clone(),
            declared,
            overrides: super::Overrides::default(),
            drained_at: None,
            removing: false,
            trouble: None,
            created_at: changes.now(),
        };
        changes.insert(&pool)?;
        self.deed(&mut changes, caller, "pool.create", &pool)?;
        let stamp = match self.commit(changes).await {
            Err(StoreError::Taken { kind: Kind::Pool, .. }) => {
                let text = format!("another pool is named {}", spec.name);
                return Err(Error::conflict("name_taken", text).hint("choose another name"));
            }
            other => other?.stamps[0],
        };
        (pool.number, pool.rev) = (stamp.number, stamp.rev);
        self.book().turned_all();
        Ok(pool)
    }

    /// Changes a pool that the configuration does not declare. Its name stays. Ready machines that are not what it shall
    /// have now are replaced.
    ///
    /// # Errors
    /// Denied; not found; invalid; conflict `declared`.
    pub async fn pool_change(&self, caller: &Caller, key: &str, spec: &PoolSpec) -> Result<Pool> {
        self.administers(caller, "pool.change", "change pools").await?;
        spec.check()?;
        decided(async || {
            let mut pool = self.pool_fresh(caller, key).await?;
            if pool.declared {
                let text = format!("pool {} is declared by the configuration", pool.spec.name);
                return Err(Error::conflict("declared", text)
                    .hint("change its declaration, or override size and template")
                    .into());
            }
            if spec.name != pool.spec.name {
                return Err(Error::invalid("name", "a pool keeps its name").into());
            }
            if !makes_the_same(&pool.spec, spec) {
                pool.drained_at = Some(self.now());
            }
            pool.spec = spec.clone();
            pool.trouble = None;
            self.pool_kept(caller, pool, "pool.change").await
        })
        .await
    }

    /// Replaces what is ready and being made in these pools.
    ///
    /// # Errors
    /// Denied; not found. Nothing is drained then.
    pub async fn pool_drain(&self, caller: &Caller, keys: &[String]) -> Result<()> {
        self.administers(caller, "pool.drain", "drain pools").await?;
        decided(async || {
            let mut changes = self.changes();
            for key in keys {
                let mut pool = self.pool_fresh(caller, key).await?;
                pool.drained_at = Some(changes.now());
                pool.trouble = None;
                changes.update(&pool)?;
                self.deed(&mut changes, caller, "pool.drain", &pool)?;
            }
            self.pools_committed(changes).await
        })
        .await
    }

    /// Removes a pool: its stock first, then the pool itself. Administrators only.
    ///
    /// # Errors
    /// Denied; not found; conflict `declared`, or `lent` while machines of it are lent.
    pub async fn pool_delete(&self, caller: &Caller, key: &str) -> Result<()> {
        self.administers(caller, "pool.delete", "remove pools").await?;
        decided(async || {
            let mut pool = self.pool_fresh(caller, key).await?;
            let name = &pool.spec.name;
            if pool.declared {
                let text = format!("pool {name} is declared by the configuration");
                return Err(Error::conflict("declared", text)
                    .hint("take it out of the configuration and restart")
                    .into());
            }
            let lent = Filter::eq("pool", pool.id.0).and(Filter::eq("stock", StockState::Lent.word()));
            let lent = self.store().count(Kind::Machine, lent).await?;
            if lent > 0 {
                let text = format!("{lent} machines of pool {name} are lent");
                return Err(Error::conflict("lent", text)
                    .hint("wait for their return, or return them")
                    .into());
            }
            pool.removing = true;
            self.pool_kept(caller, pool, "pool.delete").await.map(drop)
        })
        .await
    }

    pub(super) async fn pool_kept(
        &self,
        caller: &Caller,
        mut pool: Pool,
        act: &str,
    ) -> Result<Pool, Attempt> {
        let mut changes = self.changes();
        changes.update(&pool)?;
        self.deed(&mut changes, caller, act, &pool)?;
        let stamp = self.commit(changes).await?.stamps[0];
        pool.rev = stamp.rev;
        self.book().turned_all();
        Ok(pool)
    }

    pub(super) async fn pools_committed(&self, changes: Changes) -> Result<(), Attempt> {
        self.commit(changes).await?;
        self.book().turned_all();
        Ok(())
    }

    /// Machines of a pool, in any state, as far as the caller may see everything; others see what they have lent.
    ///
    /// # Errors
    /// Not found.
    pub async fn pool_stock(&self, caller: &Caller, key: &str, mut ask: ListAsk) -> Result<Page<Machine>> {
        let pool = self.pool_get(caller, key).await?;
        ask.filter = Filter::eq("pool", pool.id.0).and(ask.filter);
        self.machine_list(caller, ask).await
    }

    /// Machines of a pool that failed, newest first, each with its reason. Everybody may know why a pool is not full.
    ///
    /// # Errors
    /// Not found.
    pub async fn pool_failures(&self, caller: &Caller, key: &str, limit: u32) -> Result<Vec<Machine>> {
        let pool = self.pool_get(caller, key).await?;
        let failed = Filter::eq("pool", pool.id.0).and(Filter::eq("stock", StockState::Failed.word()));
        self.select(Select::new(failed, limit).ordered(Sort::descending("number"))).await
    }
}

/// Whether machines made by one description are as good as those made by the other.
pub(super) fn makes_the_same(one: &PoolSpec, other: &PoolSpec) -> bool {
    let made = |spec: &PoolSpec| {
        (
            spec.template.clone(),
            (spec.vcpus, spec.memory_mib, spec.disk_mib),
            spec.network.clone(),
            spec.domain.clone(),
            spec.prefix.clone(),
            spec.ssh_keys.clone(),
        )
    };
    made(one) == made(other)
}
