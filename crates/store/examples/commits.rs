//! How many commits a second the store makes durable, beside what the disk allows.
//!
//! Run it built for release: `cargo run --release -p hostler-store --example commits [DIRECTORY [URL]]`. The database
//! goes to a new directory in DIRECTORY, the current one by default: name one on the disk that matters. With the
//! address of an empty PostgreSQL database, that one is used instead. A commit is what a
//! checkout writes: a machine of 20 000 changed, an address and a task inserted, an event told.
#![expect(clippy::print_stdout, reason = "a program whose purpose is to print figures")]

use hostler_core::events::{Change, NewEvent};
use hostler_core::ports::{Alteration, Commit, Store};
use hostler_core::record::{Document, Kind, Value};
use hostler_core::time::Timestamp;
use hostler_store::Address;
use std::error::Error;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use uuid::Uuid;

const MACHINES: u128 = 20_000;
const SPELL: Duration = Duration::from_secs(4);

type Anything = Box<dyn Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<(), Anything> {
    let place = std::env::args().nth(1).unwrap_or_else(|| ".".to_owned());
    let directory = Path::new(&place).join(format!("commits-{}", std::process::id()));
    std::fs::create_dir(&directory)?;
    let measured = measure(&directory).await;
    std::fs::remove_dir_all(&directory)?;
    measured
}

async fn measure(directory: &Path) -> Result<(), Anything> {
    let address = std::env::args().nth(2).map(|url| url.parse::<Address>()).transpose()?;
    let database = hostler_store::open(address, &directory.join("hostler.db")).await?;
    let store = database.store();
    let began = Instant::now();
    for first in (0..MACHINES).step_by(500) {
        let alterations = (first..first + 500).map(|machine| Alteration::Insert(fresh(machine))).collect();
        store.commit(Commit { alterations, ..Commit::default() }).await?;
    }
    println!("{MACHINES} machines inserted in {} ms", began.elapsed().as_millis());

    for clients in [1, 8, 32] {
        let fsync = fsync(directory)?;
        let began = Instant::now();
        let work: Vec<_> = (0..clients)
            .map(|client| {
                let store = Arc::clone(&store);
                tokio::spawn(async move { client_run(&*store, client, clients, began).await })
            })
            .collect();
        let mut times = Vec::new();
        for client in work {
            times.extend(client.await??);
        }
        let rate = times.len() as f64 / began.elapsed().as_secs_f64();
        times.sort_unstable();
        let at = |part: f64| times.get((times.len() as f64 * part) as usize).copied().unwrap_or_default();
        println!(
            "{clients:>2} clients: {rate:>6.0} commits/s, p50 {:>5} us, p99 {:>6} us; one fsync of 4 KiB: {} us",
            at(0.5).as_micros(),
            at(0.99).as_micros(),
            fsync.as_micros(),
        );
    }
    println!("{:?}", store.facts(false).await?);
    database.close().await;
    Ok(())
}

/// Commits until the spell is over; answers how long each took.
async fn client_run(
    store: &dyn Store,
    client: u128,
    clients: u128,
    began: Instant,
) -> Result<Vec<Duration>, Anything> {
    let mut times = Vec::new();
    for round in 0.. {
        if began.elapsed() > SPELL {
            break;
        }
        // A stride that spreads the machines over the table, as a pool's do.
        let machine = (client + clients * ((round * 7919) % (MACHINES / clients))) % MACHINES;
        let id = Uuid::from_u128(machine);
        let held = store.get(Kind::Machine, id).await?.ok_or("a machine is missing")?;
        let changed = Document { rev: held.rev, number: held.number, ..fresh(machine) };
        // As ids are made: each later than all before, whoever makes it.
        let work = Uuid::from_u128((clients << 100) + (round << 40) + client);
        let commit = Commit {
            alterations: vec![
                Alteration::Update(changed),
                Alteration::Insert(address(work, id)),
                Alteration::Insert(task(work, id)),
            ],
            events: vec![NewEvent {
                at: Timestamp(round as i64),
                kind: Kind::Machine,
                change: Change::Updated,
                subject: id,
                owner: None,
                body: "x".repeat(200),
            }],
            ..Commit::default()
        };
        let asked = Instant::now();
        store.commit(commit).await?;
        times.push(asked.elapsed());
    }
    Ok(times)
}

/// A machine record of the usual size.
fn fresh(machine: u128) -> Document {
    let none = || Value::Id(Uuid::nil());
    Document {
        kind: Kind::Machine,
        id: Uuid::from_u128(machine),
        number: 0,
        rev: 0,
        columns: vec![
            ("name", format!("machine-{machine}").into()),
            ("life", "present".into()),
            ("wanted", "on".into()),
            ("observed", "on".into()),
            ("owner", none()),
            ("cluster", none()),
            ("host", none()),
            ("template", none()),
            ("task", Value::Null),
            ("vcpus", 1.into()),
            ("memory_mib", 64.into()),
            ("created_at", 0.into()),
            ("updated_at", 0.into()),
            ("title", "".into()),
            ("domain", "".into()),
            ("description", "".into()),
            ("pool", Value::Null),
            ("stock", Value::Null),
            ("stocked_at", Value::Null),
            ("lent_until", Value::Null),
            ("borne_mib", 64.into()),
        ],
        body: format!("{{\"name\":\"machine-{machine}\",\"notes\":\"{}\"}}", "x".repeat(800)),
    }
}

fn address(id: Uuid, machine: Uuid) -> Document {
    Document {
        kind: Kind::Address,
        id,
        number: 0,
        rev: 0,
        columns: vec![
            ("network", Uuid::nil().into()),
            ("ip", id.to_string().into()),
            ("machine", machine.into()),
            ("owner", Uuid::nil().into()),
            ("created_at", 0.into()),
        ],
        body: "x".repeat(200),
    }
}

fn task(id: Uuid, machine: Uuid) -> Document {
    Document {
        kind: Kind::Task,
        id,
        number: 0,
        rev: 0,
        columns: vec![
            ("kind", "machine_start".into()),
            ("state", "done".into()),
            ("open", false.into()),
            ("due", 0.into()),
            ("host", Value::Null),
            ("owner", Uuid::nil().into()),
            ("subject", machine.into()),
            ("created_at", 0.into()),
        ],
        body: "x".repeat(500),
    }
}

/// The time of one durable write of a page, the median of a few.
fn fsync(directory: &Path) -> Result<Duration, Anything> {
    let path = directory.join("fsync");
    let mut file = std::fs::File::create(&path)?;
    file.write_all(&[0; 1024 * 1024])?;
    file.sync_all()?;
    let mut times = Vec::new();
    for place in 0..100 {
        use std::os::unix::fs::FileExt;
        let began = Instant::now();
        file.write_all_at(&[1; 4096], place * 4096)?;
        file.sync_data()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    std::fs::remove_file(&path)?;
    Ok(times[50])
}
