//! What can only be seen from inside: the tables, the plans of reads, a full disk.

use super::open::{Care, open};
use super::{SqliteStore, run};
use crate::page;
use crate::schema;
use crate::sql::Draft;
use hostler_core::ports::{Alteration, Commit, Store, StoreError};
use hostler_core::query::{Cursor, Filter, Select, Sort};
use hostler_core::record::{Document, Kind, Value};
use sqlx::{ConnectOptions, Row};
use std::sync::Arc;
use uuid::Uuid;

async fn words(store: &SqliteStore, statement: Draft, column: usize) -> Vec<String> {
    let rows = store.readers.rows(statement.finish()).await.unwrap();
    rows.iter().map(|row| row.try_get(column).unwrap()).collect()
}

#[tokio::test]
async fn the_tables_have_the_columns_of_the_schema() {
    let store = SqliteStore::temporary().await.unwrap();
    for kind in Kind::ALL {
        let mut draft = Draft::new("SELECT name FROM pragma_table_info('");
        draft.word(kind).push("')");
        let mut found = words(&store, draft, 0).await;
        found.retain(|name| !name.starts_with("lease_") && name != "cancel");
        let mut expected = vec!["id", "number", "rev", "body"];
        expected.extend(schema::columns(kind).iter().map(|column| column.name));
        assert_eq!(found, expected, "{kind:?}");
    }
}

#[tokio::test]
async fn columns_that_updates_always_write_are_in_no_index() {
    let store = SqliteStore::temporary().await.unwrap();
    for kind in Kind::ALL {
        let mut draft = Draft::new(
            "SELECT DISTINCT info.name FROM sqlite_master JOIN pragma_index_info(sqlite_master.name) AS info \
             WHERE sqlite_master.type = 'index' AND sqlite_master.tbl_name = '",
        );
        draft.word(kind).push("'");
        let indexed = words(&store, draft, 0).await;
        let always = schema::columns(kind).iter().filter(|column| column.write == schema::Write::Always);
        for column in always {
            assert!(!indexed.iter().any(|name| name == column.name), "{kind:?} {}", column.name);
        }
    }
}

#[tokio::test]
async fn pages_that_an_index_serves_are_not_sorted() {
    let store = SqliteStore::temporary().await.unwrap();
    let one = || Value::Id(Uuid::from_u128(1));
    for (filter, order, value) in [
        (Filter::All, "id", one()),
        (Filter::All, "name", "m".into()),
        (Filter::ne("life", "gone"), "name", "m".into()),
        (Filter::eq("owner", one()), "id", one()),
        (Filter::eq("life", "present"), "id", one()),
        (Filter::eq("cluster", one()), "id", one()),
        (Filter::All, "number", 7.into()),
    ] {
        for descending in [false, true] {
            let after = Some(Cursor { values: vec![value.clone()], id: Uuid::from_u128(1) });
            let order = vec![Sort { descending, ..Sort::ascending(order) }];
            let select = Select { order, after, ..Select::new(filter.clone(), 50) };
            let case = format!("{select:?}");
            let (page, _) = page::page(Kind::Machine, select).unwrap();
            let mut connection = sqlx::sqlite::SqliteConnectOptions::new()
                .filename(store.path())
                .read_only(true)
                .connect()
                .await
                .unwrap();
            let plan = run::rows(&mut connection, page.explained()).await.unwrap();
            let plan: Vec<String> = plan.iter().map(|row| row.try_get(3).unwrap()).collect();
            assert!(plan.iter().all(|line| line.starts_with("SEARCH")), "{case}: {plan:?}");
        }
    }
}

/// An order of the list language breaks ties by number: the index on its first column still finds where a page begins
/// and gives the order, and only ties are sorted.
#[tokio::test]
async fn an_order_with_ties_seeks_in_the_index_of_its_first_column() {
    let store = SqliteStore::temporary().await.unwrap();
    for descending in [false, true] {
        let order = vec![Sort { descending, ..Sort::ascending("name") }, Sort::ascending("number")];
        let after = Some(Cursor { values: vec!["m".into(), 7.into()], id: Uuid::from_u128(1) });
        let select = Select { order, after, ..Select::new(Filter::All, 50) };
        let (page, _) = page::page(Kind::Machine, select).unwrap();
        let rows = store.readers.rows(page.explained()).await.unwrap();
        let plan: Vec<String> = rows.iter().map(|row| row.try_get(3).unwrap()).collect();
        let [search, sort] = plan.as_slice() else { panic!("{plan:?}") };
        assert!(search.starts_with("SEARCH machine USING INDEX machine_name (name"), "{plan:?}");
        assert_eq!(sort, "USE TEMP B-TREE FOR LAST TERM OF ORDER BY");
    }
}

fn large(key: u128) -> Document {
    let columns = vec![("name", format!("cluster-{key}").into()), ("created_at", 0.into())];
    let body = "x".repeat(20_000);
    Document { kind: Kind::Cluster, id: Uuid::from_u128(key), number: 0, rev: 0, columns, body }
}

#[tokio::test]
async fn a_full_disk_refuses_whole_commits_and_passes() {
    let directory = tempfile::TempDir::new().unwrap();
    let path = directory.path().join("hostler.db");
    let store = Arc::new(open(&path, Care::Durable, Some(200)).await.unwrap());
    let fill = |key: u128| {
        let store = Arc::clone(&store);
        tokio::spawn(async move {
            let alterations =
                vec![Alteration::Insert(large(2 * key)), Alteration::Insert(large(2 * key + 1))];
            store.commit(Commit { alterations, ..Commit::default() }).await
        })
    };
    let asked: Vec<_> = (0..60).map(fill).collect();
    let mut kept = 0;
    let mut full = 0;
    for answer in asked {
        match answer.await.unwrap() {
            Ok(_) => kept += 2,
            Err(StoreError::Full) => full += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(full > 0);
    assert_eq!(store.count(Kind::Cluster, Filter::All).await.unwrap(), kept);
    // One at a time there is room for a few more, then none.
    let mut more = 0;
    for key in 100..160 {
        match fill(key).await.unwrap() {
            Ok(_) => more += 2,
            Err(StoreError::Full) => break,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(kept + more > 0);
    assert_eq!(store.count(Kind::Cluster, Filter::All).await.unwrap(), kept + more);
    // Room again: somebody deletes, and writes succeed.
    let page = store.list(Kind::Cluster, Select::new(Filter::All, 4)).await.unwrap();
    let delete = |document: &Document| Alteration::Delete { kind: Kind::Cluster, id: document.id, rev: 1 };
    let alterations = page.iter().map(delete).collect();
    store.commit(Commit { alterations, ..Commit::default() }).await.unwrap();
    fill(200).await.unwrap().unwrap();
    assert!(store.facts(true).await.unwrap().damage.is_empty());
    store.close().await;
}
