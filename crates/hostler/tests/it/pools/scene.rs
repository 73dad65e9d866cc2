//! A world with pools, and what looks after them.

use anyhow::{Context, Result};
use hostler_core::access::{AccountAsk, Caller, Role};
use hostler_core::core::ListAsk;
use hostler_core::machines::Machine;
use hostler_core::pools::{CheckoutAsk, PoolCounts, PoolRules, PoolSpec, StockState};
use hostler_core::query::Filter;
use hostler_core::reconcile::PoolKeeper;
use hostler_sim::{Mode, World};
use std::collections::BTreeSet;

/// A world with pools.
pub(crate) struct Scene {
    pub(crate) world: World,
    keeper: PoolKeeper,
}

impl Scene {
    /// These pools, filled.
    pub(crate) async fn with(pools: &[PoolSpec]) -> Result<Self> {
        Self::under(PoolRules::default(), pools).await
    }

    /// The same under these rules.
    pub(crate) async fn under(rules: PoolRules, pools: &[PoolSpec]) -> Result<Self> {
        let mut world = World::with_template().await?;
        world.core = world.core.clone().with_pool_rules(rules);
        for spec in pools {
            world.core.pool_create(&world.admin, spec).await?;
        }
        let keeper = PoolKeeper::new(world.core.clone());
        let mut scene = Self { world, keeper };
        scene.settle().await?;
        Ok(scene)
    }

    /// Lets everything happen that is due now.
    pub(crate) async fn settle(&mut self) -> Result<()> {
        for _ in 0..40 {
            let before = self.world.core.event_bounds().await?.1;
            self.keeper.round().await;
            self.world.run_tasks(Mode::Plain).await?;
            if self.world.core.event_bounds().await?.1 == before {
                return Ok(());
            }
        }
        anyhow::bail!("it does not settle")
    }

    /// One round of what looks after pools, and no task.
    pub(crate) async fn round(&mut self) {
        self.keeper.round().await;
    }

    pub(crate) async fn counts(&self, pool: &str) -> Result<PoolCounts> {
        let counts = self.world.core.pool_counts().await?;
        counts.iter().find(|counts| counts.pool.spec.name == pool).cloned().context("no such pool")
    }

    /// Machines of a pool in this state.
    pub(crate) async fn stock(&self, pool: &str, state: StockState) -> Result<Vec<Machine>> {
        let ask = ListAsk { filter: Filter::eq("stock", state.word()), ..ListAsk::default() };
        Ok(self.world.core.pool_stock(&self.world.admin, pool, ask).await?.items)
    }

    /// Somebody new.
    pub(crate) async fn user(&self, login: &str) -> Result<Caller> {
        let ask = AccountAsk {
            login: login.to_owned(),
            email: format!("{login}@example.org"),
            full_name: String::new(),
            password: None,
            role: Role::User,
            enabled: true,
        };
        let account = self.world.core.account_create(&self.world.admin, ask).await?;
        let admin = self.world.admin.clone();
        Ok(Caller { account: account.id, login: account.login, role: Role::User, footing: None, ..admin })
    }
}

pub(crate) fn wants(pools: &[(&str, u32)]) -> CheckoutAsk {
    let wanted = pools.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    CheckoutAsk { wanted, ..CheckoutAsk::default() }
}

pub(crate) fn names(lent: &[(String, Machine)]) -> BTreeSet<String> {
    lent.iter().map(|(_, machine)| machine.name.to_string()).collect()
}
