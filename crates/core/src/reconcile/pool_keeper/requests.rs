//! Requests: machines for those who wait.

use super::{PoolKeeper, makes};
use crate::core::{Attempt, decided};
use crate::error::Result;
use crate::goldens::Origin;
use crate::ids::MachineId;
use crate::machines::{Life, Machine};
use crate::pools::{Filled, PoolCounts, Request, RequestState, StockState, Wanted};
use crate::query::Filter;
use std::collections::HashSet;

impl PoolKeeper {
    /// Looks after all requests that are open.
    pub(super) async fn requests(&self, counts: &[PoolCounts]) -> Result<()> {
        let open = Filter::eq("state", RequestState::Open.word());
        let open: Vec<Request> = self.core.all(open).await?;
        let mut making = 0;
        for request in &open {
            making += self.being_made(request).await?.len();
        }
        for request in open {
            if let Some(why) = self.over(&request) {
                self.fail(&request, why).await?;
            } else {
                making += self.make_for(request, counts, making).await?;
            }
        }
        Ok(())
    }

    fn over(&self, request: &Request) -> Option<String> {
        let rules = self.core.pool_rules();
        if self.core.now() >= request.deadline {
            let minutes = rules.request_deadline_s.div_ceil(60);
            return Some(format!(
                "The request failed to provision instances within the configured ondemand_request_ttl '{minutes}'"
            ));
        }
        (request.failures > rules.request_retries)
            .then(|| format!("{} machines failed one after the other", request.failures))
    }

    /// Machines of a request that are being made.
    async fn being_made(&self, request: &Request) -> Result<HashSet<MachineId>> {
        let mut making = HashSet::new();
        for id in request.wanted.iter().filter(|wanted| !wanted.ready).filter_map(|wanted| wanted.machine) {
            let machine: Option<Machine> = self.core.find(id.0).await?;
            let is_making = |machine: &Machine| {
                machine.life == Life::Creating
                    && machine.stock.as_ref().is_some_and(|stock| stock.state == StockState::Filling)
            };
            if machine.as_ref().is_some_and(is_making) {
                making.insert(id);
            }
        }
        Ok(making)
    }

    /// Begins what is missing, as far as that may be made at once; answers how many were begun.
    async fn make_for(&self, request: Request, counts: &[PoolCounts], making: usize) -> Result<usize> {
        let alive = self.being_made(&request).await?;
        let mut begun = 0;
        let is_missing =
            |wanted: &Wanted| !wanted.ready && wanted.machine.is_none_or(|id| !alive.contains(&id));
        for place in 0..request.wanted.len() {
            let wanted = &request.wanted[place];
            if !is_missing(wanted) || making + begun >= self.core.pool_rules().request_clones as usize {
                continue;
            }
            let Some(counts) = counts.iter().find(|counts| counts.pool.id == wanted.pool) else {
                self.fail(&request, "its pool has been removed".to_owned()).await?;
                return Ok(begun);
            };
            if !makes(&self.core, &counts.pool).await? {
                continue;
            }
            let template = self.core.template_named(counts.pool.template()).await?;
            let golden = match self.core.origin_for(&counts.pool, &template).await? {
                Origin::Waits => continue,
                Origin::Forked(golden) => Some(golden),
                Origin::Boots => None,
            };
            match self.core.pool_fill(&counts.pool, Some(request.id), golden).await? {
                Filled::Begun(machine) => {
                    self.assigned(&request, place, machine.id).await?;
                    begun += 1;
                }
                Filled::Hindered { reason, lasting: true } => {
                    self.fail(&request, reason).await?;
                    return Ok(begun);
                }
                Filled::Hindered { .. } => return Ok(begun),
            }
        }
        Ok(begun)
    }

    /// Notes which machine is being made for which place of a request.
    async fn assigned(&self, request: &Request, place: usize, machine: MachineId) -> Result<()> {
        decided(async || {
            let mut request: Request = self.core.get(request.id.0).await?;
            if request.state != RequestState::Open {
                return Ok(());
            }
            request.wanted[place].machine = Some(machine);
            let mut changes = self.core.changes();
            changes.update(&request)?;
            self.core.commit(changes).await?;
            Ok::<_, Attempt>(())
        })
        .await
    }

    /// A request has failed: what was made for it goes.
    async fn fail(&self, request: &Request, why: String) -> Result<()> {
        tracing::warn!(request = request.key, reason = why, "a request has failed");
        self.core.request_over(request, why).await
    }
}
