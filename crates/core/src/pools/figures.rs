//! What was asked of pools, day by day. Machines tell it themselves as long as their records are kept; when one is
//! forgotten, what it told is added to the day's [`Demand`] in the same commit, so nothing is counted twice or lost.

use super::{Demand, Figures, Pool, Spread, StockState};
use crate::core::{Changes, Core};
use crate::error::Result;
use crate::ids::DemandId;
use crate::machines::Machine;
use crate::ports::StoreError;
use crate::query::{Compare, Filter, Select};
use crate::record::Value;
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// The day of a moment, as days since 1970, UTC.
pub(crate) fn day_of(at: Timestamp) -> i64 {
    at.0.div_euclid(DAY_MS)
}

/// What one machine tells, each part of its own day: how it came to be, and what became of it.
pub(super) fn told(machine: &Machine) -> Vec<(i64, Figures)> {
    let Some(stock) = &machine.stock else { return Vec::new() };
    let mut all = Vec::new();
    if let Some(at) = stock.ready_at {
        let mut figures = Figures::default();
        stock.clone_ms.iter().for_each(|ms| figures.clone.add(*ms));
        stock.boot_ms.iter().for_each(|ms| figures.boot.add(*ms));
        all.push((day_of(at), figures));
    }
    if stock.state == StockState::Failed {
        let at = stock.ready_at.unwrap_or(machine.created_at);
        all.push((day_of(at), Figures { failures: 1, ..Figures::default() }));
    }
    if let Some(checkout) = &stock.checkout {
        let mut figures = Figures { checkouts: 1, ..Figures::default() };
        for (key, value) in &checkout.tags {
            figures.tags.entry(key.clone()).or_default().insert(value.clone(), 1);
        }
        all.push((day_of(checkout.at), figures));
    }
    all
}

/// A machine that became ready, and what that took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Born {
    /// Name of its pool when it was made.
    pub pool: String,
    /// When.
    pub ready_at: Timestamp,
    /// Milliseconds until its process ran.
    pub clone_ms: u64,
    /// Milliseconds from there.
    pub boot_ms: u64,
}

/// The machines that became ready today, as far as nothing is added to what they tell any more.
#[derive(Debug, Default)]
pub(super) struct Today {
    day: i64,
    upto: Timestamp,
    settled: (Spread, Spread),
    /// What was found last, and the turn of the book by then: nothing else has become ready until it turns.
    known: Option<(u64, (Spread, Spread))>,
}

/// What became ready so long ago has been committed.
const SETTLED: Duration = Duration::from_secs(10);

impl Core {
    /// What was asked of each pool on each day from one to another, both counted as days since 1970 and included. Days
    /// and pools without any figures are left out.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pool_figures(&self, from_day: i64, to_day: i64) -> Result<BTreeMap<(i64, String), Figures>> {
        let mut all: BTreeMap<(i64, String), Figures> = BTreeMap::new();
        let days = Filter::Is("day", Compare::Ge, from_day.into()).and(Filter::Is(
            "day",
            Compare::Le,
            to_day.into(),
        ));
        for demand in self.all::<Demand>(days).await? {
            all.entry((demand.day, demand.pool)).or_default().merge(&demand.figures);
        }
        // A machine that was lent on one of these days was ready before; how long before, nobody bounds. One that
        // failed was never ready.
        let end = to_day.saturating_add(1).saturating_mul(DAY_MS);
        let failed = Filter::eq("stock", StockState::Failed.word());
        let told_of = Filter::Is("pool", Compare::Ne, Value::Null)
            .and(Filter::Or(vec![Filter::Is("stocked_at", Compare::Lt, end.into()), failed]));
        for machine in self.all::<Machine>(told_of).await? {
            for (day, figures) in told(&machine) {
                if let Some(stock) = machine.stock.as_ref().filter(|_| (from_day..=to_day).contains(&day)) {
                    all.entry((day, stock.pool_name.clone())).or_default().merge(&figures);
                }
            }
        }
        for ((day, pool), misses) in self.misses().iter() {
            if (from_day..=to_day).contains(day) {
                all.entry((*day, pool.clone())).or_default().misses += misses;
            }
        }
        Ok(all)
    }

    /// Machines of pools that became ready since then, in no order.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pool_births(&self, since: Timestamp) -> Result<Vec<Born>> {
        let since = Filter::Is("stocked_at", Compare::Ge, since.0.into());
        let born = |machine: Machine| {
            let stock = machine.stock?;
            let (clone_ms, boot_ms) = (stock.clone_ms.unwrap_or(0), stock.boot_ms.unwrap_or(0));
            Some(Born { pool: stock.pool_name, ready_at: stock.ready_at?, clone_ms, boot_ms })
        };
        Ok(self.all::<Machine>(since).await?.into_iter().filter_map(born).collect())
    }

    /// How long the machines that became ready today took: until their process ran, and from there. Cheap enough to be
    /// asked for thousands of times a second.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pool_births_today(&self) -> Result<(Spread, Spread)> {
        let now = self.now();
        let day = day_of(now);
        let settles = now.minus(SETTLED);
        let mut today = self.book().today.lock().await;
        if today.day != day {
            *today = Today { day, upto: Timestamp(day * DAY_MS), ..Today::default() };
        }
        let turn = self.book().turn(self);
        if let Some((_, known)) = today.known.filter(|(known, _)| *known == turn) {
            return Ok(known);
        }
        let mut all = today.settled;
        let since = Filter::Is("stocked_at", Compare::Ge, today.upto.0.into());
        for machine in self.all::<Machine>(since).await? {
            let Some(stock) = machine.stock else { continue };
            let add = |spreads: &mut (Spread, Spread)| {
                stock.clone_ms.iter().for_each(|ms| spreads.0.add(*ms));
                stock.boot_ms.iter().for_each(|ms| spreads.1.add(*ms));
            };
            add(&mut all);
            if stock.ready_at.is_some_and(|at| at < settles) {
                add(&mut today.settled);
            }
        }
        today.upto = today.upto.max(settles);
        today.known = Some((turn, all));
        Ok(all)
    }

    fn misses(&self) -> std::sync::MutexGuard<'_, std::collections::HashMap<(i64, String), u64>> {
        self.book().misses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts that none of these pools had a machine ready. Written in batches.
    pub(super) fn count_miss(&self, pools: &[Arc<Pool>]) {
        let day = day_of(self.now());
        let mut misses = self.misses();
        if let Some(pool) = pools.first() {
            *misses.entry((day, pool.spec.name.clone())).or_default() += 1;
        }
    }

    /// Writes the misses that were counted since the last time.
    pub(crate) async fn write_misses(&self) -> Result<()> {
        let counted = std::mem::take(&mut *self.misses());
        for ((day, pool), misses) in counted {
            let mut changes = self.changes();
            let figures = Figures { misses, ..Figures::default() };
            self.demand_grown(&mut changes, day, &pool, &figures).await?;
            match self.commit(changes).await {
                Ok(_) => {}
                Err(error) => {
                    *self.misses().entry((day, pool)).or_default() += misses;
                    if !matches!(error, StoreError::Stale { .. } | StoreError::Taken { .. }) {
                        return Err(error.into());
                    }
                }
            }
        }
        Ok(())
    }

    /// Puts into these changes that a machine's record goes: what it told stays.
    pub(crate) async fn told_on(&self, changes: &mut Changes, machine: &Machine) -> Result<()> {
        let Some(stock) = &machine.stock else { return Ok(()) };
        let mut days: BTreeMap<i64, Figures> = BTreeMap::new();
        for (day, figures) in told(machine) {
            days.entry(day).or_default().merge(&figures);
        }
        for (day, figures) in days {
            self.demand_grown(changes, day, &stock.pool_name, &figures).await?;
        }
        Ok(())
    }

    async fn demand_grown(&self, changes: &mut Changes, day: i64, pool: &str, more: &Figures) -> Result<()> {
        let of_day = Filter::eq("day", day).and(Filter::eq("pool", pool));
        if let Some(mut demand) = self.select::<Demand>(Select::new(of_day, 1)).await?.pop() {
            demand.figures.merge(more);
            return changes.update(&demand);
        }
        let (id, created_at) = (DemandId(self.ids().uuid()), changes.now());
        changes.insert(&Demand {
            id,
            number: 0,
            rev: 0,
            pool: pool.to_owned(),
            day,
            figures: more.clone(),
            created_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_also_before_1970() {
        assert_eq!(day_of(Timestamp(0)), 0);
        assert_eq!(day_of(Timestamp(DAY_MS - 1)), 0);
        assert_eq!(day_of(Timestamp(DAY_MS)), 1);
        assert_eq!(day_of(Timestamp(-1)), -1);
    }
}
