//! What becomes of a checkout: shown, prolonged, tagged, returned.

use super::checkout::end;
use super::rules::merged;
use super::{Pool, StockState};
use crate::access::{Act, Caller, Object, Role, acts};
use crate::core::{Attempt, Core, ListAsk, Page, decided};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{CredentialId, MachineId, PoolId};
use crate::machines::{Life, Machine};
use crate::query::{Filter, Select, Sort};
use crate::snapshots::Snapshot;
use crate::tasks::Accepted;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The door whose clients may end checkouts of others.
const VMPOOLER: &str = "vmpooler";

/// Changes to a checkout; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckoutChange {
    /// Seconds that it lasts, counted from its beginning; 0 for ever.
    pub lifetime_s: Option<u64>,
    /// Added to its tags; those with an empty value are passed over.
    pub tags: Option<BTreeMap<String, String>>,
}

impl Core {
    /// The pool with this id, unless it is gone.
    pub(crate) async fn pool_of(&self, id: PoolId) -> Result<Option<Arc<Pool>>> {
        Ok(self.pools().await?.iter().find(|pool| pool.id == id).cloned())
    }

    /// The pool that a machine is stock of.
    pub(crate) async fn pool_behind(&self, machine: &Machine) -> Result<Option<Arc<Pool>>> {
        match &machine.stock {
            Some(stock) => self.pool_of(stock.pool).await,
            None => Ok(None),
        }
    }

    /// Seconds that a machine is lent for in all; 0 for ever, and what would be usual while it is not lent.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn checkout_lifetime(&self, machine: &Machine) -> Result<u64> {
        let Some(stock) = &machine.stock else { return Ok(0) };
        let pool = self.pool_of(stock.pool).await?;
        Ok(match &stock.checkout {
            Some(checkout) => self.pool_rules().lifetime(pool.as_deref(), checkout),
            None => pool.and_then(|pool| pool.spec.lifetime_s).unwrap_or(self.pool_rules().lifetime_s),
        })
    }

    /// A machine of a pool, by its host name or id; also one that is gone, as long as its record is kept. Clients of the
    /// vmpooler door see every machine of every pool and nothing else; others what they have rights on.
    ///
    /// # Errors
    /// Not found.
    pub async fn pool_machine(&self, caller: &Caller, key: &str) -> Result<Machine> {
        let machine = self.stock_named(key).await?;
        if caller.via.door != VMPOOLER {
            self.sees(caller, Object::of(&machine), key).await?;
        }
        Ok(self.shown_machine(machine))
    }

    async fn stock_named(&self, key: &str) -> Result<Machine> {
        let found = match key.parse::<MachineId>() {
            Ok(id) => self.find(id.0).await?,
            Err(_) => {
                let named = Filter::eq("name", key);
                let alive = named.clone().and(Filter::ne("life", Life::Gone.word()));
                match self.select::<Machine>(Select::new(alive, 1)).await?.pop() {
                    Some(machine) => Some(machine),
                    None => {
                        let newest = Select::new(named, 1).ordered(Sort::descending("number"));
                        self.select(newest).await?.pop()
                    }
                }
            }
        };
        let found = found.filter(|machine: &Machine| machine.stock.is_some());
        found.ok_or_else(|| Error::not_found("checkout", key))
    }

    /// Everybody at the vmpooler door may do this with what was lent there, unless ownership is strict; everybody else
    /// needs the right on the machine.
    async fn may_with_checkout(&self, caller: &Caller, act: Act, machine: &Machine, key: &str) -> Result<()> {
        let checkout = machine.stock.as_ref().and_then(|stock| stock.checkout.as_ref());
        let there = caller.via.door == VMPOOLER && checkout.is_some_and(|one| one.door == VMPOOLER);
        let able = caller.role != Role::ReadOnly && caller.is_scoped_for(act.action.word());
        if there && able && !self.pool_rules().strict_ownership {
            return Ok(());
        }
        self.may(caller, act, Object::of(machine), key).await
    }

    /// A machine that is lent, and that the caller may do this with.
    async fn lent_for(&self, caller: &Caller, act: Act, key: &str) -> Result<Machine> {
        let missing = || Error::not_found("checkout", key);
        let machine = self.stock_named(key).await?;
        self.may_with_checkout(caller, act, &machine, key).await.map_err(|error| match error.kind {
            ErrorKind::NotFound => missing(),
            _ => error,
        })?;
        let lent = machine.stock_word() == Some(StockState::Lent.word());
        if lent { Ok(machine) } else { Err(missing()) }
    }

    /// Takes a machine back: its checkout has ended, and its removal is ordered.
    ///
    /// # Errors
    /// Not found, also when it is not lent (any more); denied.
    pub async fn checkout_return(&self, caller: &Caller, key: &str) -> Result<Accepted<Machine>> {
        let accepted = decided(async || {
            let mut machine = self.lent_for(caller, acts::CHECKOUT_RETURN, key).await?;
            let mut changes = self.changes();
            let task = self.leave(&mut changes, caller, &mut machine, StockState::Returned, None)?;
            self.deed(&mut changes, caller, acts::CHECKOUT_RETURN.name, &machine)?;
            let stamp = self.commit(changes).await?.stamps[0];
            machine.rev = stamp.rev;
            Ok::<_, Attempt>(Accepted { record: machine, task })
        })
        .await?;
        if let Some(stock) = &accepted.record.stock {
            self.book().turned(stock.pool);
        }
        Ok(accepted)
    }

    /// Prolongs or shortens a checkout and adds tags to it: both or neither.
    ///
    /// # Errors
    /// Not found, also when it is not lent; denied; invalid.
    pub async fn checkout_change(
        &self,
        caller: &Caller,
        key: &str,
        change: &CheckoutChange,
    ) -> Result<Machine> {
        decided(async || {
            let mut machine = self.lent_for(caller, acts::CHECKOUT_CHANGE, key).await?;
            let Some(stock) = &mut machine.stock else {
                return Err(Error::not_found("checkout", key).into());
            };
            let pool = self.pool_of(stock.pool).await?;
            let Some(checkout) = &mut stock.checkout else {
                return Err(Error::not_found("checkout", key).into());
            };
            if let Some(lifetime_s) = change.lifetime_s {
                self.pool_rules().check_lifetime(pool.as_deref(), lifetime_s)?;
                checkout.lifetime_s = Some(lifetime_s);
                checkout.until = end(checkout.at, lifetime_s);
            }
            if let Some(tags) = &change.tags {
                checkout.tags = merged(std::mem::take(&mut checkout.tags), self.pool_rules().tags(tags)?)?;
            }
            let mut changes = self.changes();
            machine.updated_at = changes.now();
            changes.update(&machine)?;
            self.deed(&mut changes, caller, acts::CHECKOUT_CHANGE.name, &machine)?;
            machine.rev = self.commit(changes).await?.stamps[0].rev;
            Ok(machine)
        })
        .await
    }

    /// A caller at the vmpooler door that may act on a machine that was lent there, as whoever has it: volumes and
    /// snapshots go by rights on the machine. Others act as themselves.
    ///
    /// # Errors
    /// Not found; denied.
    pub async fn checkout_deputy(&self, caller: &Caller, key: &str) -> Result<(Caller, Machine)> {
        let machine = self.lent_for(caller, acts::CHECKOUT_CHANGE, key).await?;
        let deputy = Caller { account: machine.owner, ..caller.clone() };
        Ok((deputy, machine))
    }

    /// The snapshots of a machine that [`Core::pool_machine`] has shown, oldest first.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn pool_snapshots(&self, machine: &Machine) -> Result<Vec<Snapshot>> {
        self.snapshots_of(machine).await
    }

    /// What is lent, as far as the caller sees it.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn checkout_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Machine>> {
        ask.filter = Filter::eq("stock", StockState::Lent.word()).and(ask.filter);
        self.machine_list(caller, ask).await
    }

    /// What is lent to the account of a token, made with that token.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn checkouts_of_token(
        &self,
        account: crate::ids::AccountId,
        token: CredentialId,
    ) -> Result<Vec<Machine>> {
        let lent = Filter::eq("owner", account.0).and(Filter::eq("stock", StockState::Lent.word()));
        let lent: Vec<Machine> = self.all(lent).await?;
        let made_with = |machine: &Machine| {
            let checkout = machine.stock.as_ref().and_then(|stock| stock.checkout.as_ref());
            checkout.is_some_and(|checkout| checkout.token == Some(token))
        };
        Ok(lent.into_iter().filter(made_with).collect())
    }
}
