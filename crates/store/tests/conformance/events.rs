//! Events: order, resuming, forgetting.

use crate::Fresh;
use crate::records::{cluster, event, id, insert};
use hostler_core::events::{Change, NewEvent};
use hostler_core::ids::AccountId;
use hostler_core::ports::{Alteration, Commit};
use hostler_core::record::Kind;
use hostler_core::time::Timestamp;
use tokio::sync::broadcast::error::TryRecvError;

fn telling(events: Vec<NewEvent>) -> Commit {
    Commit { events, ..Commit::default() }
}

pub(crate) async fn events_come_back_in_the_order_of_commits(store: Fresh) {
    assert_eq!(store.event_bounds().await.unwrap(), (0, 0));
    let all = Change::Created;
    let owned = NewEvent {
        kind: Kind::Volume,
        change: Change::Deleted,
        owner: Some(AccountId(id(5))),
        ..event(3, 3)
    };
    let told = [event(9, 1), event(2, 2), owned, NewEvent { change: all, ..event(4, 4) }];
    store.commit(telling(told[..2].to_vec())).await.unwrap();
    store.commit(telling(told[2..].to_vec())).await.unwrap();
    let kept = store.events_after(0, 100).await.unwrap();
    assert_eq!(kept.iter().map(|event| event.event.clone()).collect::<Vec<_>>(), told);
    assert!(kept.windows(2).all(|pair| pair[0].seq < pair[1].seq));
    let resumed = store.events_after(kept[1].seq, 1).await.unwrap();
    assert_eq!(resumed, kept[2..3]);
    assert!(store.events_after(kept[3].seq, 100).await.unwrap().is_empty());
    assert_eq!(store.event_bounds().await.unwrap(), (kept[0].seq, kept[3].seq));
}

pub(crate) async fn subscribers_hear_what_is_committed_and_nothing_else(store: Fresh) {
    let mut heard = store.subscribe();
    store.commit(telling(vec![event(1, 1), event(2, 2)])).await.unwrap();
    insert(&*store, cluster(1, "one")).await.unwrap();
    let refused = Commit {
        alterations: vec![Alteration::Insert(cluster(2, "one"))],
        events: vec![event(3, 3)],
        ..Commit::default()
    };
    assert!(store.commit(refused).await.is_err());
    store.commit(telling(vec![event(4, 4)])).await.unwrap();
    // Whoever has the answer finds the events.
    let kept = store.events_after(0, 100).await.unwrap();
    assert_eq!(kept.len(), 3);
    for event in kept {
        assert_eq!(*heard.try_recv().unwrap(), event);
    }
    assert!(matches!(heard.try_recv(), Err(TryRecvError::Empty)));
}

pub(crate) async fn pruning_forgets_the_oldest(store: Fresh) {
    for at in 1..=10 {
        store.commit(telling(vec![event(at, 1)])).await.unwrap();
    }
    let times = || async {
        let kept = store.events_after(0, 100).await.unwrap();
        kept.iter().map(|event| event.event.at.0).collect::<Vec<_>>()
    };
    assert_eq!(store.prune_events(Timestamp(6), 3).await.unwrap(), 3);
    assert_eq!(times().await, [4, 5, 6, 7, 8, 9, 10]);
    assert_eq!(store.prune_events(Timestamp(6), 100).await.unwrap(), 2);
    assert_eq!(store.prune_events(Timestamp(6), 100).await.unwrap(), 0);
    let (_, last) = store.event_bounds().await.unwrap();
    assert_eq!(store.prune_events(Timestamp(100), 100).await.unwrap(), 5);
    assert_eq!(store.event_bounds().await.unwrap(), (0, 0));
    store.commit(telling(vec![event(11, 1)])).await.unwrap();
    assert_eq!(store.event_bounds().await.unwrap(), (last + 1, last + 1), "a seq never comes again");
}
