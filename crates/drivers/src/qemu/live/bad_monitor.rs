//! Live changes of a QEMU that misbehaves: a monitor that speaks the wire, keeps devices and nodes, and goes wrong in a
//! way of choice. Whatever it does, a change ends within its deadline, says what happened, and goes through when it is
//! asked again of a monitor that behaves.

use super::super::names::DiskNames;
use super::super::process::Process;
use super::super::qmp::Qmp;
use super::super::record::{Home, StartRecord};
use super::super::test_world::empty_machine;
use super::super::{QemuConfig, QemuHypervisor, Running, locked};
use hostler_core::ids::{HostId, MachineId, VolumeId};
use hostler_core::ports::{DiskBus, DiskSpec, DriverError, DriverErrorKind, Hypervisor};
use hostler_core::templates::ImageFormat;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, DuplexStream};
use tokio::time::Instant;
use uuid::Uuid;

const GREETING: &str = r#"{"QMP":{"version":{},"capabilities":[]}}"#;

/// How the monitor goes wrong, at the command that is named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// It never answers.
    Silent(&'static str),
    /// It hangs up in the middle of its answer.
    Dies(&'static str),
    /// It says that it did what it did not.
    Lies(&'static str),
    /// It says what is no JSON.
    Garbage(&'static str),
    /// It never ends its line.
    Huge(&'static str),
    /// It answers what nobody asked.
    WrongId(&'static str),
    /// It tells of so much that what matters is lost, then answers.
    Floods(&'static str),
    /// The guest never lets go.
    NeverDeleted,
}

/// What it has.
#[derive(Default)]
struct Monitor {
    devices: BTreeSet<String>,
    objects: BTreeSet<String>,
    nodes: BTreeMap<String, u64>,
}

impl Monitor {
    fn carry_out(&mut self, command: &str, arguments: &Value, fault: Fault) -> Result<Value, String> {
        let name = |key: &str| arguments[key].as_str().unwrap_or_default().to_owned();
        if fault == Fault::Lies("*") || matches!(fault, Fault::Lies(lie) if lie == command) {
            return Ok(json!({}));
        }
        match command {
            "qom-list" => {
                let list = if name("path") == "/objects" { &self.objects } else { &self.devices };
                let property = |name: &String| json!({ "name": name, "type": "child<scsi-hd>" });
                return Ok(list.iter().map(property).collect());
            }
            "query-named-block-nodes" => {
                let node = |(name, size): (&String, &u64)| json!({ "node-name": name, "image": { "virtual-size": size } });
                return Ok(self.nodes.iter().map(node).collect());
            }
            "object-add" => _ = self.objects.insert(name("id")),
            "object-del" => _ = self.objects.remove(&name("id")),
            "blockdev-add" => _ = self.nodes.insert(name("node-name"), 8 << 20),
            "blockdev-del" => _ = self.nodes.remove(&name("node-name")),
            "block_resize" => {
                self.nodes.insert(name("node-name"), arguments["size"].as_u64().unwrap_or(0));
            }
            "device_add" => _ = self.devices.insert(name("id")),
            "device_del" if fault != Fault::NeverDeleted => _ = self.devices.remove(&name("id")),
            "device_del" | "qmp_capabilities" => {}
            other => return Err(format!("the command {other} has not been found")),
        }
        Ok(json!({}))
    }

    async fn serve(mut self, stream: DuplexStream, fault: Fault) {
        let mut stream = BufReader::new(stream);
        let _ = stream.write_all(format!("{GREETING}\r\n").as_bytes()).await;
        let mut line = String::new();
        while matches!(stream.read_line(&mut line).await, Ok(1..)) {
            let asked: Value = serde_json::from_str(&line).unwrap();
            line.clear();
            let command = asked["execute"].as_str().unwrap();
            let mut answer = match self.carry_out(command, &asked["arguments"], fault) {
                Ok(value) => json!({ "return": value, "id": asked["id"] }),
                Err(desc) => json!({ "error": { "class": "GenericError", "desc": desc }, "id": asked["id"] }),
            };
            match fault {
                Fault::Silent(at) if at == command => continue,
                Fault::Dies(at) if at == command => {
                    let half = answer.to_string();
                    let _ = stream.write_all(&half.as_bytes()[..half.len() / 2]).await;
                    return;
                }
                Fault::Garbage(at) if at == command => {
                    let _ = stream.write_all(b"\x00{\"return\": \xff\r\n").await;
                    continue;
                }
                Fault::Huge(at) if at == command => {
                    let _ = stream.write_all(&vec![b'x'; 2 << 20]).await;
                    continue;
                }
                Fault::WrongId(at) if at == command => answer["id"] = json!(999_999),
                Fault::Floods(at) if at == command => {
                    for number in 0..500 {
                        let event = json!({ "event": "DEVICE_DELETED", "data": { "device": format!("other-{number}") } });
                        let _ = stream.write_all(format!("{event}\r\n").as_bytes()).await;
                    }
                }
                _ => {}
            }
            let _ = stream.write_all(format!("{answer}\r\n").as_bytes()).await;
        }
    }
}

/// A machine whose process is this one and whose monitor is ours.
async fn machine(fault: Fault) -> (tempfile::TempDir, QemuHypervisor, MachineId) {
    let directory = tempfile::tempdir().unwrap();
    let hypervisor = QemuHypervisor::new(QemuConfig::new(HostId(Uuid::nil()), directory.path()));
    let (ours, theirs) = tokio::io::duplex(1 << 16);
    let mut monitor = Monitor::default();
    monitor.devices.insert(super::super::names::SCSI.into());
    if fault == Fault::NeverDeleted
        || matches!(fault, Fault::Lies("device_del") | Fault::Floods("device_del"))
    {
        let names = DiskNames::of(disk().volume);
        monitor.devices.insert(names.device);
        monitor.nodes.extend([(names.top, 8 << 20), (names.image, 8 << 20)]);
    }
    tokio::spawn(monitor.serve(theirs, fault));
    let qmp = Qmp::negotiate_over(ours, None, Duration::from_secs(5)).await.unwrap();
    let spec = empty_machine(1);
    let id = spec.id;
    let record = StartRecord {
        generation: 1,
        qemu_version: "7.2.0".into(),
        arguments: Vec::new(),
        forwards: Vec::new(),
        spec,
    };
    std::fs::create_dir_all(directory.path().join("machines").join(id.to_string())).unwrap();
    let volumes = directory.path().join("volumes");
    std::fs::create_dir_all(&volumes).unwrap();
    std::fs::write(volumes.join(format!("{}.raw", disk().volume)), b"").unwrap();
    let process = Process::hold(std::process::id()).unwrap().unwrap();
    let home = Home::new(directory.path().join("machines"), id);
    let running = Running { id, home, record, process, qmp, ending: AtomicBool::new(false) };
    locked(&hypervisor.driver.machines).insert(id, Arc::new(running));
    (directory, hypervisor, id)
}

fn disk() -> DiskSpec {
    DiskSpec { bus: DiskBus::Scsi, ..DiskSpec::new(VolumeId(Uuid::from_u128(7)), ImageFormat::Raw) }
}

async fn kind_of(within_s: u64, change: impl Future<Output = Result<(), DriverError>>) -> DriverErrorKind {
    let begun = Instant::now();
    let error = change.await.unwrap_err();
    assert!(begun.elapsed() <= Duration::from_secs(within_s), "it took {:?}: {error}", begun.elapsed());
    assert!(!error.detail.is_empty());
    error.kind
}

#[tokio::test(start_paused = true)]
async fn a_monitor_that_behaves_does_what_is_asked() {
    let (_directory, hypervisor, id) = machine(Fault::None).await;
    let disk = disk();
    hypervisor.disk_attach(id, &disk).await.unwrap();
    hypervisor.disk_grow(id, disk.volume, 16).await.unwrap();
    hypervisor.disk_detach(id, disk.volume).await.unwrap();
    let error = hypervisor.disk_grow(id, disk.volume, 32).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Refused);
}

#[tokio::test(start_paused = true)]
async fn whatever_goes_wrong_while_a_disk_comes_is_told_in_time() {
    use DriverErrorKind::{Protocol, Timeout, Unreachable};
    for at in ["qom-list", "query-named-block-nodes", "object-add", "blockdev-add", "device_add"] {
        for (fault, expected) in [
            (Fault::Silent(at), Timeout),
            (Fault::Dies(at), Unreachable),
            (Fault::Garbage(at), Unreachable),
            (Fault::Huge(at), Unreachable),
            (Fault::WrongId(at), Timeout),
        ] {
            let (_directory, hypervisor, id) = machine(fault).await;
            // The command's own deadline, and as long again for putting away what was begun.
            let kind = kind_of(30, hypervisor.disk_attach(id, &disk())).await;
            assert_eq!(kind, expected, "{fault:?}");
        }
    }
    let (_directory, hypervisor, id) = machine(Fault::Lies("*")).await;
    assert_eq!(kind_of(10, hypervisor.disk_attach(id, &disk())).await, Protocol);
    let (_directory, hypervisor, id) = machine(Fault::Lies("device_add")).await;
    assert_eq!(kind_of(10, hypervisor.disk_attach(id, &disk())).await, Protocol);
}

#[tokio::test(start_paused = true)]
async fn a_device_that_never_goes_is_told_of_with_what_to_do() {
    for fault in [Fault::NeverDeleted, Fault::Lies("device_del")] {
        let (_directory, hypervisor, id) = machine(fault).await;
        let begun = Instant::now();
        let error = hypervisor.disk_detach(id, disk().volume).await.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Timeout, "{fault:?}");
        assert!(error.detail.contains("turn the machine off"), "{error}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{fault:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_lost_in_a_flood_is_made_up_for_by_looking() {
    let (_directory, hypervisor, id) = machine(Fault::Floods("device_del")).await;
    hypervisor.disk_detach(id, disk().volume).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_disk_that_has_not_grown_is_not_believed_to_have() {
    let (_directory, hypervisor, id) = machine(Fault::Lies("block_resize")).await;
    hypervisor.disk_attach(id, &disk()).await.unwrap();
    assert_eq!(kind_of(10, hypervisor.disk_grow(id, disk().volume, 16)).await, DriverErrorKind::Protocol);
}
