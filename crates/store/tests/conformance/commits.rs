//! One commit: all or nothing, versions, uniqueness.

use crate::Fresh;
use crate::records::{
    account, address, at, cluster, commit, document, event, id, insert, machine, update, with,
};
use hostler_core::events::NewEvent;
use hostler_core::ports::{Alteration, Commit, Committed, Stamp, StoreError};
use hostler_core::query::{Compare, Filter, Select};
use hostler_core::record::{Document, Kind, Value};

pub(crate) async fn what_is_inserted_is_found(store: Fresh) {
    let given = machine(7, "seven");
    let committed = insert(&*store, given.clone()).await.unwrap();
    assert_eq!(committed.stamps, [Stamp { number: 1, rev: 1 }]);
    let kept = Document { number: 1, rev: 1, columns: vec![], ..given };
    assert_eq!(store.get(Kind::Machine, id(7)).await.unwrap(), Some(kept.clone()));
    let named = store.find(Kind::Machine, "name", "seven".into()).await.unwrap();
    assert_eq!(named, Some(kept));
    assert_eq!(store.get(Kind::Machine, id(8)).await.unwrap(), None);
    assert_eq!(store.get(Kind::Volume, id(7)).await.unwrap(), None);
    assert_eq!(store.find(Kind::Machine, "name", "eight".into()).await.unwrap(), None);
}

pub(crate) async fn an_update_replaces_the_record_and_counts_its_version(store: Fresh) {
    insert(&*store, machine(7, "seven")).await.unwrap();
    let mut changed = at(with(with(machine(7, "seven"), "owner", id(5)), "life", "deleting"), 1, 1);
    changed = with(with(changed, "task", id(6)), "vcpus", 8);
    changed.body = "{\"new\":true}".into();
    let committed = update(&*store, changed).await.unwrap();
    assert_eq!(committed.stamps, [Stamp { number: 1, rev: 2 }]);
    let kept = store.get(Kind::Machine, id(7)).await.unwrap().unwrap();
    assert_eq!((kept.number, kept.rev, kept.body.as_str()), (1, 2, "{\"new\":true}"));
    let count = |column, value: Value| store.count(Kind::Machine, Filter::eq(column, value));
    assert_eq!(count("owner", id(5).into()).await.unwrap(), 1);
    assert_eq!(count("owner", id(1).into()).await.unwrap(), 0);
    assert_eq!(count("life", "deleting".into()).await.unwrap(), 1);
    assert_eq!(count("task", id(6).into()).await.unwrap(), 1);
    assert_eq!(count("vcpus", 8.into()).await.unwrap(), 1);
    update(&*store, at(machine(7, "seven"), 1, 2)).await.unwrap();
    assert_eq!(count("task", Value::Null).await.unwrap(), 1);
}

pub(crate) async fn a_deleted_record_is_gone(store: Fresh) {
    insert(&*store, cluster(1, "one")).await.unwrap();
    let delete = Alteration::Delete { kind: Kind::Cluster, id: id(1), rev: 1 };
    let committed = store.commit(commit(vec![delete.clone()])).await.unwrap();
    assert_eq!(committed.stamps, [Stamp { number: 1, rev: 1 }]);
    assert_eq!(store.get(Kind::Cluster, id(1)).await.unwrap(), None);
    let again = store.commit(commit(vec![delete])).await;
    assert!(matches!(again, Err(StoreError::Stale { kind: Kind::Cluster, id: gone }) if gone == id(1)));
}

pub(crate) async fn an_empty_commit_does_nothing(store: Fresh) {
    assert_eq!(store.commit(Commit::default()).await.unwrap(), Committed::default());
}

pub(crate) async fn one_bad_alteration_undoes_the_whole_commit(store: Fresh) {
    insert(&*store, cluster(1, "one")).await.unwrap();
    insert(&*store, cluster(2, "two")).await.unwrap();
    for bad in [
        Alteration::Insert(cluster(9, "two")),
        Alteration::Insert(cluster(2, "nine")),
        Alteration::Update(at(cluster(2, "second"), 2, 7)),
        Alteration::Update(cluster(77, "none")),
        Alteration::Delete { kind: Kind::Cluster, id: id(2), rev: 7 },
    ] {
        let committed = store
            .commit(Commit {
                alterations: vec![
                    Alteration::Update(at(cluster(1, "first"), 1, 1)),
                    Alteration::Insert(machine(5, "five")),
                    bad.clone(),
                    Alteration::Insert(machine(6, "six")),
                ],
                events: vec![event(1, 5)],
                ..Commit::default()
            })
            .await;
        assert!(committed.is_err(), "{bad:?}");
        assert!(store.find(Kind::Cluster, "name", "one".into()).await.unwrap().is_some());
        assert_eq!(store.count(Kind::Machine, Filter::All).await.unwrap(), 0);
        assert_eq!(store.event_bounds().await.unwrap(), (0, 0));
    }
}

pub(crate) async fn a_version_that_has_passed_is_stale(store: Fresh) {
    insert(&*store, machine(1, "one")).await.unwrap();
    update(&*store, at(machine(1, "one"), 1, 1)).await.unwrap();
    for rev in [0, 1, 3] {
        let stale = update(&*store, at(machine(1, "other"), 1, rev)).await;
        assert!(matches!(stale, Err(StoreError::Stale { kind: Kind::Machine, id: key }) if key == id(1)));
    }
    assert_eq!(store.get(Kind::Machine, id(1)).await.unwrap().unwrap().rev, 2);
    assert!(store.find(Kind::Machine, "name", "other".into()).await.unwrap().is_none());
}

fn named(kind: Kind, key: u128, name: &str) -> Document {
    let second = match kind {
        Kind::Storage => "host",
        _ => "cluster",
    };
    document(kind, key, vec![("name", name.into()), (second, id(1).into()), ("created_at", 0.into())])
}

fn template(key: u128, name: &str, version: i64) -> Document {
    let columns = vec![
        ("name", name.into()),
        ("version", version.into()),
        ("state", "present".into()),
        ("owner", id(1).into()),
        ("storage", id(1).into()),
        ("task", Value::Null),
        ("created_at", 0.into()),
    ];
    document(Kind::Template, key, columns)
}

fn keyed(kind: Kind, key: u128, column: &'static str, value: &str) -> Document {
    let columns = vec![("account", id(1).into()), (column, value.into()), ("created_at", 0.into())];
    document(kind, key, columns)
}

fn credential(key: u128) -> Document {
    let mut record = keyed(Kind::Credential, key, "hash", "x");
    record.columns.extend([("kind", "token".into()), ("description", "".into())]);
    record.columns.extend([("expires_at", Value::Null), ("used_at", Value::Null)]);
    record
}

pub(crate) async fn values_that_must_be_unique_are_taken_once(store: Fresh) {
    let email = |key, login| with(account(key, login), "email", "a@example.com");
    let cases = [
        (machine(1, "m"), machine(2, "m"), "name"),
        (cluster(1, "c"), cluster(2, "c"), "name"),
        (named(Kind::Storage, 1, "s"), named(Kind::Storage, 2, "s"), "name"),
        (named(Kind::Network, 1, "n"), named(Kind::Network, 2, "n"), "name"),
        (named(Kind::Host, 1, "h"), named(Kind::Host, 2, "h"), "name"),
        (template(1, "t", 1), template(2, "t", 1), "name"),
        (email(1, "a"), email(2, "b"), "email"),
        (address(1, 5, "10.0.0.1"), address(2, 5, "10.0.0.1"), "ip"),
        (credential(1), credential(2), "hash"),
        (keyed(Kind::Replay, 1, "key", "x"), keyed(Kind::Replay, 2, "key", "x"), "key"),
    ];
    for (first, second, unique) in cases {
        let expected = first.kind;
        insert(&*store, first).await.unwrap();
        let taken = insert(&*store, second).await;
        let Err(StoreError::Taken { kind, column }) = taken else { panic!("{expected:?}: {taken:?}") };
        assert_eq!((kind, column.as_str()), (expected, unique));
    }
    let login = insert(&*store, with(account(3, "a"), "email", "c@example.com")).await;
    assert!(matches!(login, Err(StoreError::Taken { kind: Kind::Account, column }) if column == "login"));
    let number = insert(&*store, at(machine(3, "third"), 1, 0)).await;
    assert!(matches!(number, Err(StoreError::Taken { kind: Kind::Machine, column }) if column == "number"));
    let key = insert(&*store, machine(1, "third")).await;
    assert!(matches!(key, Err(StoreError::Taken { kind: Kind::Machine, column }) if column == "id"));
    // What is unique only together.
    insert(&*store, template(2, "t", 2)).await.unwrap();
    insert(&*store, address(2, 6, "10.0.0.1")).await.unwrap();
    // By an update too.
    insert(&*store, machine(2, "n")).await.unwrap();
    let renamed = update(&*store, at(machine(2, "m"), 2, 1)).await;
    assert!(matches!(renamed, Err(StoreError::Taken { kind: Kind::Machine, column }) if column == "name"));
}

pub(crate) async fn a_machine_that_is_gone_leaves_its_name(store: Fresh) {
    insert(&*store, machine(1, "name")).await.unwrap();
    update(&*store, at(with(machine(1, "name"), "life", "gone"), 1, 1)).await.unwrap();
    insert(&*store, machine(2, "name")).await.unwrap();
    update(&*store, at(with(machine(2, "name"), "life", "gone"), 2, 1)).await.unwrap();
    insert(&*store, machine(3, "name")).await.unwrap();
    let back = update(&*store, at(machine(1, "name"), 1, 2)).await;
    assert!(matches!(back, Err(StoreError::Taken { kind: Kind::Machine, .. })));
}

pub(crate) async fn alterations_happen_in_order(store: Fresh) {
    insert(&*store, cluster(1, "name")).await.unwrap();
    let committed = store
        .commit(commit(vec![
            Alteration::Delete { kind: Kind::Cluster, id: id(1), rev: 1 },
            Alteration::Insert(cluster(2, "name")),
            Alteration::Update(at(cluster(2, "other"), 2, 1)),
            Alteration::Insert(cluster(3, "name")),
        ]))
        .await
        .unwrap();
    let stamps: Vec<_> = committed.stamps.iter().map(|stamp| (stamp.number, stamp.rev)).collect();
    assert_eq!(stamps, [(1, 1), (2, 1), (2, 2), (3, 1)]);
}

pub(crate) async fn a_large_commit_is_still_one(store: Fresh) {
    let fill = |last: &str| {
        let mut all: Vec<_> =
            (0..99).map(|key| Alteration::Insert(machine(key, &format!("machine-{key}")))).collect();
        all.push(Alteration::Insert(machine(99, last)));
        commit(all)
    };
    assert!(store.commit(fill("machine-0")).await.is_err());
    assert_eq!(store.count(Kind::Machine, Filter::All).await.unwrap(), 0);
    let committed = store.commit(fill("machine-99")).await.unwrap();
    let numbers: Vec<_> = committed.stamps.iter().map(|stamp| stamp.number).collect();
    assert_eq!(numbers, (1..=100).collect::<Vec<_>>());
    assert_eq!(store.list(Kind::Machine, Select::new(Filter::All, 1000)).await.unwrap().len(), 100);
}

pub(crate) async fn columns_that_core_does_not_have_are_refused(store: Fresh) {
    let mut wrong = cluster(1, "one");
    wrong.columns.push(("name; DROP TABLE cluster", 1.into()));
    assert!(matches!(insert(&*store, wrong).await, Err(StoreError::Failed(_))));
    let mut missing = cluster(1, "one");
    missing.columns.pop();
    assert!(matches!(insert(&*store, missing).await, Err(StoreError::Failed(_))));
}

pub(crate) async fn a_record_that_must_be_unchanged_guards_the_commit(store: Fresh) {
    insert(&*store, cluster(1, "guard")).await.unwrap();
    let guarded = |key: u128, rev: i64| Commit {
        alterations: vec![Alteration::Insert(machine(key, &format!("m{key}")))],
        unchanged: vec![(Kind::Cluster, id(1), rev)],
        ..Commit::default()
    };
    store.commit(guarded(10, 1)).await.unwrap();
    update(&*store, at(cluster(1, "changed"), 1, 1)).await.unwrap();
    let refused = store.commit(guarded(11, 1)).await;
    assert!(matches!(refused, Err(StoreError::Stale { kind: Kind::Cluster, .. })), "{refused:?}");
    assert!(store.get(Kind::Machine, id(11)).await.unwrap().is_none());
    store.commit(guarded(11, 2)).await.unwrap();
}

pub(crate) async fn text_with_a_nul_is_refused_and_never_found(store: Fresh) {
    let told = Commit { events: vec![NewEvent { body: "a\0b".into(), ..event(1, 1) }], ..Commit::default() };
    let refused = [
        insert(&*store, cluster(1, "a\0b")).await,
        insert(&*store, Document { body: "\0".into(), ..cluster(1, "body") }).await,
        store.commit(told).await,
    ];
    assert!(refused.iter().all(|answer| matches!(answer, Err(StoreError::Failed(_)))), "{refused:?}");
    insert(&*store, cluster(1, "ab")).await.unwrap();
    for (compare, count) in [(Compare::Eq, 0), (Compare::Contains, 0), (Compare::Ne, 1), (Compare::Gt, 1)] {
        let filter = Filter::Is("name", compare, "a\0".into());
        assert_eq!(store.count(Kind::Cluster, filter).await.unwrap(), count, "{compare:?}");
    }
}
