//! Lending: ready machines become somebody's, all that were asked for or none, in one commit.

use super::rules::check_century;
use super::shelf::Taken;
use super::{Checkout, Pool, StockState};
use crate::access::{Amount, Caller, Idempotency};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, ErrorKind, Result};
use crate::machines::keys::Keys;
use crate::machines::{Machine, amount};
use crate::ports::StoreError;
use crate::query::Filter;
use crate::record::Kind;
use crate::tasks::{Order, ordered};
use crate::volumes::Volume;
use std::collections::BTreeMap;
use std::sync::Arc;
use uuid::Uuid;

/// Machines of one name in one checkout.
const MOST_EACH: u32 = 100;
/// Machines in one checkout.
const MOST: u32 = 500;

/// Machines that shall be lent.
#[derive(Clone, Debug, Default)]
pub struct CheckoutAsk {
    /// How many of which pool; each by its name or an alias.
    pub wanted: Vec<(String, u32)>,
    /// Seconds that they are lent for; 0 for ever; what is usual when left out.
    pub lifetime_s: Option<u64>,
    /// Words of whoever asks, by key.
    pub tags: BTreeMap<String, String>,
}

/// Pools that answer to a name: the one of that name first, then those with that alias.
pub(super) fn candidates(pools: &[Arc<Pool>], name: &str) -> Vec<Arc<Pool>> {
    let alive = || pools.iter().filter(|pool| !pool.removing);
    let own = alive().filter(|pool| pool.spec.name == name);
    let aliased =
        alive().filter(|pool| pool.spec.name != name && pool.spec.aliases.iter().any(|alias| alias == name));
    own.chain(aliased).cloned().collect()
}

/// The order in which candidates are tried: one drawn, by weight where all have one, then the others as they are.
/// `chance` is evenly distributed.
pub(super) fn drawn(mut candidates: Vec<Arc<Pool>>, chance: u64) -> Vec<Arc<Pool>> {
    let weights: Option<Vec<u64>> = candidates.iter().map(|pool| pool.spec.weight.map(u64::from)).collect();
    let weights = weights.unwrap_or_else(|| vec![1; candidates.len()]);
    let total: u64 = weights.iter().sum();
    if candidates.len() < 2 || total == 0 {
        return candidates;
    }
    let mut left = chance % total;
    let place = weights.iter().position(|weight| {
        let here = left < *weight;
        left = left.saturating_sub(*weight);
        here
    });
    let first = candidates.remove(place.unwrap_or(0));
    candidates.insert(0, first);
    candidates
}

impl CheckoutAsk {
    fn check(&self) -> Result<()> {
        let total = self.wanted.iter().try_fold(0_u32, |sum, (_, count)| sum.checked_add(*count));
        if self.wanted.is_empty() || self.wanted.iter().any(|(_, count)| *count == 0) {
            return Err(Error::invalid("pools", "at least one machine is asked for"));
        }
        if self.wanted.iter().any(|(_, count)| *count > MOST_EACH) || total.is_none_or(|total| total > MOST) {
            let text = format!("one checkout has at most {MOST_EACH} machines of a name and {MOST} in all");
            return Err(Error::invalid("pools", text));
        }
        self.lifetime_s.map_or(Ok(()), check_century)
    }
}

impl Core {
    /// Even chance, 64 bits of it.
    pub(super) fn chance(&self) -> u64 {
        let bytes = self.ids().secret();
        bytes.first_chunk::<8>().map_or(0, |first| u64::from_le_bytes(*first))
    }

    /// The pools that a name stands for.
    ///
    /// # Errors
    /// Not found `unknown_pool`.
    pub(super) async fn pools_named(&self, name: &str) -> Result<Vec<Arc<Pool>>> {
        let found = candidates(&self.pools().await?, name);
        if found.is_empty() {
            let text = format!("there is no pool {name}");
            return Err(Error::new(ErrorKind::NotFound, "unknown_pool", text));
        }
        Ok(found)
    }

    /// Lends ready machines to the caller: all that it asks for, durably, or none. Answers each with the name that it
    /// was asked for by, in the order of the request.
    ///
    /// # Errors
    /// Denied; invalid; not found `unknown_pool`; no capacity `empty_pool`, or `quota`.
    pub async fn pool_checkout(
        &self,
        caller: &Caller,
        ask: &CheckoutAsk,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<(String, Machine)>> {
        self.creates(caller, "checkout").await?;
        ask.check()?;
        for (name, _) in &ask.wanted {
            self.pools_named(name).await?;
        }
        let tags = self.pool_rules().tags(&ask.tags)?;
        decided(async || {
            if let Some(replay) = self.replayed(caller, idempotency).await? {
                return Ok(self.lent_before(caller, replay.subject).await?);
            }
            self.pool_checkout_once(caller, ask, &tags, idempotency).await
        })
        .await
    }

    async fn pool_checkout_once(
        &self,
        caller: &Caller,
        ask: &CheckoutAsk,
        tags: &BTreeMap<String, String>,
        idempotency: Option<&Idempotency>,
    ) -> Result<Vec<(String, Machine)>, Attempt> {
        let taken = self.all_taken(ask).await?;
        let batch = idempotency.map(|_| self.ids().uuid());
        let mut changes = self.changes();
        self.owner_stays(caller.account, &mut changes).await?;
        let keys = self.ssh_keys_of(caller.account).await?;
        let mut lent = Vec::with_capacity(taken.len());
        let mut growth = Growth::default();
        for (asked, pool, one) in &taken {
            let checkout = Checkout {
                at: changes.now(),
                asked: asked.clone(),
                account: caller.account,
                login: caller.login.clone(),
                token: caller.credential,
                door: caller.via.door.to_owned(),
                lifetime_s: self.lifetime_asked(caller, pool, ask.lifetime_s)?,
                until: None,
                tags: tags.clone(),
                request: None,
                batch,
                ended_at: None,
            };
            let volumes = self.volumes_of(&one.machine).await?;
            growth.add(&one.machine, &volumes);
            let machine = self.lend(&mut changes, pool, one.machine.clone(), checkout, &keys, volumes)?;
            changes.update(&machine)?;
            self.deed(&mut changes, caller, "checkout.make", &machine)?;
            lent.push((asked.clone(), machine));
        }
        self.within_quotas(&mut changes, caller.account, &growth.amounts()).await?;
        if let (Some(asked), Some(batch)) = (idempotency, batch) {
            changes.insert(&self.replay(caller, asked, batch, None))?;
        }
        match self.commit(changes).await {
            Ok(_) => {}
            Err(StoreError::Taken { kind: Kind::Replay, .. }) => return Err(Attempt::Stale),
            Err(error) => return Err(error.into()),
        }
        for (_, pool, one) in taken {
            self.book().turned(pool.id);
            one.keep();
        }
        Ok(lent)
    }

    /// One machine from the shelves for each that is asked for. What was taken goes back when one is missing.
    async fn all_taken(&self, ask: &CheckoutAsk) -> Result<Vec<(String, Arc<Pool>, Taken)>> {
        let mut taken = Vec::new();
        for (name, count) in &ask.wanted {
            let candidates = self.pools_named(name).await?;
            for _ in 0..*count {
                let Some((pool, one)) = self.one_taken(candidates.clone()).await? else {
                    drop(taken);
                    return Err(self.missed(name, &candidates));
                };
                taken.push((name.clone(), pool, one));
            }
        }
        Ok(taken)
    }

    async fn one_taken(&self, candidates: Vec<Arc<Pool>>) -> Result<Option<(Arc<Pool>, Taken)>> {
        let chance = if candidates.len() > 1 { self.chance() } else { 0 };
        for pool in drawn(candidates, chance) {
            if let Some(one) = self.pool_take(&pool).await? {
                return Ok(Some((pool, one)));
            }
        }
        Ok(None)
    }

    fn missed(&self, name: &str, candidates: &[Arc<Pool>]) -> Error {
        self.count_miss(candidates);
        let why = candidates.iter().find_map(|pool| pool.trouble.as_ref());
        let why = why.map(|trouble| format!(": {}", trouble.reason)).unwrap_or_default();
        let text = format!("pool {name} has no further machine ready{why}");
        let pool = candidates.first().map_or(name, |pool| pool.spec.name.as_str());
        let hint =
            format!("nothing was taken; try again later; `hostler pool show {pool}` shows how full it is");
        Error::new(ErrorKind::NoCapacity, "empty_pool", text).hint(hint)
    }

    /// The lifetime of its own that a checkout has.
    pub(super) fn lifetime_asked(
        &self,
        caller: &Caller,
        pool: &Pool,
        asked: Option<u64>,
    ) -> Result<Option<u64>> {
        if let Some(asked) = asked {
            self.pool_rules().check_lifetime(Some(pool), asked)?;
            return Ok(Some(asked));
        }
        let with_token = caller.credential.and_then(|_| self.pool_rules().lifetime_with_token(pool));
        Ok(with_token)
    }

    /// Makes a machine somebody's; its volumes in these changes, itself in the answer.
    pub(super) fn lend(
        &self,
        changes: &mut Changes,
        pool: &Pool,
        mut machine: Machine,
        mut checkout: Checkout,
        keys: &[String],
        volumes: Vec<Volume>,
    ) -> Result<Machine> {
        for mut volume in volumes {
            volume.owner = checkout.account;
            changes.update(&volume)?;
        }
        checkout.until = end(checkout.at, self.pool_rules().lifetime(Some(pool), &checkout));
        let before = machine.ssh_keys.len();
        for key in keys {
            if !machine.ssh_keys.contains(key) {
                machine.ssh_keys.push(key.clone());
            }
        }
        if machine.ssh_keys.len() > before {
            // The guest learns of them as soon as can be; the checkout does not wait for that.
            let work = Keys::new(machine.id);
            let order = Order {
                kind: "machine.keys",
                owner: checkout.account,
                subject: machine.id.0,
                subject_kind: Kind::Machine.word(),
                subject_name: machine.name.as_str(),
                host: Some(machine.host),
            };
            changes.insert(&ordered(self, &order, &work)?)?;
        }
        machine.owner = checkout.account;
        machine.updated_at = changes.now();
        if let Some(stock) = &mut machine.stock {
            stock.state = StockState::Lent;
            stock.checkout = Some(checkout);
        }
        Ok(machine)
    }

    /// What an idempotent request has lent before, as far as the caller still has it.
    async fn lent_before(&self, caller: &Caller, batch: Uuid) -> Result<Vec<(String, Machine)>> {
        let mine = Filter::eq("owner", caller.account.0).and(Filter::eq("stock", StockState::Lent.word()));
        let lent: Vec<Machine> = self.all(mine).await?;
        let asked = |machine: Machine| {
            let checkout = machine.stock.as_ref()?.checkout.as_ref()?;
            (checkout.batch == Some(batch)).then(|| (checkout.asked.clone(), machine.clone()))
        };
        Ok(lent.into_iter().filter_map(asked).collect())
    }
}

/// When a checkout of this many seconds ends.
pub(super) fn end(from: crate::time::Timestamp, seconds: u64) -> Option<crate::time::Timestamp> {
    (seconds > 0).then(|| from.plus(std::time::Duration::from_secs(seconds)))
}

/// What a checkout adds to what its account has.
#[derive(Debug, Default)]
pub(super) struct Growth {
    machines: i64,
    vcpus: i64,
    memory_mib: i64,
    disk_mib: i64,
}

impl Growth {
    pub(super) fn add(&mut self, machine: &Machine, volumes: &[Volume]) {
        self.machines += 1;
        self.vcpus += i64::from(machine.vcpus);
        self.memory_mib = self.memory_mib.saturating_add(amount(machine.memory_mib));
        let disk: u64 = volumes.iter().map(|volume| volume.size_mib).sum();
        self.disk_mib = self.disk_mib.saturating_add(amount(disk));
    }

    pub(super) fn amounts(&self) -> [(Amount, i64); 5] {
        [
            (Amount::Checkouts, self.machines),
            (Amount::Machines, self.machines),
            (Amount::Vcpus, self.vcpus),
            (Amount::MemoryMib, self.memory_mib),
            (Amount::DiskMib, self.disk_mib),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::PoolId;
    use crate::pools::{Overrides, PoolSpec};
    use crate::time::Timestamp;

    fn pool(name: &str, aliases: &[&str], weight: Option<u32>) -> Arc<Pool> {
        let aliases = aliases.iter().map(|alias| (*alias).to_owned()).collect();
        Arc::new(Pool {
            id: PoolId(Uuid::from_u128(u128::from(name.as_bytes()[0]))),
            number: 0,
            rev: 0,
            spec: PoolSpec { aliases, weight, ..PoolSpec::new(name, "micro", 1) },
            declared: false,
            overrides: Overrides::default(),
            drained_at: None,
            removing: false,
            trouble: None,
            created_at: Timestamp(0),
        })
    }

    fn names(pools: &[Arc<Pool>]) -> Vec<&str> {
        pools.iter().map(|pool| pool.spec.name.as_str()).collect()
    }

    #[test]
    fn the_pool_of_the_name_comes_before_those_of_the_alias() {
        let pools = [pool("a", &["x", "c"], None), pool("b", &["x"], None), pool("c", &[], None)];
        assert_eq!(names(&candidates(&pools, "x")), ["a", "b"]);
        assert_eq!(names(&candidates(&pools, "c")), ["c", "a"]);
        assert_eq!(names(&candidates(&pools, "X")), [""; 0]);
    }

    #[test]
    fn weights_count_when_all_have_one_and_the_others_follow_in_order() {
        let weighed = vec![pool("a", &[], Some(1)), pool("b", &[], Some(0)), pool("c", &[], Some(3))];
        let firsts: Vec<String> =
            (0..4).map(|chance| drawn(weighed.clone(), chance)[0].spec.name.clone()).collect();
        assert_eq!(firsts, ["a", "c", "c", "c"]);
        assert_eq!(names(&drawn(weighed, 3)), ["c", "a", "b"]);
        let mixed = vec![pool("a", &[], Some(100)), pool("b", &[], None)];
        assert_eq!(names(&drawn(mixed.clone(), 0)), ["a", "b"]);
        assert_eq!(names(&drawn(mixed, 1)), ["b", "a"]);
        assert_eq!(names(&drawn(vec![pool("a", &[], Some(0))], 9)), ["a"]);
    }

    #[test]
    fn a_checkout_for_nothing_or_for_too_much_is_refused() {
        for wanted in
            [vec![], vec![("a", 0)], vec![("a", 101)], vec![("a", 100); 6], vec![("a", u32::MAX); 2]]
        {
            let wanted = wanted.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
            assert!(CheckoutAsk { wanted, ..CheckoutAsk::default() }.check().is_err());
        }
    }

    #[test]
    fn no_end_overflows() {
        assert_eq!(end(Timestamp(5), 0), None);
        assert_eq!(end(Timestamp(5), 1), Some(Timestamp(1005)));
        assert_eq!(end(Timestamp(5), u64::MAX), Some(Timestamp(i64::MAX)));
    }
}
