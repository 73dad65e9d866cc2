use super::SimHypervisor;
use crate::config::SimConfig;
use crate::faults::{Faults, Verb};
use crate::memory::SeededIds;
use hostler_core::ids::{HostId, MachineId};
use hostler_core::machines::Observed;
use hostler_core::ports::{
    Boot, Console, DriverError, DriverErrorKind, GuestCommand, Hypervisor, Identity, Ids, Link, MachineSpec,
    NicSpec,
};
use hostler_core::templates::Firmware;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use uuid::Uuid;

const HOST: HostId = HostId(Uuid::from_u128(1));
const SECOND: Duration = Duration::from_secs(1);

fn spec(id: MachineId, generation: u64) -> MachineSpec {
    MachineSpec {
        id,
        name: "web-1".to_owned(),
        generation,
        vcpus: 1,
        memory_mib: 256,
        template: Uuid::from_u128(2).into(),
        boot: Boot::Firmware(Firmware::Bios),
        disks: Vec::new(),
        nics: vec![NicSpec {
            mac: "52:54:00:00:00:01".to_owned(),
            link: Link::User { outbound: false, forward: Some(22) },
        }],
        seed: None,
        medium: None,
        snapshot: None,
        golden: None,
    }
}

fn identity(host_name: &str) -> Identity {
    Identity {
        host_name: host_name.to_owned(),
        machine_id: "0".repeat(32),
        mac: None,
        addresses: vec![([192, 0, 2, 7].into(), 24)],
        gateways: Vec::new(),
        resolvers: Vec::new(),
        domain: None,
        ssh_host_key: [1; 32],
        authorized_keys: Vec::new(),
        entropy: [2; 32],
        time_ns: 0,
    }
}

fn id() -> MachineId {
    Uuid::from_u128(0xabcd).into()
}

fn instant() -> SimHypervisor {
    SimHypervisor::in_memory(HOST, &SimConfig::instant(), Faults::none())
}

/// Boots in 5 s, shuts down in 3 s; time passes by tokio's paused clock.
fn slow() -> SimConfig {
    SimConfig { start_ms: 1_000, boot_ms: 5_000, shutdown_ms: 3_000, ..SimConfig::instant() }
}

fn kind<T>(result: Result<T, DriverError>) -> Option<DriverErrorKind> {
    result.err().map(|error| error.kind)
}

async fn power(host: &SimHypervisor) -> Result<Observed, DriverError> {
    Ok(host.observe(id()).await?.observed)
}

#[test]
fn without_latency_no_timer_is_touched() -> anyhow::Result<()> {
    // This runtime has no timers: to make one would panic.
    tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
        let host = instant();
        host.start(&spec(id(), 1)).await?;
        host.guest_facts(id(), SECOND).await?;
        host.identify(id(), &identity("web-2")).await?;
        host.pause(id()).await?;
        host.resume(id()).await?;
        host.reset(id()).await?;
        host.shut_down(id()).await?;
        assert_eq!(power(&host).await?, Observed::Off);
        host.remove(id()).await?;
        anyhow::Ok(())
    })
}

#[tokio::test]
async fn every_verb_asked_twice_succeeds_twice() -> anyhow::Result<()> {
    let host = instant();
    let mut events = host.events();
    let first = host.start(&spec(id(), 3)).await?;
    assert_eq!((first.observed, first.generation), (Observed::On, 3));
    assert!(first.ssh.as_ref().is_some_and(|ssh| ssh.address.is_loopback() && ssh.port >= 20_000));
    assert_eq!(host.start(&spec(id(), 3)).await?, first);
    assert_eq!(host.start(&spec(id(), 2)).await?, first, "a later start runs already");
    for _ in 0..2 {
        host.pause(id()).await?;
        assert_eq!(power(&host).await?, Observed::Paused);
    }
    for _ in 0..2 {
        host.resume(id()).await?;
        assert_eq!(power(&host).await?, Observed::On);
    }
    for _ in 0..2 {
        host.shut_down(id()).await?;
        host.power_off(id()).await?;
        assert_eq!(power(&host).await?, Observed::Off);
    }
    for _ in 0..2 {
        host.remove(id()).await?;
        host.power_off(id()).await?;
    }
    let mut told = Vec::new();
    while let Ok(event) = events.try_recv() {
        told.push(event.what);
    }
    assert_eq!(told, ["RESUME", "STOP", "RESUME", "SHUTDOWN"]);
    Ok(())
}

#[tokio::test]
async fn unknown_machines_are_gone() {
    let host = instant();
    let gone = Some(DriverErrorKind::Gone);
    assert_eq!(kind(host.observe(id()).await), gone);
    assert_eq!(kind(host.shut_down(id()).await), gone);
    assert_eq!(kind(host.reset(id()).await), gone);
    assert_eq!(kind(host.pause(id()).await), gone);
    assert_eq!(kind(host.resume(id()).await), gone);
    assert_eq!(kind(host.guest_facts(id(), SECOND).await), gone);
    assert_eq!(kind(host.identify(id(), &identity("a")).await), gone);
    assert_eq!(kind(host.console_log(id(), 1).await), gone);
    assert_eq!(kind(host.console(id(), Console::Serial).await), gone);
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() -> anyhow::Result<()> {
    let host = instant();
    let refused = Some(DriverErrorKind::Refused);
    assert_eq!(kind(host.start(&MachineSpec { vcpus: 0, ..spec(id(), 1) }).await), refused);
    host.start(&spec(id(), 2)).await?;
    assert_eq!(kind(host.remove(id()).await), refused);
    assert_eq!(kind(host.start(&spec(id(), 3)).await), refused, "an earlier start still runs");
    host.power_off(id()).await?;
    assert_eq!(kind(host.start(&spec(id(), 1)).await), refused, "that start is over");
    assert_eq!(kind(host.pause(id()).await), refused);
    assert_eq!(kind(host.resume(id()).await), refused);
    assert_eq!(kind(host.reset(id()).await), refused);
    assert_eq!(kind(host.guest_facts(id(), SECOND).await), refused);
    assert_eq!(kind(host.console(id(), Console::Display).await), refused);
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_agent_answers_once_the_guest_has_booted() -> anyhow::Result<()> {
    let host = SimHypervisor::in_memory(HOST, &slow(), Faults::none());
    let began = Instant::now();
    host.start(&spec(id(), 1)).await?;
    assert_eq!(began.elapsed(), SECOND);
    let early = host.guest_facts(id(), SECOND).await;
    assert_eq!(kind(early), Some(DriverErrorKind::Timeout));
    assert_eq!(began.elapsed(), 2 * SECOND);
    let facts = host.guest_facts(id(), 60 * SECOND).await?;
    assert_eq!(began.elapsed(), 6 * SECOND);
    assert_eq!((facts.agent.as_str(), facts.host_name.as_str()), ("hostler-agent", "web-1"));
    host.reset(id()).await?;
    host.identify(id(), &identity("web-2")).await?;
    assert_eq!(began.elapsed(), 11 * SECOND);
    host.pause(id()).await?;
    assert_eq!(kind(host.guest_facts(id(), SECOND).await), Some(DriverErrorKind::Timeout));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn the_guest_heeds_the_power_button_after_a_while() -> anyhow::Result<()> {
    let host = SimHypervisor::in_memory(HOST, &slow(), Faults::none());
    host.start(&spec(id(), 1)).await?;
    let mut events = host.events();
    let began = Instant::now();
    host.shut_down(id()).await?;
    assert_eq!(power(&host).await?, Observed::On);
    assert_eq!(events.recv().await?.what, "SHUTDOWN");
    assert_eq!((began.elapsed(), power(&host).await?), (3 * SECOND, Observed::Off));
    // A button pressed before a reset means nothing after it.
    host.start(&spec(id(), 2)).await?;
    host.shut_down(id()).await?;
    host.reset(id()).await?;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(power(&host).await?, Observed::On);
    // A paused guest heeds it when it goes on.
    host.pause(id()).await?;
    host.shut_down(id()).await?;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(power(&host).await?, Observed::Paused);
    host.resume(id()).await?;
    tokio::time::sleep(4 * SECOND).await;
    assert_eq!(power(&host).await?, Observed::Off);
    Ok(())
}

#[tokio::test]
async fn a_guest_can_ignore_the_power_button() -> anyhow::Result<()> {
    let host = instant();
    host.start(&spec(id(), 1)).await?;
    host.faults().ignore_acpi(id(), true);
    host.shut_down(id()).await?;
    assert_eq!(power(&host).await?, Observed::On);
    host.faults().ignore_acpi(id(), false);
    host.shut_down(id()).await?;
    assert_eq!(power(&host).await?, Observed::Off);
    Ok(())
}

#[tokio::test]
async fn the_guest_keeps_the_name_it_was_given() -> anyhow::Result<()> {
    let host = instant();
    host.start(&spec(id(), 1)).await?;
    host.identify(id(), &identity("web-2")).await?;
    assert_eq!(host.identity(id()), Some(identity("web-2")));
    host.power_off(id()).await?;
    host.start(&spec(id(), 2)).await?;
    let facts = host.guest_facts(id(), SECOND).await?;
    assert_eq!(facts.host_name, "web-2");
    assert_eq!(facts.addresses["eth0"], [std::net::IpAddr::from([192, 0, 2, 7])]);
    let argv = vec!["hostname".to_owned()];
    let output =
        host.guest_run(id(), &GuestCommand { argv, stdin: Vec::new(), deadline: SECOND }).await?.stdout;
    assert_eq!(output, b"web-2\n");
    let log = String::from_utf8(host.console_log(id(), u64::MAX).await?)?;
    assert!(log.contains("Hostname set to <web-2>"), "{log}");
    assert_eq!(host.console_log(id(), 7).await?, b"login: ");
    Ok(())
}

#[tokio::test]
async fn consoles_speak_and_end_with_the_machine() -> anyhow::Result<()> {
    let host = instant();
    host.start(&spec(id(), 1)).await?;
    let mut display = host.console(id(), Console::Display).await?;
    let mut version = [0; 12];
    display.read_exact(&mut version).await?;
    assert_eq!(&version, b"RFB 003.008\n");
    let mut serial = host.console(id(), Console::Serial).await?;
    serial.write_all(b"~").await?;
    let mut heard = Vec::new();
    while !heard.ends_with(b"web-1 login: ~") {
        heard.push(serial.read_u8().await?);
    }
    host.power_off(id()).await?;
    assert_eq!(serial.read(&mut [0]).await?, 0);
    assert_eq!(display.read(&mut [0]).await?, 0);
    Ok(())
}

#[tokio::test]
async fn machines_do_things_by_themselves() -> anyhow::Result<()> {
    let host = instant();
    let mut events = host.events();
    host.start(&spec(id(), 1)).await?;
    host.crash(id(), "qemu: out of luck")?;
    let sighting = host.observe(id()).await?;
    assert_eq!((sighting.observed, sighting.ssh), (Observed::Off, None));
    assert_eq!(sighting.reason.as_deref(), Some("qemu: out of luck"));
    assert_eq!((events.recv().await?.what, events.recv().await?.what), ("RESUME".into(), "CRASH".into()));
    assert_eq!(host.start(&spec(id(), 2)).await?.reason, None);
    host.guest_power_off(id())?;
    assert_eq!(power(&host).await?, Observed::Off);
    host.vanish(id())?;
    assert_eq!(kind(host.observe(id()).await), Some(DriverErrorKind::Gone));
    assert!(host.sightings().await?.is_empty());
    Ok(())
}

#[tokio::test]
async fn faults_strike_before_or_after_the_work() -> anyhow::Result<()> {
    let host = instant();
    host.faults().fail(Verb::Start, 1, DriverErrorKind::Exhausted);
    host.faults().fail_after(Verb::Start, 1, DriverErrorKind::Timeout);
    assert_eq!(kind(host.start(&spec(id(), 1)).await), Some(DriverErrorKind::Exhausted));
    assert!(host.sightings().await?.is_empty());
    assert_eq!(kind(host.start(&spec(id(), 1)).await), Some(DriverErrorKind::Timeout));
    assert_eq!(power(&host).await?, Observed::On);
    host.start(&spec(id(), 1)).await?;
    host.faults().lie(Verb::Observe, Some(Observed::Unknown));
    assert_eq!(power(&host).await?, Observed::Unknown);
    assert_eq!(host.sightings().await?[0].observed, Observed::On);
    Ok(())
}

fn persisting(dir: &Path, host: HostId) -> Result<SimHypervisor, DriverError> {
    let config = SimConfig { persist: true, ..slow() };
    SimHypervisor::open(host, dir, &config, Faults::none())
}

#[tokio::test(start_paused = true)]
async fn machines_outlive_the_process() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let other = MachineId(Uuid::from_u128(7));
    let before = {
        let host = persisting(folder.path(), HOST)?;
        assert!(host.adopt().await?.is_empty());
        host.start(&spec(id(), 4)).await?;
        host.identify(id(), &identity("web-2")).await?;
        host.start(&spec(other, 1)).await?;
        host.pause(other).await?;
        host.shut_down(id()).await?;
        host.sightings().await?
    };
    assert!(persisting(folder.path(), HostId(Uuid::from_u128(99)))?.adopt().await?.is_empty());

    let host = persisting(folder.path(), HOST)?;
    assert_eq!(kind(host.observe(id()).await), Some(DriverErrorKind::Gone), "not adopted yet");
    assert_eq!(host.adopt().await?, before);
    assert_eq!(host.adopt().await?, before, "adopting twice does no harm");
    // The power button was pressed in the life before: the guest goes off before it has booted.
    assert_eq!(kind(host.guest_facts(id(), 10 * SECOND).await), Some(DriverErrorKind::Refused));
    assert_eq!(power(&host).await?, Observed::Off);
    host.remove(id()).await?;
    drop(host);

    let left = persisting(folder.path(), HOST)?.adopt().await?;
    assert_eq!(
        left.iter().map(|seen| (seen.id, seen.observed)).collect::<Vec<_>>(),
        [(other, Observed::Paused)]
    );
    Ok(())
}

#[tokio::test]
async fn without_persistence_nothing_is_written() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let host = SimHypervisor::open(HOST, folder.path(), &SimConfig::instant(), Faults::none())?;
    host.start(&spec(id(), 1)).await?;
    assert_eq!(std::fs::read_dir(folder.path())?.count(), 0);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_machines_come_and_go_at_once() -> anyhow::Result<()> {
    let host = instant();
    let ids = SeededIds::new(1);
    let mut lives = tokio::task::JoinSet::new();
    for number in 0..10_000_u32 {
        let (host, id) = (host.clone(), MachineId(ids.uuid()));
        lives.spawn(async move {
            host.start(&spec(id, 1)).await?;
            host.identify(id, &identity(&format!("m-{number}"))).await?;
            assert_eq!(host.guest_facts(id, SECOND).await?.host_name, format!("m-{number}"));
            tokio::task::yield_now().await;
            match number % 2 {
                0 => host.shut_down(id).await?,
                _ => host.power_off(id).await?,
            }
            assert_eq!(host.observe(id).await?.observed, Observed::Off);
            host.remove(id).await
        });
    }
    while let Some(life) = lives.join_next().await {
        life??;
    }
    assert!(host.sightings().await?.is_empty());
    Ok(())
}

/// One verb on one machine, chosen by number; refusals are as good as successes here.
async fn step(host: &SimHypervisor, verb: u8, id: MachineId, generation: u64) {
    let _ = match verb {
        0 | 1 => host.start(&spec(id, generation)).await.map(|_| ()),
        2 => host.shut_down(id).await,
        3 => host.power_off(id).await,
        4 => host.reset(id).await,
        5 => host.pause(id).await,
        6 => host.resume(id).await,
        7 => host.remove(id).await,
        8 => host.identify(id, &identity("web-2")).await,
        _ => host.crash(id, "dead"),
    };
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, cases: 64, ..Default::default() })]

    #[test]
    fn after_any_steps_a_new_process_sees_what_the_old_one_saw(
        steps in proptest::collection::vec((0_u8..10, 1_u128..3, 1_u64..4), 1..40)
    ) {
        let walk = async {
            let folder = tempfile::tempdir()?;
            let config = SimConfig { persist: true, ..SimConfig::instant() };
            let open = || SimHypervisor::open(HOST, folder.path(), &config, Faults::none());
            let host = open()?;
            for &(verb, machine, generation) in &steps {
                step(&host, verb, Uuid::from_u128(machine).into(), generation).await;
                let seen = host.sightings().await?;
                assert_eq!(open()?.adopt().await?, seen);
                for sighting in seen {
                    assert_eq!(sighting.ssh.is_some(), sighting.observed != Observed::Off);
                }
            }
            anyhow::Ok(())
        };
        // The clock is paused: to wait for the agent of a paused machine takes no time here.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build()?;
        runtime.block_on(walk).map_err(|cause| proptest::test_runner::TestCaseError::fail(cause.to_string()))?;
    }
}
