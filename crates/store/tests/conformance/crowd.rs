//! Many at once.

use crate::Fresh;
use crate::records::{at, claim, cluster, commit, event, id, insert, machine, task, update, with};
use hostler_core::ports::{Alteration, Commit, Guard, StoreError};
use hostler_core::query::{Compare, Filter};
use hostler_core::record::Kind;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

pub(crate) async fn sixty_four_writers_lose_no_increment(store: Fresh) {
    let mut counter = cluster(1, "counter");
    counter.body = "0".into();
    insert(&*store, counter).await.unwrap();
    let writers: Vec<_> = (0..64)
        .map(|_| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                for _ in 0..4 {
                    loop {
                        let held = store.get(Kind::Cluster, id(1)).await.unwrap().unwrap();
                        let mut next = at(cluster(1, "counter"), held.number, held.rev);
                        next.body = (held.body.parse::<u64>().unwrap() + 1).to_string();
                        match update(&*store, next).await {
                            Ok(_) => break,
                            Err(StoreError::Stale { .. }) => {}
                            Err(other) => panic!("{other}"),
                        }
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let held = store.get(Kind::Cluster, id(1)).await.unwrap().unwrap();
    assert_eq!((held.body.as_str(), held.rev), ("256", 257));
}

pub(crate) async fn a_refused_commit_does_not_sink_its_neighbours(store: Fresh) {
    insert(&*store, cluster(1000, "taken")).await.unwrap();
    // All at once, so that they share commits; every fourth is refused after it has written something.
    let asked: Vec<_> = (0..200_u128)
        .map(|key| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut alterations = vec![Alteration::Insert(cluster(key, &format!("c{key}")))];
                match key % 8 {
                    0 => alterations.push(Alteration::Insert(cluster(key + 2000, "taken"))),
                    4 => alterations.push(Alteration::Update(at(cluster(1000, "renamed"), 1, 9))),
                    _ => {}
                }
                let events = vec![event(1, key)];
                store.commit(Commit { alterations, events, ..Commit::default() }).await
            })
        })
        .collect();
    let mut numbers = HashSet::new();
    for (key, answer) in asked.into_iter().enumerate() {
        match (key % 8, answer.await.unwrap()) {
            (0, Err(StoreError::Taken { .. })) | (4, Err(StoreError::Stale { .. })) => {}
            (0 | 4, other) => panic!("{key}: {other:?}"),
            (_, answer) => assert!(numbers.insert(answer.unwrap().stamps[0].number)),
        }
    }
    assert_eq!(numbers, (2..=151).collect(), "no number is lost to a refused commit");
    assert_eq!(store.count(Kind::Cluster, Filter::All).await.unwrap(), 151);
    let events = store.events_after(0, 1000).await.unwrap();
    assert_eq!(events.len(), 150);
    assert!(events.iter().all(|event| event.event.subject.as_u128() % 4 != 0));
}

pub(crate) async fn bounds_hold_whoever_shares_a_commit(store: Fresh) {
    insert(&*store, cluster(1000, "before")).await.unwrap();
    let bound = |filter: Filter, at_most| {
        let what = "clusters".to_owned();
        Guard { kind: Kind::Cluster, column: None, filter, at_most, asked: 1, what }
    };
    // All at once, so that they share commits; odd ones are bounded, even ones are not.
    let asked: Vec<_> = (0..100_u128)
        .map(|key| {
            let store = Arc::clone(&store);
            let name = if key % 2 == 0 { "free" } else { "bounded" };
            let guards = vec![bound(Filter::Is("name", Compare::Contains, "bounded".into()), 7)];
            let guards = if key % 2 == 0 { Vec::new() } else { guards };
            let alterations = vec![Alteration::Insert(cluster(key, &format!("{name}{key}")))];
            tokio::spawn(
                async move { store.commit(Commit { alterations, guards, ..Commit::default() }).await },
            )
        })
        .collect();
    let mut made = 0;
    for (key, answer) in asked.into_iter().enumerate() {
        match (key % 2, answer.await.unwrap()) {
            (0, answer) => drop(answer.unwrap()),
            (_, Ok(_)) => made += 1,
            (_, Err(StoreError::Exceeded { guard, found })) => assert_eq!((guard.at_most, found), (7, 8)),
            (_, other) => panic!("{key}: {other:?}"),
        }
    }
    assert_eq!((made, store.count(Kind::Cluster, Filter::All).await.unwrap()), (7, 58));

    // A sum counts what the commit itself changes; several bounds must hold together.
    let sum = |at_most| Guard { kind: Kind::Machine, column: Some("vcpus"), ..bound(Filter::All, at_most) };
    let grown = |vcpus: i64, guards| {
        let alterations = vec![Alteration::Update(at(with(machine(7, "seven"), "vcpus", vcpus), 1, 1))];
        store.commit(Commit { alterations, guards, ..Commit::default() })
    };
    insert(&*store, machine(7, "seven")).await.unwrap();
    let refused = grown(4, vec![sum(9), sum(3)]).await;
    assert!(matches!(refused, Err(StoreError::Exceeded { found: 4, .. })), "{refused:?}");
    grown(4, vec![sum(4)]).await.unwrap();
}

pub(crate) async fn an_abandoned_commit_is_whole(store: Fresh) {
    for key in 0..200 {
        let both = commit(vec![
            Alteration::Insert(cluster(2 * key, &format!("a{key}"))),
            Alteration::Insert(cluster(2 * key + 1, &format!("b{key}"))),
        ]);
        let store = Arc::clone(&store);
        let asked = tokio::spawn(async move { store.commit(both).await });
        // Some before they are asked, some in the queue, some while they run.
        for _ in 0..key % 7 {
            tokio::task::yield_now().await;
        }
        asked.abort();
    }
    insert(&*store, cluster(5000, "after all of them")).await.unwrap();
    for key in 0..200 {
        let first = store.get(Kind::Cluster, id(2 * key)).await.unwrap();
        let second = store.get(Kind::Cluster, id(2 * key + 1)).await.unwrap();
        assert_eq!(first.is_some(), second.is_some());
    }
}

pub(crate) async fn two_claimants_never_get_the_same_task(store: Fresh) {
    let tasks = (1..=200).map(|key| Alteration::Insert(task(key, 1))).collect();
    store.commit(commit(tasks)).await.unwrap();
    let claimants: Vec<_> = (0..8)
        .map(|worker| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut mine = Vec::new();
                loop {
                    let more = store.claim(claim(&format!("w{worker}"), 10, 20, 3)).await.unwrap();
                    if more.is_empty() {
                        return mine;
                    }
                    mine.extend(more.into_iter().map(|task| (task.document.id, task.epoch)));
                }
            })
        })
        .collect();
    let mut all = Vec::new();
    for claimant in claimants {
        let mine = tokio::time::timeout(Duration::from_secs(60), claimant).await.unwrap().unwrap();
        all.extend(mine);
    }
    assert!(all.iter().all(|(_, epoch)| *epoch == 1));
    assert_eq!((all.len(), all.into_iter().collect::<HashSet<_>>().len()), (200, 200));
}
