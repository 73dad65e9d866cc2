//! Reads by users: the same lists, of which each sees what is theirs.

use crate::bed::Bed;
use crate::fleet::{FEW, Fleet, MANY, PASSWORD};
use crate::load::Load;
use crate::server::{INSTANT, Server, client};
use crate::table::{Figure, Runs, ms};
use anyhow::{Result, ensure};
use hostler_doors::native::types::{Machine, Page};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Everything has to be put in order.
const UNINDEXED: &str = "/hostler/v1/machines?limit=50&order=-created_at";
/// A scan: the filter is served by no index, and goes through another kind of record as well.
const SCAN: &str = "/hostler/v1/machines?limit=50&where=name%20CP%20'%2599%25'%20AND%20host.name%20CP%20'%25'&order_by=updated_at%20desc";

/// Lists of VMmanager's dialect, which say how many there are in all: one whose order an index has, one with filter and
/// order through other kinds of records.
const COUNTED: [(&str, &str); 2] = [
    ("in order of their ids", "/vm/v3/host?limit=0,50"),
    (
        "by joined fields",
        "/vm/v3/host?where=(cluster.name+CP+'%25a%25')+AND+(state+EQ+'stopped')&orderby=os.name+desc&limit=0,50",
    ),
];

/// Measures the reads of both users.
pub(crate) async fn measure(bed: &Bed, fleet: &Fleet) -> Result<Vec<Figure>> {
    bed.say("reading as users");
    let server = Server::start(bed, &bed.simulated(), &fleet.data, &INSTANT).await?;
    let mut figures = Vec::new();
    for login in [FEW, MANY] {
        let token = server.log_in(login, PASSWORD).await?;
        let machines = first_machines(&server, &token).await?;
        let load = Load { bed, url: server.url.clone(), token };
        figures.extend(read(&load, login, &machines).await?);
    }
    figures.push(writes_beside_scans(bed, &server).await?);
    server.stop().await?;
    Ok(figures)
}

async fn first_machines(server: &Server, token: &str) -> Result<Vec<Machine>> {
    let url = format!("{}/hostler/v1/machines?limit=1000&order=name", server.url);
    let page: Page<Machine> = client(token)?.get(url).send().await?.error_for_status()?.json().await?;
    ensure!(!page.items.is_empty(), "the user sees no machine");
    Ok(page.items)
}

async fn read(load: &Load<'_>, login: &str, machines: &[Machine]) -> Result<Vec<Figure>> {
    let bed = load.bed;
    let one: Vec<String> =
        machines.iter().map(|machine| format!("/hostler/v1/machines/{}", machine.id)).collect();
    let pages = ["order=name", "order=-name", "order=id", "observed=off", "life=present"]
        .map(|ask| format!("/hostler/v1/machines?limit=50&{ask}"));
    load.run(&one, 8, 1).await?;
    let fast = load.run(&one, 32, bed.choose(10, 4)).await?;
    let mut figures = vec![
        Figure::new(format!("one machine, `{login}`, 32 connections"), fast.to_string())
            .budget(">= 15 000/s", fast.rate >= 15_000.0),
    ];
    // Each by itself: their mean would hide the slowest.
    for page in &pages {
        let found = load.run(std::slice::from_ref(page), 4, bed.choose(4, 2)).await?;
        let asked = page.rsplit('&').next().unwrap_or_default();
        figures.push(
            Figure::new(format!("page of 50, `{login}`, {asked}"), found.to_string())
                .budget("p99 <= 20 ms", found.p99 <= Duration::from_millis(20)),
        );
    }
    for (what, page) in [("by a column without an index", UNINDEXED), ("through another kind", SCAN)] {
        let scanned = load.run(&[page.to_owned()], 1, bed.choose(5, 3)).await?;
        figures.push(
            Figure::new(format!("page of 50 {what}, `{login}`"), scanned.to_string())
                .budget("p50 <= 250 ms", scanned.p50 <= Duration::from_millis(250)),
        );
    }
    for (what, page) in COUNTED {
        let found = load.run(&[page.to_owned()], 1, bed.choose(5, 3)).await?;
        figures.push(
            Figure::new(
                format!("50 hosts of VMmanager's list, counted, {what}, `{login}`"),
                found.to_string(),
            )
            .budget("p50 <= 250 ms", found.p50 <= Duration::from_millis(250)),
        );
    }
    Ok(figures)
}

/// What a change takes while somebody else keeps scanning: readers must not hold writers up.
async fn writes_beside_scans(bed: &Bed, server: &Server) -> Result<Figure> {
    let token = server.log_in(MANY, PASSWORD).await?;
    let machines = first_machines(server, &token).await?;
    let load = Load { bed, url: server.url.clone(), token };
    let scans = [SCAN.to_owned()];
    let scanning = load.run(&scans, 2, bed.choose(6, 3));
    let changing = async {
        let mut changes = Runs::default();
        let until = Instant::now() + Duration::from_secs(bed.choose(5, 2));
        for machine in machines.iter().cycle() {
            let began = Instant::now();
            if began >= until {
                break;
            }
            let body = json!({ "description": format!("made for the benchmark, {began:?}") });
            server.ask::<Value>("PATCH", &format!("/machines/{}", machine.id), Some(body)).await?;
            changes.push(began.elapsed());
        }
        anyhow::Ok(changes)
    };
    let (scanned, changes) = tokio::join!(scanning, changing);
    scanned?;
    let changes = changes?;
    Ok(Figure::new(
        "a change while two scans run",
        format!("p50 {}, p99 {}", ms(changes.median()), ms(changes.at(0.99))),
    ))
}
