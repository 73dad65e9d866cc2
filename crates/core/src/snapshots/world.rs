//! Where a snapshot is made and removed: by the hypervisor while the machine has a process, which has the disks
//! open, and by the storage while it has none.

use super::Snapshot;
use crate::core::Core;
use crate::machines::{Machine, Observed};
use crate::ports::{DriverError, DriverErrorKind, Sighting};
use crate::tasks::{Outcome, Step, StepError};
use crate::time::Timestamp;
use crate::volumes::Volume;
use std::time::Duration;

/// Between two looks at a process that is busy.
const LOOK_PAUSE: Duration = Duration::from_secs(1);
/// Writing the memory of a large machine to a slow disk takes minutes.
const PATIENCE: Duration = Duration::from_secs(900);

/// Whether the machine has a process now.
pub(super) enum Seen {
    /// It has one, which runs or stands still.
    Up(Sighting),
    /// It has none.
    Down,
    /// The hypervisor cannot tell: while it saves a machine, that machine's process answers nothing else.
    Hidden,
}

pub(super) async fn look(core: &Core, machine: &Machine) -> Result<Seen, StepError> {
    match core.host(machine.host)?.hypervisor.observe(machine.id).await {
        Ok(sighting) => Ok(match sighting.observed {
            Observed::On | Observed::Paused => Seen::Up(sighting),
            Observed::Off => Seen::Down,
            Observed::Unknown => Seen::Hidden,
        }),
        Err(error) if error.kind == DriverErrorKind::Gone => Ok(Seen::Down),
        Err(error) => Err(error.into()),
    }
}

/// Removes whatever there is of a snapshot.
pub(super) async fn erase(
    core: &Core,
    machine: &Machine,
    snapshot: &Snapshot,
    seen: &Seen,
) -> Result<(), StepError> {
    if let Seen::Up(_) = seen {
        let hypervisor = &core.host(machine.host)?.hypervisor;
        return Ok(hypervisor.snapshot_remove(machine.id, &snapshot.spec()).await?);
    }
    for volume in core.volumes_of(machine).await?.iter().filter(|volume| snapshot.has(volume.id)) {
        erase_from(core, volume, snapshot).await?;
    }
    Ok(())
}

/// Removes a snapshot from one volume that no process has open.
pub(crate) async fn erase_from(core: &Core, volume: &Volume, snapshot: &Snapshot) -> Result<(), StepError> {
    let storage = &core.storage(volume.storage)?.storage;
    match storage.volume_snapshot_remove(volume.id, snapshot.id).await {
        // A file that is lost has no snapshot either; doctor tells of the file.
        Err(error) if error.kind == DriverErrorKind::Gone => Ok(()),
        other => Ok(other?),
    }
}

/// Waits for a hypervisor that cannot tell just now; `deadline` is set at the first look in vain.
///
/// # Errors
/// Timeout, once the deadline has passed.
pub(super) fn wait(core: &Core, deadline: &mut Timestamp) -> Result<Step, StepError> {
    let changes = core.changes();
    let now = changes.now();
    if *deadline == Timestamp(0) {
        *deadline = now.plus(PATIENCE);
    }
    if now >= *deadline {
        return Err(hidden());
    }
    let why = "waiting until the hypervisor can tell how the machine is".into();
    Ok(Step { outcome: Outcome::Wait { until: now.plus(LOOK_PAUSE), why }, changes, progress: 0.1 })
}

pub(super) fn hidden() -> StepError {
    DriverError::timeout("the hypervisor cannot tell how the machine is").into()
}
