//! What only concerns PostgreSQL: the server, its addresses, its restarts, several processes on one database.

use crate::Fresh;
use crate::records::{cluster, event, id, insert, machine};
use hostler_core::events::Event;
use hostler_core::ports::{Alteration, Commit, Store, StoreError};
use hostler_core::query::{Filter, Select, Sort};
use hostler_core::record::Kind;
use hostler_sim::postgres::{Care, Server};
use hostler_store::{OpenError, PostgresStore};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::broadcast::Receiver;

/// Of this database all others are copies.
const TEMPLATE: &str = "hostler_template";

/// The server that most tests share; none where PostgreSQL is not installed.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
pub(crate) fn server() -> Option<&'static Server> {
    static SERVER: OnceLock<Option<Server>> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        if Server::installed().is_none() {
            eprintln!("SKIPPED: PostgreSQL is not installed");
            assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL");
            return None;
        }
        let server = Server::start(Care::Fleeting).unwrap();
        server.create(TEMPLATE, None).unwrap();
        let url = server.url(TEMPLATE);
        // A runtime of its own, because the one of the first test ends with it.
        let migrated = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async { PostgresStore::open(&url).await.unwrap().close().await });
        });
        migrated.join().unwrap();
        Some(server)
    });
    server.as_ref()
}

pub(crate) async fn fresh() -> Option<Fresh> {
    let url = server()?.database(Some(TEMPLATE)).unwrap();
    Some(Arc::new(PostgresStore::open(&url).await.unwrap()))
}

/// A database of this server for a test of its own; none where PostgreSQL is not installed.
fn database() -> Option<(&'static Server, String)> {
    let server = server()?;
    Some((server, server.database(Some(TEMPLATE)).unwrap()))
}

async fn open(url: &str) -> PostgresStore {
    PostgresStore::open(url).await.unwrap()
}

fn telling(key: u128) -> Commit {
    let alterations = vec![Alteration::Insert(cluster(key, &format!("c{key}")))];
    Commit { alterations, events: vec![event(1, key)], ..Commit::default() }
}

/// The next event that is heard, within a time that no healthy store needs.
async fn hear(heard: &mut Receiver<Arc<Event>>) -> Event {
    let event = tokio::time::timeout(Duration::from_secs(20), heard.recv()).await;
    Event::clone(&event.expect("nothing is heard").unwrap())
}

#[tokio::test]
async fn opening_says_what_is_wrong_and_not_the_password() {
    let Some((server, url)) = database() else { return };
    let refused = async |url: &str| {
        let error = PostgresStore::open(url).await.unwrap_err();
        let text = format!("{error} {error:?}");
        assert!(!text.contains("secret"), "{text}");
        error
    };
    let address = refused("mysql://hostler:secret@localhost/x").await;
    assert!(matches!(address, OpenError::Address(_)), "{address}");
    let nobody = refused("postgres://hostler:secret@localhost/x?host=/nonexistent").await;
    assert!(matches!(nobody, OpenError::Unreachable { .. }), "{nobody}");
    let missing = refused(&server.url_as("postgres:secret", "no_such_database")).await;
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");

    server.execute("postgres", "CREATE ROLE guarded LOGIN PASSWORD 'right'").unwrap();
    server.ask_for_password(&["guarded"]).unwrap();
    let wrong = refused(&server.url_as("guarded:secret", "postgres")).await;
    assert!(matches!(wrong, OpenError::Unauthorized { .. }), "{wrong}");
    let forbidden = refused(&server.url_as("guarded:right", "template1")).await;
    assert!(matches!(forbidden, OpenError::Forbidden { .. }), "{forbidden}");

    server.create("bookmarks", None).unwrap();
    server.execute("bookmarks", "CREATE TABLE bookmarks (id integer)").unwrap();
    let foreign = refused(&server.url("bookmarks")).await;
    assert!(matches!(foreign, OpenError::Foreign { .. }), "{foreign}");

    open(&url).await.close().await;
    let name = url.split(['/', '?']).nth(3).unwrap().to_owned();
    server.execute(&name, "INSERT INTO schema_version (version) VALUES (99)").unwrap();
    let newer = refused(&url).await;
    assert!(matches!(newer, OpenError::Newer { found: 99, known: 6, .. }), "{newer}");
}

/// What the tables of schema 3 had, brought to today.
#[tokio::test]
async fn machines_of_an_older_schema_get_title_and_description() {
    let Some((server, url)) = database() else { return };
    let store = open(&url).await;
    let mut described = machine(2, "two");
    described.body = r#"{"description":"words"}"#.into();
    insert(&store, machine(1, "one")).await.unwrap();
    insert(&store, described).await.unwrap();
    store.close().await;
    let name = url.split(['/', '?']).nth(3).unwrap().to_owned();
    let back = "DROP TABLE pool, request, demand, golden; \
                DELETE FROM counter WHERE kind IN ('pool', 'request', 'demand', 'golden'); \
                ALTER TABLE volume DROP COLUMN golden; \
                ALTER TABLE machine DROP COLUMN borne_mib, DROP COLUMN pool, DROP COLUMN stock, DROP COLUMN stocked_at, \
                DROP COLUMN lent_until, DROP COLUMN title, DROP COLUMN domain, DROP COLUMN description; \
                DELETE FROM schema_version WHERE version > 3";
    server.execute(&name, back).unwrap();
    let store = open(&url).await;
    for (column, value, count) in
        [("title", "one", 1), ("description", "words", 1), ("description", "", 1), ("domain", "", 2)]
    {
        let found = store.count(Kind::Machine, Filter::eq(column, value)).await.unwrap();
        assert_eq!(found, count, "{column} {value}");
    }
    store.close().await;
}

#[tokio::test]
async fn the_facts_are_told_and_a_closed_store_answers_so() {
    let Some((_, url)) = database() else { return };
    let store = open(&url).await;
    insert(&store, cluster(1, "one")).await.unwrap();
    let facts = store.facts(true).await.unwrap();
    assert_eq!((facts.engine, facts.schema), ("postgres", 6));
    assert!(facts.bytes > 4096 && facts.damage.is_empty(), "{facts:?}");
    store.close().await;
    store.close().await;
    assert!(matches!(store.get(Kind::Cluster, id(1)).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(insert(&store, cluster(2, "two")).await, Err(StoreError::Unavailable(_))));
    let store = open(&url).await;
    assert_eq!(store.get(Kind::Cluster, id(1)).await.unwrap().unwrap().number, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_process_hears_all_in_one_order() {
    const EACH: u128 = 60;
    let Some((_, url)) = database() else { return };
    let stores = [Arc::new(open(&url).await), Arc::new(open(&url).await), Arc::new(open(&url).await)];
    let mut all_heard: Vec<_> = stores.iter().map(|store| store.subscribe()).collect();
    // Two write, the third only listens.
    let writers: Vec<_> = (0..6_u128)
        .map(|writer| {
            let store = Arc::clone(&stores[usize::from(writer % 2 == 0)]);
            tokio::spawn(async move {
                for place in 0..EACH {
                    store.commit(telling(writer * EACH + place)).await.unwrap();
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let kept = stores[2].events_after(0, 1000).await.unwrap();
    let seqs: Vec<i64> = kept.iter().map(|event| event.seq).collect();
    assert_eq!(seqs, (1..=i64::try_from(6 * EACH).unwrap()).collect::<Vec<_>>(), "no gap");
    let numbers =
        stores[0].list(Kind::Cluster, Select::new(Filter::All, 1000).ordered(Sort::ascending("number")));
    let numbers: Vec<i64> = numbers.await.unwrap().iter().map(|document| document.number).collect();
    assert_eq!(numbers, seqs, "numbers are dense, too");
    for heard in &mut all_heard {
        for event in &kept {
            assert_eq!(hear(heard).await, *event);
        }
    }
}

#[tokio::test]
async fn work_that_nobody_announced_is_found() {
    let Some((server, url)) = database() else { return };
    let store = open(&url).await;
    let mut heard = store.subscribe();
    let name = url.split(['/', '?']).nth(3).unwrap();
    // What another process would have committed, but for the notification.
    let silent = format!(
        "INSERT INTO event SELECT next, 5, 'task', 'created', '{}', NULL, '{{}}' FROM counter WHERE kind = 'event'; \
         UPDATE counter SET next = next + 1 WHERE kind = 'event'",
        id(7)
    );
    server.execute(name, &silent).unwrap();
    let event = hear(&mut heard).await;
    assert_eq!((event.seq, event.event.subject), (1, id(7)));
    store.commit(telling(8)).await.unwrap();
    assert_eq!(hear(&mut heard).await.seq, 2);
}

#[tokio::test]
async fn who_stands_still_in_the_middle_of_a_read_holds_up_neither_writing_nor_telling() {
    let Some((_, url)) = database() else { return };
    let (store, other) = (open(&url).await, open(&url).await);
    let mut heard = store.subscribe();
    store.commit(telling(1)).await.unwrap();
    assert_eq!(hear(&mut heard).await.seq, 1);
    // More than there are connections: each is begun, none is gone on with.
    let mut reads = Vec::new();
    while reads.len() < 32 {
        let mut read = store.get(Kind::Cluster, id(1));
        tokio::select! {
            biased;
            // The server was so quick that this one stands nowhere.
            found = &mut read => assert!(found.unwrap().is_some()),
            () = std::future::ready(()) => reads.push(read),
        }
    }
    // Of this one's event the first process knows by reading only.
    other.commit(telling(2)).await.unwrap();
    let written = tokio::time::timeout(Duration::from_secs(20), store.commit(telling(3))).await;
    written.expect("it is held up").unwrap();
    assert_eq!((hear(&mut heard).await.seq, hear(&mut heard).await.seq), (2, 3));
    for read in reads {
        assert!(read.await.unwrap().is_some());
    }
}

#[tokio::test]
async fn a_serialization_failure_is_tried_again() {
    let Some((server, url)) = database() else { return };
    let store = open(&url).await;
    let name = url.split(['/', '?']).nth(3).unwrap();
    // A sequence does not roll back, so it counts the tries.
    let fail = |code: &str, times: u32| {
        format!(
            "CREATE SEQUENCE IF NOT EXISTS tries; ALTER SEQUENCE tries RESTART; \
             CREATE OR REPLACE FUNCTION fail() RETURNS trigger AS $$ BEGIN \
             IF nextval('tries') <= {times} THEN RAISE EXCEPTION 'again' USING ERRCODE = '{code}'; END IF; \
             RETURN NEW; END $$ LANGUAGE plpgsql; \
             CREATE OR REPLACE TRIGGER fail BEFORE INSERT ON cluster FOR EACH ROW EXECUTE FUNCTION fail()"
        )
    };
    server.execute(name, &fail("40001", 2)).unwrap();
    store.commit(telling(1)).await.unwrap();
    server.execute(name, &fail("40P01", 3)).unwrap();
    store.commit(telling(2)).await.unwrap();
    assert_eq!(store.event_bounds().await.unwrap(), (1, 2), "what failed left nothing");
    server.execute(name, &fail("40001", 1000)).unwrap();
    let given_up = store.commit(telling(3)).await;
    assert!(matches!(given_up, Err(StoreError::Unavailable(_))), "{given_up:?}");
    server.execute(name, &fail("53100", 1)).unwrap();
    assert!(matches!(store.commit(telling(3)).await, Err(StoreError::Full)));
    store.commit(telling(3)).await.unwrap();
    assert_eq!(store.events_after(0, 9).await.unwrap().len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_of_the_server_loses_nothing_acknowledged() {
    if server().is_none() {
        return;
    }
    let server = Server::start(Care::Durable).unwrap();
    let url = server.database(None).unwrap();
    let store = Arc::new(open(&url).await);
    let mut heard = store.subscribe();
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..8_u128)
        .map(|writer| {
            let (store, stop) = (Arc::clone(&store), Arc::clone(&stop));
            tokio::spawn(async move {
                let (mut acknowledged, mut unavailable) = (Vec::new(), 0);
                for place in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let key = 2 * (writer * 1_000_000 + place);
                    let mut both = telling(key);
                    both.alterations.push(Alteration::Insert(cluster(key + 1, &format!("c{}", key + 1))));
                    match store.commit(both).await {
                        Ok(_) => acknowledged.push(key),
                        Err(StoreError::Unavailable(_)) => unavailable += 1,
                        Err(other) => panic!("{other}"),
                    }
                }
                (acknowledged, unavailable)
            })
        })
        .collect();
    for count in [100, 200] {
        while store.count(Kind::Cluster, Filter::All).await.unwrap() < count {
            tokio::task::yield_now().await;
        }
        server.stop_at_once().unwrap();
        let read = store.get(Kind::Cluster, id(1)).await;
        assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
        server.start_again().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    let (mut kept, mut unavailable) = (0, 0);
    for writer in writers {
        let (acknowledged, refused) = writer.await.unwrap();
        unavailable += refused;
        for key in acknowledged {
            kept += 1;
            for half in [key, key + 1] {
                assert!(
                    store.get(Kind::Cluster, id(half)).await.unwrap().is_some(),
                    "{half} was acknowledged"
                );
            }
        }
    }
    assert!(unavailable > 0, "the server was away");
    // What was not acknowledged may be there, but never half of it.
    let there = store.count(Kind::Cluster, Filter::All).await.unwrap();
    let (_, last) = store.event_bounds().await.unwrap();
    assert!(there >= 2 * kept && there == 2 * u64::try_from(last).unwrap(), "{there} {kept} {last}");
    for seq in 1..=last {
        assert_eq!(hear(&mut heard).await.seq, seq, "every event is heard once, also of before and during");
    }
    store.close().await;
}
