//! Pools: filled, lent, taken back, replaced; and nothing handed out twice.

mod commands;
mod forks;
mod native;
mod odd;
mod requests;
pub(crate) mod scene;
mod upkeep;

use anyhow::Result;
use hostler_core::access::{Amounts, Idempotency, Subject};
use hostler_core::machines::Life;
use hostler_core::pools::{CheckoutAsk, CheckoutChange, PoolSpec, StockState};
use scene::{Scene, names, wants};
use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

#[tokio::test]
async fn a_pool_is_filled_and_what_stood_longest_is_lent_first() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("micro-x", "micro", 3)]).await?;
    let counts = scene.counts("micro-x").await?;
    assert_eq!((counts.ready, counts.filling, counts.lent), (3, 0, 0));
    let mut ready = scene.stock("micro-x", StockState::Ready).await?;
    ready.sort_by_key(|machine| machine.stock.as_ref().unwrap().ready_at);
    let user = scene.user("ulla").await?;
    let lent = scene.world.core.pool_checkout(&user, &wants(&[("micro-x", 1)]), None).await?;
    assert_eq!(lent[0].0, "micro-x");
    assert_eq!(lent[0].1.name, ready[0].name);
    let machine = scene.world.core.machine_get(&user, lent[0].1.name.as_str()).await?;
    assert_eq!(machine.owner, user.account, "it is the caller's now");
    scene.settle().await?;
    let counts = scene.counts("micro-x").await?;
    assert_eq!((counts.ready, counts.lent), (3, 1), "the place is filled again");
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_checkout_over_several_pools_is_all_or_nothing() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 2), PoolSpec::new("b", "micro", 1)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let missed = core.pool_checkout(&user, &wants(&[("a", 2), ("b", 2)]), None).await.unwrap_err();
    assert_eq!(missed.code, "empty_pool");
    assert_eq!((scene.counts("a").await?.ready, scene.counts("b").await?.ready), (2, 1), "nothing was taken");
    let unknown = core.pool_checkout(&user, &wants(&[("a", 1), ("c", 1)]), None).await.unwrap_err();
    assert_eq!(unknown.code, "unknown_pool");
    let lent = core.pool_checkout(&user, &wants(&[("a", 2), ("b", 1)]), None).await?;
    assert_eq!(lent.iter().map(|(asked, _)| asked.as_str()).collect::<Vec<_>>(), ["a", "a", "b"]);
    assert_eq!(names(&lent).len(), 3);
    let figures = core.pool_figures(0, i64::MAX / 86_400_001).await?;
    let misses: u64 = figures.values().map(|figures| figures.misses).sum();
    let checkouts: u64 = figures.values().map(|figures| figures.checkouts).sum();
    assert_eq!((misses, checkouts), (1, 3));
    scene.settle().await?;
    scene.world.check_whole().await
}

#[tokio::test]
async fn many_at_once_never_get_the_same_and_never_more_than_there_is() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 20)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let ask = wants(&[("a", 1)]);
    let asked = (0..50).map(|_| core.pool_checkout(&user, &ask, None));
    let answers = futures_util::future::join_all(asked).await;
    let mut seen = HashSet::new();
    let mut refused = 0;
    for answer in answers {
        match answer {
            Ok(lent) => assert!(seen.insert(lent[0].1.id), "handed out twice"),
            Err(error) => {
                assert_eq!(error.code, "empty_pool");
                refused += 1;
            }
        }
    }
    assert_eq!((seen.len(), refused), (20, 30));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 20);
    scene.world.check_whole().await
}

#[tokio::test]
async fn an_alias_is_served_by_every_pool_that_has_it() -> Result<()> {
    let aliased = |name: &str| PoolSpec { aliases: vec!["x".into()], ..PoolSpec::new(name, "micro", 1) };
    let scene = Scene::with(&[aliased("a"), aliased("b")]).await?;
    let user = scene.user("ulla").await?;
    let lent = scene.world.core.pool_checkout(&user, &wants(&[("x", 2)]), None).await?;
    assert!(lent.iter().all(|(asked, _)| asked == "x"));
    let pools: HashSet<_> = lent.iter().map(|(_, machine)| machine.stock.as_ref().unwrap().pool).collect();
    assert_eq!(pools.len(), 2, "one of each");
    Ok(())
}

#[tokio::test]
async fn a_checkout_is_prolonged_tagged_and_returned_by_whoever_has_it_only() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 1)]).await?;
    let core = scene.world.core.clone();
    let (user, other) = (scene.user("ulla").await?, scene.user("otto").await?);
    let lent = core.pool_checkout(&user, &wants(&[("a", 1)]), None).await?;
    let name = lent[0].1.name.to_string();
    let began = lent[0].1.stock.as_ref().unwrap().checkout.as_ref().unwrap().at;
    assert_eq!(lent[0].1.lent_until(), Some(began.plus(Duration::from_secs(12 * 3600))));
    for error in [
        core.checkout_return(&other, &name).await.map(drop).unwrap_err(),
        core.checkout_change(&other, &name, &CheckoutChange::default()).await.map(drop).unwrap_err(),
        core.pool_machine(&other, &name).await.map(drop).unwrap_err(),
    ] {
        assert_eq!(error.code, "not_found");
    }
    let tags = |all: &[(&str, &str)]| -> BTreeMap<String, String> {
        all.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let change = CheckoutChange { lifetime_s: Some(7200), tags: Some(tags(&[("a", "1"), ("b", "")])) };
    let changed = core.checkout_change(&user, &name, &change).await?;
    assert_eq!(changed.lent_until(), Some(began.plus(Duration::from_secs(7200))));
    let more = CheckoutChange { lifetime_s: None, tags: Some(tags(&[("c", "2")])) };
    let changed = core.checkout_change(&user, &name, &more).await?;
    let kept = &changed.stock.as_ref().unwrap().checkout.as_ref().unwrap().tags;
    assert_eq!(*kept, tags(&[("a", "1"), ("c", "2")]));
    core.checkout_return(&user, &name).await?;
    assert_eq!(core.checkout_return(&user, &name).await.map(drop).unwrap_err().code, "not_found");
    let returned = core.pool_machine(&user, &name).await?;
    assert_eq!(returned.stock.as_ref().unwrap().state, StockState::Returned);
    scene.settle().await?;
    let gone = core.pool_machine(&user, &name).await?;
    assert_eq!(gone.life, Life::Gone, "its record can still be looked up");
    scene.world.check_whole().await
}

#[tokio::test]
async fn a_lifetime_ends_by_the_clock_and_for_ever_does_not() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 3)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let mut lent = Vec::new();
    let endless = CheckoutAsk { lifetime_s: Some(1_000_000_000_000_000_000), ..wants(&[("a", 1)]) };
    let refused = core.pool_checkout(&user, &endless, None).await.unwrap_err();
    assert_eq!(refused.code, "invalid", "its end could not be written down");
    let century = 100 * 366 * 86_400;
    for lifetime_s in [Some(60), Some(0), Some(century)] {
        let ask = CheckoutAsk { lifetime_s, ..wants(&[("a", 1)]) };
        lent.push(core.pool_checkout(&user, &ask, None).await?.remove(0).1);
    }
    assert_eq!(lent[1].lent_until(), None);
    scene.world.clock.advance(Duration::from_secs(59));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.lent, 3);
    scene.world.clock.advance(Duration::from_secs(2));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.lent, 2);
    assert_eq!(core.pool_machine(&user, lent[0].name.as_str()).await?.life, Life::Gone);
    scene.world.clock.advance(Duration::from_secs(400 * 86400));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.lent, 2);
    scene.world.check_whole().await
}

#[tokio::test]
async fn quotas_of_checkouts_hold_for_many_at_once() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 10)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let limits = Amounts { checkouts: Some(4), ..Amounts::default() };
    core.quota_set(&scene.world.admin, Subject::Account(user.account), limits).await?;
    let ask = wants(&[("a", 1)]);
    let answers =
        futures_util::future::join_all((0..10).map(|_| core.pool_checkout(&user, &ask, None))).await;
    let refused = answers.iter().filter_map(|answer| answer.as_ref().err());
    assert!(refused.clone().all(|error| error.code == "quota"), "{answers:?}");
    assert_eq!(refused.count(), 6);
    assert_eq!(core.quota_own(&user).await?[0].used.checkouts, Some(4));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.ready, 10, "what was refused is still there");
    scene.world.check_whole().await
}

#[tokio::test]
async fn the_same_request_again_gets_the_same_machines() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 3)]).await?;
    let core = scene.world.core.clone();
    let user = scene.user("ulla").await?;
    let once = Idempotency { key: "one".into(), request: "a".into() };
    let first = core.pool_checkout(&user, &wants(&[("a", 2)]), Some(&once)).await?;
    let again = core.pool_checkout(&user, &wants(&[("a", 2)]), Some(&once)).await?;
    assert_eq!(names(&first), names(&again));
    scene.settle().await?;
    assert_eq!(scene.counts("a").await?.lent, 2);
    Ok(())
}
