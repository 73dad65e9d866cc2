//! Odd pools and odd guests: nothing gets stuck, retries are bounded, and each pool says what is the matter.

use super::scene::{Scene, wants};
use anyhow::Result;
use hostler_core::error::ErrorKind;
use hostler_core::pools::{CheckoutAsk, CheckoutChange, PoolSpec, Probe, StockState};
use hostler_core::ports::DriverErrorKind;
use hostler_sim::Verb;
use std::time::Duration;

/// An hour by the clock, in steps of ten seconds.
async fn an_hour(scene: &mut Scene) -> Result<()> {
    for _ in 0..360 {
        scene.settle().await?;
        scene.world.clock.advance(Duration::from_secs(10));
    }
    scene.settle().await
}

#[tokio::test]
async fn a_pool_asks_for_a_tcp_port_that_its_guests_listen_on() -> Result<()> {
    let listens = PoolSpec { probe: Probe::Tcp(8080), ..PoolSpec::new("web", "micro", 2) };
    let silent =
        PoolSpec { probe: Probe::Tcp(9), boot_deadline_s: 60, ..PoolSpec::new("discard", "micro", 1) };
    let scene = Scene::with(&[listens, silent]).await?;
    let counts = scene.counts("web").await?;
    assert_eq!((counts.ready, counts.pool.trouble.as_ref()), (2, None));
    let counts = scene.counts("discard").await?;
    let reason = &counts.pool.trouble.as_ref().expect("it says why").reason;
    assert_eq!(counts.ready, 0);
    assert!(reason.contains("nothing listens on TCP port 9"), "{reason}");
    scene.world.check_whole().await
}

#[tokio::test]
async fn guests_that_are_never_ready_are_given_up_one_after_the_other_and_later_and_later() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    scene.world.faults.fail(Verb::Identify, u32::MAX, DriverErrorKind::Timeout);
    let slow = PoolSpec { boot_deadline_s: 60, ..PoolSpec::new("a", "micro", 8) };
    core.pool_create(&scene.world.admin, &slow).await?;
    an_hour(&mut scene).await?;
    let counts = scene.counts("a").await?;
    let trouble = counts.pool.trouble.clone().expect("it says why");
    assert!(trouble.reason.contains("failed"), "{}", trouble.reason);
    assert!(trouble.again_at.since(core.clock().now()) <= Duration::from_secs(300), "it is tried again soon");
    let failed = core.pool_failures(&scene.world.admin, "a", 1000).await?;
    // Eight at first, then one each time: an hour has room for twenty-odd pauses that grow to five minutes.
    assert!((10..40).contains(&failed.len()), "{} machines were made in an hour", failed.len());
    assert!(failed.iter().all(|machine| machine.reason.is_some()), "each says why");
    let missed = core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await.unwrap_err();
    assert!(missed.text.contains("failed"), "whoever asks is told, too: {}", missed.text);
    scene.world.faults.clear();
    scene.world.clock.advance(Duration::from_secs(300));
    scene.settle().await?;
    let counts = scene.counts("a").await?;
    assert_eq!((counts.ready, counts.pool.trouble.as_ref()), (8, None));
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_template_cannot_go_while_its_pool_fills() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    let admin = scene.world.admin.clone();
    let spec = PoolSpec { clones: 2, ..PoolSpec::new("a", "micro", 6) };
    core.pool_create(&admin, &spec).await?;
    scene.round().await;
    assert_eq!(scene.counts("a").await?.filling, 2, "two of six are being made");
    let refused = core.template_delete(&admin, "micro").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Conflict, "what is being made keeps its template");
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 6);
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_template_that_is_going_when_a_pool_asks_for_it_is_made_again() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    let admin = scene.world.admin.clone();
    core.template_delete(&admin, "micro").await?;
    core.pool_create(&admin, &PoolSpec::new("a", "micro", 3)).await?;
    scene.round().await;
    let trouble = scene.counts("a").await?.pool.trouble.clone().expect("it says what it waits for");
    assert!(trouble.reason.contains("template micro is"), "{}", trouble.reason);
    scene.settle().await?;
    scene.world.clock.advance(Duration::from_secs(300));
    scene.settle().await?;
    let counts = scene.counts("a").await?;
    assert_eq!((counts.ready, counts.pool.trouble.as_ref()), (3, None));
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_pool_without_a_template_says_so_and_fills_when_there_is_one() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "nosuch", 2)]).await?;
    let trouble = scene.counts("a").await?.pool.trouble.clone().expect("it says why");
    assert!(trouble.reason.contains("there is no template nosuch"), "{}", trouble.reason);
    an_hour(&mut scene).await?;
    let core = scene.world.core.clone();
    assert!(core.pool_failures(&scene.world.admin, "a", 10).await?.is_empty(), "nothing was tried in vain");
    let missed = core.pool_checkout(&scene.world.admin, &wants(&[("a", 1)]), None).await.unwrap_err();
    assert_eq!(missed.code, "empty_pool");
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_pool_far_larger_than_its_host_fills_what_it_can_and_does_not_wear_itself_out() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let core = scene.world.core.clone();
    let host = core.host_look(&core.local_hosts()[0].clone(), false).await?;
    let memory_mib = host.facts.unwrap().memory_mib;
    let spec =
        PoolSpec { memory_mib: Some(memory_mib / 4), fork: false, ..PoolSpec::new("a", "micro", 10_000) };
    core.pool_create(&scene.world.admin, &spec).await?;
    an_hour(&mut scene).await?;
    let counts = scene.counts("a").await?;
    assert_eq!((counts.ready, counts.filling), (4, 0));
    let reason = &counts.pool.trouble.as_ref().expect("it says why").reason;
    assert!(reason.contains("cannot hold more"), "{reason}");
    assert!(core.pool_failures(&scene.world.admin, "a", 10).await?.is_empty(), "nothing was made in vain");
    // A place that is left is filled again.
    let user = scene.user("ulla").await?;
    let lent = core.pool_checkout(&user, &wants(&[("a", 1)]), None).await?.remove(0).1;
    core.checkout_return(&user, lent.name.as_str()).await?;
    scene.settle().await?;
    scene.world.clock.advance(Duration::from_secs(300));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 4);
    scene.world.check_whole().await
}

#[tokio::test]
async fn lifetimes_of_ages_and_tags_by_the_thousand_break_nothing() -> Result<()> {
    const AGES: u64 = 1_000_000_000_000_000_000;
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 2)]).await?;
    let core = scene.world.core.clone();
    let long = PoolSpec::new("long", "micro", 1);
    for spec in [
        PoolSpec { lifetime_s: Some(AGES), ..long.clone() },
        PoolSpec { lifetime_with_token_s: Some(AGES), ..long.clone() },
        PoolSpec { lifetime_max_s: Some(AGES), ..long.clone() },
        PoolSpec { boot_deadline_s: AGES, ..long.clone() },
        PoolSpec { ready_ttl_s: Some(AGES), ..long },
    ] {
        let refused = core.pool_create(&scene.world.admin, &spec).await.unwrap_err();
        assert!(matches!(refused.kind, ErrorKind::Invalid { .. }), "{refused:?}");
    }
    let user = scene.user("ulla").await?;
    let many: std::collections::BTreeMap<String, String> =
        (0..1000).map(|place| (format!("t{place}"), "x".to_owned())).collect();
    let asked = CheckoutAsk { lifetime_s: Some(u64::MAX), ..wants(&[("a", 1)]) };
    let refused = core.pool_checkout(&user, &asked, None).await.unwrap_err();
    assert!(matches!(refused.kind, ErrorKind::Invalid { .. }), "{refused:?}");
    let asked = CheckoutAsk { lifetime_s: Some(0), ..wants(&[("a", 1)]) };
    let asked = core.pool_checkout(&user, &asked, None).await?.remove(0).1;
    let tagged = CheckoutAsk { tags: many.clone(), ..wants(&[("a", 1)]) };
    assert!(matches!(
        core.pool_checkout(&user, &tagged, None).await.unwrap_err().kind,
        ErrorKind::Invalid { .. }
    ));
    for lifetime_s in [AGES, u64::MAX] {
        let change = CheckoutChange { lifetime_s: Some(lifetime_s), tags: None };
        let refused = core.checkout_change(&user, asked.name.as_str(), &change).await.unwrap_err();
        assert!(matches!(refused.kind, ErrorKind::Invalid { .. }), "{refused:?}");
        let both = CheckoutChange { lifetime_s: Some(1), tags: Some(many.clone()) };
        let refused = core.checkout_change(&user, asked.name.as_str(), &both).await.unwrap_err();
        assert!(matches!(refused.kind, ErrorKind::Invalid { .. }), "{refused:?}");
    }
    scene.world.clock.advance(Duration::from_secs(1000 * 365 * 86400));
    scene.settle().await?;
    let kept = core.pool_machine(&user, asked.name.as_str()).await?;
    assert_eq!(kept.stock.as_ref().map(|stock| stock.state), Some(StockState::Lent));
    scene.world.check_whole().await
}
