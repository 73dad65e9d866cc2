//! Everything that a database holds, moved from one engine to the other and back.

use crate::postgres::server;
use crate::records::{
    account, address, at, claim, cluster, document, event, id, insert, machine, task, task_id, update,
};
use hostler_core::ports::{Alteration, Commit, Store};
use hostler_core::record::{Document, Kind, Value};
use hostler_core::time::Timestamp;
use hostler_store::state::{Item, Place, Source, StateError, Target};
use hostler_store::{PostgresStore, SqliteStore};

/// A record of each kind, some of them changed, some gone; a task that is held; events, the first of them pruned.
async fn fill(store: &dyn Store) {
    insert(store, machine(1, "one")).await.unwrap();
    insert(store, machine(2, "zwei \u{e4} % _ \\ '")).await.unwrap();
    update(store, at(machine(2, "two"), 2, 1)).await.unwrap();
    for others in [
        account(3, "anna"),
        at(cluster(4, "forty"), 40, 0),
        address(5, 9, "10.0.0.1"),
        task(6, 1),
        task(7, 2),
        named(Kind::Storage, 8, &["host"]),
        named(Kind::Network, 9, &["cluster"]),
        named(Kind::Host, 10, &["cluster"]),
        with_state(Kind::Medium, 11, &["storage"]),
        with_state(Kind::Snapshot, 12, &["machine"]),
        credential(13),
        keyed(Kind::Replay, 14, "key"),
        template(15),
        volume(16),
        cluster(17, "gone"),
    ]
    .into_iter()
    .chain(identity())
    {
        insert(store, others).await.unwrap();
    }
    let gone = Alteration::Delete { kind: Kind::Cluster, id: id(17), rev: 1 };
    store.commit(Commit { alterations: vec![gone], ..Commit::default() }).await.unwrap();
    assert_eq!(store.claim(claim("worker", 10, 1000, 1)).await.unwrap().len(), 1);
    store.commit(Commit { cancel: Some(task_id(7)), ..Commit::default() }).await.unwrap();
    for time in 1..=1200 {
        let events = vec![event(time, 1), event(time, 2)];
        store.commit(Commit { events, ..Commit::default() }).await.unwrap();
    }
    store.prune_events(Timestamp(100), 1000).await.unwrap();
}

fn named(kind: Kind, key: u128, ids: &[&'static str]) -> Document {
    let mut columns: Vec<(&'static str, Value)> = vec![("name", format!("n{key}").into())];
    columns.extend(ids.iter().map(|name| (*name, id(99).into())));
    columns.push(("created_at", 5.into()));
    document(kind, key, columns)
}

fn with_state(kind: Kind, key: u128, ids: &[&'static str]) -> Document {
    let mut record = named(kind, key, ids);
    record.columns.extend([("owner", id(3).into()), ("state", "ready".into()), ("task", Value::Null)]);
    record
}

fn keyed(kind: Kind, key: u128, column: &'static str) -> Document {
    document(kind, key, vec![("account", id(3).into()), (column, "k".into()), ("created_at", 5.into())])
}

fn credential(key: u128) -> Document {
    let mut record = keyed(Kind::Credential, key, "hash");
    record.columns.extend([("kind", "token".into()), ("description", "d".into())]);
    record.columns.extend([("expires_at", 9.into()), ("used_at", Value::Null)]);
    record
}

/// Records of the kinds whose names are words of SQL, and others that came with them.
fn identity() -> Vec<Document> {
    let of = |kind, key, columns: &[(&'static str, Value)]| {
        let columns = columns.iter().cloned().chain([("created_at", 5.into())]);
        document(kind, key, columns.collect())
    };
    let text = |name, value: &str| (name, Value::from(value));
    let subject = [("subject", Value::Id(id(3))), text("subject_kind", "account")];
    let object = [text("object_kind", "machine"), ("object", Value::Id(id(1)))];
    vec![
        of(Kind::Group, 20, &[text("name", "team")]),
        of(Kind::Member, 21, &[("in_group", id(20).into()), ("account", id(3).into())]),
        of(Kind::SshKey, 22, &[("account", id(3).into()), text("name", "laptop"), text("fingerprint", "f")]),
        of(Kind::Grant, 23, &[subject.as_slice(), object.as_slice()].concat()),
        of(Kind::Quota, 24, &subject),
        of(Kind::Setting, 25, &[text("name", "maintenance")]),
        of(Kind::Pool, 27, &[text("name", "debian")]),
        of(Kind::Request, 28, &[text("key", "k"), text("state", "open"), ("owner", id(3).into())]),
        of(Kind::Demand, 29, &[text("pool", "debian"), ("day", 20_000.into())]),
        of(
            Kind::Golden,
            30,
            &[
                ("template", id(4).into()),
                ("host", id(3).into()),
                text("state", "ready"),
                ("task", Value::Null),
            ],
        ),
        of(
            Kind::Deed,
            26,
            &[
                ("account", Value::Null),
                text("login", "anna"),
                text("action", "account.login"),
                ("object", Value::Null),
                text("object_kind", ""),
                text("door", "native"),
                text("outcome", "denied"),
            ],
        ),
    ]
}

fn template(key: u128) -> Document {
    let mut record = with_state(Kind::Template, key, &["storage"]);
    record.columns.push(("version", 3.into()));
    record
}

fn volume(key: u128) -> Document {
    let mut record = with_state(Kind::Volume, key, &["storage", "machine"]);
    record.columns.extend([("template", Value::Null), ("golden", Value::Null), ("size_mib", 64.into())]);
    record
}

async fn everything(place: &Place) -> Vec<Item> {
    let mut source = Source::open(place, false).await.unwrap();
    let mut items = Vec::new();
    while let Some(item) = source.next().await.unwrap() {
        items.push(item);
    }
    source.close().await;
    items
}

async fn pour(items: &[Item], place: &Place) {
    let mut target = Target::open(place).await.unwrap();
    for item in items {
        target.put(item.clone()).await.unwrap();
    }
    let counts = target.finish().await.unwrap();
    assert_eq!(counts["task"], 2);
    assert_eq!(counts["event"], 2202);
}

#[tokio::test]
async fn everything_moves_there_and_back() {
    let Some(server) = server() else { return };
    let directory = tempfile::TempDir::new().unwrap();
    let first = Place::File(directory.path().join("first.db"));
    let second = Place::File(directory.path().join("second.db"));
    let url = server.database(None).unwrap();
    let there = Place::Server(url.parse().unwrap());

    let store = SqliteStore::open(&directory.path().join("first.db")).await.unwrap();
    fill(&store).await;
    // While it is being served.
    let items = everything(&first).await;
    store.close().await;
    for kind in Kind::ALL {
        assert!(items.iter().any(|item| item.table() == kind.word()), "{kind:?}");
    }
    pour(&items, &there).await;
    let moved = everything(&there).await;
    assert_eq!(moved, items);
    pour(&moved, &second).await;
    assert_eq!(everything(&second).await, items);

    let there = PostgresStore::open(&url).await.unwrap();
    let back = SqliteStore::open(&directory.path().join("second.db")).await.unwrap();
    for store in [&there as &dyn Store, &back] {
        let kept = store.get(Kind::Machine, id(2)).await.unwrap().unwrap();
        assert_eq!((kept.number, kept.rev), (2, 2));
        assert_eq!(insert(store, cluster(50, "next")).await.unwrap().stamps[0].number, 42);
        assert_eq!(insert(store, account(51, "bert")).await.unwrap().stamps[0].number, 4);
        // Nobody holds a task, and who held one cannot write for it.
        let claimed = store.claim(claim("next", 10, 20, 9)).await.unwrap();
        let leases: Vec<_> = claimed.iter().map(|task| (task.epoch, task.cancel_requested)).collect();
        assert_eq!(leases, [(1, true), (2, false)]);
        store.commit(Commit { events: vec![event(1, 1)], ..Commit::default() }).await.unwrap();
        assert_eq!(store.event_bounds().await.unwrap(), (199, 2401));
    }
    there.close().await;
    back.close().await;
}

#[tokio::test]
async fn a_target_is_empty_or_stays_as_it_is() {
    let Some(server) = server() else { return };
    let directory = tempfile::TempDir::new().unwrap();
    let file = Place::File(directory.path().join("file.db"));
    let url = server.database(None).unwrap();
    let there = Place::Server(url.parse().unwrap());
    let record = |key: u128| Item::Record {
        kind: "cluster".into(),
        id: id(key),
        number: 1,
        rev: 1,
        columns: serde_json::json!({ "name": format!("c{key}"), "created_at": 1 })
            .as_object()
            .unwrap()
            .clone(),
        lease: None,
        body: "{}".into(),
    };
    for place in [&file, &there] {
        // Cut off in the middle: nothing is there, and it can be tried again.
        let mut cut = Target::open(place).await.unwrap();
        cut.put(record(1)).await.unwrap();
        drop(cut);
        let mut target = Target::open(place).await.unwrap();
        let unfit = target.put(Item::Counter { kind: "ghost".into(), next: 1 }).await;
        assert!(matches!(unfit, Err(StateError::Unfit(_))), "{unfit:?}");
        drop(target);
        let mut target = Target::open(place).await.unwrap();
        target.put(record(1)).await.unwrap();
        target.finish().await.unwrap();
        let full = Target::open(place).await.unwrap_err();
        assert!(matches!(full, StateError::NotEmpty(_)), "{full}");
    }
    let served = PostgresStore::open(&url).await.unwrap();
    assert!(matches!(Target::open(&there).await, Err(StateError::InUse(_))));
    assert!(matches!(Source::open(&there, true).await, Err(StateError::InUse(_))));
    Source::open(&there, false).await.unwrap().close().await;
    served.close().await;
}
