//! What may be taken, and what may be gone back to. Pure, so that each refusal can be tested.

use super::{Snapshot, SnapshotState};
use crate::error::{Error, Result};
use crate::machines::{Life, Machine, Observed};
use crate::templates::ImageFormat;
use crate::volumes::{Volume, VolumeState};

/// Snapshots that a machine can have: each makes opening its disks a little slower.
pub(super) const MOST: u64 = 64;

/// Whether a snapshot of this machine may be taken now.
///
/// # Errors
/// Conflict `wrong_state`, `no_disk` or `not_qcow2`, saying what stands in the way.
pub(super) fn may_take(machine: &Machine, volumes: &[Volume], memory: bool) -> Result<()> {
    is_present(machine)?;
    if memory && machine.observed.power == Observed::Off {
        let text = format!("machine {} is off, so there is no memory to keep", machine.name);
        return Err(Error::conflict("wrong_state", text).hint("start it first, or keep its disks only"));
    }
    if volumes.is_empty() {
        let text = format!("machine {} has no disk that could keep a snapshot", machine.name);
        return Err(Error::conflict("no_disk", text));
    }
    for volume in volumes {
        if volume.format != ImageFormat::Qcow2 {
            let text =
                format!("volume {} is {}; only qcow2 keeps snapshots", volume.name, volume.format.word());
            return Err(Error::conflict("not_qcow2", text));
        }
        if volume.state != VolumeState::Present {
            let text = format!("volume {} is {}", volume.name, volume.state.word());
            return Err(Error::conflict("wrong_state", text));
        }
    }
    Ok(())
}

/// Whether the machine may go back to this snapshot now.
///
/// # Errors
/// Conflict `wrong_state`, or `changed_since` naming what is not as it was.
pub(super) fn may_revert(
    machine: &Machine,
    volumes: &[Volume],
    snapshot: &Snapshot,
    force: bool,
) -> Result<()> {
    is_present(machine)?;
    if snapshot.state != SnapshotState::Present {
        let text = format!("snapshot {} is {}", snapshot.name, snapshot.state.word());
        return Err(Error::conflict("wrong_state", text));
    }
    same_disks(volumes, snapshot)?;
    if !snapshot.memory {
        if machine.observed.power != Observed::Off && !force {
            let text = format!(
                "machine {} is {}; going back to a snapshot without memory needs it off",
                machine.name,
                machine.observed.power.word()
            );
            let hint = "stop it first, or ask with force: its power is cut then";
            return Err(Error::conflict("wrong_state", text).hint(hint));
        }
        return Ok(());
    }
    if (machine.vcpus, machine.memory_mib) != (snapshot.vcpus, snapshot.memory_mib) {
        let text = format!(
            "machine {} has {} CPUs and {} MiB; its memory was kept with {} CPUs and {} MiB",
            machine.name, machine.vcpus, machine.memory_mib, snapshot.vcpus, snapshot.memory_mib
        );
        return Err(Error::conflict("changed_since", text).hint("give it back what it had"));
    }
    Ok(())
}

/// Taking one disk back and leaving another as it is would mix two moments.
fn same_disks(volumes: &[Volume], snapshot: &Snapshot) -> Result<()> {
    let changed = |volume: &str, how: &str| {
        let text = format!("volume {volume} was {how} since snapshot {} was taken", snapshot.name);
        Err(Error::conflict("changed_since", text))
    };
    for volume in volumes {
        if !snapshot.has(volume.id) {
            return changed(&volume.name, "attached").map_err(|error| error.hint("detach it first"));
        }
    }
    for kept in &snapshot.volumes {
        if !volumes.iter().any(|volume| volume.id == kept.volume) {
            return changed(&kept.volume.to_string(), "detached");
        }
    }
    Ok(())
}

fn is_present(machine: &Machine) -> Result<()> {
    let state = match (machine.life, machine.observed.power) {
        (Life::Present, Observed::Unknown) => "not to be seen just now",
        (Life::Present, _) => return Ok(()),
        (life, _) => life.word(),
    };
    Err(Error::conflict("wrong_state", format!("machine {} is {state}", machine.name)))
}

/// A volume that is part of a snapshot stays with its machine.
///
/// # Errors
/// Conflict `has_snapshots`, naming one.
pub(crate) fn in_no_snapshot(volume: &Volume, snapshots: &[Snapshot]) -> Result<()> {
    match snapshots.iter().find(|snapshot| snapshot.has(volume.id)) {
        None => Ok(()),
        Some(snapshot) => {
            let text = format!("volume {} is part of snapshot {}", volume.name, snapshot.name);
            let hint = format!("`hostler snapshot delete {}` first", snapshot.id);
            Err(Error::conflict("has_snapshots", text).hint(hint))
        }
    }
}
