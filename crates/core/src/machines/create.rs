//! The task that makes a machine: its disk, its process, its identity.

use super::boot::{self, Arrival};
use super::{Life, Machine, Power};
use crate::core::{Changes, Core};
use crate::error::{Error, Result};
use crate::ids::MachineId;
use crate::networks::Address;
use crate::pools::{Birth, Probe, StockState};
use crate::ports::{Backing, VolumeSpec};
use crate::query::Filter;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use crate::templates::Template;
use crate::time::Timestamp;
use crate::volumes::{Volume, VolumeState};
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Volumes,
    Start,
    Agent,
    Probe,
}

/// Makes a machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Create {
    machine: MachineId,
    stage: Stage,
    deadline: Timestamp,
    /// When its process ran.
    #[serde(default)]
    running_at: Timestamp,
    /// Milliseconds of each phase that has ended, and when the last one did.
    #[serde(default)]
    phases: Vec<(String, u64)>,
    #[serde(default)]
    phase_at: Timestamp,
}

impl Create {
    pub(crate) fn new(machine: MachineId) -> Self {
        let never = Timestamp(0);
        Self {
            machine,
            stage: Stage::Volumes,
            deadline: never,
            running_at: never,
            phases: Vec::new(),
            phase_at: never,
        }
    }

    /// A phase has ended; the first one began when the machine was asked for.
    fn phase(&mut self, name: &str, machine: &Machine, now: Timestamp) {
        let begun = if self.phases.is_empty() { machine.created_at } else { self.phase_at };
        let millis = u64::try_from(now.since(begun).as_millis()).unwrap_or(u64::MAX);
        self.phases.push((name.to_owned(), millis));
        self.phase_at = now;
    }

    async fn volumes(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        let mut changes = core.changes();
        for mut volume in core.volumes_of(&machine).await? {
            if volume.state == VolumeState::Present {
                continue;
            }
            let backing = match (volume.golden, volume.template) {
                (Some(golden), _) => Some(Backing::Golden { golden }),
                (None, Some(template)) => {
                    let image = core.get::<Template>(template.0).await?.image;
                    image.map(|image| Backing::Template { template, image })
                }
                (None, None) => None,
            };
            let spec = VolumeSpec { id: volume.id, size_mib: volume.size_mib, backing };
            context.progress.report(0.0, "making the disk");
            core.storage(volume.storage)?.storage.volume_make(&spec).await?;
            volume.state = VolumeState::Present;
            volume.task = None;
            changes.update(&volume)?;
        }
        if machine.wanted == Power::Off {
            machine.life = Life::Present;
            machine.let_go(None);
            changes.update(&machine)?;
            return Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 });
        }
        self.phase("disk", &machine, changes.now());
        self.stage = Stage::Start;
        Ok(Step { outcome: Outcome::Next, changes, progress: 0.2 })
    }

    async fn start(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let machine = boot::start(context, self.machine, 1, None).await?;
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        self.stage = Stage::Agent;
        self.running_at = changes.now();
        self.phase("start", &machine, changes.now());
        let pool = context.core.pool_behind(&machine).await?;
        let usual = changes.now().plus(context.core.settings().boot_patience);
        self.deadline = pool.map_or(usual, |pool| pool.boot_deadline(machine.created_at));
        Ok(Step { outcome: Outcome::Next, changes, progress: 0.4 })
    }

    async fn agent(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let arrival = boot::arrive(context, self.machine, self.deadline).await?;
        let mut changes = context.core.changes();
        let mut machine = match arrival {
            Arrival::NotYet => {
                let why = "waiting for the guest's agent".into();
                let outcome = Outcome::Wait { until: changes.now().plus(boot::LOOK_PAUSE), why };
                return Ok(Step { outcome, changes, progress: 0.5 });
            }
            // A machine of a pool that does not answer is of no use to anybody.
            Arrival::Silent(machine) if machine.stock.is_some() => {
                let text = "the guest's agent has not answered in time";
                return Err(Error::conflict("never_ready", text).into());
            }
            Arrival::Ready(machine) | Arrival::Silent(machine) => machine,
        };
        if machine.stock.is_some() {
            changes.update(&machine)?;
            self.phase("identity", &machine, changes.now());
            self.stage = Stage::Probe;
            return Ok(Step { outcome: Outcome::Next, changes, progress: 0.8 });
        }
        machine.life = Life::Present;
        let reason = machine.reason.take();
        machine.let_go(reason);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }
}

impl Create {
    /// Waits until a machine of a pool shows that it can be lent.
    async fn probe(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let mut machine: Machine = core.get(self.machine.0).await?;
        let pool = core.pool_behind(&machine).await?;
        let mut changes = core.changes();
        // The agent has answered just now.
        let probe = pool.map(|pool| pool.spec.probe.clone()).filter(|probe| *probe != Probe::Agent);
        if let Some(probe) = probe {
            context.progress.report(0.0, "waiting until it can be lent");
            match core.probed(&machine, &probe).await {
                Ok(()) => {}
                Err(error) if core.now() < self.deadline => {
                    let outcome =
                        Outcome::Wait { until: changes.now().plus(boot::LOOK_PAUSE), why: error.detail };
                    return Ok(Step { outcome, changes, progress: 0.9 });
                }
                Err(error) => return Err(Error::conflict("never_ready", error.detail).into()),
            }
        }
        machine.life = Life::Present;
        machine.let_go(None);
        machine.updated_at = changes.now();
        self.phase("probe", &machine, changes.now());
        let birth = Birth { forked: machine.golden.is_some(), phases: self.phases.clone() };
        core.stock_ready(&mut changes, &mut machine, birth, self.running_at).await?;
        core.birth_proves(&mut changes, &machine).await?;
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }
}

#[async_trait::async_trait]
impl Work for Create {
    fn step(&self) -> &'static str {
        match self.stage {
            Stage::Volumes => "volumes",
            Stage::Start => "start",
            Stage::Agent => "agent",
            Stage::Probe => "probe",
        }
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        match self.stage {
            Stage::Volumes => self.volumes(context).await,
            Stage::Start => self.start(context).await,
            Stage::Agent => self.agent(context).await,
            Stage::Probe => self.probe(context).await,
        }
    }

    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let machine: Machine = core.get(self.machine.0).await?;
        let hypervisor = &core.host(machine.host)?.hypervisor;
        hypervisor.power_off(machine.id).await?;
        hypervisor.remove(machine.id).await?;
        let volumes = core.volumes_of(&machine).await?;
        for volume in volumes.iter().filter(|volume| volume.with_machine) {
            core.storage(volume.storage)?.storage.volume_remove(volume.id).await?;
        }
        let reason = Some(format!("it could not be made: {why}"));
        let mut failed = machine.clone();
        // Whoever took it out of its pool wanted it gone.
        let wanted = failed.stock.as_mut().filter(|stock| stock.state == StockState::Filling);
        let fails = wanted.map(|stock| stock.state = StockState::Failed).is_some();
        let mut changes = gone(core, failed, volumes, reason).await?;
        if fails {
            core.pool_failed(&mut changes, &machine, why).await?;
            core.fork_failed(&mut changes, &machine, why).await?;
        }
        Ok(changes)
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let mut machine: Machine = context.core.get(self.machine.0).await?;
        machine.life = Life::Deleting;
        machine.let_go(Some(why.to_owned()));
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        Ok(changes)
    }
}

/// The changes by which a machine that has left the world leaves the books: its addresses are free again, volumes
/// that came with it go, others are detached.
pub(super) async fn gone(
    core: &Core,
    mut machine: Machine,
    volumes: Vec<Volume>,
    reason: Option<String>,
) -> Result<Changes> {
    let mut changes = core.changes();
    for mut volume in volumes {
        if volume.with_machine {
            changes.delete(&volume);
        } else {
            volume.machine = None;
            changes.update(&volume)?;
        }
    }
    for snapshot in core.snapshots_of(&machine).await? {
        changes.delete(&snapshot);
    }
    for address in core.all::<Address>(Filter::eq("machine", machine.id.0)).await? {
        changes.delete(&address);
    }
    machine.saw_nothing(changes.now());
    machine.life = Life::Gone;
    machine.wanted = Power::Off;
    machine.updated_at = changes.now();
    machine.let_go(reason);
    changes.update(&machine)?;
    Ok(changes)
}
