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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::Power;
    use serde_json::json;
    use uuid::Uuid;

    fn volume(number: u128) -> Volume {
        let id = Uuid::from_u128(number);
        let body = json!({
            "id": id, "name": format!("v{number}"), "owner": id, "storage": id, "size_mib": 8, "format": "qcow2",
            "template": null, "machine": null, "with_machine": true, "state": "present", "created_at": 0,
        });
        serde_json::from_value(body).unwrap()
    }

    fn machine(observed: Observed) -> Machine {
        let id = Uuid::from_u128(7);
        let body = json!({
            "id": id, "name": "m", "owner": id, "cluster": id, "host": id, "template": id, "vcpus": 2,
            "memory_mib": 256, "nics": [], "life": "present", "wanted": Power::On,
            "observed": { "power": observed, "at": 0, "generation": 1 }, "created_at": 0, "updated_at": 0,
        });
        serde_json::from_value(body).unwrap()
    }

    fn snapshot(memory: bool) -> Snapshot {
        let id = Uuid::from_u128(9);
        let body = json!({
            "id": id, "name": "s", "owner": id, "machine": id, "memory": memory, "vcpus": 2, "memory_mib": 256,
            "volumes": [{ "volume": Uuid::from_u128(1), "size_mib": 8 }], "state": "present", "created_at": 0,
        });
        serde_json::from_value(body).unwrap()
    }

    fn code(result: Result<()>) -> &'static str {
        result.map_or_else(|error| error.code, |()| "ok")
    }

    #[test]
    fn a_snapshot_is_taken_of_what_can_be_kept() {
        let disks = [volume(1)];
        for (observed, with_memory, without) in [
            (Observed::On, "ok", "ok"),
            (Observed::Paused, "ok", "ok"),
            (Observed::Off, "wrong_state", "ok"),
            (Observed::Unknown, "wrong_state", "wrong_state"),
        ] {
            assert_eq!(code(may_take(&machine(observed), &disks, true)), with_memory, "{observed:?}");
            assert_eq!(code(may_take(&machine(observed), &disks, false)), without, "{observed:?}");
        }
        let on = machine(Observed::On);
        assert_eq!(code(may_take(&on, &[], false)), "no_disk");
        let raw = Volume { format: ImageFormat::Raw, ..volume(1) };
        assert_eq!(code(may_take(&on, &[raw], false)), "not_qcow2");
        let unmade = Volume { state: VolumeState::Creating, ..volume(1) };
        assert_eq!(code(may_take(&on, &[unmade], false)), "wrong_state");
        let gone = Machine { life: Life::Deleting, ..on };
        assert_eq!(code(may_take(&gone, &disks, false)), "wrong_state");
    }

    #[test]
    fn a_machine_goes_back_to_what_fits_it() {
        let (on, off) = (machine(Observed::On), machine(Observed::Off));
        let disks = [volume(1)];
        let asked = |machine: &Machine, disks: &[Volume], memory, force| {
            code(may_revert(machine, disks, &snapshot(memory), force))
        };
        assert_eq!(asked(&on, &disks, true, false), "ok");
        assert_eq!(asked(&off, &disks, true, false), "ok");
        assert_eq!(asked(&off, &disks, false, false), "ok");
        assert_eq!(asked(&on, &disks, false, false), "wrong_state");
        assert_eq!(asked(&on, &disks, false, true), "ok");
        assert_eq!(asked(&off, &[volume(1), volume(2)], false, false), "changed_since");
        assert_eq!(asked(&off, &[], false, false), "changed_since");
        let larger = Machine { vcpus: 4, ..off };
        assert_eq!(asked(&larger, &disks, true, false), "changed_since");
        assert_eq!(asked(&larger, &disks, false, false), "ok");
        assert_eq!(asked(&machine(Observed::Unknown), &disks, false, true), "wrong_state");
        let unfinished = Snapshot { state: SnapshotState::Deleting, ..snapshot(true) };
        assert_eq!(code(may_revert(&on, &disks, &unfinished, true)), "wrong_state");
    }

    #[test]
    fn a_volume_of_a_snapshot_stays() {
        assert_eq!(code(in_no_snapshot(&volume(1), &[snapshot(false)])), "has_snapshots");
        assert_eq!(code(in_no_snapshot(&volume(2), &[snapshot(false)])), "ok");
    }
}
