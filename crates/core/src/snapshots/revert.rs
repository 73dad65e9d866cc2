//! The task that takes a machine back to a snapshot.
//!
//! With memory, a machine that runs is loaded into its process. One that does not is started from the snapshot in
//! place of booting; so is one whose disks have grown, because a disk takes its former size only while nobody has it
//! open. Without memory, its disks are taken back while it is off, and it stays off.

use super::Snapshot;
use super::world::{Seen, hidden, look, wait};
use crate::core::Changes;
use crate::error::{Error, Result};
use crate::ids::SnapshotId;
use crate::machines::boot::{self, Arrival};
use crate::machines::{Machine, Observed, Power};
use crate::ports::DriverErrorKind;
use crate::tasks::{Outcome, Step, StepContext, StepError, Work};
use crate::time::Timestamp;
use crate::volumes::Volume;
use serde::{Deserialize, Serialize};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stage {
    Load,
    PowerOff,
    Disks,
    Start,
    Agent,
}

/// Takes a machine back. What it was is lost as soon as this has begun.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Revert {
    snapshot: SnapshotId,
    stage: Stage,
    /// Of the start, if there is one.
    generation: u64,
    deadline: Timestamp,
}

impl Revert {
    pub(super) fn new(snapshot: &Snapshot, machine: &Machine, volumes: &[Volume]) -> Self {
        let up = matches!(machine.observed.power, Observed::On | Observed::Paused);
        let resized = volumes.iter().any(|volume| size_then(snapshot, volume) != volume.size_mib);
        let stage = if snapshot.memory && up && !resized { Stage::Load } else { Stage::PowerOff };
        let generation = machine.observed.generation + 1;
        Self { snapshot: snapshot.id, stage, generation, deadline: Timestamp(0) }
    }

    async fn records(&self, context: &StepContext<'_>) -> Result<(Snapshot, Machine)> {
        let snapshot: Snapshot = context.core.get(self.snapshot.0).await?;
        let machine = context.core.get(snapshot.machine.0).await?;
        Ok((snapshot, machine))
    }

    async fn load(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let (snapshot, mut machine) = self.records(context).await?;
        let hypervisor = &core.host(machine.host)?.hypervisor;
        match look(core, &machine).await? {
            Seen::Hidden => return wait(core, &mut self.deadline),
            // It went off meanwhile: what it was does not matter any more.
            Seen::Down => {
                self.stage = Stage::PowerOff;
                return Ok(Step { outcome: Outcome::Next, changes: core.changes(), progress: 0.1 });
            }
            Seen::Up(_) => {}
        }
        context.progress.report(0.0, "loading disks and memory");
        hypervisor.snapshot_revert(machine.id, &snapshot.spec(), context.progress).await?;
        let sighting = hypervisor.observe(machine.id).await?;
        let mut changes = core.changes();
        machine.ready_at = None;
        machine.saw(&sighting, changes.now());
        changes.update(&machine)?;
        self.await_agent(context);
        Ok(Step { outcome: Outcome::Next, changes, progress: 0.8 })
    }

    async fn power_off(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let (_, mut machine) = self.records(context).await?;
        context.progress.report(0.0, "turning it off");
        core.host(machine.host)?.hypervisor.power_off(machine.id).await?;
        let mut changes = core.changes();
        machine.saw_nothing(changes.now());
        changes.update(&machine)?;
        self.stage = Stage::Disks;
        Ok(Step { outcome: Outcome::Next, changes, progress: 0.2 })
    }

    async fn disks(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let (mut snapshot, mut machine) = self.records(context).await?;
        context.progress.report(0.0, "taking its disks back");
        let mut changes = core.changes();
        for mut volume in core.volumes_of(&machine).await? {
            let size_mib = size_then(&snapshot, &volume);
            // With memory, loading takes the disks back, too, all but their sizes.
            if snapshot.memory && size_mib == volume.size_mib {
                continue;
            }
            core.storage(volume.storage)?.storage.volume_revert(volume.id, snapshot.id).await?;
            if size_mib != volume.size_mib {
                volume.size_mib = size_mib;
                changes.update(&volume)?;
            }
        }
        if snapshot.memory {
            self.stage = Stage::Start;
            return Ok(Step { outcome: Outcome::Next, changes, progress: 0.4 });
        }
        snapshot.let_go(None);
        changes.update(&snapshot)?;
        machine.updated_at = changes.now();
        machine.let_go(None);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }

    async fn start(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let (snapshot, machine) = self.records(context).await?;
        let machine = boot::start(context, machine.id, self.generation, Some(snapshot.id)).await?;
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        self.await_agent(context);
        Ok(Step { outcome: Outcome::Next, changes, progress: 0.8 })
    }

    fn await_agent(&mut self, context: &StepContext<'_>) {
        self.stage = Stage::Agent;
        self.deadline = context.core.now().plus(context.core.settings().boot_patience);
    }

    /// The guest goes on with the clock and the randomness of that moment; its identity brings both up to date.
    async fn agent(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        let core = context.core;
        let (mut snapshot, machine) = self.records(context).await?;
        let arrival = boot::arrive(context, machine.id, self.deadline).await?;
        let mut changes = core.changes();
        let (mut machine, reason) = match arrival {
            Arrival::NotYet => {
                let why = "waiting for the guest's agent".into();
                let outcome = Outcome::Wait { until: changes.now().plus(boot::LOOK_PAUSE), why };
                return Ok(Step { outcome, changes, progress: 0.9 });
            }
            Arrival::Ready(machine) => (machine, None),
            Arrival::Silent(mut machine) => {
                let reason = machine.reason.take();
                (machine, reason)
            }
        };
        snapshot.let_go(None);
        changes.update(&snapshot)?;
        machine.updated_at = changes.now();
        machine.let_go(reason);
        changes.update(&machine)?;
        Ok(Step { outcome: Outcome::Done, changes, progress: 1.0 })
    }
}

/// A volume's size at the snapshot, MiB.
fn size_then(snapshot: &Snapshot, volume: &Volume) -> u64 {
    let kept = snapshot.volumes.iter().find(|kept| kept.volume == volume.id);
    kept.map_or(volume.size_mib, |kept| kept.size_mib)
}

#[async_trait::async_trait]
impl Work for Revert {
    fn step(&self) -> &'static str {
        match self.stage {
            Stage::Load => "load",
            Stage::PowerOff => "power_off",
            Stage::Disks => "disks",
            Stage::Start => "start",
            Stage::Agent => "agent",
        }
    }

    fn payload(&self) -> Result<serde_json::Value> {
        serde_json::to_value(self).map_err(Error::internal)
    }

    /// Only before anything was lost.
    fn cancellable(&self) -> bool {
        matches!(self.stage, Stage::Load | Stage::PowerOff)
    }

    async fn run(&mut self, context: &StepContext<'_>) -> Result<Step, StepError> {
        match self.stage {
            Stage::Load => self.load(context).await,
            Stage::PowerOff => self.power_off(context).await,
            Stage::Disks => self.disks(context).await,
            Stage::Start => self.start(context).await,
            Stage::Agent => self.agent(context).await,
        }
    }

    /// There is no way back to what was; the machine is left as it is now seen, and its reason says so.
    async fn undo(&mut self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let core = context.core;
        let (mut snapshot, mut machine) = self.records(context).await?;
        let hypervisor = &core.host(machine.host)?.hypervisor;
        if self.stage == Stage::Start {
            hypervisor.power_off(machine.id).await?;
        }
        let mut changes = core.changes();
        match hypervisor.observe(machine.id).await {
            Ok(sighting) if sighting.observed == Observed::Unknown => return Err(hidden()),
            Ok(sighting) => machine.saw(&sighting, changes.now()),
            Err(error) if error.kind == DriverErrorKind::Gone => machine.saw_nothing(changes.now()),
            Err(error) => return Err(error.into()),
        }
        machine.wanted = if machine.observed.power == Observed::Off { Power::Off } else { Power::On };
        machine.updated_at = changes.now();
        let mixed = match self.stage {
            Stage::Disks => "; its disks may be of different moments, so go back again",
            _ => "",
        };
        machine.let_go(Some(format!("going back to snapshot {} failed: {why}{mixed}", snapshot.name)));
        changes.update(&machine)?;
        snapshot.let_go(None);
        changes.update(&snapshot)?;
        Ok(changes)
    }

    async fn abandon(&self, context: &StepContext<'_>, why: &str) -> Result<Changes, StepError> {
        let (mut snapshot, mut machine) = self.records(context).await?;
        machine.observed.power = Observed::Unknown;
        machine.let_go(Some(why.to_owned()));
        snapshot.let_go(None);
        let mut changes = context.core.changes();
        changes.update(&machine)?;
        changes.update(&snapshot)?;
        Ok(changes)
    }
}
