//! The keeper of pools: fills them, ends checkouts, replaces what is old or broken, sees to requests.
//!
//! It remembers nothing that counts: each round compares what pools shall have with what they have. A checkout's event
//! wakes it, so a refill begins at once; a timer ends what ends by the clock.

mod health;
mod requests;

use super::news::relevant;
use crate::core::Core;
use crate::error::{ErrorKind, Result};
use crate::events::Event;
use crate::goldens::{Origin, borne_mib};
use crate::hosts::Host;
use crate::ids::PoolId;
use crate::machines::{Life, Machine};
use crate::pools::{Filled, Pool, PoolCounts, StockState};
use crate::ports::ImageSource;
use crate::query::{Compare, Filter, Select, Sort};
use crate::record::{Kind, Value};
use crate::templates::{Firmware, Template, TemplateAsk, TemplateState};
use crate::time::Timestamp;
use crate::volumes::StoragePlace;
use health::Health;
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Without news everything is looked at after this long: checkouts end by the clock.
const ROUND: Duration = Duration::from_secs(1);
/// News come in heaps; one round serves them all, and a refill still begins within ten milliseconds.
const GATHER: Duration = Duration::from_millis(4);
/// Machines handled at a time, so that no round holds up the others.
const ARMFUL: u32 = 64;
/// How often golden machines are looked after; nobody waits for that.
const GOLDENS: Duration = Duration::from_secs(5);

/// Keeps the pools whose machines run on this process's hosts.
pub struct PoolKeeper {
    core: Core,
    /// What each pool's ready machines were last compared with: only when it changes they are compared again.
    compared: HashMap<PoolId, (crate::ids::TemplateId, Option<Timestamp>)>,
    failure: Option<String>,
    /// When golden machines are looked after next.
    goldens_at: Timestamp,
}

impl std::fmt::Debug for PoolKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PoolKeeper")
    }
}

impl PoolKeeper {
    /// A keeper for this core.
    pub fn new(core: Core) -> Self {
        Self { core, compared: HashMap::new(), failure: None, goldens_at: Timestamp(0) }
    }

    /// Keeps pools until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut health = Health::new(self.core.clone());
        let looked_after = health.run(stop.clone());
        let kept = async {
            let mut news = self.core.store().subscribe();
            loop {
                self.round().await;
                let pause = tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.core.clock().sleep(ROUND) => Duration::ZERO,
                    () = relevant(&mut news, concerns) => GATHER,
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = self.core.clock().sleep(pause) => {}
                }
                // What is waiting in the queue was committed before the round that comes now.
                while news.try_recv().is_ok() {}
            }
        };
        tokio::join!(looked_after, kept);
    }

    /// Looks after everything once.
    pub async fn round(&mut self) {
        let failure = self.rounded().await.err().map(|error| error.chain());
        if let Some(failure) = failure.as_ref().filter(|failure| self.failure.as_ref() != Some(failure)) {
            tracing::warn!(error = failure, "pools are not as they should be; trying again");
        }
        self.failure = failure;
    }

    async fn rounded(&mut self) -> Result<()> {
        self.end_checkouts().await?;
        let counts = self.core.pool_counts().await?;
        let mut filling: u64 = counts.iter().map(|counts| counts.filling).sum();
        for counts in counts.iter() {
            let begun = self.keep(counts, filling).await?;
            filling += begun;
        }
        self.requests(&counts).await?;
        self.keep_goldens(&counts).await
    }

    /// Golden machines that nothing asks for any more go.
    async fn keep_goldens(&mut self, counts: &[PoolCounts]) -> Result<()> {
        if self.core.now() < self.goldens_at {
            return Ok(());
        }
        self.goldens_at = self.core.now().plus(GOLDENS);
        let pools: Vec<&Pool> = counts.iter().map(|counts| &*counts.pool).collect();
        self.core.goldens_kept(&pools).await
    }

    /// Checkouts whose time is over.
    async fn end_checkouts(&self) -> Result<()> {
        let over = Filter::Is("lent_until", Compare::Le, self.core.now().0.into());
        for machine in self.core.select::<Machine>(Select::new(over, ARMFUL)).await? {
            tracing::info!(machine = %machine.name, "its checkout has ended");
            self.core.stock_dropped(machine, StockState::Returned, None).await?;
        }
        Ok(())
    }

    /// Looks after one pool; answers how many machines were begun. `filling` are being made for all pools.
    async fn keep(&mut self, counts: &PoolCounts, filling: u64) -> Result<u64> {
        let pool = &counts.pool;
        if pool.removing {
            return self.remove(counts).await.map(|()| 0);
        }
        if counts.returned > 0 {
            self.finish_returns(pool).await?;
        }
        let Some(template) = self.template(pool, counts).await? else { return Ok(0) };
        self.drop_outdated(pool, &template).await?;
        self.drop_aged(pool).await?;
        let size = u64::from(pool.size());
        let stock = counts.ready + counts.filling;
        if stock > size {
            self.drop_surplus(pool, stock - size).await?;
            return Ok(0);
        }
        self.fill(pool, &template, size - stock, counts.filling, filling).await
    }

    /// Begins machines, as many as are missing and may be made at once.
    async fn fill(
        &self,
        pool: &Pool,
        template: &Template,
        missing: u64,
        own: u64,
        filling: u64,
    ) -> Result<u64> {
        let room = u64::from(pool.spec.clones).saturating_sub(own);
        let room = room.min(u64::from(self.core.pool_rules().clones).saturating_sub(filling));
        let again = pool.trouble.as_ref().is_none_or(|trouble| trouble.again_at <= self.core.now());
        if missing == 0 || room == 0 || !again {
            return Ok(0);
        }
        // After a failure one goes ahead to see whether the way is clear.
        let failed = pool.trouble.as_ref().is_some_and(|trouble| trouble.failures > 0);
        let room = if failed { room.min(1) } else { room };
        let golden = match self.core.origin_for(pool, template).await? {
            Origin::Waits => {
                self.core.pool_waits(pool, "its golden machine is being made").await?;
                return Ok(0);
            }
            Origin::Forked(golden) => Some(golden),
            Origin::Boots => None,
        };
        let mut begun = 0;
        while begun < missing.min(room) {
            if let Some(reason) = self.too_large(pool, template, golden.is_some()).await? {
                self.core.pool_hindered(pool, reason).await?;
                break;
            }
            match self.core.pool_fill(pool, None, golden).await? {
                Filled::Begun(machine) => {
                    tracing::debug!(machine = %machine.name, pool = pool.spec.name, "filling");
                }
                Filled::Hindered { .. } => break,
            }
            begun += 1;
        }
        Ok(begun)
    }

    /// Why the host cannot hold one more machine of this pool; none when it can.
    async fn too_large(&self, pool: &Pool, template: &Template, forked: bool) -> Result<Option<String>> {
        let storage: StoragePlace = self.core.get(template.storage.0).await?;
        let host: Host = self.core.get(storage.host.0).await?;
        let Some(facts) = &host.facts else { return Ok(None) };
        let there = Filter::eq("host", host.id.0).and(Filter::ne("life", Life::Gone.word()));
        let promised = self.core.store().sum(Kind::Machine, "borne_mib", there).await?;
        let promised = u64::try_from(promised).unwrap_or(0);
        let one = borne_mib(pool.spec.memory_mib.unwrap_or(template.memory_mib), forked);
        if promised.saturating_add(one) <= facts.memory_mib {
            return Ok(None);
        }
        Ok(Some(format!(
            "host {} cannot hold more: {promised} MiB are promised to machines, one more takes {one} MiB, and it \
             has {} MiB",
            host.name, facts.memory_mib
        )))
    }

    /// The template that a pool's machines are made from, if this process is the one to make them.
    async fn template(&self, pool: &Pool, counts: &PoolCounts) -> Result<Option<Template>> {
        let idle = pool.size() == 0 && counts.requested == 0;
        match self.core.template_named(pool.template()).await {
            Ok(template) => {
                let storage: StoragePlace = self.core.get(template.storage.0).await?;
                if self.core.host(storage.host).is_err() {
                    return Ok(None);
                }
                if template.state == TemplateState::Ready {
                    return Ok(Some(template));
                }
                let (name, state) = (&template.name, template.state.word());
                let why = template.reason.map(|why| format!(": {why}")).unwrap_or_default();
                self.waits_for(pool, format!("template {name} is {state}{why}"), idle).await?;
                Ok(None)
            }
            Err(error) if error.kind == ErrorKind::NotFound => {
                self.template_built_in(pool, idle).await?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// A template that hostler knows how to make is made when a pool asks for it.
    async fn template_built_in(&self, pool: &Pool, idle: bool) -> Result<()> {
        let name = pool.template().to_owned();
        let local = self.core.local_hosts().iter().find(|local| local.storage.recipes().contains(&name));
        if local.is_none() || idle {
            return self.waits_for(pool, format!("there is no template {name}"), idle).await;
        }
        let ask = TemplateAsk {
            name: name.clone(),
            source: ImageSource::Recipe { recipe: name.clone(), mirror: None },
            description: String::new(),
            vcpus: 0,
            memory_mib: 0,
            disk_mib: 0,
            firmware: Firmware::default(),
            fork: true,
            storage: None,
        };
        let keeper = self.core.pool_owner().await?;
        self.core.template_make(&keeper, &ask, None).await?;
        tracing::info!(template = name, pool = pool.spec.name, "making the template that a pool asks for");
        Ok(())
    }

    /// Notes once what a pool waits for; that is no failure.
    async fn waits_for(&self, pool: &Pool, reason: String, idle: bool) -> Result<()> {
        if idle { Ok(()) } else { self.core.pool_waits(pool, &reason).await }
    }

    /// Ready machines that were made from another template, or before the pool was drained.
    async fn drop_outdated(&mut self, pool: &Pool, template: &Template) -> Result<()> {
        let now = (template.id, pool.drained_at);
        if self.compared.get(&pool.id) == Some(&now) {
            return Ok(());
        }
        let mut old = vec![Filter::ne("template", template.id.0)];
        old.extend(pool.drained_at.map(|at| Filter::Is("created_at", Compare::Lt, at.0.into())));
        let outdated = of(pool, StockState::Ready).and(Filter::Or(old));
        let machines: Vec<Machine> = self.core.select(Select::new(outdated, ARMFUL)).await?;
        let all = machines.len() < ARMFUL as usize;
        for machine in machines {
            self.core
                .stock_dropped(machine, StockState::Returned, Some("its pool makes others now".into()))
                .await?;
        }
        if all {
            self.compared.insert(pool.id, now);
        }
        Ok(())
    }

    /// Ready machines that have stood for too long.
    async fn drop_aged(&self, pool: &Pool) -> Result<()> {
        let Some(ttl) = pool.spec.ready_ttl_s else { return Ok(()) };
        let end = self.core.now().minus(Duration::from_secs(ttl));
        let aged = of(pool, StockState::Ready).and(Filter::Is("stocked_at", Compare::Le, end.0.into()));
        for machine in self.core.select::<Machine>(Select::new(aged, ARMFUL)).await? {
            self.core
                .stock_dropped(machine, StockState::Returned, Some("it stood ready for too long".into()))
                .await?;
        }
        Ok(())
    }

    /// More machines than the pool shall have: those that became ready last go first. One that is being made gets ready
    /// before it counts here.
    async fn drop_surplus(&self, pool: &Pool, surplus: u64) -> Result<()> {
        let limit = u32::try_from(surplus).unwrap_or(u32::MAX).min(ARMFUL);
        let latest = Select::new(of(pool, StockState::Ready), limit).ordered(Sort::descending("stocked_at"));
        for machine in self.core.select::<Machine>(latest).await? {
            self.core
                .stock_dropped(machine, StockState::Returned, Some("its pool has become smaller".into()))
                .await?;
        }
        Ok(())
    }

    /// Machines that left while a task held them.
    async fn finish_returns(&self, pool: &Pool) -> Result<()> {
        let left = of(pool, StockState::Returned)
            .and(Filter::eq("life", Life::Present.word()))
            .and(Filter::eq("task", Value::Null));
        for machine in self.core.select::<Machine>(Select::new(left, ARMFUL)).await? {
            self.core.stock_dropped(machine, StockState::Returned, None).await?;
        }
        Ok(())
    }

    /// A pool that shall go: its stock first.
    async fn remove(&self, counts: &PoolCounts) -> Result<()> {
        let pool = &counts.pool;
        if counts.returned > 0 {
            self.finish_returns(pool).await?;
        }
        if counts.ready > 0 {
            return self.drop_surplus(pool, counts.ready).await;
        }
        if counts.filling + counts.lent + counts.returned > 0 {
            return Ok(());
        }
        let Some(record) = self.core.find::<Pool>(pool.id.0).await?.filter(|pool| pool.removing) else {
            return Ok(());
        };
        let mut changes = self.core.changes();
        changes.delete(&record);
        match self.core.commit(changes).await {
            Ok(_) | Err(crate::ports::StoreError::Stale { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.core.book().turned_all();
        tracing::info!(pool = pool.spec.name, "removed");
        Ok(())
    }
}

fn of(pool: &Pool, state: StockState) -> Filter {
    Filter::eq("pool", pool.id.0).and(Filter::eq("stock", state.word()))
}

/// Whether this process makes a pool's machines; not as long as that cannot be told.
async fn makes(core: &Core, pool: &Pool) -> Result<bool> {
    let Ok(template) = core.template_named(pool.template()).await else { return Ok(false) };
    let storage: StoragePlace = core.get(template.storage.0).await?;
    Ok(core.host(storage.host).is_ok())
}

/// Something has changed that pools depend on.
fn concerns(event: &Event) -> bool {
    match event.event.kind {
        Kind::Pool | Kind::Request | Kind::Template | Kind::Golden => true,
        Kind::Machine => crate::pools::pool_in(&event.event.body).is_some(),
        _ => false,
    }
}
