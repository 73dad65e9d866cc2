//! The driver against a real QEMU that emulates machines without disks, or with a boot sector for a system.

use super::command_line::{CONSOLE_LOG, QMP_SOCKET};
use super::qmp::Qmp;
use super::test_world::{World, empty_machine, end};
use super::*;
use hostler_core::ids::VolumeId;
use hostler_core::machines::Observed;
use hostler_core::ports::{DiskSpec, Link, NicSpec};
use hostler_core::templates::ImageFormat;
use std::collections::BTreeSet;
use tokio::io::AsyncReadExt;
use uuid::Uuid;

/// Longer than anything takes here, even while this host builds something.
const LONG: Duration = Duration::from_secs(60);

/// Turns the machine off through the chipset's power management.
const POWER_OFF: &[u8] = &[0xba, 0x04, 0x06, 0xb8, 0x00, 0x20, 0xef, 0xf4, 0xeb, 0xfd];
/// Writes `x` to the serial line for ever.
const CHATTER: &[u8] = &[0xba, 0xf8, 0x03, 0xb0, b'x', 0xee, 0xeb, 0xfd];

/// A machine that boots these instructions from a raw disk.
fn machine_with(world: &World, code: &[u8]) -> MachineSpec {
    let mut spec = empty_machine(1);
    let volume = VolumeId(spec.id.0);
    let mut disk = vec![0; 1 << 20];
    disk[..code.len()].copy_from_slice(code);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let volumes = world.directory.path().join("volumes");
    std::fs::create_dir_all(&volumes).unwrap();
    std::fs::write(volumes.join(format!("{volume}.raw")), disk).unwrap();
    spec.disks = vec![DiskSpec::new(volume, ImageFormat::Raw)];
    spec
}

/// Asks again until the answer satisfies.
async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            match ask().await {
                Some(answer) => return answer,
                None => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    };
    tokio::time::timeout(LONG, asking).await.unwrap_or_else(|_| panic!("{what}: not within {LONG:?}"))
}

#[tokio::test]
async fn a_machine_lives_is_adopted_and_leaves_nothing() {
    let Some(world) = World::new() else { return };
    let spec = empty_machine(3);
    let first = world.hypervisor();
    assert_eq!(first.observe(spec.id).await.unwrap_err().kind, DriverErrorKind::Gone);
    let started = first.start(&spec).await.unwrap();
    assert_eq!((started.observed, started.generation), (Observed::On, 3));
    let again = first.start(&MachineSpec { generation: 2, ..spec.clone() }).await.unwrap();
    assert_eq!(again, started);

    first.pause(spec.id).await.unwrap();
    first.pause(spec.id).await.unwrap();
    assert_eq!(first.observe(spec.id).await.unwrap().observed, Observed::Paused);
    assert!(first.remove(spec.id).await.is_err());

    // Another server at the same time is told that the machine is taken.
    let rival = world.hypervisor();
    let seen = rival.observe(spec.id).await.unwrap();
    assert_eq!(seen.observed, Observed::Unknown);
    assert!(seen.reason.unwrap().contains("another process"));
    drop(rival);

    drop(first);
    let second = world.hypervisor();
    let adopted = second.adopt().await.unwrap();
    assert_eq!(adopted, [Sighting { observed: Observed::Paused, ..started.clone() }]);
    second.resume(spec.id).await.unwrap();
    second.reset(spec.id).await.unwrap();
    assert_eq!(second.sightings().await.unwrap(), [started]);

    second.power_off(spec.id).await.unwrap();
    let off = second.observe(spec.id).await.unwrap();
    assert_eq!((off.observed, off.generation, off.pid, off.reason), (Observed::Off, 3, None, None));
    assert!(second.pause(spec.id).await.is_err());
    second.shut_down(spec.id).await.unwrap();
    second.power_off(spec.id).await.unwrap();
    end(&second, &world, spec.id).await;
    second.remove(spec.id).await.unwrap();
    assert!(world.processes().is_empty());
    assert!(second.sightings().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_later_generation_replaces_an_earlier_one() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let mut spec = empty_machine(1);
    let first = hypervisor.start(&spec).await.unwrap();
    spec.generation = 2;
    let second = hypervisor.start(&spec).await.unwrap();
    assert_eq!(second.generation, 2);
    assert_ne!(first.pid, second.pid);
    assert_eq!(world.processes(), [second.pid.unwrap()]);
    end(&hypervisor, &world, spec.id).await;
}

#[tokio::test]
async fn a_process_that_dies_at_start_has_last_words() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let mut spec = empty_machine(1);
    spec.disks = vec![DiskSpec::new(VolumeId(Uuid::from_u128(9)), ImageFormat::Qcow2)];
    let error = hypervisor.start(&spec).await.unwrap_err();
    assert!(error.detail.contains("No such file"), "{error}");
    assert!(world.processes().is_empty());
    let off = hypervisor.observe(spec.id).await.unwrap();
    assert_eq!((off.observed, off.reason), (Observed::Off, None));
    end(&hypervisor, &world, spec.id).await;
}

#[tokio::test]
async fn ten_start_at_once_each_with_a_port_of_its_own() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let specs: Vec<MachineSpec> = (1..=10)
        .map(|number| {
            let mac = format!("52:54:00:00:00:{number:02x}");
            let nics = vec![NicSpec { mac, link: Link::User { outbound: false, forward: Some(22) } }];
            MachineSpec { nics, ..empty_machine(1) }
        })
        .collect();
    let starting = futures_util::future::join_all(specs.iter().map(|spec| hypervisor.start(spec)));
    // Somebody who looks at everything meanwhile must not come between a start and its process.
    let looking = async {
        loop {
            let seen = hypervisor.sightings().await.unwrap();
            assert!(seen.iter().all(|sighting| sighting.observed != Observed::Unknown), "{seen:?}");
            tokio::task::yield_now().await;
        }
    };
    let started = tokio::select! { started = starting => started, () = looking => unreachable!() };
    let ports: BTreeSet<u16> =
        started.into_iter().map(|started| started.unwrap().ssh.unwrap().port).collect();
    assert_eq!(ports.len(), 10);
    assert!(std::net::TcpStream::connect(("127.0.0.1", *ports.first().unwrap())).is_ok());
    drop(hypervisor);
    let next = world.hypervisor();
    let adopted = next.adopt().await.unwrap();
    assert_eq!(adopted.iter().filter(|sighting| sighting.observed == Observed::On).count(), 10);
    assert_eq!(
        adopted.iter().map(|sighting| sighting.ssh.clone().unwrap().port).collect::<BTreeSet<_>>(),
        ports
    );
    futures_util::future::join_all(specs.iter().map(|spec| end(&next, &world, spec.id))).await;
    assert!(world.processes().is_empty());
}

#[tokio::test]
async fn a_guest_that_turns_itself_off_is_off() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let mut events = hypervisor.events();
    let spec = machine_with(&world, POWER_OFF);
    hypervisor.start(&spec).await.unwrap();
    let mut heard = Vec::new();
    while heard.last().is_none_or(|last| last != "EXITED") {
        heard.push(tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap().what);
    }
    assert!(heard.contains(&"SHUTDOWN".to_owned()), "{heard:?}");
    let off = hypervisor.observe(spec.id).await.unwrap();
    assert_eq!((off.observed, off.reason), (Observed::Off, None));
    end(&hypervisor, &world, spec.id).await;
}

#[tokio::test]
async fn a_guest_that_turned_itself_off_while_nobody_watched_is_off() {
    let Some(world) = World::new() else { return };
    let first = world.hypervisor();
    let spec = machine_with(&world, POWER_OFF);
    // Stopped before the guest gets anywhere, so that nobody hears of its end.
    first.start(&spec).await.unwrap();
    drop(first);
    let socket = world.machines().join(spec.id.to_string()).join(QMP_SOCKET);
    let qmp = Qmp::negotiate(UnixStream::connect(socket).await.unwrap(), LONG).await;
    if let Ok(qmp) = qmp {
        until("shutdown", async || qmp.status().await.ok().filter(|status| status == "shutdown")).await;
    }
    let second = world.hypervisor();
    let adopted = second.adopt().await.unwrap();
    assert_eq!((adopted[0].observed, adopted[0].reason.clone()), (Observed::Off, None));
    assert!(world.processes().is_empty());
    end(&second, &world, spec.id).await;
}

#[tokio::test]
async fn a_killed_process_is_off_with_a_reason_and_starts_again() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let spec = empty_machine(1);
    let pid = hypervisor.start(&spec).await.unwrap().pid.unwrap();
    let mut events = hypervisor.events();
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    let event = tokio::time::timeout(LONG, events.recv()).await.unwrap().unwrap();
    assert_eq!((event.machine, event.what.as_str()), (spec.id, "EXITED"));
    let off = hypervisor.observe(spec.id).await.unwrap();
    assert_eq!(off.observed, Observed::Off);
    assert!(off.reason.unwrap().contains("ended by itself"));
    assert_eq!(hypervisor.start(&spec).await.unwrap().observed, Observed::On);
    end(&hypervisor, &world, spec.id).await;
}

#[tokio::test]
async fn a_process_whose_directory_has_gone_is_seen_and_can_be_ended() {
    let Some(world) = World::new() else { return };
    let first = world.hypervisor();
    let spec = empty_machine(1);
    let pid = first.start(&spec).await.unwrap().pid;
    drop(first);
    std::fs::remove_dir_all(world.machines().join(spec.id.to_string())).unwrap();
    let second = world.hypervisor();
    let seen = second.adopt().await.unwrap();
    assert_eq!((seen[0].id, seen[0].observed, seen[0].pid), (spec.id, Observed::Unknown, pid));
    second.power_off(spec.id).await.unwrap();
    assert!(world.processes().is_empty());
    assert!(second.sightings().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_start_given_up_at_any_moment_can_be_asked_for_again() {
    let Some(world) = World::new() else { return };
    for wait_ms in [0, 2, 5, 10, 20, 40, 60, 80, 120] {
        let hypervisor = world.hypervisor();
        let spec = empty_machine(1);
        let _ = tokio::time::timeout(Duration::from_millis(wait_ms), hypervisor.start(&spec)).await;
        let started = hypervisor.start(&spec).await.unwrap();
        assert_eq!(started.observed, Observed::On, "after {wait_ms} ms");
        assert_eq!(world.processes(), [started.pid.unwrap()], "after {wait_ms} ms");
        end(&hypervisor, &world, spec.id).await;
    }
}

#[tokio::test]
async fn a_long_data_directory_is_no_obstacle() {
    let Some(world) = World::new() else { return };
    let data_dir = world.directory.path().join("long, and with a comma".repeat(6));
    let accelerator = Some(("tcg".to_owned(), "qemu64".to_owned()));
    let usual = QemuConfig::new(HostId(Uuid::nil()), &data_dir);
    let hypervisor = QemuHypervisor::new(QemuConfig { accelerator, ..usual });
    let mut spec = empty_machine(1);
    let (user_data, meta_data) = ("#cloud-config\n".into(), "instance-id: 1\n".into());
    spec.seed = Some(hostler_core::ports::Seed { user_data, meta_data, network_config: None });
    hypervisor.start(&spec).await.unwrap();
    hypervisor.console(spec.id, Console::Display).await.unwrap();
    hypervisor.power_off(spec.id).await.unwrap();
    hypervisor.remove(spec.id).await.unwrap();
    assert_eq!(data_dir.join("machines").read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn off_and_on_again_in_quick_succession_never_meets_the_last_process() {
    let Some(world) = World::new() else { return };
    let hypervisor = world.hypervisor();
    let mut spec = machine_with(&world, POWER_OFF);
    for generation in 1..=6 {
        spec.generation = generation;
        let started = hypervisor.start(&spec).await.unwrap();
        assert_eq!(started.generation, generation);
        if generation % 2 == 0 {
            hypervisor.power_off(spec.id).await.unwrap();
        } else {
            // The guest turns itself off; the next start comes as soon as that can be seen.
            until("off", async || {
                let seen = hypervisor.observe(spec.id).await.unwrap();
                (seen.observed == Observed::Off).then_some(())
            })
            .await;
        }
    }
    end(&hypervisor, &world, spec.id).await;
}

#[tokio::test]
async fn consoles_open_and_the_log_stays_small() {
    let Some(world) = World::new() else { return };
    let accelerator = Some(("tcg".to_owned(), "qemu64".to_owned()));
    let usual = QemuConfig::new(HostId(Uuid::nil()), world.directory.path());
    let hypervisor = QemuHypervisor::new(QemuConfig { accelerator, console_bytes: 4096, ..usual });
    let spec = machine_with(&world, CHATTER);
    hypervisor.start(&spec).await.unwrap();
    let mut display = hypervisor.console(spec.id, Console::Display).await.unwrap();
    let mut greeting = [0; 4];
    display.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB ");
    let mut serial = hypervisor.console(spec.id, Console::Serial).await.unwrap();
    until("an x", async || (serial.read_u8().await.unwrap() == b'x').then_some(())).await;
    // A client that does not read holds up the guest's serial line, and with it the log.
    drop(serial);
    let log = world.machines().join(spec.id.to_string()).join(CONSOLE_LOG);
    let mut largest = 0;
    until("a shorter log", async || {
        let length = log.metadata().unwrap().len();
        largest = largest.max(length);
        (largest > 4096 && length < largest).then_some(())
    })
    .await;
    let tail = hypervisor.console_log(spec.id, 100).await.unwrap();
    assert_eq!(tail, [b'x'; 100]);
    let error = hypervisor.guest_facts(spec.id, Duration::from_millis(200)).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Timeout, "{error}");
    end(&hypervisor, &world, spec.id).await;
}

const CRASH_DIRECTORY: &str = "HOSTLER_TEST_CRASH_DIRECTORY";

fn crash_machine() -> MachineSpec {
    MachineSpec { id: MachineId(Uuid::from_u128(4711)), ..empty_machine(1) }
}

/// Not a test of its own: the process that [`a_crash_at_any_point_of_a_start_heals`] lets die.
#[tokio::test]
#[ignore = "started by another test, in a process of its own"]
async fn start_and_die() {
    let Some(directory) = std::env::var_os(CRASH_DIRECTORY) else { return };
    let accelerator = Some(("tcg".to_owned(), "qemu64".to_owned()));
    let usual = QemuConfig::new(HostId(Uuid::nil()), directory);
    let hypervisor = QemuHypervisor::new(QemuConfig { accelerator, ..usual });
    hypervisor.start(&crash_machine()).await.unwrap();
}

#[tokio::test]
async fn a_crash_at_any_point_of_a_start_heals() {
    for (point, survives) in
        [("qemu.recorded", false), ("qemu.spawned", true), ("qemu.pid_written", true), ("qemu.running", true)]
    {
        let Some(world) = World::new() else { return };
        let died = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "qemu::tests::start_and_die", "--ignored"])
            .env(CRASH_DIRECTORY, world.directory.path())
            .env("HOSTLER_FAIL_POINT", point)
            .output()
            .await
            .unwrap();
        assert_eq!(
            std::os::unix::process::ExitStatusExt::signal(&died.status),
            Some(libc::SIGABRT),
            "{point}"
        );
        let spec = crash_machine();
        let hypervisor = world.hypervisor();
        if point == "qemu.spawned" {
            // The process may not have become QEMU yet, or not listen yet.
            until("the monitor", async || {
                world.machines().join(spec.id.to_string()).join(QMP_SOCKET).exists().then_some(())
            })
            .await;
        }
        let seen = until(point, async || {
            let seen = hypervisor.adopt().await.unwrap().pop().unwrap();
            (seen.observed != Observed::Unknown).then_some(seen)
        })
        .await;
        assert_eq!(seen.pid.is_some(), survives, "{point}: {seen:?}");
        let started = hypervisor.start(&spec).await.unwrap();
        assert_eq!(started.observed, Observed::On, "{point}");
        if survives {
            assert_eq!(started.pid, seen.pid, "{point}");
        }
        assert_eq!(world.processes(), [started.pid.unwrap()], "{point}");
        end(&hypervisor, &world, spec.id).await;
        assert!(world.processes().is_empty(), "{point}");
    }
}

#[tokio::test]
async fn facts_tell_version_and_accelerator_or_what_is_missing() {
    let Some(world) = World::new() else { return };
    let facts = world.hypervisor().facts(false).await.unwrap();
    assert!(facts.version.contains('.'));
    assert_eq!(facts.accelerator.unwrap().name, "tcg");
    assert!(facts.memory_mib > 0 && facts.cpus > 0);
    let binary = PathBuf::from("/nowhere/qemu");
    let usual = QemuConfig::new(HostId(Uuid::nil()), world.directory.path());
    let facts = QemuHypervisor::new(QemuConfig { binary, ..usual }).facts(false).await.unwrap();
    assert_eq!(facts.accelerator, None);
    assert!(facts.problems[0].contains("not installed"), "{:?}", facts.problems);
}
