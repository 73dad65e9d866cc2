//! Live changes of a real QEMU process whose guest does nothing: SCSI disks, the drive, CPUs and memory need no word
//! of the guest.

use super::super::QemuHypervisor;
use super::super::names::{CD, DiskNames, NicNames};
use super::super::test_world::{World, empty_machine, end};
use super::{DEVICES, OBJECTS};
use hostler_core::ids::{MachineId, MediumId, VolumeId};
use hostler_core::ports::{
    DiskBus, DiskSpec, DriverError, DriverErrorKind, Hypervisor, IoLimits, Link, MachineSpec, NicSpec,
};
use hostler_core::templates::ImageFormat;
use std::path::PathBuf;
use uuid::Uuid;

fn file(world: &World, folder: &str, name: String, bytes: u64) -> PathBuf {
    let folder = world.directory.path().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join(name);
    std::fs::File::create(&path).unwrap().set_len(bytes).unwrap();
    path
}

/// A raw volume of so many MiB.
fn disk(world: &World, number: u128, mib: u64) -> DiskSpec {
    let volume = VolumeId(Uuid::from_u128(number));
    file(world, "volumes", format!("{volume}.raw"), mib << 20);
    DiskSpec { bus: DiskBus::Scsi, ..DiskSpec::new(volume, ImageFormat::Raw) }
}

fn medium(world: &World, number: u128) -> MediumId {
    let medium = MediumId(Uuid::from_u128(number));
    file(world, "media", format!("{medium}.iso"), 1 << 20);
    medium
}

async fn has_device(hypervisor: &QemuHypervisor, id: MachineId, device: &str) -> bool {
    let running = hypervisor.driver.powered(id).await.unwrap();
    running.children(DEVICES).await.unwrap().contains_key(device)
}

fn refused(answer: Result<(), DriverError>) -> String {
    let error = answer.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Refused, "{error}");
    error.detail
}

#[tokio::test]
async fn disks_come_grow_slow_down_and_go_also_under_the_next_server() {
    let Some(world) = World::new() else { return };
    let first = world.hypervisor();
    let (mut spec, disk) = (empty_machine(1), disk(&world, 7, 8));
    let root = DiskSpec { bus: DiskBus::Virtio, ..self::disk(&world, 6, 8) };
    spec.disks = vec![root.clone()];
    first.start(&spec).await.unwrap();
    let (id, volume, names) = (spec.id, disk.volume, DiskNames::of(disk.volume));

    first.disk_attach(id, &disk).await.unwrap();
    first.disk_attach(id, &disk).await.unwrap();
    assert!(has_device(&first, id, &names.device).await);
    first.disk_grow(id, volume, 16).await.unwrap();
    first.disk_grow(id, volume, 16).await.unwrap();
    assert!(refused(first.disk_grow(id, volume, 8).await).contains("only grow"));
    let grown = world.directory.path().join("volumes").join(format!("{volume}.raw"));
    assert_eq!(grown.metadata().unwrap().len(), 16 << 20);

    let limits = IoLimits { iops: Some(100), bytes: Some(1 << 20) };
    first.disk_limit(id, volume, limits).await.unwrap();
    let set = || async {
        let running = first.driver.powered(id).await.unwrap();
        let asked =
            serde_json::json!({ "path": format!("{OBJECTS}/{}", names.limits), "property": "limits" });
        let limits = running.qmp.execute("qom-get", asked).await.unwrap();
        (limits["iops-total"].as_u64(), limits["bps-total"].as_u64())
    };
    assert_eq!(set().await, (Some(100), Some(1 << 20)));
    first.disk_limit(id, volume, IoLimits::default()).await.unwrap();
    assert_eq!(set().await, (Some(0), Some(0)));
    first.disk_limit(id, root.volume, limits).await.unwrap();
    assert!(refused(first.disk_detach(id, root.volume).await).contains("stays"));
    drop(first);

    let second = world.hypervisor();
    second.disk_detach(id, volume).await.unwrap();
    second.disk_detach(id, volume).await.unwrap();
    assert!(!has_device(&second, id, &names.device).await);
    let running = second.driver.powered(id).await.unwrap();
    assert!(!running.nodes().await.unwrap().contains_key(&names.image), "its file is still open");
    drop(running);
    second.disk_attach(id, &disk).await.unwrap();
    end(&second, &world, id).await;
    assert!(refused(second.disk_attach(id, &disk).await).contains("off"));
}

#[tokio::test]
async fn a_disk_that_cannot_be_opened_leaves_nothing_behind() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let spec = empty_machine(1);
    hypervisor.start(&spec).await.unwrap();
    let volume = VolumeId(Uuid::from_u128(8));
    let absent = DiskSpec { bus: DiskBus::Scsi, ..DiskSpec::new(volume, ImageFormat::Raw) };
    assert!(refused(hypervisor.disk_attach(spec.id, &absent).await).contains("No such file"));
    let running = hypervisor.driver.powered(spec.id).await.unwrap();
    assert!(!running.children(OBJECTS).await.unwrap().contains_key(&DiskNames::of(volume).limits));
    drop(running);
    // And so the next try, when it is there, goes through.
    hypervisor.disk_attach(spec.id, &disk(&world, 8, 1)).await.unwrap();
    end(&hypervisor, &world, spec.id).await;
}

#[tokio::test]
async fn media_are_inserted_changed_and_ejected() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let (one, two) = (medium(&world, 1), medium(&world, 2));
    let spec = MachineSpec { medium: Some(one), ..empty_machine(1) };
    hypervisor.start(&spec).await.unwrap();
    let inside = || async {
        let running = hypervisor.driver.powered(spec.id).await.unwrap();
        let nodes = running.nodes().await.unwrap();
        nodes.into_keys().filter(|name| name.starts_with("m-")).collect::<Vec<_>>()
    };
    assert!(has_device(&hypervisor, spec.id, CD).await);
    for wanted in [Some(one), Some(two), Some(two), None, None, Some(one)] {
        hypervisor.medium_change(spec.id, wanted, false).await.unwrap();
        let expected: Vec<String> = wanted.map(super::super::names::medium_node).into_iter().collect();
        assert_eq!(inside().await, expected);
    }
    let absent = MediumId(Uuid::from_u128(3));
    assert!(refused(hypervisor.medium_change(spec.id, Some(absent), false).await).contains("No such file"));
    hypervisor.medium_change(spec.id, None, false).await.unwrap();
    end(&hypervisor, &world, spec.id).await;
}

#[tokio::test]
async fn cpus_and_memory_are_added_and_never_taken() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let spec = MachineSpec { memory_mib: 1024, ..empty_machine(1) };
    hypervisor.start(&spec).await.unwrap();
    let most = super::super::host_cpus().clamp(2, 16);
    hypervisor.resize(spec.id, 1, 1024).await.unwrap();
    hypervisor.resize(spec.id, most, 1280).await.unwrap();
    hypervisor.resize(spec.id, most, 1280).await.unwrap();
    hypervisor.resize(spec.id, most, 1408).await.unwrap();
    assert!(refused(hypervisor.resize(spec.id, most + 1, 1408).await).contains("at most"));
    assert!(refused(hypervisor.resize(spec.id, most, 1024).await).contains("give any back"));
    assert!(refused(hypervisor.resize(spec.id, most, 1409).await).contains("steps"));
    end(&hypervisor, &world, spec.id).await;

    let small = empty_machine(1);
    hypervisor.start(&small).await.unwrap();
    assert!(refused(hypervisor.resize(small.id, 1, 160).await).contains("without room"));
    end(&hypervisor, &world, small.id).await;
}

#[tokio::test]
async fn a_card_comes_and_one_that_the_guest_does_not_give_back_is_told_of() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let spec = empty_machine(1);
    hypervisor.start(&spec).await.unwrap();
    let nic = |mac: &str| NicSpec { mac: mac.into(), link: Link::User { outbound: false, forward: None } };
    hypervisor.nic_attach(spec.id, &nic("52:54:00:00:00:01")).await.unwrap();
    hypervisor.nic_attach(spec.id, &nic("52:54:00:00:00:01")).await.unwrap();
    assert!(has_device(&hypervisor, spec.id, &NicNames::of("52:54:00:00:00:01").device).await);
    assert!(refused(hypervisor.nic_attach(spec.id, &nic("52:54:00")).await).contains("MAC"));
    hypervisor.nic_detach(spec.id, "52:54:00:00:00:02").await.unwrap();
    for number in 2..=8 {
        hypervisor.nic_attach(spec.id, &nic(&format!("52:54:00:00:00:{number:02x}"))).await.unwrap();
    }
    assert!(refused(hypervisor.nic_attach(spec.id, &nic("52:54:00:00:00:09")).await).contains("8"));
    end(&hypervisor, &world, spec.id).await;
}
