//! Snapshots of machines that have a process, which has the disks open.
//!
//! They lie inside the disks' own files, under the snapshot's id, and all disks are kept at one moment: memory with
//! them by QEMU's job `snapshot-save`, during which the machine stands still and its monitor answers nothing else;
//! disks alone by one transaction. What is there is looked at first, so that asking again is harmless, and a job that
//! a former server ordered is waited for. QEMU remembers a job until it is dismissed.
//!
//! Disks are found by their files, not by the names of their nodes: the node at a device may be a filter above the
//! image, and QEMU wants to be told that one.

use super::names::DiskNames;
use super::{Driver, Running};
use crate::layout::Layout;
use hostler_core::fail::fail_point;
use hostler_core::ids::MachineId;
use hostler_core::ports::{DriverError, DriverErrorKind, Progress, SnapshotSpec};
use hostler_core::templates::ImageFormat;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;

/// Name of our jobs; a machine has one at a time.
const JOB: &str = "hostler-snapshot";
/// Writing the memory of a large machine to a slow disk takes minutes.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);
/// An event that was lost is made up for after this long.
const LOOK_PAUSE: Duration = Duration::from_secs(2);

/// A writable disk of a process.
#[derive(Debug, PartialEq, Eq)]
struct Disk {
    /// The node at its device.
    node: String,
    /// Its file.
    file: PathBuf,
    /// Whether it can keep snapshots.
    qcow2: bool,
    /// Names of the snapshots in it.
    snapshots: Vec<String>,
}

impl Driver {
    /// See [`Hypervisor::snapshot_take`](hostler_core::ports::Hypervisor::snapshot_take).
    pub(super) async fn snapshot_take(
        self: &Arc<Self>,
        id: MachineId,
        snapshot: &SnapshotSpec,
        progress: &Progress,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        running.settle().await?;
        let (tag, all) = (snapshot.id.to_string(), running.disks().await?);
        let disks = concerned(&all, snapshot)?;
        if disks.iter().all(|disk| disk.snapshots.contains(&tag)) {
            return Ok(());
        }
        running.delete(&disks, &tag).await?;
        if !snapshot.memory {
            progress.report(0.5, "saving the disks");
            let actions = disks.iter().map(|disk| {
                json!({ "type": "blockdev-snapshot-internal-sync", "data": { "device": disk.node, "name": tag } })
            });
            let actions: Vec<Value> = actions.collect();
            return running.qmp.run("transaction", json!({ "actions": actions }), PATIENCE).await.map(drop);
        }
        progress.report(0.1, "saving disks and memory");
        let nodes = nodes(&disks);
        running.job("snapshot-save", json!({ "tag": tag, "vmstate": nodes[0], "devices": nodes })).await
    }

    /// See [`Hypervisor::snapshot_revert`](hostler_core::ports::Hypervisor::snapshot_revert).
    pub(super) async fn snapshot_revert(
        self: &Arc<Self>,
        id: MachineId,
        snapshot: &SnapshotSpec,
        progress: &Progress,
    ) -> Result<(), DriverError> {
        if !snapshot.memory {
            return Err(DriverError::refused("a machine that is on cannot change its disks alone"));
        }
        let running = self.powered(id).await?;
        running.settle().await?;
        let (tag, all) = (snapshot.id.to_string(), running.disks().await?);
        let disks = concerned(&all, snapshot)?;
        // QEMU stops the guest before it looks.
        if let Some(disk) = disks.iter().find(|disk| !disk.snapshots.contains(&tag)) {
            return Err(DriverError::refused(format!("disk {} has no snapshot {tag}", disk.node)));
        }
        progress.report(0.1, "loading disks and memory");
        let nodes = images(&disks, snapshot);
        running.job("snapshot-load", json!({ "tag": tag, "vmstate": nodes[0], "devices": nodes })).await?;
        // A machine that stood still before stands still after.
        running.command("cont").await
    }

    /// See [`Hypervisor::snapshot_remove`](hostler_core::ports::Hypervisor::snapshot_remove).
    pub(super) async fn snapshot_remove(
        self: &Arc<Self>,
        id: MachineId,
        snapshot: &SnapshotSpec,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        running.settle().await?;
        let all = running.disks().await?;
        running.delete(&all.iter().collect::<Vec<_>>(), &snapshot.id.to_string()).await
    }
}

impl Running {
    /// The disks that the guest may write to.
    async fn disks(&self) -> Result<Vec<Disk>, DriverError> {
        let devices: Vec<Device> = self.ask("query-block").await?;
        let inserted = devices.into_iter().filter_map(|device| device.inserted);
        inserted.filter(|medium| !medium.ro).map(Disk::of).collect()
    }

    /// Removes a snapshot from those of the disks that have it.
    async fn delete(&self, disks: &[&Disk], tag: &str) -> Result<(), DriverError> {
        let having: Vec<&Disk> =
            disks.iter().filter(|disk| disk.snapshots.iter().any(|one| one == tag)).copied().collect();
        if having.is_empty() {
            return Ok(());
        }
        self.job("snapshot-delete", json!({ "tag": tag, "devices": nodes(&having) })).await
    }

    /// Runs a job of ours to its end.
    async fn job(&self, command: &str, mut arguments: Value) -> Result<(), DriverError> {
        arguments["job-id"] = JOB.into();
        let mut events = self.qmp.events();
        let begun = async {
            until_status(&mut events, "running").await;
            fail_point("qemu.snapshot_job");
            std::future::pending::<()>().await;
        };
        tokio::select! {
            asked = self.qmp.run(command, arguments, PATIENCE) => { asked?; }
            () = begun => {}
        }
        self.concluded().await?
    }

    /// Waits for a job that a former server left, whatever became of it: what it did can be seen.
    async fn settle(&self) -> Result<(), DriverError> {
        if self.our_job().await?.is_some()
            && let Err(error) = self.concluded().await?
        {
            tracing::info!(machine.id = %self.id, %error, "an earlier job about snapshots had failed");
        }
        Ok(())
    }

    /// How our job ended; QEMU forgets it.
    async fn concluded(&self) -> Result<Result<(), DriverError>, DriverError> {
        let mut events = self.qmp.events();
        let ended = async {
            loop {
                let job = self.our_job().await?;
                let Some(job) = job else {
                    return Err(DriverError::new(DriverErrorKind::Protocol, "QEMU has forgotten our job"));
                };
                if job.status == "concluded" {
                    return Ok(job);
                }
                let _ = tokio::time::timeout(LOOK_PAUSE, until_status(&mut events, "concluded")).await;
            }
        };
        let late = |_| DriverError::timeout("QEMU does not end its job about a snapshot");
        let job = tokio::time::timeout(PATIENCE, ended).await.map_err(late)??;
        self.qmp.execute("job-dismiss", json!({ "id": JOB })).await?;
        Ok(job.error.map_or(Ok(()), |error| Err(refused(&error))))
    }

    async fn our_job(&self) -> Result<Option<Job>, DriverError> {
        let jobs: Vec<Job> = self.ask("query-jobs").await?;
        Ok(jobs.into_iter().find(|job| job.id == JOB))
    }

    async fn ask<T: DeserializeOwned>(&self, command: &str) -> Result<T, DriverError> {
        let answer = self.qmp.run(command, Value::Null, PATIENCE).await?;
        serde_json::from_value(answer).map_err(|error| {
            DriverError::new(DriverErrorKind::Protocol, format!("QEMU's answer to {command}: {error}"))
        })
    }
}

/// Returns when our job is seen to get there, or when that may have been missed.
async fn until_status(events: &mut broadcast::Receiver<super::qmp_types::QmpEvent>, status: &str) {
    loop {
        match events.recv().await {
            Ok(event) if event.name == "JOB_STATUS_CHANGE" => {
                if event.data["id"] == JOB && event.data["status"] == status {
                    return;
                }
            }
            Ok(_) => {}
            Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}

/// The disks that a snapshot is about: its volumes, the one that keeps memory first, and, when memory is in it, every
/// other writable one of the machine's own (firmware writes its variables, too).
fn concerned<'a>(disks: &'a [Disk], snapshot: &SnapshotSpec) -> Result<Vec<&'a Disk>, DriverError> {
    // A process says the names that it was given, and those depend on when it was started.
    let volumes = Layout::seen_by_machine().volumes();
    let folder = volumes.file_name().unwrap_or_default();
    let mut found = Vec::new();
    for volume in &snapshot.volumes {
        let file = Layout::seen_by_machine().volume(*volume, ImageFormat::Qcow2);
        let file = Path::new(folder).join(file.file_name().unwrap_or_default());
        let disk = disks.iter().find(|disk| disk.file.ends_with(&file));
        found.push(disk.ok_or_else(|| {
            DriverError::refused(format!("the machine has no volume {volume}, which is in the snapshot"))
        })?);
    }
    if found.is_empty() {
        return Err(DriverError::refused("a snapshot needs a disk to lie in"));
    }
    let others: Vec<&Disk> = disks.iter().filter(|disk| !found.contains(disk)).collect();
    for disk in others {
        if disk.file.parent().is_some_and(|parent| parent.ends_with(folder)) {
            return Err(DriverError::refused(format!("disk {} is not in the snapshot", disk.node)));
        }
        if snapshot.memory {
            found.push(disk);
        }
    }
    match found.iter().find(|disk| !disk.qcow2) {
        Some(disk) => {
            Err(DriverError::refused(format!("disk {} keeps no snapshots: it is not qcow2", disk.node)))
        }
        None => Ok(found),
    }
}

fn nodes(disks: &[&Disk]) -> Vec<String> {
    disks.iter().map(|disk| disk.node.clone()).collect()
}

/// The same disks by their images. QEMU goes back with a filter by opening it anew, and then lets none of its requests
/// through any more.
fn images(disks: &[&Disk], snapshot: &SnapshotSpec) -> Vec<String> {
    let volumes = snapshot.volumes.iter().map(|volume| DiskNames::of(*volume).image);
    volumes.chain(disks.iter().skip(snapshot.volumes.len()).map(|disk| disk.node.clone())).collect()
}

fn refused(words: &str) -> DriverError {
    let kind =
        if words.contains("No space left") { DriverErrorKind::Exhausted } else { DriverErrorKind::Refused };
    DriverError::new(kind, format!("QEMU: {words}"))
}

#[derive(Debug, Deserialize)]
struct Job {
    id: String,
    status: String,
    #[serde(default)]
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Device {
    #[serde(default)]
    inserted: Option<Medium>,
}

#[derive(Debug, Deserialize)]
struct Medium {
    #[serde(rename = "node-name")]
    node: String,
    drv: String,
    ro: bool,
    file: String,
    image: Image,
}

#[derive(Debug, Deserialize)]
struct Image {
    #[serde(default)]
    snapshots: Vec<Named>,
}

#[derive(Debug, Deserialize)]
struct Named {
    name: String,
}

impl Disk {
    fn of(medium: Medium) -> Result<Self, DriverError> {
        // Of a filter QEMU tells the whole tree.
        let (file, qcow2) = match medium.file.strip_prefix("json:") {
            None => (medium.file.clone(), medium.drv == "qcow2"),
            Some(tree) => {
                let tree: Value = serde_json::from_str(tree).unwrap_or_default();
                (file_of(&tree).unwrap_or_default(), has_qcow2(&tree))
            }
        };
        let snapshots = medium.image.snapshots.into_iter().map(|named| named.name).collect();
        Ok(Self { node: medium.node, file: Path::new(&file).to_owned(), qcow2, snapshots })
    }
}

fn file_of(tree: &Value) -> Option<String> {
    match tree.get("filename") {
        Some(name) => name.as_str().map(ToOwned::to_owned),
        None => file_of(tree.get("file")?),
    }
}

fn has_qcow2(tree: &Value) -> bool {
    tree["driver"] == "qcow2" || tree.get("file").is_some_and(has_qcow2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::ids::{SnapshotId, VolumeId};
    use uuid::Uuid;

    fn layout() -> Layout {
        Layout::new(Path::new("/data"))
    }

    fn volume(number: u128) -> VolumeId {
        VolumeId(Uuid::from_u128(number))
    }

    fn spec(memory: bool, volumes: &[u128]) -> SnapshotSpec {
        let volumes = volumes.iter().map(|number| volume(*number)).collect();
        SnapshotSpec { id: SnapshotId(Uuid::from_u128(9)), memory, volumes }
    }

    fn disk(node: &str, file: PathBuf) -> Disk {
        Disk { node: node.into(), file, qcow2: true, snapshots: Vec::new() }
    }

    fn of_volume(node: &str, number: u128) -> Disk {
        disk(node, layout().volume(volume(number), ImageFormat::Qcow2))
    }

    #[test]
    fn the_disks_of_a_snapshot_are_its_volumes_in_their_order() {
        let variables = disk("vars", "/data/machines/m/variables.qcow2".into());
        let disks = [of_volume("b", 2), variables, of_volume("a", 1)];
        let found =
            |memory, volumes: &[u128]| concerned(&disks, &spec(memory, volumes)).map(|disks| nodes(&disks));
        assert_eq!(found(false, &[1, 2]).unwrap(), ["a", "b"]);
        assert_eq!(found(true, &[1, 2]).unwrap(), ["a", "b", "vars"]);
        let refusal = |memory, volumes: &[u128]| found(memory, volumes).unwrap_err().detail;
        assert!(refusal(false, &[1]).contains("disk b is not in the snapshot"));
        assert!(refusal(false, &[1, 2, 3]).contains("no volume"));
        assert!(refusal(true, &[]).contains("needs a disk"));
        let raw = Disk { qcow2: false, ..of_volume("a", 1) };
        assert!(concerned(&[raw], &spec(false, &[1])).unwrap_err().detail.contains("not qcow2"));
    }

    #[test]
    fn a_filter_above_an_image_is_the_disk() {
        let image = json!({ "driver": "qcow2", "file": { "driver": "file", "filename": "/a,b" } });
        let tree = json!({ "driver": "throttle", "file": image });
        let told = json!({
            "node-name": "limited", "drv": "throttle", "ro": false, "file": format!("json:{tree}"),
            "image": { "snapshots": [{ "name": "one", "vm-state-size": 0 }] },
        });
        let seen = Disk::of(serde_json::from_value(told).unwrap()).unwrap();
        assert_eq!(seen, Disk { snapshots: vec!["one".to_owned()], ..disk("limited", "/a,b".into()) });
        let told = json!({ "node-name": "n", "drv": "raw", "ro": false, "file": "json:{", "image": {} });
        assert!(!Disk::of(serde_json::from_value(told).unwrap()).unwrap().qcow2);
    }
}
