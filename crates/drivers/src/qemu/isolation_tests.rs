//! What a QEMU that its guest has taken over could reach: real machines, and processes confined exactly as they are.

use super::test_world::{World, empty_machine, end};
use super::*;
use crate::spawn::{Confinement, User, confined};
use hostler_core::ports::{Boot, DiskSpec, Seed};
use hostler_core::templates::ImageFormat;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use uuid::Uuid;

/// A world in which machines have users of their own, or none with a loud word about it.
fn isolated_world() -> Option<World> {
    let world = World::new()?;
    std::fs::set_permissions(world.directory.path(), PermissionsExt::from_mode(0o700)).unwrap();
    if world.hypervisor().driver.isolation.problem().is_some() {
        eprintln!("SKIPPED: machines cannot have users of their own here");
        return None;
    }
    Some(world)
}

/// A machine with a disk and a seed.
fn furnished_machine(world: &World) -> MachineSpec {
    let mut spec = empty_machine(1);
    let volume = VolumeId(spec.id.0);
    let volumes = world.directory.path().join("volumes");
    crate::durable::make_private_directory(&volumes).unwrap();
    let path = volumes.join(format!("{volume}.raw"));
    std::fs::write(&path, vec![0; 1 << 20]).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
    spec.disks = vec![DiskSpec::new(volume, ImageFormat::Raw)];
    let (user_data, meta_data) = ("#cloud-config\n".into(), "instance-id: 1\n".into());
    spec.seed = Some(Seed { user_data, meta_data, network_config: None });
    spec
}

/// The lines of `/proc/PID/status` that say what a process may do.
fn status(pid: u32, field: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(&format!("{field}:"))).unwrap();
    line.split_once(':').unwrap().1.trim().replace('\t', " ")
}

/// Whether a process confined as this machine's, in its directory, can do what the shell is told.
fn can(world: &World, machine: &MachineSpec, script: &str) -> bool {
    let home = world.machines().join(machine.id.to_string());
    let found = home.metadata().unwrap();
    let user = Some(User { uid: found.uid(), gid: found.gid(), groups: Vec::new() });
    let confinement = Confinement { user, session: true, network: true, ..Confinement::default() };
    let mut command = confined(Path::new("/bin/sh"), confinement).unwrap();
    command.args(["-c", script]).current_dir(home).output().unwrap().status.success()
}

#[tokio::test]
async fn each_process_has_a_user_of_its_own_and_no_rights() {
    let Some(world) = isolated_world() else { return };
    let hypervisor = world.hypervisor();
    let specs = [furnished_machine(&world), furnished_machine(&world)];
    let (one, two) = tokio::join!(hypervisor.start(&specs[0]), hypervisor.start(&specs[1]));
    let pids = [one.unwrap().pid.unwrap(), two.unwrap().pid.unwrap()];
    let uids = pids.map(|pid| status(pid, "Uid"));
    assert_ne!(uids[0], uids[1]);
    for (pid, uid) in pids.iter().zip(&uids) {
        assert!(UidRange::USUAL.contains(uid.split(' ').next().unwrap().parse().unwrap()), "{uid}");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status(*pid, set), "0000000000000000", "{set}");
        }
        assert_eq!((status(*pid, "Seccomp"), status(*pid, "NoNewPrivs")), ("2".into(), "1".into()));
    }
    if hypervisor.driver.groups.problem().is_none() {
        for (pid, spec) in pids.iter().zip(&specs) {
            let groups = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
            assert!(groups.contains(&format!("/hostler/{}", spec.id)), "{groups}");
        }
    }
    // The next server finds both, with the users they have.
    drop(hypervisor);
    let next = world.hypervisor();
    assert_eq!(next.adopt().await.unwrap().len(), 2);
    next.power_off(specs[0].id).await.unwrap();
    let again = next.start(&MachineSpec { generation: 2, ..specs[0].clone() }).await.unwrap();
    assert_eq!(status(again.pid.unwrap(), "Uid"), uids[0]);
    for spec in &specs {
        end(&next, &world, spec.id).await;
        let volume = world.directory.path().join(format!("volumes/{}.raw", spec.id));
        assert_eq!(volume.metadata().unwrap().uid(), 0);
    }
}

#[tokio::test]
async fn one_machines_process_reaches_nothing_of_the_others_or_of_ours() {
    let Some(world) = isolated_world() else { return };
    let root = world.directory.path();
    for name in ["key", "hostler.db", "initial-admin-password"] {
        std::fs::write(root.join(name), "secret").unwrap();
        std::fs::set_permissions(root.join(name), PermissionsExt::from_mode(0o600)).unwrap();
    }
    let template = root.join("images").join(Uuid::nil().to_string());
    crate::durable::make_private_directory(&template).unwrap();
    std::fs::write(template.join("disk.qcow2"), "image").unwrap();
    std::fs::set_permissions(template.join("disk.qcow2"), PermissionsExt::from_mode(0o440)).unwrap();
    let hypervisor = world.hypervisor();
    let (mine, other) = (furnished_machine(&world), furnished_machine(&world));
    hypervisor.start(&mine).await.unwrap();
    hypervisor.start(&other).await.unwrap();

    let (own, foreign) = (mine.id, other.id);
    for script in [
        "cat console.log seed.img qemu.log".to_owned(),
        format!("cat ../../volumes/{own}.raw && echo >> ../../volumes/{own}.raw"),
        format!("cat ../../images/{}/disk.qcow2", Uuid::nil()),
    ] {
        assert!(can(&world, &mine, &script), "{script}");
    }
    for script in [
        "cat ../../key".to_owned(),
        "cat ../../hostler.db".to_owned(),
        "cat ../../initial-admin-password".to_owned(),
        "cat spec.json".to_owned(),
        "cat pid".to_owned(),
        "ls ../..".to_owned(),
        "ls ..".to_owned(),
        "ls ../../volumes".to_owned(),
        "ls ../../images".to_owned(),
        format!("ls ../{foreign}"),
        format!("cat ../{foreign}/seed.img"),
        format!("cat ../{foreign}/console.log"),
        format!("cat ../../volumes/{foreign}.raw"),
        format!("echo >> ../../images/{}/disk.qcow2", Uuid::nil()),
        "echo > ../planted".to_owned(),
        "echo > ../../volumes/planted".to_owned(),
        format!("kill -0 {}", std::process::id()),
    ] {
        assert!(!can(&world, &mine, &script), "{script}");
    }
    end(&hypervisor, &world, own).await;
    end(&hypervisor, &world, foreign).await;
}

#[tokio::test]
async fn links_planted_by_a_process_are_refused_and_their_targets_stay() {
    let Some(world) = isolated_world() else { return };
    let secret = world.directory.path().join("key");
    std::fs::write(&secret, "secret").unwrap();
    let hypervisor = world.hypervisor();
    let spec = furnished_machine(&world);
    hypervisor.start(&spec).await.unwrap();
    for name in ["console.log", "agent.sock", "vnc.sock", "spec.json", "pid", "qemu.log"] {
        assert!(can(&world, &spec, &format!("ln -sf ../../key {name}")), "{name}");
    }
    assert!(hypervisor.console_log(spec.id, 100).await.is_err());
    assert!(hypervisor.console(spec.id, Console::Display).await.is_err());
    let error = hypervisor.guest_facts(spec.id, Duration::from_millis(100)).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Unreachable, "{error}");
    hypervisor.power_off(spec.id).await.unwrap();
    hypervisor.start(&MachineSpec { generation: 2, ..spec.clone() }).await.unwrap_err();
    assert!(can(&world, &spec, "rm -f console.log"));
    hypervisor.start(&MachineSpec { generation: 3, ..spec.clone() }).await.unwrap();
    end(&hypervisor, &world, spec.id).await;
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
}

#[tokio::test]
async fn a_machine_of_an_older_server_is_taken_over_as_it_is() {
    let Some(world) = isolated_world() else { return };
    let older = QemuConfig { uids: None, ..world.hypervisor().driver.config.clone() };
    let older = QemuHypervisor::new(older);
    let spec = MachineSpec {
        boot: Boot::Firmware(hostler_core::templates::Firmware::Bios),
        ..furnished_machine(&world)
    };
    let pid = older.start(&spec).await.unwrap().pid;
    drop(older);
    let newer = world.hypervisor();
    assert_eq!(newer.adopt().await.unwrap()[0].pid, pid);
    assert!(status(pid.unwrap(), "Uid").starts_with("0 "));
    newer.power_off(spec.id).await.unwrap();
    let started = newer.start(&MachineSpec { generation: 2, ..spec.clone() }).await.unwrap();
    assert!(!status(started.pid.unwrap(), "Uid").starts_with("0 "));
    end(&newer, &world, spec.id).await;
}
