//! Golden machines and their forks with a real QEMU and the micro image.

use super::super::test_world::World;
use super::super::{QemuConfig, QemuHypervisor};
use super::*;
use crate::local::{LocalStorage, LocalStorageConfig};
use hostler_core::ids::{HostId, StorageId};
use hostler_core::machines::Observed;
use hostler_core::ports::{GuestCommand, Hypervisor, Identity, ImageSource, Sighting, Storage};
use hostler_core::templates::Image;
use std::collections::BTreeSet;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(120);
const TEMPLATE: TemplateId = TemplateId(Uuid::from_u128(0x7e));
const GOLDEN: GoldenId = GoldenId(Uuid::from_u128(0x60));

/// A world with the micro image, or nothing with a loud word about it.
async fn world() -> Option<(World, LocalStorage, Image)> {
    let world = World::new()?;
    for tool in ["qemu-img", "mke2fs", "apt-get"] {
        let found =
            ["/usr/bin", "/usr/sbin", "/sbin", "/bin"].iter().any(|at| Path::new(at).join(tool).exists());
        if !found {
            eprintln!("SKIPPED: {tool} is not installed");
            assert!(std::env::var_os("CI").is_none(), "in CI it must be");
            return None;
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    #[expect(clippy::disallowed_methods, reason = "a script of ours that builds the agent")]
    let built = Command::new(root.join("scripts/build-agent")).output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let storage = LocalStorage::new(LocalStorageConfig {
        id: StorageId(Uuid::nil()),
        data_dir: world.directory.path().to_owned(),
        qemu_img: "qemu-img".into(),
        fetch: crate::fetch::FetchRules::default(),
        agent: Some(root.join("target/agent/hostler-agent")),
    });
    let source = ImageSource::Recipe { recipe: "micro".into(), mirror: None };
    let image = storage.image_make(TEMPLATE, &source, &Progress::ignored()).await.unwrap();
    Some((world, storage, image))
}

fn server(world: &World) -> QemuHypervisor {
    QemuHypervisor::new(QemuConfig {
        accelerator: Some(("tcg".to_owned(), "max".to_owned())),
        ..QemuConfig::new(HostId(Uuid::nil()), world.directory.path())
    })
}

fn golden(image: &Image) -> GoldenSpec {
    GoldenSpec {
        id: GOLDEN,
        vcpus: 1,
        memory_mib: 256,
        template: TEMPLATE,
        image: image.clone(),
        disk_mib: image.disk.as_ref().map(|disk| disk.size_mib),
        boot: Boot::Kernel {
            kernel: image.kernel.clone().unwrap(),
            initrd: image.initrd.clone(),
            command_line: image.command_line.clone(),
        },
        seed: None,
        patience: PATIENCE,
    }
}

/// A fork, with a disk of its own where the golden machine has one.
async fn fork(storage: &LocalStorage, spec: &GoldenSpec, number: u128) -> MachineSpec {
    let mut fork = machine(spec);
    fork.id = MachineId(Uuid::from_u128(number));
    fork.name = format!("fork-{number}");
    fork.golden = Some(spec.id);
    fork.nics[0].mac = format!("52:54:00:00:01:{number:02x}");
    fork.nics[0].link = Link::User { outbound: false, forward: Some(22) };
    for disk in &mut fork.disks {
        disk.volume = VolumeId(fork.id.0);
        let backing = Some(Backing::Golden { golden: spec.id });
        let volume = VolumeSpec { id: disk.volume, size_mib: spec.disk_mib.unwrap(), backing };
        storage.volume_make(&volume).await.unwrap();
    }
    fork
}

fn identity(spec: &MachineSpec) -> Identity {
    let number = spec.id.0.as_u128();
    let byte = u8::try_from(number).unwrap();
    Identity {
        host_name: spec.name.clone(),
        machine_id: spec.id.0.simple().to_string(),
        mac: Some(spec.nics[0].mac.clone()),
        addresses: Vec::new(),
        gateways: Vec::new(),
        resolvers: Vec::new(),
        domain: None,
        ssh_host_key: [byte; 32],
        authorized_keys: Vec::new(),
        entropy: [byte; 32],
        time_ns: 1_800_000_000_000_000_000,
    }
}

async fn said(server: &QemuHypervisor, id: MachineId, argv: &[&str]) -> String {
    let argv = argv.iter().map(ToString::to_string).collect();
    let command = GuestCommand { argv, stdin: Vec::new(), deadline: PATIENCE };
    let output = server.guest_run(id, &command).await.unwrap();
    assert_eq!(output.status, Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

async fn forked(server: &QemuHypervisor, spec: &MachineSpec) -> Sighting {
    let begun = Instant::now();
    let seen = server.start(spec).await.unwrap();
    let started = milliseconds(begun);
    server.guest_facts(spec.id, PATIENCE).await.unwrap();
    let answered = milliseconds(begun);
    server.identify(spec.id, &identity(spec)).await.unwrap();
    eprintln!("fork: {started} ms to run, {answered} to its answer, {} to its identity", milliseconds(begun));
    seen
}

#[tokio::test]
async fn forks_of_a_golden_machine_are_machines_of_their_own() {
    let Some((world, storage, image)) = world().await else { return };
    let first = server(&world);
    let spec = golden(&image);
    let facts = first.golden_make(&spec, &Progress::ignored()).await.unwrap();
    eprintln!("golden: {facts:?}");
    assert_eq!(first.golden_make(&spec, &Progress::ignored()).await.unwrap(), facts);
    assert_eq!(facts.likeness, first.facts(false).await.unwrap().likeness);
    assert!(world.processes().is_empty() && first.sightings().await.unwrap().is_empty());
    assert_eq!(first.goldens().await.unwrap(), [GOLDEN]);

    let mut told = BTreeSet::new();
    let mut specs = Vec::new();
    for number in 1..=3 {
        let one = fork(&storage, &spec, number).await;
        let seen = forked(&first, &one).await;
        assert_eq!((seen.observed, seen.generation), (Observed::On, 1));
        let about = [
            "hostname",
            "cat /etc/machine-id",
            "cat /sys/class/net/eth0/address",
            "head -c 16 /dev/urandom | xxd -p",
        ];
        for command in about {
            let answer = said(&first, one.id, &["sh", "-c", command]).await;
            assert!(told.insert(answer.clone()), "{command} says {answer} twice");
        }
        specs.push(one);
    }
    assert!(told.contains("fork-1") && told.contains("52:54:00:00:01:02"));

    // Another server takes the forks over, and forks on from the files.
    drop(first);
    let second = server(&world);
    assert_eq!(second.adopt().await.unwrap().len(), 3);
    let late = fork(&storage, &spec, 4).await;
    forked(&second, &late).await;
    // A fork that is turned off is a machine like any other: it boots from its disk.
    let reborn = MachineSpec { generation: 2, golden: None, ..specs[0].clone() };
    second.power_off(reborn.id).await.unwrap();
    second.start(&reborn).await.unwrap();
    second.guest_facts(reborn.id, PATIENCE).await.unwrap();

    for id in specs.iter().map(|spec| spec.id).chain([late.id]) {
        second.power_off(id).await.unwrap();
        second.remove(id).await.unwrap();
    }
    second.golden_remove(GOLDEN).await.unwrap();
    assert!(second.goldens().await.unwrap().is_empty());
    let error = second.start(&fork_without_disk(&spec)).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Gone);
}

fn fork_without_disk(spec: &GoldenSpec) -> MachineSpec {
    MachineSpec {
        id: MachineId(Uuid::from_u128(9)),
        golden: Some(spec.id),
        disks: Vec::new(),
        ..machine(spec)
    }
}

#[tokio::test]
async fn nothing_is_forked_from_files_that_were_changed() {
    let Some((world, storage, image)) = world().await else { return };
    let server = server(&world);
    let spec = golden(&image);
    server.golden_make(&spec, &Progress::ignored()).await.unwrap();
    let good = fork(&storage, &spec, 1).await;
    server.start(&good).await.unwrap();

    // One bit, in a file that was good when it was loaded.
    let path = world.directory.path().join(format!("goldens/{GOLDEN}.memory"));
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let file = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, 5 << 20).unwrap();
    file.write_all_at(&[byte[0] ^ 4], 5 << 20).unwrap();
    let bad = fork(&storage, &spec, 2).await;
    let error = server.start(&bad).await.unwrap_err();
    assert!(error.kind == DriverErrorKind::Refused && error.detail.contains("damaged"), "{error}");
    // What runs is none the worse.
    server.guest_facts(good.id, PATIENCE).await.unwrap();
    file.write_all_at(&byte, 5 << 20).unwrap();
    server.start(&bad).await.unwrap();
    for id in [good.id, bad.id] {
        server.power_off(id).await.unwrap();
    }
}
