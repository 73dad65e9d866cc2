//! The observer: what hypervisors see becomes what records say.
//!
//! It never touches a machine that a task holds; the task records what it sees itself. To stay cheap with many
//! machines it remembers what it saw and wrote last, and reads a record only when something differs from that.

use crate::core::{Core, LocalHost};
use crate::error::Result;
use crate::ids::MachineId;
use crate::machines::{Life, Machine, Observed, Power};
use crate::ports::{DriverErrorKind, GuestFacts, Sighting, StoreError};
use crate::query::{Cursor, Filter, Select};
use crate::record::{Kind, Record};
use std::collections::{HashMap, HashSet};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Without news everything is looked at again after this long.
const SWEEP: Duration = Duration::from_secs(15);
/// Records read at a time when the first comparison is made.
const PAGE: u32 = 500;
/// Guests that are listened for at a time, and for how long.
const LISTENED: usize = 8;
const LISTENING: Duration = Duration::from_secs(1);

/// Observes the machines of one host.
pub struct Observer {
    core: Core,
    local: LocalHost,
    settled: HashMap<MachineId, (Observed, u64)>,
    /// Machines that run and whose agent has not been heard: slow ones, and those whose image has no agent of ours.
    unheard: HashSet<MachineId>,
}

impl std::fmt::Debug for Observer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Observer({})", self.local.hypervisor.host())
    }
}

impl Observer {
    /// An observer for this host.
    pub fn new(core: Core, local: LocalHost) -> Self {
        Self { core, local, settled: HashMap::new(), unheard: HashSet::new() }
    }

    /// Finds the machines that run since before this process did. Must be done before any task runs.
    ///
    /// # Errors
    /// When the hypervisor cannot be asked, or the store does not answer.
    pub async fn adopt(&mut self) -> Result<()> {
        let sightings = self.local.hypervisor.adopt().await?;
        let running = sightings.iter().filter(|seen| seen.observed != Observed::Off).count();
        tracing::info!(machines = running, "took over running machines");
        self.compare(sightings).await?;
        self.forgotten().await
    }

    /// Observes until `stop`.
    pub async fn run(mut self, stop: CancellationToken) {
        let mut news = self.local.hypervisor.events();
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock().sleep(SWEEP) => {
                    if let Err(error) = self.sweep().await {
                        tracing::warn!(error = error.chain(), "machines cannot be observed");
                    }
                    self.listen().await;
                }
                event = news.recv() => match event {
                    Ok(event) => self.look(event.machine).await,
                    Err(broadcast::error::RecvError::Lagged(_)) => {}
                    Err(broadcast::error::RecvError::Closed) => return,
                },
            }
        }
    }

    /// Looks at everything once.
    ///
    /// # Errors
    /// When the hypervisor cannot be asked, or the store does not answer.
    pub async fn sweep(&mut self) -> Result<()> {
        let sightings = self.local.hypervisor.sightings().await?;
        self.compare(sightings).await
    }

    /// Asks some of the guests that have not been heard since they were started whether they answer now.
    pub async fn listen(&mut self) {
        let asked: Vec<MachineId> = self.unheard.iter().take(LISTENED).copied().collect();
        let answers = asked.iter().map(|id| self.local.hypervisor.guest_facts(*id, LISTENING));
        let answers = futures_util::future::join_all(answers).await;
        for (id, answer) in asked.into_iter().zip(answers) {
            self.unheard.remove(&id);
            if let Ok(facts) = answer
                && let Err(error) = self.hear(id, facts).await
            {
                tracing::debug!(machine.id = %id, error = error.chain(), "a guest was heard, but not recorded");
            }
            // Whoever was silent, or heard at a bad moment, gets another turn.
            if let Err(error) = self.listen_again(id).await {
                tracing::debug!(machine.id = %id, error = error.chain(), "a guest is not listened for any more");
            }
        }
    }

    /// A guest has answered: it gets its identity if its image knows how to take one, and counts as ready.
    async fn hear(&self, id: MachineId, facts: GuestFacts) -> Result<()> {
        let mut machine: Machine = self.core.get(id.0).await?;
        if machine.task.is_some() || machine.observed.power != Observed::On {
            return Ok(());
        }
        let (_, image) = self.core.image_of(&machine).await?;
        if image.agent {
            self.local.hypervisor.identify(id, &self.core.identity(&machine).await?).await?;
        }
        machine.guest = Some(facts);
        machine.ready_at = Some(self.core.now());
        machine.reason = None;
        let mut changes = self.core.changes();
        changes.update(&machine)?;
        self.core.commit(changes).await?;
        Ok(())
    }

    async fn listen_again(&mut self, id: MachineId) -> Result<()> {
        let machine: Option<Machine> = self.core.find(id.0).await?;
        if machine.is_some_and(|machine| is_unheard(&machine)) {
            self.unheard.insert(id);
        }
        Ok(())
    }

    async fn look(&mut self, id: MachineId) {
        let seen = match self.local.hypervisor.observe(id).await {
            Ok(seen) => Some(seen),
            Err(error) if error.kind == DriverErrorKind::Gone => None,
            Err(error) => return tracing::debug!(machine.id = %id, %error, "a machine cannot be observed"),
        };
        if let Err(error) = self.settle(id, seen.as_ref()).await {
            tracing::warn!(machine.id = %id, error = error.chain(), "an observation cannot be recorded");
        }
    }

    async fn compare(&mut self, sightings: Vec<Sighting>) -> Result<()> {
        let seen: HashSet<MachineId> = sightings.iter().map(|sighting| sighting.id).collect();
        for sighting in &sightings {
            let now = (sighting.observed, sighting.generation);
            if self.settled.get(&sighting.id) != Some(&now) {
                self.settle(sighting.id, Some(sighting)).await?;
            }
        }
        let vanished: Vec<MachineId> = self.settled.keys().filter(|id| !seen.contains(id)).copied().collect();
        for id in vanished {
            self.settle(id, None).await?;
        }
        Ok(())
    }

    /// Records that say `on` although nothing was seen: compared once, after adoption.
    async fn forgotten(&mut self) -> Result<()> {
        let host = self.local.hypervisor.host();
        let filter = Filter::eq("host", host.0).and(Filter::ne("observed", Observed::Off.word()));
        let mut select = Select::new(filter, PAGE);
        loop {
            let machines: Vec<Machine> = self.core.select(select.clone()).await?;
            for machine in &machines {
                if !self.settled.contains_key(&machine.id) {
                    self.settle(machine.id, None).await?;
                }
            }
            match machines.last() {
                Some(last) if machines.len() == PAGE as usize => {
                    select.after = Some(Cursor::after(last.id.0));
                }
                _ => return Ok(()),
            }
        }
    }

    /// Brings one record in line with what was seen.
    async fn settle(&mut self, id: MachineId, seen: Option<&Sighting>) -> Result<()> {
        let Some(document) = self.core.store().get(Kind::Machine, id.0).await? else {
            return Ok(()); // `doctor` tells about it; what we do not know we do not touch.
        };
        let mut machine = Machine::from_document(&document)?;
        if machine.life == Life::Gone {
            self.settled.remove(&id);
            return self.finish_off(id, seen).await;
        }
        if machine.task.is_some() {
            self.settled.remove(&id);
            return Ok(());
        }
        let before = (machine.observed.power, machine.observed.generation, machine.ssh.clone());
        match seen {
            Some(sighting) => machine.saw(sighting, self.core.now()),
            None => machine.saw_nothing(self.core.now()),
        }
        if before != (machine.observed.power, machine.observed.generation, machine.ssh.clone()) {
            explain(&mut machine, seen);
            machine.updated_at = self.core.now();
            let mut changes = self.core.changes();
            changes.update(&machine)?;
            match self.core.commit(changes).await {
                // Somebody acts on it just now; the next look sees what came of it.
                Err(StoreError::Stale { .. }) => return Ok(()),
                other => drop(other?),
            }
        }
        if is_unheard(&machine) {
            self.unheard.insert(id);
        } else {
            self.unheard.remove(&id);
        }
        match seen {
            Some(_) => drop(self.settled.insert(id, (machine.observed.power, machine.observed.generation))),
            None => drop(self.settled.remove(&id)),
        }
        Ok(())
    }

    /// A machine that is gone has nothing left: what is seen of it was left by a crash in the middle of its removal.
    async fn finish_off(&self, id: MachineId, seen: Option<&Sighting>) -> Result<()> {
        if seen.is_some() {
            tracing::warn!(machine.id = %id, "removing what is left of a machine that is gone");
            self.local.hypervisor.power_off(id).await?;
            self.local.hypervisor.remove(id).await?;
        }
        Ok(())
    }
}

fn is_unheard(machine: &Machine) -> bool {
    machine.life == Life::Present && machine.observed.power == Observed::On && machine.ready_at.is_none()
}

/// Why a machine is not as wanted, in words.
pub(crate) fn explain(machine: &mut Machine, seen: Option<&Sighting>) {
    let words = seen.and_then(|sighting| sighting.reason.clone());
    machine.reason = match (machine.wanted, machine.observed.power) {
        (Power::On, Observed::Off) => Some(words.unwrap_or_else(|| "it went off by itself".into())),
        (_, Observed::Unknown) => Some(words.unwrap_or_else(|| "it cannot be observed".into())),
        (Power::Off, Observed::On | Observed::Paused) => Some("it runs although it should be off".into()),
        _ => None,
    };
}
