//! The two steps by which a machine comes up, shared by creation and by every start: its process runs, and its
//! agent has taken the machine's identity.

use super::Machine;
use crate::error::Error;
use crate::ids::{MachineId, SnapshotId};
use crate::machines::Observed;
use crate::ports::{DriverErrorKind, MachineSpec, Sighting};
use crate::tasks::{StepContext, StepError};
use crate::time::Timestamp;
use std::time::Duration;

/// One look for the agent; the step repeats until its deadline, so that cancelling is honoured in between.
const LOOK: Duration = Duration::from_secs(5);
/// Between two looks: a hypervisor that says at once that there is no answer shall not keep us spinning.
pub(crate) const LOOK_PAUSE: Duration = Duration::from_millis(100);

/// Starts the machine and answers its record with what was seen. Not committed yet. With a snapshot that has memory
/// the guest runs on from there instead of booting.
pub(crate) async fn start(
    context: &StepContext<'_>,
    id: MachineId,
    generation: u64,
    snapshot: Option<SnapshotId>,
) -> Result<Machine, StepError> {
    let core = context.core;
    let mut machine: Machine = core.get(id.0).await?;
    let (_, image) = core.image_of(&machine).await?;
    core.networks_ready(&machine).await?;
    let spec = core.spec(&machine, &image, generation).await?;
    let spec = MachineSpec { snapshot, ..spec };
    context.progress.report(0.0, "starting");
    let sighting = core.host(machine.host)?.hypervisor.start(&spec).await?;
    machine.saw(&sighting, core.now());
    if generation > 1 {
        // It has booted: its memory is all its own now.
        machine.golden = None;
    }
    machine.updated_at = core.now();
    Ok(machine)
}

/// What became of waiting for the agent.
pub(crate) enum Arrival {
    /// It answered and has taken its identity, or the image has none.
    Ready(Machine),
    /// Not yet.
    NotYet,
    /// The deadline has passed; the machine runs all the same, its record says so.
    Silent(Machine),
}

/// Looks for the agent once and gives it the machine's identity.
pub(crate) async fn arrive(
    context: &StepContext<'_>,
    id: MachineId,
    deadline: Timestamp,
) -> Result<Arrival, StepError> {
    let core = context.core;
    let mut machine: Machine = core.get(id.0).await?;
    let (_, image) = core.image_of(&machine).await?;
    let hypervisor = core.host(machine.host)?.hypervisor.clone();
    if !image.agent {
        return Ok(Arrival::Ready(machine));
    }
    let identity = core.identity(&machine).await?;
    context.progress.report(0.0, "waiting for the guest's agent");
    let answered = async {
        // The agent of a fork has answered before: asking it for more than its identity would only cost time.
        if machine.golden.is_none() {
            hypervisor.guest_facts(id, LOOK).await?;
        }
        context.progress.report(0.5, "giving the guest its identity");
        hypervisor.identify(id, &identity).await
    };
    match answered.await {
        Ok(()) => {}
        Err(error) if error.kind == DriverErrorKind::Timeout => {
            let sighting = hypervisor.observe(id).await?;
            still_up(&sighting)?;
            if core.now() < deadline {
                return Ok(Arrival::NotYet);
            }
            machine.reason = Some("the guest's agent has not answered".into());
            return Ok(Arrival::Silent(machine));
        }
        Err(error) => return Err(error.into()),
    }
    machine.guest = hypervisor.guest_facts(id, LOOK).await.ok();
    machine.ready_at = Some(core.now());
    machine.updated_at = core.now();
    Ok(Arrival::Ready(machine))
}

fn still_up(sighting: &Sighting) -> Result<(), Error> {
    if matches!(sighting.observed, Observed::Off) {
        let why = sighting.reason.clone().unwrap_or_else(|| "the guest turned itself off".into());
        return Err(Error::conflict("start_failed", format!("the machine went off while it started: {why}")));
    }
    Ok(())
}
