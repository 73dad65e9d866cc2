//! What a process remembers of pools, so that a look at a hundred of them costs no hundred counts: the pools and how
//! many machines each has in which state. Events say what has to be read again, also those of other processes; what
//! this process commits itself is read again at once.

use super::shelf::Shelf;
use super::{Pool, Request, RequestState, StockState};
use crate::core::Core;
use crate::error::Result;
use crate::events::Event;
use crate::ids::PoolId;
use crate::machines::Machine;
use crate::query::{Compare, Filter, Select, Sort};
use crate::record::{Kind, Value};
use crate::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::TryRecvError;
use uuid::Uuid;

/// How many machines a pool has.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolCounts {
    /// The pool.
    pub pool: Arc<Pool>,
    /// That may be lent.
    pub ready: u64,
    /// Being made.
    pub filling: u64,
    /// Lent.
    pub lent: u64,
    /// Given back, and not removed yet.
    pub returned: u64,
    /// Asked for by requests and not ready.
    pub requested: u64,
    /// When a machine of it last became ready.
    pub last_ready_at: Option<Timestamp>,
}

/// Numbers of one pool.
#[derive(Clone, Copy, Debug)]
struct Numbers {
    ready: u64,
    filling: u64,
    lent: u64,
    returned: u64,
    last_ready_at: Option<Timestamp>,
}

/// What is remembered.
#[derive(Debug, Default)]
struct Pages {
    news: Option<Receiver<Arc<Event>>>,
    pools: Option<Arc<Vec<Arc<Pool>>>>,
    numbers: HashMap<PoolId, Numbers>,
    requested: Option<Arc<HashMap<PoolId, u64>>>,
    whole: Option<Arc<Vec<PoolCounts>>>,
    /// Counts forgettings, so that nothing read before one is remembered after it.
    turn: u64,
}

/// What a process remembers of pools.
#[derive(Debug, Default)]
pub(crate) struct Book {
    pages: Mutex<Pages>,
    shelves: Mutex<HashMap<PoolId, Arc<Shelf>>>,
    pub(super) accounts: tokio::sync::OnceCell<super::built_in::BuiltIn>,
    pub(super) today: tokio::sync::Mutex<super::figures::Today>,
    pub(super) misses: Mutex<HashMap<(i64, String), u64>>,
}

impl Pages {
    fn forget_all(&mut self) {
        (self.pools, self.requested, self.whole) = (None, None, None);
        self.numbers.clear();
        self.turn += 1;
    }

    fn forget(&mut self, pool: PoolId) {
        self.numbers.remove(&pool);
        self.whole = None;
        self.turn += 1;
    }

    fn heard(&mut self, event: &Event) {
        match event.event.kind {
            Kind::Pool => {
                (self.pools, self.whole) = (None, None);
                self.turn += 1;
            }
            Kind::Request => {
                (self.requested, self.whole) = (None, None);
                self.turn += 1;
            }
            Kind::Machine => {
                if let Some(pool) = pool_in(&event.event.body) {
                    self.forget(pool);
                }
            }
            _ => {}
        }
    }

    fn catch_up(&mut self, core: &Core) {
        let Some(mut news) = self.news.take() else {
            self.news = Some(core.store().subscribe());
            return self.forget_all();
        };
        loop {
            match news.try_recv() {
                Ok(event) => self.heard(&event),
                Err(TryRecvError::Lagged(_)) => self.forget_all(),
                Err(TryRecvError::Empty | TryRecvError::Closed) => break,
            }
        }
        self.news = Some(news);
    }
}

/// The pool that a machine's event names.
pub(crate) fn pool_in(body: &str) -> Option<PoolId> {
    const KEY: &str = "\"pool\":\"";
    let from = body.find(KEY)? + KEY.len();
    body.get(from..from + 36)?.parse::<Uuid>().ok().map(PoolId)
}

impl Book {
    fn pages(&self, core: &Core) -> MutexGuard<'_, Pages> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.catch_up(core);
        pages
    }

    /// A number that is another after everything that pools, their machines and requests have been through.
    pub(super) fn turn(&self, core: &Core) -> u64 {
        self.pages(core).turn
    }

    /// What was known of this pool is old: this process has just changed its stock.
    pub(crate) fn turned(&self, pool: PoolId) {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).forget(pool);
    }

    /// What was known of pools or requests is old.
    pub(crate) fn turned_all(&self) {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner).forget_all();
    }

    pub(super) fn shelf(&self, pool: PoolId) -> Arc<Shelf> {
        self.shelves.lock().unwrap_or_else(PoisonError::into_inner).entry(pool).or_default().clone()
    }
}

impl Core {
    /// All pools, in the order of their numbers.
    pub(crate) async fn pools(&self) -> Result<Arc<Vec<Arc<Pool>>>> {
        let turn = {
            let pages = self.book().pages(self);
            if let Some(pools) = &pages.pools {
                return Ok(pools.clone());
            }
            pages.turn
        };
        let mut pools: Vec<Pool> = self.all(Filter::All).await?;
        pools.sort_by_key(|pool| pool.number);
        let pools = Arc::new(pools.into_iter().map(Arc::new).collect::<Vec<_>>());
        let mut pages = self.book().pages(self);
        if pages.turn == turn {
            pages.pools = Some(pools.clone());
        }
        Ok(pools)
    }

    /// How many machines every pool has, in the order of the pools.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pool_counts(&self) -> Result<Arc<Vec<PoolCounts>>> {
        let pools = self.pools().await?;
        let turn = {
            let pages = self.book().pages(self);
            if let Some(whole) = &pages.whole {
                return Ok(whole.clone());
            }
            pages.turn
        };
        let requested = self.requested().await?;
        let mut whole = Vec::with_capacity(pools.len());
        for pool in pools.iter() {
            let numbers = self.numbers(pool.id).await?;
            whole.push(PoolCounts {
                pool: pool.clone(),
                ready: numbers.ready,
                filling: numbers.filling,
                lent: numbers.lent,
                returned: numbers.returned,
                requested: requested.get(&pool.id).copied().unwrap_or(0),
                last_ready_at: numbers.last_ready_at,
            });
        }
        let whole = Arc::new(whole);
        let mut pages = self.book().pages(self);
        if pages.turn == turn {
            pages.whole = Some(whole.clone());
        }
        Ok(whole)
    }

    async fn numbers(&self, pool: PoolId) -> Result<Numbers> {
        let turn = {
            let pages = self.book().pages(self);
            if let Some(numbers) = pages.numbers.get(&pool) {
                return Ok(*numbers);
            }
            pages.turn
        };
        let count = async |state: StockState| {
            let filter = Filter::eq("pool", pool.0).and(Filter::eq("stock", state.word()));
            self.store().count(Kind::Machine, filter).await
        };
        let stocked = Filter::eq("pool", pool.0).and(Filter::Is("stocked_at", Compare::Ne, Value::Null));
        let latest = Select::new(stocked, 1).ordered(Sort::descending("stocked_at"));
        let latest: Option<Machine> = self.select(latest).await?.pop();
        let numbers = Numbers {
            ready: count(StockState::Ready).await?,
            filling: count(StockState::Filling).await?,
            lent: count(StockState::Lent).await?,
            returned: count(StockState::Returned).await?,
            last_ready_at: latest.and_then(|machine| machine.stock?.ready_at),
        };
        let mut pages = self.book().pages(self);
        if pages.turn == turn {
            pages.numbers.insert(pool, numbers);
        }
        Ok(numbers)
    }

    async fn requested(&self) -> Result<Arc<HashMap<PoolId, u64>>> {
        let turn = {
            let pages = self.book().pages(self);
            if let Some(requested) = &pages.requested {
                return Ok(requested.clone());
            }
            pages.turn
        };
        let mut requested: HashMap<PoolId, u64> = HashMap::new();
        for request in self.all::<Request>(Filter::eq("state", RequestState::Open.word())).await? {
            for wanted in request.wanted.iter().filter(|wanted| !wanted.ready) {
                *requested.entry(wanted.pool).or_default() += 1;
            }
        }
        let requested = Arc::new(requested);
        let mut pages = self.book().pages(self);
        if pages.turn == turn {
            pages.requested = Some(requested.clone());
        }
        Ok(requested)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pool_is_found_in_the_event_of_its_machine() {
        let id = Uuid::from_u128(7);
        let body = format!("{{\"name\":\"a\",\"pool\":\"{id}\",\"stock\":\"ready\"}}");
        assert_eq!(pool_in(&body), Some(PoolId(id)));
        for other in ["{}", "{\"pool\":null}", "{\"pool\":\"short\"}", "{\"pool\":\""] {
            assert_eq!(pool_in(other), None, "{other}");
        }
    }
}
