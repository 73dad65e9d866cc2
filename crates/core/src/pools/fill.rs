//! Filling: the machine that is made for a pool, what makes it ready, and what becomes of the pool when it fails.

use super::{Birth, Checkout, Pool, Probe, Request, RequestState, Stock, StockState, Trouble};
use crate::core::{Changes, Core, decided};
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{GoldenId, RequestId};
use crate::machines::{HostName, Machine, MachineAsk};
use crate::networks::Address;
use crate::ports::{DriverError, DriverErrorKind, GuestCommand, Hypervisor};
use crate::query::Filter;
use crate::time::Timestamp;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

/// Patience of one look at a machine's probe.
const LOOK: Duration = Duration::from_secs(5);
/// The longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What has become of making a machine for a pool.
#[derive(Debug)]
pub(crate) enum Filled {
    /// It is being made.
    Begun(Box<Machine>),
    /// Not now, as the pool says, too.
    Hindered {
        /// Why.
        reason: String,
        /// Trying again is of no use.
        lasting: bool,
    },
}

/// The pause after so many failures in a row.
pub(crate) fn backoff(failures: u32) -> Duration {
    Duration::from_secs(1 << failures.clamp(1, 9).saturating_sub(1)).min(LONGEST_PAUSE)
}

impl Core {
    /// Begins a machine for a pool, or for a request of one, forked from a golden machine or booting.
    pub(crate) async fn pool_fill(
        &self,
        pool: &Pool,
        request: Option<RequestId>,
        golden: Option<GoldenId>,
    ) -> Result<Filled> {
        let keeper = self.pool_owner().await?;
        let stock = Stock {
            pool: pool.id,
            pool_name: pool.spec.name.clone(),
            state: StockState::Filling,
            ready_at: None,
            birth: None,
            clone_ms: None,
            boot_ms: None,
            request,
            checkout: None,
        };
        let ask = MachineAsk {
            name: Some(self.stock_name(&pool.spec.prefix)?.to_string()),
            domain: String::new(),
            template: pool.template().to_owned(),
            vcpus: pool.spec.vcpus,
            memory_mib: pool.spec.memory_mib,
            disk_mib: pool.spec.disk_mib,
            network: pool.spec.network.clone(),
            ssh_keys: pool.spec.ssh_keys.clone(),
            start: true,
            ..MachineAsk::default()
        };
        match self.machine_stocked(&keeper, &ask, stock, golden).await {
            Ok(accepted) => {
                self.book().turned(pool.id);
                Ok(Filled::Begun(Box::new(accepted.record)))
            }
            Err(error) => {
                let lasting = matches!(error.kind, ErrorKind::NotFound | ErrorKind::Invalid { .. });
                self.pool_hindered(pool, error.text.clone()).await?;
                Ok(Filled::Hindered { reason: error.text, lasting })
            }
        }
    }

    /// A letter and fourteen letters or digits, after the pool's prefix.
    fn stock_name(&self, prefix: &str) -> Result<HostName> {
        const LETTERS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
        let secret = self.ids().secret();
        let mut name = prefix.to_owned();
        for (place, byte) in secret.iter().take(15).enumerate() {
            let among = if place == 0 { 26 } else { 36 };
            name.push(char::from(LETTERS[usize::from(*byte) % among]));
        }
        name.parse()
    }

    /// Notes why a pool cannot be filled just now, and when it is tried again.
    pub(crate) async fn pool_hindered(&self, pool: &Pool, reason: String) -> Result<()> {
        decided(async || {
            let Some(mut pool) = self.find::<Pool>(pool.id.0).await? else { return Ok(()) };
            let mut changes = self.changes();
            pool.trouble = Some(worse(pool.trouble.take(), reason.clone(), changes.now()));
            changes.update(&pool)?;
            self.pools_committed(changes).await
        })
        .await
    }

    /// Notes what a pool waits for, which is no failure: nothing is put off.
    pub(crate) async fn pool_waits(&self, pool: &Pool, reason: &str) -> Result<()> {
        if pool.trouble.as_ref().is_some_and(|trouble| trouble.reason == reason) {
            return Ok(());
        }
        decided(async || {
            let Some(mut pool) = self.find::<Pool>(pool.id.0).await? else { return Ok(()) };
            let mut changes = self.changes();
            let now = changes.now();
            let failures = pool.trouble.as_ref().map_or(0, |before| before.failures);
            pool.trouble = Some(Trouble { reason: reason.to_owned(), since: now, failures, again_at: now });
            changes.update(&pool)?;
            self.pools_committed(changes).await
        })
        .await
    }

    /// The pool of a machine that has just failed, with that noted; in the same commit as the machine.
    pub(crate) async fn pool_failed(
        &self,
        changes: &mut Changes,
        machine: &Machine,
        why: &str,
    ) -> Result<()> {
        let Some(stock) = &machine.stock else { return Ok(()) };
        if let Some(id) = stock.request {
            self.request_failed_once(changes, id, machine).await?;
        }
        let Some(mut pool) = self.find::<Pool>(stock.pool.0).await? else { return Ok(()) };
        let reason = format!("machine {} failed: {why}", machine.name);
        pool.trouble = Some(worse(pool.trouble.take(), reason, changes.now()));
        changes.update(&pool)
    }

    async fn request_failed_once(
        &self,
        changes: &mut Changes,
        id: RequestId,
        machine: &Machine,
    ) -> Result<()> {
        let Some(mut request) = self.find::<Request>(id.0).await? else { return Ok(()) };
        request.failures += 1;
        for wanted in request.wanted.iter_mut().filter(|wanted| wanted.machine == Some(machine.id)) {
            wanted.machine = None;
        }
        changes.update(&request)
    }

    /// The machine has become ready: it is stock now, or lent at once when somebody waits for it.
    pub(crate) async fn stock_ready(
        &self,
        changes: &mut Changes,
        machine: &mut Machine,
        birth: Birth,
        running_at: Timestamp,
    ) -> Result<()> {
        let now = changes.now();
        let created = machine.created_at;
        let Some(stock) = &mut machine.stock else { return Ok(()) };
        stock.ready_at = Some(now);
        let millis =
            |from: Timestamp, to: Timestamp| u64::try_from(to.since(from).as_millis()).unwrap_or(u64::MAX);
        stock.clone_ms = Some(millis(created, running_at));
        stock.boot_ms = Some(millis(running_at, now));
        stock.birth = Some(birth);
        if stock.state != StockState::Filling {
            return Ok(());
        }
        stock.state = StockState::Ready;
        let (pool_id, request) = (stock.pool, stock.request);
        let Some(mut pool) = self.find::<Pool>(pool_id.0).await? else { return Ok(()) };
        if self.is_outdated(&pool, machine).await? && request.is_none() {
            if let Some(stock) = &mut machine.stock {
                stock.state = StockState::Returned;
            }
            return Ok(());
        }
        if let Some(id) = request {
            self.stock_for_request(changes, &pool, machine, id).await?;
        }
        if pool.trouble.take().is_some() {
            changes.update(&pool)?;
        }
        Ok(())
    }

    /// Whether the pool would make it otherwise now.
    async fn is_outdated(&self, pool: &Pool, machine: &Machine) -> Result<bool> {
        if pool.removing || pool.drained_at.is_some_and(|drained| machine.created_at < drained) {
            return Ok(true);
        }
        // Where its template has gone meanwhile, it is as good as any.
        let template = self.template_named(pool.template()).await;
        Ok(template.is_ok_and(|template| template.id != machine.template))
    }

    async fn stock_for_request(
        &self,
        changes: &mut Changes,
        pool: &Pool,
        machine: &mut Machine,
        id: RequestId,
    ) -> Result<()> {
        let Some(mut request) = self.find::<Request>(id.0).await? else { return Ok(()) };
        let place = request.wanted.iter().position(|wanted| wanted.machine == Some(machine.id));
        let Some(place) = place.filter(|_| request.state == RequestState::Open) else {
            // Nobody waits any more; the pools' keeper removes what is neither stock nor lent.
            if let Some(stock) = &mut machine.stock {
                stock.state = StockState::Returned;
            }
            return Ok(());
        };
        let with_token = request.token.and_then(|_| self.pool_rules().lifetime_with_token(pool));
        let checkout = Checkout {
            at: changes.now(),
            asked: request.wanted[place].asked.clone(),
            account: request.account,
            login: request.login.clone(),
            token: request.token,
            door: request.door.clone(),
            lifetime_s: with_token,
            until: None,
            tags: Default::default(),
            request: Some(id),
            batch: None,
            ended_at: None,
        };
        let keys = self.ssh_keys_of(request.account).await?;
        let volumes = self.volumes_of(machine).await?;
        *machine = self.lend(changes, pool, machine.clone(), checkout, &keys, volumes)?;
        request.wanted[place].ready = true;
        if request.wanted.iter().all(|wanted| wanted.ready) {
            request.state = RequestState::Ready;
            request.ended_at = Some(changes.now());
        }
        changes.update(&request)
    }

    async fn first_address(&self, machine: &Machine) -> Result<Option<IpAddr>> {
        if machine.nics.iter().all(|nic| nic.addresses.is_empty()) {
            return Ok(None);
        }
        let held: Vec<Address> = self.all(Filter::eq("machine", machine.id.0)).await?;
        Ok(held.first().map(|address| address.ip))
    }

    /// Looks once whether a machine shows what its pool asks for, beside its agent.
    pub(crate) async fn probed(&self, machine: &Machine, probe: &Probe) -> Result<(), DriverError> {
        let local = self.host(machine.host);
        let local = local.map_err(|error| DriverError::new(DriverErrorKind::Unreachable, error.text))?;
        let hypervisor = &local.hypervisor;
        match probe {
            Probe::Agent => hypervisor.guest_facts(machine.id, LOOK).await.map(drop),
            Probe::Ssh => {
                let address = self.first_address(machine).await;
                let unread = |error: Error| DriverError::new(DriverErrorKind::Unreachable, error.text);
                hypervisor.ssh_banner(machine.id, address.map_err(unread)?, LOOK).await
            }
            Probe::Tcp(port) => listening(hypervisor, machine, *port).await,
            Probe::Command(argv) => command(hypervisor, machine, argv.clone()).await.map(drop),
        }
    }
}

fn worse(before: Option<Trouble>, reason: String, now: Timestamp) -> Trouble {
    let (since, failures) = before.map_or((now, 0), |before| (before.since, before.failures));
    let failures = failures.saturating_add(1);
    Trouble { reason, since, failures, again_at: now.plus(backoff(failures)) }
}

async fn command(
    hypervisor: &Arc<dyn Hypervisor>,
    machine: &Machine,
    argv: Vec<String>,
) -> Result<Vec<u8>, DriverError> {
    let words = argv.join(" ");
    let command = GuestCommand { argv, stdin: Vec::new(), deadline: LOOK };
    let output = hypervisor.guest_run(machine.id, &command).await?;
    match output.status {
        Some(0) => Ok(output.stdout),
        Some(status) => Err(DriverError::timeout(format!("`{words}` ended with {status}"))),
        None => Err(DriverError::timeout(format!("`{words}` did not end"))),
    }
}

/// Ports other than SSH's are not forwarded on user networking, so the guest is asked what it listens on.
async fn listening(
    hypervisor: &Arc<dyn Hypervisor>,
    machine: &Machine,
    port: u16,
) -> Result<(), DriverError> {
    let tables = ["cat", "/proc/net/tcp", "/proc/net/tcp6"].map(ToOwned::to_owned).to_vec();
    let table = command(hypervisor, machine, tables).await?;
    if listens(&String::from_utf8_lossy(&table), port) {
        return Ok(());
    }
    Err(DriverError::timeout(format!("nothing listens on TCP port {port}")))
}

/// Whether a table of the kernel's has a socket that listens on this port.
fn listens(table: &str, port: u16) -> bool {
    const LISTEN: &str = "0A";
    table.lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        let local = words.next().and_then(|local| local.rsplit(':').next());
        let here = local.and_then(|digits| u16::from_str_radix(digits, 16).ok()) == Some(port);
        here && words.nth(1) == Some(LISTEN)
    })
}

impl Pool {
    /// When a machine that began at this moment must be ready.
    pub(crate) fn boot_deadline(&self, from: Timestamp) -> Timestamp {
        from.plus(Duration::from_secs(self.spec.boot_deadline_s))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end_at_five_minutes() {
        let seconds: Vec<u64> = [0, 1, 2, 3, 9, 10, u32::MAX].map(|count| backoff(count).as_secs()).to_vec();
        assert_eq!(seconds, [1, 1, 2, 4, 256, 256, 256]);
    }

    #[test]
    fn sockets_that_listen_are_found_in_the_kernels_table() {
        let table = "  sl  local_address rem_address   st tx_queue\n\
                     0: 00000000:0016 00000000:0000 0A 00000000:00000000\n\
                     1: 0100007F:1F90 0100007F:A000 01 00000000:00000000\n\
                     2: 00000000000000000000000000000000:0050 0000:0000 0A 0";
        assert!(listens(table, 22) && listens(table, 80));
        assert!(!listens(table, 8080) && !listens(table, 443));
    }
}
