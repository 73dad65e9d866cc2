//! Requests: machines that are made for somebody who waits for them, whatever stands ready.

use super::checkout::drawn;
use super::{PoolRules, Request, RequestState, StockState, Wanted};
use crate::access::{Action, Amount, Caller, Role, acts};
use crate::core::{Attempt, Changes, Core, decided};
use crate::error::{Error, Result};
use crate::ids::RequestId;
use crate::machines::{Life, Machine};
use crate::ports::StoreError;
use crate::query::{Filter, Select, Sort};
use crate::record::Kind;
use std::time::Duration;
use uuid::Uuid;

/// Machines that shall be made for somebody.
#[derive(Clone, Debug, Default)]
pub struct RequestAsk {
    /// What whoever asks calls it, 1 to 128 bytes; a UUID when left out.
    pub key: Option<String>,
    /// How many of which pool; each by its name or an alias.
    pub wanted: Vec<(String, u32)>,
}

impl RequestAsk {
    fn check(&self, rules: &PoolRules) -> Result<()> {
        if self.wanted.is_empty() || self.wanted.iter().any(|(_, count)| *count == 0) {
            return Err(Error::invalid("pools", "at least one machine is asked for"));
        }
        if self.wanted.iter().any(|(_, count)| *count > rules.request_most) {
            let text = format!("a request has at most {} machines of a name", rules.request_most);
            return Err(Error { code: "too_many", ..Error::invalid("pools", text) });
        }
        let fits = |key: &String| !key.is_empty() && key.len() <= 128 && !key.chars().any(char::is_control);
        if !self.key.as_ref().is_none_or(fits) || self.wanted.len() > 100 {
            return Err(Error::invalid("request_id", "a request's name has 1 to 128 bytes"));
        }
        Ok(())
    }
}

impl Core {
    /// Asks for machines to be made. Each is lent as soon as it is ready.
    ///
    /// # Errors
    /// Denied; invalid, `too_many`; not found `unknown_pool`; conflict `taken`, when there is a request of this name; no
    /// capacity `quota`.
    pub async fn request_make(&self, caller: &Caller, ask: &RequestAsk) -> Result<Request> {
        self.creates(caller, "checkout").await?;
        ask.check(self.pool_rules())?;
        let mut wanted = Vec::new();
        for (name, count) in &ask.wanted {
            let candidates = self.pools_named(name).await?;
            for _ in 0..*count {
                let first = drawn(candidates.clone(), self.chance()).into_iter().next();
                let pool = first.ok_or_else(|| Error::not_found("pool", name))?;
                wanted.push(Wanted { asked: name.clone(), pool: pool.id, machine: None, ready: false });
            }
        }
        // It holds when each is lent: by then others may have been, and what its machines take besides is known.
        let count = i64::try_from(wanted.len()).unwrap_or(i64::MAX);
        let growth = [(Amount::Checkouts, count), (Amount::Machines, count)];
        if let Some(error) = self.beyond_quotas(caller.account, &growth).await? {
            return Err(error);
        }
        let id = RequestId(self.ids().uuid());
        // Another draw than the id, which tells when it was made.
        let key = ask.key.clone().unwrap_or_else(|| {
            let secret = self.ids().secret();
            let (first, _) = secret.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
            uuid::Builder::from_random_bytes(*first).into_uuid().to_string()
        });
        let mut changes = self.changes();
        self.owner_stays(caller.account, &mut changes).await?;
        let now = changes.now();
        let mut request = Request {
            id,
            number: 0,
            rev: 0,
            key,
            account: caller.account,
            login: caller.login.clone(),
            token: caller.credential,
            door: caller.via.door.to_owned(),
            wanted,
            state: RequestState::Open,
            failures: 0,
            deadline: now.plus(Duration::from_secs(self.pool_rules().request_deadline_s)),
            created_at: now,
            ended_at: None,
        };
        changes.insert(&request)?;
        self.deed_about(&mut changes, caller, "request.make", (Kind::Request.word(), id.0, &request.key))?;
        let stamp = match self.commit(changes).await {
            Err(StoreError::Taken { kind: Kind::Request, .. }) => {
                let text = format!("there is a request {} already", request.key);
                return Err(Error::conflict("taken", text));
            }
            other => other?.stamps[0],
        };
        (request.number, request.rev) = (stamp.number, stamp.rev);
        self.book().turned_all();
        Ok(request)
    }

    /// One request, by its name, id or number. Clients of the vmpooler door see those that were made there.
    ///
    /// # Errors
    /// Not found.
    pub async fn request_get(&self, caller: &Caller, key: &str) -> Result<Request> {
        let named: Option<Request> = self.find_by("key", key).await?;
        let found = match (named, key.parse::<Uuid>()) {
            (Some(request), _) => Some(request),
            (None, Ok(id)) => self.find(id).await?,
            (None, Err(_)) => None,
        };
        let seen = |request: &Request| {
            let there = caller.via.door == "vmpooler" && request.door == "vmpooler";
            there || request.account == caller.account || caller.sees_everything()
        };
        found.filter(seen).ok_or_else(|| Error::not_found("request", key))
    }

    /// The machines that were made for a request, and are lent.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn request_machines(&self, request: &Request) -> Result<Vec<(String, Machine)>> {
        let mut machines = Vec::with_capacity(request.wanted.len());
        for wanted in request.wanted.iter().filter(|wanted| wanted.ready) {
            let Some(id) = wanted.machine else { continue };
            if let Some(machine) = self.find::<Machine>(id.0).await? {
                machines.push((wanted.asked.clone(), machine));
            }
        }
        Ok(machines)
    }

    /// The requests that the caller made; whoever sees everything sees all.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn request_list(&self, caller: &Caller, limit: u32) -> Result<Vec<Request>> {
        let own = Filter::eq("owner", caller.account.0);
        let filter = if caller.sees_everything() { Filter::All } else { own };
        self.select(Select::new(filter, limit).ordered(Sort::descending("number"))).await
    }

    /// Takes a request back: what was made for it is returned, what is being made is removed. Doing it again changes
    /// nothing.
    ///
    /// # Errors
    /// Not found; denied.
    pub async fn request_delete(&self, caller: &Caller, key: &str) -> Result<Request> {
        let request = self.request_get(caller, key).await?;
        let open_door = caller.via.door == "vmpooler" && !self.pool_rules().strict_ownership;
        let own = request.account == caller.account || caller.is_administrator() || open_door;
        let able = caller.role != Role::ReadOnly && caller.is_scoped_for(Action::Delete.word());
        if !own || !able {
            let text = "this request is another's, or this credential is not good to take it back";
            let object = Some((Kind::Request, request.id.0));
            return Err(self.deny(caller, "request.delete", object, text).await);
        }
        decided(async || {
            let mut request: Request = self.get(request.id.0).await?;
            if request.state == RequestState::Deleted {
                return Ok(request);
            }
            let mut changes = self.changes();
            request.state = RequestState::Deleted;
            request.ended_at = Some(changes.now());
            changes.update(&request)?;
            let about = (Kind::Request.word(), request.id.0, request.key.as_str());
            self.deed_about(&mut changes, caller, "request.delete", about)?;
            for machine in self.machines_for(&request).await? {
                self.given_up(&mut changes, caller, machine)?;
            }
            request.rev = self.commit(changes).await?.stamps[0].rev;
            self.book().turned_all();
            Ok::<_, Attempt>(request)
        })
        .await
    }

    /// A request has failed: what was made for it goes. Nothing when it has ended meanwhile.
    pub(crate) async fn request_over(&self, request: &Request, why: String) -> Result<()> {
        let keeper = self.pool_owner().await?;
        decided(async || {
            let mut request: Request = self.get(request.id.0).await?;
            if request.state != RequestState::Open {
                return Ok(());
            }
            let mut changes = self.changes();
            request.state = RequestState::Failed(why.clone());
            request.ended_at = Some(changes.now());
            changes.update(&request)?;
            for machine in self.machines_for(&request).await? {
                self.given_up(&mut changes, &keeper, machine)?;
            }
            self.commit(changes).await?;
            self.book().turned_all();
            Ok::<_, Attempt>(())
        })
        .await
    }

    /// Whoever asked may not have this machine as well, which has just become ready: its request fails, and all that was
    /// made for it goes.
    pub(super) async fn request_unaffordable(
        &self,
        changes: &mut Changes,
        mut request: Request,
        machine: &mut Machine,
        why: String,
    ) -> Result<()> {
        let keeper = self.pool_owner().await?;
        for other in self.machines_for(&request).await? {
            if other.id != machine.id {
                self.given_up(changes, &keeper, other)?;
            }
        }
        if let Some(stock) = &mut machine.stock {
            // Its own task still holds it; the pools' keeper removes it.
            stock.state = StockState::Returned;
        }
        request.state = RequestState::Failed(why);
        request.ended_at = Some(changes.now());
        changes.update(&request)
    }

    /// Machines that were made for a request and have not left yet.
    pub(super) async fn machines_for(&self, request: &Request) -> Result<Vec<Machine>> {
        let mut machines = Vec::new();
        for id in request.wanted.iter().filter_map(|wanted| wanted.machine) {
            let found: Option<Machine> = self.find(id.0).await?;
            machines.extend(found.filter(|machine| matches!(machine.life, Life::Creating | Life::Present)));
        }
        Ok(machines)
    }

    /// A machine that is not waited for any more leaves; one that is still being made when its task has ended.
    pub(super) fn given_up(
        &self,
        changes: &mut Changes,
        caller: &Caller,
        mut machine: Machine,
    ) -> Result<()> {
        let leaves = machine.stock.as_ref().is_some_and(|stock| {
            matches!(stock.state, StockState::Filling | StockState::Ready | StockState::Lent)
        });
        if !leaves {
            return Ok(());
        }
        self.leave(changes, caller, &mut machine, StockState::Returned, None)?;
        self.deed(changes, caller, acts::CHECKOUT_RETURN.name, &machine)
    }
}
