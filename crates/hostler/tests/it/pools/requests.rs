//! Requests: machines that are made for somebody who waits.

use super::scene::{Scene, wants};
use anyhow::Result;
use hostler_core::access::{Amounts, Subject};
use hostler_core::pools::{PoolRules, PoolSpec, RequestAsk, RequestState};
use hostler_core::ports::DriverErrorKind;
use hostler_sim::Verb;
use std::time::Duration;

fn ask(key: &str, count: u32) -> RequestAsk {
    RequestAsk { key: Some(key.to_owned()), wanted: vec![("a".to_owned(), count)] }
}

#[tokio::test]
async fn a_request_is_made_beside_the_stock_and_lent_at_once() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 1), PoolSpec::new("none", "micro", 0)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let request = core.request_make(&user, &ask("r", 3)).await?;
    assert_eq!(request.state, RequestState::Open);
    assert_eq!(core.request_make(&user, &ask("r", 1)).await.unwrap_err().code, "taken");
    assert_eq!(core.request_make(&user, &ask("s", 11)).await.unwrap_err().code, "too_many");
    scene.round().await;
    assert_eq!(scene.counts("a").await?.requested, 3);
    scene.settle().await?;
    let request = core.request_get(&user, "r").await?;
    assert_eq!(request.state, RequestState::Ready);
    let machines = core.request_machines(&request).await?;
    assert_eq!(machines.len(), 3);
    for (_, machine) in &machines {
        assert_eq!(machine.owner, user.account);
        assert!(machine.lent_until().is_some());
    }
    let counts = scene.counts("a").await?;
    assert_eq!((counts.ready, counts.lent, counts.requested), (1, 3, 0));
    core.request_delete(&user, "r").await?;
    core.request_delete(&user, "r").await?;
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.lent, 0, "its machines are returned");
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_request_of_which_too_many_fail_fails_with_the_reason() -> Result<()> {
    let rules = PoolRules { request_retries: 1, ..PoolRules::default() };
    let mut scene = Scene::under(rules, &[PoolSpec::new("a", "micro", 0)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    core.request_make(&user, &ask("r", 1)).await?;
    scene.world.faults.fail(Verb::Start, u32::MAX, DriverErrorKind::Refused);
    for _ in 0..5 {
        scene.settle().await?;
        scene.world.clock.advance(Duration::from_secs(5));
    }
    let request = core.request_get(&user, "r").await?;
    assert!(matches!(&request.state, RequestState::Failed(_)), "{:?}", request.state);
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_request_that_is_not_ready_in_time_fails_and_leaves_nothing() -> Result<()> {
    let rules = PoolRules { request_clones: 1, ..PoolRules::default() };
    let mut scene = Scene::under(rules, &[PoolSpec::new("a", "micro", 0)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    core.request_make(&user, &ask("r", 2)).await?;
    scene.round().await;
    assert_eq!(scene.world.core.pool_counts().await?[0].filling, 0, "it is no stock");
    scene.world.clock.advance(Duration::from_secs(301));
    scene.settle().await?;
    let RequestState::Failed(why) = core.request_get(&user, "r").await?.state else { panic!("not failed") };
    assert!(why.contains("ondemand_request_ttl '5'"), "{why}");
    let counts = scene.counts("a").await?;
    assert_eq!((counts.lent, counts.ready, counts.returned), (0, 0, 0));
    scene.world.check_whole().await
}

#[tokio::test]
async fn quotas_hold_for_requests_when_they_are_made_and_when_their_machines_are_lent() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 1)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let limits = Amounts { checkouts: Some(2), ..Amounts::default() };
    core.quota_set(&scene.world.admin, Subject::Account(user.account), limits).await?;
    assert_eq!(core.request_make(&user, &ask("large", 3)).await.unwrap_err().code, "quota");
    core.request_make(&user, &ask("r", 2)).await?;
    // Its machines are still being made when one is lent otherwise.
    core.pool_checkout(&user, &wants(&[("a", 1)]), None).await?;
    scene.settle().await?;
    let RequestState::Failed(why) = core.request_get(&user, "r").await?.state else { panic!("not failed") };
    assert!(why.contains("checkouts of account ulla are limited to 2"), "{why}");
    let counts = scene.counts("a").await?;
    assert_eq!((counts.ready, counts.lent, counts.returned), (1, 1, 0), "what was made for it is gone");
    assert_eq!(core.quota_own(&user).await?[0].used.checkouts, Some(1));
    assert_eq!(counts.pool.trouble, None, "the pool is not to blame");
    core.request_make(&user, &ask("fits", 1)).await?;
    scene.settle().await?;
    assert_eq!(core.request_get(&user, "fits").await?.state, RequestState::Ready);
    scene.world.check_whole().await
}

#[tokio::test]
async fn quotas_of_memory_hold_for_requests_too() -> Result<()> {
    let spec = PoolSpec { memory_mib: Some(256), ..PoolSpec::new("a", "micro", 0) };
    let mut scene = Scene::with(&[spec]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let limits = Amounts { memory_mib: Some(300), ..Amounts::default() };
    core.quota_set(&scene.world.admin, Subject::Account(user.account), limits).await?;
    core.request_make(&user, &ask("r", 2)).await?;
    scene.settle().await?;
    let RequestState::Failed(why) = core.request_get(&user, "r").await?.state else { panic!("not failed") };
    assert!(why.contains("MiB of memory of account ulla are limited to 300"), "{why}");
    assert_eq!(scene.counts("a").await?.lent, 0, "all or nothing");
    scene.world.check_whole().await
}
