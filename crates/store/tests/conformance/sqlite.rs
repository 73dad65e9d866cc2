//! What only concerns SQLite: the file, its rights, its damage, its migrations.

use crate::records::{cluster, event, id, insert, machine};
use hostler_core::ports::{Alteration, Commit, Store, StoreError};
use hostler_core::query::Filter;
use hostler_core::record::Kind;
use hostler_store::{OpenError, SqliteStore};
use sqlx::{ConnectOptions, Connection, Executor};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use tempfile::TempDir;

async fn raw(path: &Path, text: &'static str) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(path).create_if_missing(true);
    let mut connection = options.connect().await.unwrap();
    connection.execute(sqlx::raw_sql(text)).await.unwrap();
    connection.close().await.unwrap();
}

fn names(directory: &TempDir) -> Vec<String> {
    let entries = std::fs::read_dir(directory.path()).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_committed_is_there_after_closing_and_opening() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let told = Commit {
        alterations: vec![Alteration::Insert(machine(1, "one"))],
        events: vec![event(5, 1)],
        ..Commit::default()
    };
    store.commit(told).await.unwrap();
    store.close().await;
    store.close().await;
    assert!(matches!(store.get(Kind::Machine, id(1)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(insert(&store, machine(2, "two")).await, Err(StoreError::Unavailable(_))));
    assert_eq!(names(&directory), ["hostler.db"], "the log is gone");

    let store = SqliteStore::open(&path).await.unwrap();
    assert_eq!(store.get(Kind::Machine, id(1)).await.unwrap().unwrap().number, 1);
    assert_eq!(store.events_after(0, 9).await.unwrap()[0].event, event(5, 1));
    assert_eq!(insert(&store, machine(2, "two")).await.unwrap().stamps[0].number, 2);
    store.close().await;
}

#[tokio::test]
async fn what_is_committed_is_there_after_dropping_without_closing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    for key in 1..=5 {
        let store = SqliteStore::open(&path).await.unwrap();
        assert_eq!(store.count(Kind::Cluster, Filter::All).await.unwrap(), key as u64 - 1);
        insert(&store, cluster(key, &format!("c{key}"))).await.unwrap();
        drop(store);
    }
}

#[test]
fn what_is_committed_survives_its_runtime() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    for key in 1..=3 {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let store = SqliteStore::open(&path).await.unwrap();
            assert_eq!(store.count(Kind::Cluster, Filter::All).await.unwrap(), key as u64 - 1);
            insert(&store, cluster(key, &format!("c{key}"))).await.unwrap();
            std::mem::forget(store);
        });
        runtime.shutdown_background();
    }
}

#[tokio::test]
async fn a_copy_of_the_files_in_mid_work_is_whole() {
    // What a crash of the system leaves: the database and its log as they are on the disk.
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    let store = SqliteStore::open(&path).await.unwrap();
    for key in 1..=20 {
        insert(&store, machine(key, &format!("m{key}"))).await.unwrap();
    }
    let copy = directory.path().join("copy.db");
    std::fs::copy(&path, &copy).unwrap();
    std::fs::copy(directory.path().join("hostler.db-wal"), directory.path().join("copy.db-wal")).unwrap();
    let copied = SqliteStore::open(&copy).await.unwrap();
    assert_eq!(copied.count(Kind::Machine, Filter::All).await.unwrap(), 20);
    assert!(copied.facts(true).await.unwrap().damage.is_empty());
    copied.close().await;
    store.close().await;
}

#[tokio::test]
async fn a_temporary_store_leaves_nothing() {
    let store = SqliteStore::temporary().await.unwrap();
    let path = store.path().to_owned();
    insert(&store, cluster(1, "one")).await.unwrap();
    assert!(path.exists() && store.is_temporary());
    store.close().await;
    drop(store);
    assert!(!path.parent().unwrap().exists());
}

#[tokio::test]
async fn the_facts_are_told() {
    let store = SqliteStore::temporary().await.unwrap();
    let facts = store.facts(true).await.unwrap();
    assert_eq!((facts.engine, facts.schema), ("sqlite", 6));
    assert!(facts.version.starts_with("3.") && facts.bytes > 4096);
    assert!(facts.damage.is_empty());
}

#[tokio::test]
async fn opening_says_what_is_wrong() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);

    let nowhere = SqliteStore::open(&at("missing/hostler.db")).await.unwrap_err();
    assert!(matches!(nowhere, OpenError::Denied { .. }));
    assert!(nowhere.to_string().contains("missing/hostler.db"), "{nowhere}");
    let folder = SqliteStore::open(directory.path()).await.unwrap_err();
    assert!(matches!(folder, OpenError::Denied { .. }), "{folder}");

    std::fs::write(at("text.db"), "this is not a database, but it is quite long ".repeat(40)).unwrap();
    let text = SqliteStore::open(&at("text.db")).await.unwrap_err();
    assert!(matches!(text, OpenError::Damaged { .. }), "{text}");

    raw(&at("foreign.db"), "CREATE TABLE bookmarks (id integer)").await;
    let foreign = SqliteStore::open(&at("foreign.db")).await.unwrap_err();
    assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");

    SqliteStore::open(&at("newer.db")).await.unwrap().close().await;
    raw(&at("newer.db"), "INSERT INTO schema_version (version) VALUES (99)").await;
    let newer = SqliteStore::open(&at("newer.db")).await.unwrap_err();
    assert!(matches!(newer, OpenError::Newer { found: 99, known: 6, .. }), "{newer}");
}

/// What the tables of schema 3 had, brought to today.
#[tokio::test]
async fn machines_of_an_older_schema_get_title_and_description() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    let store = SqliteStore::open(&path).await.unwrap();
    let mut described = machine(2, "two");
    described.body = r#"{"description":"words"}"#.into();
    insert(&store, machine(1, "one")).await.unwrap();
    insert(&store, described).await.unwrap();
    store.close().await;
    raw(
        &path,
        "DROP TABLE golden; DROP INDEX volume_golden; ALTER TABLE volume DROP COLUMN golden;
         ALTER TABLE machine DROP COLUMN borne_mib;
         DROP TABLE pool; DROP TABLE request; DROP TABLE demand;
         DELETE FROM counter WHERE kind IN ('pool', 'request', 'demand', 'golden');
         DROP INDEX machine_stock; DROP INDEX machine_pool; DROP INDEX machine_stocked_at;
         DROP INDEX machine_lent_until; ALTER TABLE machine DROP COLUMN pool;
         ALTER TABLE machine DROP COLUMN stock; ALTER TABLE machine DROP COLUMN stocked_at;
         ALTER TABLE machine DROP COLUMN lent_until;
         ALTER TABLE machine DROP COLUMN title; ALTER TABLE machine DROP COLUMN domain;
         ALTER TABLE machine DROP COLUMN description; DELETE FROM schema_version WHERE version > 3;",
    )
    .await;
    let store = SqliteStore::open(&path).await.unwrap();
    for (column, value, count) in
        [("title", "one", 1), ("description", "words", 1), ("description", "", 1), ("domain", "", 2)]
    {
        let found = store.count(Kind::Machine, Filter::eq(column, value)).await.unwrap();
        assert_eq!(found, count, "{column} {value}");
    }
    store.close().await;
}

#[tokio::test]
async fn damage_is_found() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    let store = SqliteStore::open(&path).await.unwrap();
    for key in 1..=200 {
        insert(&store, machine(key, &format!("m{key}"))).await.unwrap();
    }
    store.close().await;
    let mut bytes = std::fs::read(&path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle..middle + 6000].fill(0xa5);
    std::fs::write(&path, bytes).unwrap();
    match SqliteStore::open(&path).await {
        Ok(store) => match store.facts(true).await {
            Ok(facts) => assert!(!facts.damage.is_empty()),
            Err(error) => assert!(error.to_string().contains("malformed"), "{error}"),
        },
        Err(error) => assert!(matches!(error, OpenError::Damaged { .. }), "{error}"),
    }
}

#[tokio::test]
async fn a_counter_that_fell_behind_is_found_and_set_right() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    let store = SqliteStore::open(&path).await.unwrap();
    insert(&store, cluster(1, "one")).await.unwrap();
    insert(&store, cluster(2, "two")).await.unwrap();
    assert_eq!(store.recount(false).await.unwrap(), []);
    raw(&path, "UPDATE counter SET next = 2 WHERE kind = 'cluster'").await;
    assert_eq!(store.recount(false).await.unwrap(), [Kind::Cluster]);
    assert!(insert(&store, cluster(3, "three")).await.is_err());
    assert_eq!(store.recount(true).await.unwrap(), [Kind::Cluster]);
    assert_eq!(store.recount(true).await.unwrap(), []);
    assert_eq!(insert(&store, cluster(3, "three")).await.unwrap().stamps[0].number, 3);
    store.close().await;
}
