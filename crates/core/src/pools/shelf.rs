//! Which machine is lent next. Many callers ask at once, and each shall try another machine: whoever takes one from the
//! shelf has it to itself in this process until it puts it back or has lent it. The commit alone decides; a shelf that
//! is wrong costs a second try.

use super::{Pool, StockState};
use crate::core::Core;
use crate::error::Result;
use crate::ids::MachineId;
use crate::machines::{Life, Machine, Observed};
use crate::query::{Filter, Select, Sort};
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Machines looked up at a time.
const ARMFUL: u32 = 256;

#[derive(Debug, Default)]
struct Places {
    /// Ready ones, those that stood longest first.
    next: VecDeque<MachineId>,
    /// Those that somebody tries to lend just now.
    taken: HashSet<MachineId>,
}

/// The ready machines of one pool, as far as they were looked up.
#[derive(Debug, Default)]
pub(crate) struct Shelf {
    places: Mutex<Places>,
    /// Held by whoever looks up more.
    stocking: tokio::sync::Mutex<()>,
}

impl Shelf {
    fn places(&self) -> MutexGuard<'_, Places> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pick(&self) -> Option<MachineId> {
        let mut places = self.places();
        while let Some(id) = places.next.pop_front() {
            if places.taken.insert(id) {
                return Some(id);
            }
        }
        None
    }
}

/// A machine taken from the shelf; put back when it is dropped without having been lent.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) machine: Machine,
    shelf: Arc<Shelf>,
    back: bool,
}

impl Taken {
    /// It is lent, or can never be: it does not come back.
    pub(super) fn keep(mut self) {
        self.back = false;
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut places = self.shelf.places();
        places.taken.remove(&self.machine.id);
        if self.back {
            places.next.push_front(self.machine.id);
        }
    }
}

/// Whether a machine may be lent.
pub(super) fn is_lendable(machine: &Machine, pool: &Pool) -> bool {
    let Some(stock) = &machine.stock else { return false };
    stock.pool == pool.id
        && stock.state == StockState::Ready
        && machine.life == Life::Present
        && machine.task.is_none()
        && machine.observed.power == Observed::On
        && pool.drained_at.is_none_or(|drained| machine.created_at >= drained)
}

impl Core {
    /// The machine of this pool that has been ready longest and that nobody else tries to lend.
    pub(super) async fn pool_take(&self, pool: &Pool) -> Result<Option<Taken>> {
        let shelf = self.book().shelf(pool.id);
        loop {
            let id = match shelf.pick() {
                Some(id) => id,
                None => match self.pool_stocked(pool, &shelf).await? {
                    Some(id) => id,
                    None => return Ok(None),
                },
            };
            match self.find::<Machine>(id.0).await {
                Ok(Some(machine)) if is_lendable(&machine, pool) => {
                    return Ok(Some(Taken { machine, shelf, back: true }));
                }
                Ok(_) => drop(shelf.places().taken.remove(&id)),
                Err(error) => {
                    shelf.places().taken.remove(&id);
                    return Err(error);
                }
            }
        }
    }

    /// Looks up more, once for all who wait; answers the first.
    async fn pool_stocked(&self, pool: &Pool, shelf: &Shelf) -> Result<Option<MachineId>> {
        let _stocking = shelf.stocking.lock().await;
        if let Some(id) = shelf.pick() {
            return Ok(Some(id));
        }
        let ready = Filter::eq("pool", pool.id.0).and(Filter::eq("stock", StockState::Ready.word()));
        let taken = shelf.places().taken.len();
        let limit = ARMFUL.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        let select = Select::new(ready, limit).ordered(Sort::ascending("stocked_at"));
        let found: Vec<Machine> = self.select(select).await?;
        let lendable = found.iter().filter(|machine| is_lendable(machine, pool)).map(|machine| machine.id);
        {
            let mut places = shelf.places();
            let fresh: Vec<MachineId> = lendable.filter(|id| !places.taken.contains(id)).collect();
            places.next.extend(fresh);
        }
        Ok(shelf.pick())
    }
}
