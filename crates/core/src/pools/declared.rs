//! Pools that the configuration declares: made when they are not there, followed where they are.

use super::change::followed;
use super::commands::makes_the_same;
use super::{Pool, PoolSpec};
use crate::access::Caller;
use crate::core::{Core, decided};
use crate::error::Result;

/// What has become of a declared pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PoolDeclared {
    /// It was not there, and is made.
    Made,
    /// It is as declared.
    Same,
    /// These properties were changed to what is declared. What an API has overridden stays so.
    Altered(Vec<&'static str>),
}

impl Core {
    /// Sees to it that a declared pool is there and as declared, but for what is overridden. Doing it again changes
    /// nothing.
    ///
    /// # Errors
    /// Those of [`Core::pool_create`].
    pub async fn pool_declare(&self, caller: &Caller, spec: &PoolSpec) -> Result<PoolDeclared> {
        self.administers(caller, "pool.create", "make pools").await?;
        spec.check()?;
        if let Some(there) = self.pool_followed(caller, spec).await? {
            return Ok(there);
        }
        match self.pool_made(caller, spec, true).await {
            Ok(_) => Ok(PoolDeclared::Made),
            // Another process with the same declaration was faster.
            Err(error) if error.code == "name_taken" => self.pool_followed(caller, spec).await?.ok_or(error),
            Err(error) => Err(error),
        }
    }

    async fn pool_followed(&self, caller: &Caller, spec: &PoolSpec) -> Result<Option<PoolDeclared>> {
        decided(async || {
            let found: Option<Pool> = self.find_by("name", spec.name.as_str()).await?;
            let Some(mut pool) = found else { return Ok(None) };
            let stays = makes_the_same(&pool.spec, spec);
            let changed = followed(&mut pool, spec);
            if changed.is_empty() && pool.declared && !pool.removing {
                return Ok(Some(PoolDeclared::Same));
            }
            (pool.declared, pool.removing) = (true, false);
            if !stays {
                pool.drained_at = Some(self.now());
            }
            self.pool_kept(caller, pool, "pool.change").await?;
            Ok(Some(PoolDeclared::Altered(changed)))
        })
        .await
    }

    /// Empties pools that were declared and no longer are: they are there as long as machines of them are lent, and go
    /// then. Answers their names.
    ///
    /// # Errors
    /// Denied; those of the store.
    pub async fn pool_undeclared(&self, caller: &Caller, declared: &[&str]) -> Result<Vec<String>> {
        self.administers(caller, "pool.delete", "remove pools").await?;
        let mut gone = Vec::new();
        for known in self.pools().await?.iter() {
            if !known.declared || declared.contains(&known.spec.name.as_str()) {
                continue;
            }
            decided(async || {
                let mut pool: Pool = self.get(known.id.0).await?;
                (pool.declared, pool.removing) = (false, true);
                self.pool_kept(caller, pool, "pool.delete").await.map(drop)
            })
            .await?;
            gone.push(known.spec.name.clone());
        }
        Ok(gone)
    }
}
