//! Taking a machine out of its pool: it is no stock any more at once, and its removal is ordered in the same commit.

use super::StockState;
use crate::access::Caller;
use crate::core::{Attempt, Changes, Core};
use crate::error::Result;
use crate::machines::{Life, Machine, Power, delete::Delete};
use crate::record::Kind;
use crate::tasks::Task;

impl Core {
    /// Puts into these changes that a machine leaves its pool in this state. When a task holds it, the removal is
    /// ordered by the pools' keeper once that has ended.
    pub(super) fn leave(
        &self,
        changes: &mut Changes,
        caller: &Caller,
        machine: &mut Machine,
        state: StockState,
        reason: Option<String>,
    ) -> Result<Option<Task>> {
        let now = changes.now();
        if let Some(stock) = &mut machine.stock {
            stock.state = state;
            if let Some(checkout) = &mut stock.checkout {
                checkout.ended_at.get_or_insert(now);
            }
        }
        if reason.is_some() {
            machine.reason = reason;
        }
        machine.updated_at = now;
        if machine.task.is_some() {
            changes.update(machine)?;
            return Ok(None);
        }
        let task = self.machine_task(caller, machine, "machine.delete", &Delete::new(machine.id))?;
        machine.life = Life::Deleting;
        machine.wanted = Power::Off;
        machine.hold(task.id)?;
        changes.update(machine)?;
        changes.insert(&task)?;
        Ok(Some(task))
    }

    /// Removes a machine of a pool that nobody has, unless it has changed since it was read.
    pub(crate) async fn stock_dropped(
        &self,
        mut machine: Machine,
        state: StockState,
        reason: Option<String>,
    ) -> Result<()> {
        let keeper = self.pool_owner().await?;
        let mut changes = self.changes();
        self.leave(&mut changes, &keeper, &mut machine, state, reason)?;
        let name = machine.name.as_str();
        let act = if machine.lent_ended() { "checkout.end" } else { "pool.drop" };
        self.deed_about(&mut changes, &keeper, act, (Kind::Machine.word(), machine.id.0, name))?;
        match self.commit(changes).await.map_err(Attempt::from) {
            // Somebody else has just taken, returned or changed it.
            Ok(_) | Err(Attempt::Stale) => {}
            Err(Attempt::Failed(error)) => return Err(error),
        }
        if let Some(stock) = &machine.stock {
            self.book().turned(stock.pool);
        }
        Ok(())
    }
}

impl Machine {
    fn lent_ended(&self) -> bool {
        self.stock.as_ref().is_some_and(|stock| stock.checkout.is_some())
    }
}
