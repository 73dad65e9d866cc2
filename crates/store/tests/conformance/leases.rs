//! Leases of tasks: claims, epochs, fences, cancelling.

use crate::Fresh;
use crate::records::{at, claim, cluster, id, insert, task, task_id, update, with};
use hostler_core::ids::HostId;
use hostler_core::ports::{Alteration, Claim, Claimed, Commit, Fence, StoreError};
use hostler_core::query::Filter;
use hostler_core::record::Kind;
use hostler_core::time::Timestamp;

fn keys(claimed: &[Claimed]) -> Vec<u128> {
    claimed.iter().map(|task| task.document.id.as_u128()).collect()
}

fn fenced(key: u128, epoch: i64, release: bool) -> Commit {
    Commit { fence: Some(Fence { task: task_id(key), epoch, release }), ..Commit::default() }
}

pub(crate) async fn a_claim_takes_what_is_due_earliest_first(store: Fresh) {
    for (key, due) in [(1, 30), (2, 10), (3, 20), (4, 20), (5, 99)] {
        insert(&*store, task(key, due)).await.unwrap();
    }
    assert!(store.claim(claim("w", 50, 80, 0)).await.unwrap().is_empty());
    let first = store.claim(claim("w", 50, 80, 3)).await.unwrap();
    assert_eq!(keys(&first), [2, 3, 4]);
    assert!(first.iter().all(|task| task.epoch == 1 && !task.cancel_requested));
    assert_eq!((first[0].document.kind, first[0].document.number, first[0].document.rev), (Kind::Task, 2, 1));
    assert_eq!(first[0].document.body, task(2, 0).body);
    assert_eq!(keys(&store.claim(claim("v", 50, 80, 3)).await.unwrap()), [1]);
    assert!(store.claim(claim("v", 50, 80, 3)).await.unwrap().is_empty());
}

pub(crate) async fn a_claim_leaves_other_hosts_and_closed_tasks(store: Fresh) {
    insert(&*store, with(task(1, 1), "host", id(71))).await.unwrap();
    insert(&*store, with(task(2, 2), "host", id(72))).await.unwrap();
    insert(&*store, with(task(3, 3), "open", false)).await.unwrap();
    insert(&*store, task(4, 4)).await.unwrap();
    let hosts = |hosts: &[u128]| Claim {
        hosts: hosts.iter().map(|host| HostId(id(*host))).collect(),
        ..claim("w", 50, 60, 10)
    };
    assert_eq!(keys(&store.claim(hosts(&[72, 73])).await.unwrap()), [2, 4]);
    assert!(store.claim(hosts(&[])).await.unwrap().is_empty());
    assert_eq!(keys(&store.claim(hosts(&[71])).await.unwrap()), [1]);
}

pub(crate) async fn a_claim_of_what_has_begun_leaves_what_is_queued(store: Fresh) {
    insert(&*store, task(1, 1)).await.unwrap();
    insert(&*store, with(task(2, 2), "state", "running")).await.unwrap();
    insert(&*store, with(task(3, 3), "state", "undoing")).await.unwrap();
    let begun = Claim { begun: true, ..claim("w", 10, 20, 10) };
    assert_eq!(keys(&store.claim(begun).await.unwrap()), [2, 3]);
    assert_eq!(keys(&store.claim(claim("w", 10, 20, 10)).await.unwrap()), [1]);
}

pub(crate) async fn a_lease_that_ended_goes_to_the_next_with_a_new_epoch(store: Fresh) {
    insert(&*store, task(1, 1)).await.unwrap();
    assert_eq!(store.claim(claim("w", 10, 20, 1)).await.unwrap()[0].epoch, 1);
    assert!(store.claim(claim("v", 19, 40, 1)).await.unwrap().is_empty());
    assert_eq!(store.claim(claim("v", 20, 40, 1)).await.unwrap()[0].epoch, 2);
    // A change of the record does not touch the lease.
    update(&*store, at(task(1, 1), 1, 1)).await.unwrap();
    assert!(store.claim(claim("w", 21, 40, 1)).await.unwrap().is_empty());
}

pub(crate) async fn renewing_prolongs_and_names_what_was_lost(store: Fresh) {
    for key in 1..=3 {
        insert(&*store, task(key, 1)).await.unwrap();
    }
    assert!(store.renew(vec![], Timestamp(50)).await.unwrap().is_empty());
    store.claim(claim("w", 10, 20, 3)).await.unwrap();
    let second = store.claim(claim("v", 20, 30, 1)).await.unwrap();
    assert_eq!((keys(&second), second[0].epoch), (vec![1], 2));
    let held = vec![(task_id(1), 1), (task_id(2), 1), (task_id(3), 1), (task_id(9), 1)];
    assert_eq!(store.renew(held, Timestamp(50)).await.unwrap(), [task_id(1), task_id(9)]);
    assert_eq!(keys(&store.claim(claim("u", 49, 60, 9)).await.unwrap()), [1]);
    assert_eq!(keys(&store.claim(claim("u", 50, 60, 9)).await.unwrap()), [2, 3]);
}

pub(crate) async fn a_lost_lease_fences_the_whole_commit(store: Fresh) {
    insert(&*store, task(1, 1)).await.unwrap();
    let write = |epoch, rev| Commit {
        alterations: vec![
            Alteration::Update(at(task(1, 1), 1, rev)),
            Alteration::Insert(cluster(5, "made by the task")),
        ],
        ..fenced(1, epoch, false)
    };
    let never = store.commit(write(0, 1)).await;
    assert!(matches!(never, Err(StoreError::Fenced(task)) if task == task_id(1)), "nobody has claimed it");
    store.claim(claim("w", 10, 20, 1)).await.unwrap();
    store.claim(claim("v", 20, 30, 1)).await.unwrap();
    assert!(matches!(store.commit(write(1, 1)).await, Err(StoreError::Fenced(_))));
    // Also when another part of the commit would be refused.
    assert!(matches!(store.commit(write(1, 7)).await, Err(StoreError::Fenced(_))));
    assert_eq!(store.count(Kind::Cluster, Filter::All).await.unwrap(), 0);
    assert_eq!(store.get(Kind::Task, id(1)).await.unwrap().unwrap().rev, 1);
    let committed = store.commit(write(2, 1)).await.unwrap();
    assert_eq!(committed.stamps.len(), 2, "the fence has no stamp");
    assert!(matches!(store.commit(fenced(9, 1, false)).await, Err(StoreError::Fenced(_))));
}

pub(crate) async fn a_released_lease_is_free_and_fences(store: Fresh) {
    insert(&*store, task(1, 1)).await.unwrap();
    store.claim(claim("w", 10, 1000, 1)).await.unwrap();
    store.commit(fenced(1, 1, false)).await.unwrap();
    let release =
        Commit { alterations: vec![Alteration::Update(at(task(1, 15), 1, 1))], ..fenced(1, 1, true) };
    store.commit(release).await.unwrap();
    assert!(matches!(store.commit(fenced(1, 1, false)).await, Err(StoreError::Fenced(_))));
    assert_eq!(store.renew(vec![(task_id(1), 1)], Timestamp(2000)).await.unwrap(), [task_id(1)]);
    assert!(store.claim(claim("v", 14, 30, 1)).await.unwrap().is_empty(), "it is not due");
    assert_eq!(store.claim(claim("v", 15, 30, 1)).await.unwrap()[0].epoch, 2);
}

pub(crate) async fn a_wish_to_cancel_reaches_the_holder(store: Fresh) {
    insert(&*store, task(1, 1)).await.unwrap();
    insert(&*store, task(2, 2)).await.unwrap();
    store.claim(claim("w", 10, 20, 1)).await.unwrap();
    assert!(!store.commit(fenced(1, 1, false)).await.unwrap().cancel_requested);
    for key in [1, 2] {
        store.commit(Commit { cancel: Some(task_id(key)), ..Commit::default() }).await.unwrap();
    }
    // It does not change the version, so the holder's next write is not stale.
    let write = Commit { alterations: vec![Alteration::Update(at(task(1, 1), 1, 1))], ..fenced(1, 1, true) };
    assert!(store.commit(write).await.unwrap().cancel_requested);
    let claimed = store.claim(claim("w", 10, 20, 9)).await.unwrap();
    assert_eq!(claimed.iter().map(|task| task.cancel_requested).collect::<Vec<_>>(), [true, true]);
    let nobody = store.commit(Commit { cancel: Some(task_id(9)), ..Commit::default() }).await;
    assert!(matches!(nobody, Err(StoreError::Stale { kind: Kind::Task, .. })));
}

pub(crate) async fn the_next_due_task_counts_leases_and_hosts(store: Fresh) {
    let next = |hosts: Vec<HostId>| store.next_due(hosts);
    assert_eq!(next(vec![]).await.unwrap(), None);
    insert(&*store, with(task(1, 10), "host", id(71))).await.unwrap();
    insert(&*store, task(2, 20)).await.unwrap();
    insert(&*store, task(3, 40)).await.unwrap();
    insert(&*store, with(task(4, 1), "open", false)).await.unwrap();
    assert_eq!(next(vec![]).await.unwrap(), Some(Timestamp(20)));
    assert_eq!(next(vec![HostId(id(71)), HostId(id(72))]).await.unwrap(), Some(Timestamp(10)));
    store.claim(claim("w", 20, 30, 1)).await.unwrap();
    assert_eq!(next(vec![]).await.unwrap(), Some(Timestamp(30)), "when the lease ends");
    store.renew(vec![(task_id(2), 1)], Timestamp(50)).await.unwrap();
    assert_eq!(next(vec![]).await.unwrap(), Some(Timestamp(40)));
}

pub(crate) async fn a_dead_workers_leases_are_given_up_at_once(store: Fresh) {
    for key in 1..=3 {
        insert(&*store, task(key, 1)).await.unwrap();
    }
    store.claim(claim("dead", 10, 1000, 2)).await.unwrap();
    store.claim(claim("alive", 10, 1000, 1)).await.unwrap();
    assert_eq!(store.disown("dead".into()).await.unwrap(), 2);
    assert_eq!(store.disown("dead".into()).await.unwrap(), 0);
    let again = store.claim(claim("next", 11, 1000, 9)).await.unwrap();
    assert_eq!((keys(&again), again[0].epoch), (vec![1, 2], 2));
    assert!(matches!(store.commit(fenced(1, 1, false)).await, Err(StoreError::Fenced(_))));
}

pub(crate) async fn cancelling_makes_a_waiting_task_due(store: Fresh) {
    insert(&*store, task(1, 500)).await.unwrap();
    assert!(store.claim(claim("w", 10, 20, 1)).await.unwrap().is_empty());
    store.commit(Commit { cancel: Some(task_id(1)), ..Commit::default() }).await.unwrap();
    assert!(store.claim(claim("w", 10, 20, 1)).await.unwrap()[0].cancel_requested);
}
