//! What keeps pools as they shall be: sizes, templates, age, failures, and the reason for each.

use super::scene::{Scene, wants};
use anyhow::Result;
use hostler_core::pools::{Overriding, PoolDeclared, PoolSpec, StockState};
use hostler_core::ports::DriverErrorKind;
use hostler_sim::Verb;
use std::time::Duration;

#[tokio::test]
async fn a_failure_is_kept_with_its_reason_and_tried_again_later_and_later() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    scene.world.faults.fail(Verb::Start, u32::MAX, DriverErrorKind::Refused);
    core.pool_create(&scene.world.admin, &PoolSpec::new("a", "micro", 2)).await?;
    scene.settle().await?;
    let trouble = scene.counts("a").await?.pool.trouble.clone().expect("it says why it is not full");
    assert!(trouble.reason.contains("failed"), "{}", trouble.reason);
    let failures = core.pool_failures(&scene.world.admin, "a", 10).await?;
    assert!(!failures.is_empty() && failures.iter().all(|machine| machine.reason.is_some()));
    let before = failures.len();
    scene.settle().await?;
    assert_eq!(core.pool_failures(&scene.world.admin, "a", 100).await?.len(), before, "not at once again");
    scene.world.faults.clear();
    scene.world.clock.advance(Duration::from_secs(300));
    scene.settle().await?;
    let counts = scene.counts("a").await?;
    assert_eq!((counts.ready, counts.pool.trouble.as_ref()), (2, None));
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_guest_that_is_never_ready_fails_at_its_deadline() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    scene.world.faults.fail(Verb::Identify, u32::MAX, DriverErrorKind::Timeout);
    let slow = PoolSpec { boot_deadline_s: 60, ..PoolSpec::new("a", "micro", 1) };
    core.pool_create(&scene.world.admin, &slow).await?;
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 0);
    assert!(scene.counts("a").await?.pool.trouble.is_some());
    scene.world.check_whole().await
}

#[tokio::test]
async fn sizes_are_followed_up_and_down_and_overrides_outlive_declarations() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    let admin = scene.world.admin.clone();
    let spec = PoolSpec::new("a", "micro", 3);
    assert_eq!(core.pool_declare(&admin, &spec).await?, PoolDeclared::Made);
    assert_eq!(core.pool_declare(&admin, &spec).await?, PoolDeclared::Same);
    scene.settle().await?;
    let size = |size| [("a".to_owned(), Overriding { size: Some(size), ..Overriding::default() })];
    let changed = core.pool_override(&admin, &size(Some(1))).await?;
    assert_eq!((changed[0].0.size(), changed[0].1.size()), (3, 1));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 1);
    let larger = PoolSpec { size: 5, ..spec.clone() };
    assert_eq!(core.pool_declare(&admin, &larger).await?, PoolDeclared::Altered(vec!["size"]));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 1, "what was overridden stays so");
    core.pool_override(&admin, &size(None)).await?;
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 5);
    assert_eq!(core.pool_delete(&admin, "a").await.unwrap_err().code, "declared");
    assert_eq!(core.pool_undeclared(&admin, &[]).await?, ["a"]);
    scene.settle().await?;
    assert!(core.pool_list(&admin).await?.is_empty());
    scene.world.check_whole().await
}

#[tokio::test]
async fn what_is_drained_or_too_old_is_replaced_and_what_is_lent_stays() -> Result<()> {
    let aged = PoolSpec { ready_ttl_s: Some(3600), ..PoolSpec::new("a", "micro", 2) };
    let mut scene = Scene::with(&[aged]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let lent = core.pool_checkout(&user, &wants(&[("a", 1)]), None).await?;
    scene.settle().await?;
    let ids = |machines: Vec<hostler_core::machines::Machine>| -> Vec<_> {
        machines.into_iter().map(|machine| machine.id).collect()
    };
    let first = ids(scene.stock("a", StockState::Ready).await?);
    scene.world.clock.advance(Duration::from_secs(1));
    core.pool_drain(&scene.world.admin, &["a".to_owned()]).await?;
    scene.settle().await?;
    let second = ids(scene.stock("a", StockState::Ready).await?);
    assert!(second.len() == 2 && second.iter().all(|id| !first.contains(id)));
    scene.world.clock.advance(Duration::from_secs(3601));
    scene.settle().await?;
    let third = ids(scene.stock("a", StockState::Ready).await?);
    assert!(third.len() == 2 && third.iter().all(|id| !second.contains(id)));
    assert_eq!(ids(scene.stock("a", StockState::Lent).await?), [lent[0].1.id]);
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_pool_says_when_the_host_cannot_hold_it_and_fills_what_it_can() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    let host = core.host_look(&core.local_hosts()[0].clone(), false).await?;
    let memory_mib = host.facts.unwrap().memory_mib;
    let large = PoolSpec { memory_mib: Some(memory_mib / 2), fork: false, ..PoolSpec::new("a", "micro", 5) };
    core.pool_create(&scene.world.admin, &large).await?;
    scene.settle().await?;
    let counts = scene.counts("a").await?;
    assert_eq!(counts.ready, 2);
    let reason = &counts.pool.trouble.as_ref().expect("it says why").reason;
    assert!(reason.contains("cannot hold more"), "{reason}");
    scene.world.check_whole().await
}
