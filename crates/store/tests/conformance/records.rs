//! Records as core would make them, by small numbers.

use hostler_core::events::{Change, NewEvent};
use hostler_core::ids::TaskId;
use hostler_core::ports::{Alteration, Claim, Commit, Committed, Store, StoreError};
use hostler_core::record::{Document, Kind, Value};
use hostler_core::time::Timestamp;
use uuid::Uuid;

pub(crate) fn id(number: u128) -> Uuid {
    Uuid::from_u128(number)
}

pub(crate) fn document(kind: Kind, key: u128, columns: Vec<(&'static str, Value)>) -> Document {
    let body = format!("{{\"key\":{key}}}");
    Document { kind, id: id(key), number: 0, rev: 0, columns, body }
}

pub(crate) fn machine(key: u128, name: &str) -> Document {
    let columns = vec![
        ("name", name.into()),
        ("life", "present".into()),
        ("wanted", "on".into()),
        ("observed", "on".into()),
        ("owner", id(1).into()),
        ("cluster", id(2).into()),
        ("host", id(3).into()),
        ("template", id(4).into()),
        ("task", Value::Null),
        ("vcpus", 1.into()),
        ("memory_mib", 64.into()),
        ("created_at", 10.into()),
        ("updated_at", 10.into()),
        ("title", name.into()),
        ("domain", "".into()),
        ("description", "".into()),
        ("pool", Value::Null),
        ("stock", Value::Null),
        ("stocked_at", Value::Null),
        ("lent_until", Value::Null),
        ("borne_mib", 64.into()),
    ];
    document(Kind::Machine, key, columns)
}

pub(crate) fn account(key: u128, login: &str) -> Document {
    let columns = vec![
        ("login", login.into()),
        ("email", format!("{login}@example.com").into()),
        ("role", "user".into()),
        ("enabled", true.into()),
        ("created_at", 0.into()),
    ];
    document(Kind::Account, key, columns)
}

pub(crate) fn cluster(key: u128, name: &str) -> Document {
    document(Kind::Cluster, key, vec![("name", name.into()), ("created_at", 0.into())])
}

pub(crate) fn address(key: u128, network: u128, ip: &str) -> Document {
    let columns = vec![
        ("network", id(network).into()),
        ("ip", ip.into()),
        ("machine", Value::Null),
        ("owner", id(1).into()),
        ("created_at", 0.into()),
    ];
    document(Kind::Address, key, columns)
}

/// An open task that any host may run.
pub(crate) fn task(key: u128, due: i64) -> Document {
    let columns = vec![
        ("kind", "machine_start".into()),
        ("state", "queued".into()),
        ("open", true.into()),
        ("due", due.into()),
        ("host", Value::Null),
        ("owner", id(1).into()),
        ("subject", id(9).into()),
        ("created_at", 0.into()),
    ];
    document(Kind::Task, key, columns)
}

/// The same record with one column changed.
pub(crate) fn with(mut document: Document, column: &str, value: impl Into<Value>) -> Document {
    let found = document.columns.iter_mut().find(|(name, _)| *name == column);
    found.unwrap().1 = value.into();
    document
}

/// The same record as read at a version.
pub(crate) fn at(mut document: Document, number: i64, rev: i64) -> Document {
    document.number = number;
    document.rev = rev;
    document
}

pub(crate) fn commit(alterations: Vec<Alteration>) -> Commit {
    Commit { alterations, ..Commit::default() }
}

pub(crate) async fn insert(store: &dyn Store, document: Document) -> Result<Committed, StoreError> {
    store.commit(commit(vec![Alteration::Insert(document)])).await
}

pub(crate) async fn update(store: &dyn Store, document: Document) -> Result<Committed, StoreError> {
    store.commit(commit(vec![Alteration::Update(document)])).await
}

pub(crate) fn event(at: i64, subject: u128) -> NewEvent {
    NewEvent {
        at: Timestamp(at),
        kind: Kind::Machine,
        change: Change::Updated,
        subject: id(subject),
        owner: None,
        body: format!("{{\"at\":{at}}}"),
    }
}

pub(crate) fn claim(worker: &str, now: i64, until: i64, limit: u32) -> Claim {
    Claim {
        worker: worker.into(),
        hosts: vec![],
        now: Timestamp(now),
        until: Timestamp(until),
        limit,
        begun: false,
    }
}

pub(crate) fn task_id(key: u128) -> TaskId {
    TaskId(id(key))
}
