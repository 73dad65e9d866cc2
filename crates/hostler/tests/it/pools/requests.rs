//! Requests: machines that are made for somebody who waits.

use super::scene::Scene;
use anyhow::Result;
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
