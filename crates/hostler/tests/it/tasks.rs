//! The three generic checks of every task kind: each step twice; a crash after each step; a failure at each driver
//! call, then a clean undo.

use anyhow::{Context, Result, ensure};
use hostler_core::access::SshKeyAsk;
use hostler_core::core::ListAsk;
use hostler_core::machines::{Busy, NicAsk, Verb as Power};
use hostler_core::media::MediumAsk;
use hostler_core::pools::{CheckoutAsk, PoolSpec, Probe};
use hostler_core::ports::{DriverErrorKind, ImageSource, IoLimits};
use hostler_core::reconcile::PoolKeeper;
use hostler_core::snapshots::SnapshotAsk;
use hostler_core::tasks::{TASK_KINDS, TaskState};
use hostler_core::volumes::VolumeAsk;
use hostler_sim::{Mode, Verb, World};
use std::collections::BTreeSet;
use std::time::Duration;

/// Something a caller asks for, which orders one task.
#[derive(Clone, Copy, Debug)]
enum Scene {
    Create,
    Power(Power, bool),
    Delete,
    /// A command that waits for its turn behind one that holds the machine.
    Turn(Option<Power>),
    TemplateMake,
    TemplateDelete,
    VolumeCreate,
    VolumeDelete,
    MediumMake,
    MediumDelete,
    Clean,
    SnapshotTake(Then),
    SnapshotRevert(Then),
    SnapshotRemove(Then),
    /// Of a machine that is on.
    Live(Live),
    /// Of a volume that no machine has.
    Grow,
    /// A machine for a pool.
    Stock,
    /// A machine of a pool becomes somebody's who has SSH keys.
    Checkout,
    /// A golden machine for a pool, then a machine forked from it.
    Golden,
    Fork,
}

/// A change of a machine that is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Live {
    Add,
    Attach,
    Detach,
    Grow,
    Limit,
    Resize,
    Insert,
    NicAttach,
    NicDetach,
}

/// How the machine is while its snapshot is taken, gone back to, or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Then {
    /// On, and its memory is in the snapshot.
    OnWithMemory,
    /// On, and its disks alone are in the snapshot.
    On,
    /// Off; its memory is in the snapshot if that was taken before.
    Off,
    /// On, its memory is in the snapshot, and its disk has grown since.
    Grown,
}

const SCENES: [Scene; 43] = [
    Scene::Create,
    Scene::Power(Power::Start, false),
    Scene::Power(Power::Stop, false),
    Scene::Power(Power::Stop, true),
    Scene::Power(Power::Restart, false),
    Scene::Power(Power::Restart, true),
    Scene::Power(Power::Reset, false),
    Scene::Power(Power::Pause, false),
    Scene::Power(Power::Resume, false),
    Scene::Delete,
    Scene::Turn(Some(Power::Start)),
    Scene::Turn(None),
    Scene::TemplateMake,
    Scene::TemplateDelete,
    Scene::VolumeCreate,
    Scene::VolumeDelete,
    Scene::MediumMake,
    Scene::MediumDelete,
    Scene::Clean,
    Scene::SnapshotTake(Then::OnWithMemory),
    Scene::SnapshotTake(Then::On),
    Scene::SnapshotTake(Then::Off),
    Scene::SnapshotRevert(Then::OnWithMemory),
    Scene::SnapshotRevert(Then::On),
    Scene::SnapshotRevert(Then::Off),
    Scene::SnapshotRevert(Then::Grown),
    Scene::SnapshotRemove(Then::OnWithMemory),
    Scene::SnapshotRemove(Then::On),
    Scene::SnapshotRemove(Then::Off),
    Scene::Live(Live::Add),
    Scene::Live(Live::Attach),
    Scene::Live(Live::Detach),
    Scene::Live(Live::Grow),
    Scene::Live(Live::Limit),
    Scene::Live(Live::Resize),
    Scene::Live(Live::Insert),
    Scene::Live(Live::NicAttach),
    Scene::Live(Live::NicDetach),
    Scene::Grow,
    Scene::Stock,
    Scene::Checkout,
    Scene::Golden,
    Scene::Fork,
];

/// What tasks ask of drivers.
const CALLED: [Verb; 35] = [
    Verb::GoldenMake,
    Verb::GoldenRemove,
    Verb::Observe,
    Verb::Start,
    Verb::ShutDown,
    Verb::PowerOff,
    Verb::Reset,
    Verb::Pause,
    Verb::Resume,
    Verb::Remove,
    Verb::GuestFacts,
    Verb::Identify,
    Verb::ImageMake,
    Verb::ImageRemove,
    Verb::VolumeMake,
    Verb::VolumeRemove,
    Verb::SnapshotTake,
    Verb::SnapshotRevert,
    Verb::SnapshotRemove,
    Verb::VolumeSnapshot,
    Verb::VolumeRevert,
    Verb::VolumeSnapshotRemove,
    Verb::MediumMake,
    Verb::MediumRemove,
    Verb::VolumeGrow,
    Verb::DiskAttach,
    Verb::DiskDetach,
    Verb::DiskGrow,
    Verb::DiskLimit,
    Verb::MediumChange,
    Verb::NicAttach,
    Verb::NicDetach,
    Verb::Resize,
    Verb::GuestRun,
    Verb::SshBanner,
];

/// A medium from an address that a simulator never asks.
fn medium() -> MediumAsk {
    let url = "https://example.org/installer.iso".to_owned();
    let source = ImageSource::Url { url, format: None, checksum: None, max_mib: 1024 };
    MediumAsk { name: "iso".into(), source, description: String::new() }
}

/// A world in which the scene can begin.
async fn stage(scene: Scene) -> Result<World> {
    let world = World::with_template().await?;
    let (core, admin) = (&world.core, &world.admin);
    world.hypervisor.let_fork(matches!(scene, Scene::Golden | Scene::Fork));
    match scene {
        Scene::Power(..)
        | Scene::Delete
        | Scene::Turn(_)
        | Scene::SnapshotTake(_)
        | Scene::SnapshotRevert(_)
        | Scene::SnapshotRemove(_)
        | Scene::Live(_) => {
            core.machine_create(admin, &World::machine("m"), None).await?;
        }
        Scene::VolumeDelete | Scene::Grow => {
            core.volume_create(admin, &VolumeAsk { name: "v".into(), size_mib: 8, storage: None }, None)
                .await?;
        }
        Scene::MediumDelete => drop(core.medium_make(admin, &medium(), None).await?),
        Scene::Fork => {
            core.pool_create(admin, &pool()).await?;
            PoolKeeper::new(core.clone()).round().await;
        }
        Scene::Checkout => {
            core.pool_create(admin, &pool()).await?;
            PoolKeeper::new(core.clone()).round().await;
            let ask = SshKeyAsk { account: None, name: "laptop".into(), public_key: PUBLIC_KEY.into() };
            core.ssh_key_add(admin, ask).await?;
        }
        Scene::Clean => {
            world.leave_something().await?;
            world.clock.advance(Duration::from_secs(2 * 3600));
            return Ok(world);
        }
        _ => {}
    }
    world.run_tasks(Mode::Plain).await?;
    if let Scene::Live(live) = scene {
        prepare(&world, live).await?;
    }
    match scene {
        Scene::Power(Power::Start, _) => drop(core.machine_power(admin, "m", Power::Stop, true).await?),
        Scene::Power(Power::Resume, _) => drop(core.machine_power(admin, "m", Power::Pause, false).await?),
        _ => {}
    }
    world.run_tasks(Mode::Plain).await?;
    if let Scene::Delete | Scene::SnapshotRevert(_) | Scene::SnapshotRemove(_) = scene {
        let memory = !matches!(scene, Scene::SnapshotRevert(Then::On) | Scene::SnapshotRemove(Then::On));
        core.snapshot_take(admin, "m", &snapshot(memory), None).await?;
        world.run_tasks(Mode::Plain).await?;
    }
    if let Scene::SnapshotTake(then) | Scene::SnapshotRevert(then) | Scene::SnapshotRemove(then) = scene
        && matches!(then, Then::Off | Then::Grown)
    {
        core.machine_power(admin, "m", Power::Stop, true).await?;
        world.run_tasks(Mode::Plain).await?;
        if then == Then::Grown {
            let volume = core.volume_list(admin, ListAsk::default()).await?.items.remove(0);
            core.volume_grow(admin, &volume.id.to_string(), volume.size_mib + 8).await?;
            world.run_tasks(Mode::Plain).await?;
            core.machine_power(admin, "m", Power::Start, false).await?;
            world.run_tasks(Mode::Plain).await?;
        }
    }
    world.check_whole().await.context("before the scene")?;
    Ok(world)
}

/// What must be there before a machine that is on can be changed: the machine has volume 1, volume 2 is free.
async fn prepare(world: &World, live: Live) -> Result<()> {
    let (core, admin) = (&world.core, &world.admin);
    core.volume_create(admin, &VolumeAsk { name: "v".into(), size_mib: 8, storage: None }, None).await?;
    world.medium("cd").await?;
    world.run_tasks(Mode::Plain).await?;
    if live == Live::Detach {
        core.volume_attach(admin, "2", "m").await?;
    }
    if live == Live::NicDetach {
        core.nic_attach(admin, "m", &NicAsk { mac: Some(MAC.into()), ..NicAsk::default() }).await?;
    }
    world.run_tasks(Mode::Plain).await
}

async fn ask_live(world: &World, live: Live) -> Result<()> {
    let (core, admin) = (&world.core, &world.admin);
    match live {
        Live::Add => drop(core.disk_add(admin, "m", 8).await?),
        Live::Attach => drop(core.volume_attach(admin, "2", "m").await?),
        Live::Detach => drop(core.volume_detach(admin, "2").await?),
        Live::Grow => {
            let size_mib = core.volume_get(admin, "1").await?.size_mib + 8;
            core.volume_grow(admin, "1", size_mib).await?;
        }
        Live::Limit => {
            core.volume_limit(admin, "1", IoLimits { iops: Some(100), bytes: None }).await?;
        }
        Live::Resize => drop(core.machine_resize(admin, "m", Some(2), Some(256)).await?),
        Live::Insert => drop(core.machine_medium(admin, "m", Some("cd"), false).await?),
        Live::NicAttach => drop(core.nic_attach(admin, "m", &NicAsk::default()).await?),
        Live::NicDetach => drop(core.nic_detach(admin, "m", MAC).await?),
    }
    Ok(())
}

/// A pool whose machines show more than their agent's answer.
fn pool() -> PoolSpec {
    PoolSpec { probe: Probe::Ssh, ..PoolSpec::new("stock", "micro", 1) }
}

const PUBLIC_KEY: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqCqvPPWEbqWMyIYQkEP7LkKQGYrCFmAGSbSdnTkEcK somebody";

/// Of the card that comes and goes.
const MAC: &str = "52:54:00:00:00:aa";

fn snapshot(memory: bool) -> SnapshotAsk {
    SnapshotAsk { name: "s".into(), description: String::new(), memory }
}

/// Asks for what the scene is about.
async fn ask(world: &World, scene: Scene) -> Result<()> {
    let (core, admin) = (&world.core, &world.admin);
    match scene {
        Scene::Create => drop(core.machine_create(admin, &World::machine("m"), None).await?),
        Scene::Power(verb, force) => drop(core.machine_power(admin, "m", verb, force).await?),
        Scene::Delete => drop(core.machine_delete(admin, "m").await?),
        Scene::Turn(verb) => {
            core.machine_power(admin, "m", Power::Stop, true).await?;
            match verb {
                Some(verb) => drop(core.machine_power_when(admin, "m", verb, false, Busy::Queue).await?),
                None => drop(core.machine_delete_when(admin, "m", Busy::Queue).await?),
            }
        }
        Scene::TemplateMake => {
            let mut ask = hostler_core::templates::TemplateAsk {
                name: "another".into(),
                source: ImageSource::Recipe { recipe: "micro".into(), mirror: None },
                description: String::new(),
                vcpus: 1,
                memory_mib: 128,
                disk_mib: 0,
                firmware: hostler_core::templates::Firmware::Bios,
                fork: true,
                storage: None,
            };
            ask.description.push_str("a second one");
            core.template_make(admin, &ask, None).await?;
        }
        Scene::TemplateDelete => drop(core.template_delete(admin, "micro").await?),
        Scene::VolumeCreate => {
            core.volume_create(admin, &VolumeAsk { name: "v".into(), size_mib: 8, storage: None }, None)
                .await?;
        }
        Scene::VolumeDelete => drop(core.volume_delete(admin, "1").await?),
        Scene::Clean => drop(core.doctor_repair(admin, false, None).await?),
        Scene::SnapshotTake(then) => {
            core.snapshot_take(admin, "m", &snapshot(then == Then::OnWithMemory), None).await?;
        }
        Scene::SnapshotRevert(_) => drop(core.snapshot_revert(admin, "1", true).await?),
        Scene::SnapshotRemove(_) => drop(core.snapshot_remove(admin, "1").await?),
        Scene::MediumMake => drop(core.medium_make(admin, &medium(), None).await?),
        Scene::MediumDelete => drop(core.medium_delete(admin, "iso").await?),
        Scene::Live(live) => ask_live(world, live).await?,
        Scene::Grow => drop(core.volume_grow(admin, "1", 16).await?),
        Scene::Stock | Scene::Golden => {
            core.pool_create(admin, &pool()).await?;
            PoolKeeper::new(core.clone()).round().await;
        }
        Scene::Fork => PoolKeeper::new(core.clone()).round().await,
        Scene::Checkout => {
            let ask = CheckoutAsk { wanted: vec![("stock".into(), 1)], ..CheckoutAsk::default() };
            core.pool_checkout(admin, &ask, None).await?;
        }
    }
    Ok(())
}

async fn play(scene: Scene, mode: Mode) -> Result<String> {
    let world = stage(scene).await?;
    ask(&world, scene).await?;
    world.run_tasks(mode).await?;
    let task = world.last_task().await?;
    ensure!(task.state == TaskState::Done, "{} ended {:?}: {:?}", task.kind, task.state, task.error);
    world.check_whole().await?;
    Ok(task.kind)
}

#[tokio::test]
async fn every_step_may_run_twice() {
    for scene in SCENES {
        play(scene, Mode::Twice).await.with_context(|| format!("{scene:?}")).unwrap();
    }
}

#[tokio::test]
async fn a_crash_after_any_step_changes_nothing() {
    for scene in SCENES {
        play(scene, Mode::Crash).await.with_context(|| format!("{scene:?}")).unwrap();
    }
}

#[tokio::test]
async fn the_scenes_cover_every_kind_of_task() {
    let mut played = BTreeSet::new();
    for scene in SCENES {
        played.insert(play(scene, Mode::Plain).await.with_context(|| format!("{scene:?}")).unwrap());
    }
    let known: BTreeSet<String> = TASK_KINDS.iter().map(|kind| (*kind).to_owned()).collect();
    assert_eq!(played, known);
}

/// A verb that refuses once: the task fails with the cause and leaves nothing behind.
#[tokio::test]
async fn a_failure_at_any_call_is_undone_cleanly() {
    let mut failed = 0;
    for scene in SCENES {
        for verb in CALLED {
            failed += u32::from(
                fails_cleanly(scene, verb).await.with_context(|| format!("{scene:?} {verb:?}")).unwrap(),
            );
        }
    }
    assert!(failed >= 20, "only {failed} failures were provoked");
}

async fn fails_cleanly(scene: Scene, verb: Verb) -> Result<bool> {
    let world = stage(scene).await?;
    world.faults.fail(verb, 1, DriverErrorKind::Refused);
    ask(&world, scene).await?;
    world.run_tasks(Mode::Plain).await?;
    world.faults.clear();
    let task = world.last_task().await?;
    ensure!(!task.state.is_open(), "the task is still open");
    if task.state == TaskState::Failed {
        ensure!(task.error.as_ref().is_some_and(|error| !error.is_empty()), "it does not say why");
        if matches!(scene, Scene::Delete | Scene::Turn(None)) {
            // Cannot be taken back: it says why, and asking again goes through.
            world.core.machine_delete(&world.admin, "m").await?;
            world.run_tasks(Mode::Plain).await?;
        }
        if matches!(scene, Scene::VolumeDelete) {
            world.core.volume_delete(&world.admin, "1").await?;
            world.run_tasks(Mode::Plain).await?;
        }
        if matches!(scene, Scene::Clean) {
            // What was removed is gone, what is left is found again.
            ask(&world, scene).await?;
            world.run_tasks(Mode::Plain).await?;
        }
        if matches!(scene, Scene::SnapshotRemove(_)) {
            world.core.snapshot_remove(&world.admin, "1").await?;
            world.run_tasks(Mode::Plain).await?;
        }
    }
    world.check_whole().await?;
    Ok(task.state == TaskState::Failed)
}

/// A verb that does not answer a few times: the task goes through all the same.
#[tokio::test]
async fn what_passes_by_itself_is_tried_again() {
    for scene in SCENES {
        for verb in CALLED {
            let outcome = async {
                let world = stage(scene).await?;
                world.faults.fail(verb, 2, DriverErrorKind::Unreachable);
                ask(&world, scene).await?;
                world.run_tasks(Mode::Plain).await?;
                let task = world.last_task().await?;
                ensure!(task.state == TaskState::Done, "{:?}: {:?}", task.state, task.error);
                world.faults.clear();
                world.check_whole().await
            };
            outcome.await.with_context(|| format!("{scene:?} {verb:?}")).unwrap();
        }
    }
}

/// A wish to cancel between any two steps is honoured or refused, never lost.
#[tokio::test]
async fn a_cancelled_creation_leaves_nothing() {
    let world = World::with_template().await.unwrap();
    world.core.machine_create(&world.admin, &World::machine("m"), None).await.unwrap();
    let task = world.last_task().await.unwrap();
    world.core.task_cancel(&world.admin, &task.id.to_string()).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let task = world.last_task().await.unwrap();
    assert_eq!(task.state, TaskState::Cancelled);
    assert_eq!(task.error.as_deref(), Some("it was cancelled"));
    world.check_whole().await.unwrap();
    // The name is free again.
    world.core.machine_create(&world.admin, &World::machine("m"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    world.check_whole().await.unwrap();
}

/// While a machine's devices change, nothing else is done to it; what it cannot do while it is on is refused at once.
#[tokio::test]
async fn a_machine_is_held_while_its_devices_change() {
    let world = stage(Scene::Live(Live::Attach)).await.unwrap();
    let (core, admin) = (&world.core, &world.admin);
    core.volume_attach(admin, "2", "m").await.unwrap();
    let busy = [
        core.machine_power(admin, "m", Power::Stop, true).await.unwrap_err(),
        core.machine_resize(admin, "m", Some(2), None).await.unwrap_err(),
        core.volume_detach(admin, "2").await.unwrap_err(),
        core.volume_grow(admin, "1", 1 << 20).await.unwrap_err(),
        core.machine_delete(admin, "m").await.unwrap_err(),
    ];
    assert!(busy.iter().all(|error| error.code == "busy"), "{busy:?}");
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(core.volume_get(admin, "2").await.unwrap().position, 1);
    let codes = [
        core.volume_detach(admin, "1").await.unwrap_err().code,
        core.machine_resize(admin, "m", None, Some(64)).await.unwrap_err().code,
        core.volume_attach(admin, "2", "m").await.unwrap_err().code,
        core.machine_medium(admin, "m", Some("other"), false).await.unwrap_err().code,
        core.nic_attach(admin, "m", &NicAsk { mac: Some("x".into()), ..NicAsk::default() })
            .await
            .unwrap_err()
            .code,
    ];
    assert_eq!(codes, ["in_use", "wrong_state", "attached", "not_found", "invalid"]);
    world.check_whole().await.unwrap();
    // Off, the same is done at once, and the next start has it all.
    core.machine_power(admin, "m", Power::Stop, true).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    assert!(core.volume_detach(admin, "2").await.unwrap().task.is_none());
    assert!(core.machine_resize(admin, "m", Some(3), Some(64)).await.unwrap().task.is_none());
    assert!(core.machine_medium(admin, "m", Some("cd"), false).await.unwrap().task.is_none());
    assert!(core.nic_attach(admin, "m", &NicAsk::default()).await.unwrap().task.is_none());
    core.machine_power(admin, "m", Power::Start, false).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    world.check_whole().await.unwrap();
    let devices = world.hypervisor.devices(core.machine_get(admin, "m").await.unwrap().id).unwrap();
    assert_eq!((devices.vcpus, devices.nics.len(), devices.disks.len()), (3, 2, 1));
}
