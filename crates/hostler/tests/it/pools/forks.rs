//! Machines that are forked from golden ones: when they are, when they are not, and what becomes of the golden.

use super::scene::{Scene, wants};
use anyhow::{Context, Result, ensure};
use hostler_core::goldens::{Golden, GoldenState};
use hostler_core::machines::{Machine, Verb as Power};
use hostler_core::pools::{PoolSpec, StockState};
use hostler_core::ports::{DriverErrorKind, Hypervisor, ImageSource};
use hostler_core::templates::{Firmware, TemplateAsk};
use hostler_sim::Verb;
use std::time::Duration;

/// Pools on a host that can fork, filled.
async fn forking(pools: &[PoolSpec]) -> Result<Scene> {
    let mut scene = Scene::with(&[]).await?;
    scene.world.hypervisor.let_fork(true);
    for pool in pools {
        scene.world.core.pool_create(&scene.world.admin, pool).await?;
    }
    scene.settle().await?;
    Ok(scene)
}

fn pool(size: u32) -> PoolSpec {
    PoolSpec::new("a", "micro", size)
}

fn recipe(name: &str, fork: bool) -> TemplateAsk {
    TemplateAsk {
        name: name.into(),
        source: ImageSource::Recipe { recipe: "micro".into(), mirror: None },
        description: String::new(),
        vcpus: 1,
        memory_mib: 128,
        disk_mib: 0,
        firmware: Firmware::Bios,
        fork,
        storage: None,
    }
}

async fn only_golden(scene: &Scene) -> Result<Golden> {
    let goldens = scene.world.core.goldens().await?;
    ensure!(goldens.len() == 1, "there is not one golden machine but {goldens:?}");
    goldens.into_iter().next().context("a golden machine")
}

fn was_forked(machine: &Machine) -> bool {
    machine.stock.as_ref().and_then(|stock| stock.birth.as_ref()).is_some_and(|birth| birth.forked)
}

/// Lets the pool's keeper look after golden machines once more, and everything settle.
async fn later(scene: &mut Scene) -> Result<()> {
    scene.world.clock.advance(Duration::from_secs(600));
    scene.settle().await
}

#[tokio::test]
async fn a_pool_is_filled_by_forks_of_one_golden_machine() -> Result<()> {
    let mut scene = forking(&[pool(5)]).await?;
    let golden = only_golden(&scene).await?;
    assert_eq!(golden.state, GoldenState::Ready);
    let ready = scene.stock("a", StockState::Ready).await?;
    assert_eq!(ready.len(), 5);
    for machine in &ready {
        assert!(was_forked(machine) && machine.golden == Some(golden.id));
        let birth = machine.stock.as_ref().and_then(|stock| stock.birth.as_ref()).context("its birth")?;
        let phases: Vec<&str> = birth.phases.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(phases, ["disk", "start", "identity", "probe"]);
        // Forked is not yet ready: each has been told who it is.
        let told = scene.world.hypervisor.identity(machine.id).context("an identity")?;
        assert_eq!(told.host_name, machine.name.to_string());
    }
    assert_eq!(scene.counts("a").await?.pool.trouble, None);
    scene.world.core.pool_checkout(&scene.world.admin, &wants(&[("a", 2)]), None).await?;
    scene.settle().await?;
    assert_eq!(only_golden(&scene).await?.id, golden.id, "one golden machine serves all");
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_fork_that_boots_again_has_its_memory_to_itself() -> Result<()> {
    let mut scene = forking(&[pool(1)]).await?;
    let core = scene.world.core.clone();
    let lent = core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await?;
    let name = lent[0].1.name.to_string();
    core.machine_power(&scene.world.admin, &name, Power::Restart, true).await?;
    scene.settle().await?;
    let machine = core.machine_get(&scene.world.admin, &name).await?;
    assert_eq!((machine.golden, machine.observed.generation), (None, 2));
    // Its disk still lies on the golden machine's, which therefore stays even when nothing is forked any more.
    core.pool_delete(&scene.world.admin, "a").await.unwrap_err();
    let none = PoolSpec { fork: false, ..pool(0) };
    core.pool_change(&scene.world.admin, "a", &none).await?;
    later(&mut scene).await?;
    assert_eq!(only_golden(&scene).await?.state, GoldenState::Retired);
    core.checkout_return(&scene.world.admin, &name).await?;
    scene.settle().await?;
    later(&mut scene).await?;
    assert!(core.goldens().await?.is_empty(), "nothing needs it any more");
    scene.world.check_whole().await
}

#[tokio::test]
async fn where_forking_is_refused_machines_boot() -> Result<()> {
    let mut scene = forking(&[PoolSpec { fork: false, ..pool(2) }]).await?;
    let core = scene.world.core.clone();
    assert!(core.goldens().await?.is_empty());
    assert!(!scene.stock("a", StockState::Ready).await?.iter().any(was_forked));
    let never = recipe("never", false);
    core.template_make(&scene.world.admin, &never, None).await?;
    scene.settle().await?;
    core.pool_create(&scene.world.admin, &PoolSpec::new("b", "never", 2)).await?;
    scene.settle().await?;
    assert_eq!(scene.counts("b").await?.ready, 2);
    assert!(core.goldens().await?.is_empty());
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_golden_machine_whose_files_were_changed_is_made_anew() -> Result<()> {
    let mut scene = forking(&[pool(1)]).await?;
    let spoilt = only_golden(&scene).await?;
    scene.world.hypervisor.spoil_golden(spoilt.id)?;
    let core = scene.world.core.clone();
    core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await?;
    scene.settle().await?;
    // Two forks fail, with a pause between; the next machine boots.
    for _ in 0..3 {
        scene.world.clock.advance(Duration::from_secs(10));
        scene.settle().await?;
    }
    let ready = scene.stock("a", StockState::Ready).await?;
    assert_eq!(ready.len(), 1);
    assert!(!was_forked(&ready[0]), "the one after two failures boots");
    let failed = core.pool_failures(&scene.world.admin, "a", 10).await?;
    assert_eq!(failed.len(), 2);
    assert!(failed.iter().all(|machine| machine.reason.as_ref().is_some_and(|why| why.contains("damaged"))));
    let goldens = core.goldens().await?;
    assert_eq!(goldens[0].state, GoldenState::Retired);
    assert!(goldens[0].reason.as_ref().is_some_and(|why| why.contains("damaged")), "{goldens:?}");
    core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await?;
    later(&mut scene).await?;
    let goldens = core.goldens().await?;
    let fresh = goldens.iter().find(|golden| golden.state == GoldenState::Ready).context("a new one")?;
    // A disk that is lent still lies on the old one's.
    assert!(fresh.id != spoilt.id && goldens.len() == 2);
    assert!(scene.stock("a", StockState::Ready).await?.iter().all(was_forked));
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_template_that_cannot_boot_leaves_its_golden_machine_suspect() -> Result<()> {
    let mut scene = forking(&[pool(1)]).await?;
    scene.world.faults.fail(Verb::Start, u32::MAX, DriverErrorKind::Refused);
    scene.world.core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await?;
    for _ in 0..4 {
        scene.world.clock.advance(Duration::from_secs(60));
        scene.settle().await?;
    }
    assert_eq!(only_golden(&scene).await?.state, GoldenState::Suspect, "booting fails as well");
    scene.world.faults.clear();
    later(&mut scene).await?;
    assert_eq!(scene.counts("a").await?.ready, 1);
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_golden_machine_that_cannot_be_made_keeps_nobody_waiting() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    scene.world.hypervisor.let_fork(true);
    let core = scene.world.core.clone();
    // As a disk that is full while it is saved.
    scene.world.faults.fail(Verb::GoldenMake, 1, DriverErrorKind::Exhausted);
    core.pool_create(&scene.world.admin, &pool(2)).await?;
    scene.settle().await?;
    let failed = only_golden(&scene).await?;
    assert!(failed.state == GoldenState::Failed && failed.reason.is_some(), "{failed:?}");
    assert!(scene.world.hypervisor.goldens().await?.is_empty(), "nothing of it is left");
    let ready = scene.stock("a", StockState::Ready).await?;
    assert!(ready.len() == 2 && !ready.iter().any(was_forked), "the pool boots its machines meanwhile");
    scene.world.check_whole().await?;
    core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await?;
    later(&mut scene).await?;
    core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await?;
    later(&mut scene).await?;
    let goldens = core.goldens().await?;
    assert!(
        goldens.iter().any(|golden| golden.state == GoldenState::Ready),
        "it is tried again: {goldens:?}"
    );
    scene.world.check_whole().await
}

#[tokio::test]
async fn forks_are_promised_a_part_of_their_memory_and_what_boots_all_of_it() -> Result<()> {
    const TIB: u64 = 1 << 20;
    // The simulated host has 8 TiB.
    let large = |fork| PoolSpec { memory_mib: Some(3 * TIB), fork, clones: 100, ..pool(100) };
    for (fork, most) in [(false, 2), (true, 10)] {
        let mut scene = Scene::with(&[]).await?;
        scene.world.hypervisor.let_fork(true);
        let core = scene.world.core.clone();
        core.host_look(&core.local_hosts()[0], true).await?;
        core.pool_create(&scene.world.admin, &large(fork)).await?;
        scene.settle().await?;
        let counts = scene.counts("a").await?;
        assert_eq!(counts.ready, most, "fork = {fork}");
        let trouble = counts.pool.trouble.as_ref().context("it says why it is not full")?;
        assert!(trouble.reason.contains("cannot hold more"), "{}", trouble.reason);
        scene.world.check_whole().await?;
    }
    Ok(())
}

#[tokio::test]
async fn a_template_that_is_deleted_or_replaced_takes_its_golden_machine_along() -> Result<()> {
    let mut scene = forking(&[pool(1)]).await?;
    let core = scene.world.core.clone();
    let first = only_golden(&scene).await?;
    let again = recipe("micro", true);
    core.template_make(&scene.world.admin, &again, None).await?;
    scene.settle().await?;
    later(&mut scene).await?;
    later(&mut scene).await?;
    let second = only_golden(&scene).await?;
    assert!(second.template != first.template && second.state == GoldenState::Ready);
    assert!(scene.stock("a", StockState::Ready).await?.iter().all(|one| one.golden == Some(second.id)));
    core.pool_delete(&scene.world.admin, "a").await?;
    scene.settle().await?;
    core.template_delete(&scene.world.admin, "micro").await?;
    scene.settle().await?;
    later(&mut scene).await?;
    later(&mut scene).await?;
    assert!(core.goldens().await?.is_empty());
    scene.world.check_whole().await
}
