//! Reads over TCP with a token, by `wrk`: one machine, pages that an index serves, a page that none does.

use crate::bed::Bed;
use crate::fleet::Fleet;
use crate::load::Load;
use crate::server::{INSTANT, Server};
use crate::table::Figure;
use anyhow::{Result, ensure};
use std::time::Duration;

/// Different machines that are read in turn.
const MACHINES: usize = 2000;

/// Measures the reads.
pub(crate) async fn measure(bed: &Bed, fleet: &Fleet) -> Result<Vec<Figure>> {
    let server = Server::start(bed, &bed.simulated(), &fleet.data, &INSTANT).await?;
    let load = Load { bed, url: server.url.clone(), token: server.token().await? };
    let Places { machines, cursors } = Places::find(&server).await?;
    let one: Vec<String> = machines.iter().map(|id| format!("/hostler/v1/machines/{id}")).collect();
    let named = |after: &String| format!("/hostler/v1/machines?limit=50&after={after}&order=name");
    let mut pages: Vec<String> = cursors.iter().map(named).collect();
    pages.push("/hostler/v1/machines?limit=50&observed=off".to_owned());
    // One index has the filter, another the order: the engine has to choose.
    let crossed: Vec<String> = cursors.iter().map(|after| format!("{}&life=present", named(after))).collect();
    let scans = ["/hostler/v1/machines?limit=50&name=99&order=-updated_at".to_owned()];

    bed.say("reading");
    // The first reads fill the caches of SQLite and of the system.
    load.run(&one, 8, 2).await?;
    let fast = load.run(&one, 32, bed.choose(10, 4)).await?;
    let single = load.run(&one, 1, bed.choose(5, 2)).await?;
    let paged = load.run(&pages, 4, bed.choose(10, 4)).await?;
    let torn = load.run(&crossed, 1, bed.choose(5, 3)).await?;
    let scanned = load.run(&scans, 1, bed.choose(5, 3)).await?;
    let (rss, pss) = server.memory()?;
    server.stop().await?;
    let total = fleet.machines;
    Ok(vec![
        Figure::new(format!("one machine of {total}, 32 connections"), fast.to_string())
            .budget(">= 15 000/s", fast.rate >= 15_000.0),
        Figure::new(format!("one machine of {total}, 1 connection"), single.to_string()),
        Figure::new("page of 50 by an index, 4 connections", paged.to_string())
            .budget("p99 <= 20 ms", paged.p99 <= Duration::from_millis(20)),
        Figure::new("page of 50, filter by one index, order by another", torn.to_string())
            .budget("p50 <= 250 ms", torn.p50 <= Duration::from_millis(250)),
        Figure::new("page of 50 by no index, 1 connection", scanned.to_string())
            .budget("p50 <= 250 ms", scanned.p50 <= Duration::from_millis(250)),
        Figure::new("memory after these reads", format!("RSS {} MiB, PSS {} MiB", rss >> 10, pss >> 10)),
    ])
}

/// Machines and pages from all over the fleet, in an order that helps no cache.
struct Places {
    machines: Vec<String>,
    cursors: Vec<String>,
}

impl Places {
    async fn find(server: &Server) -> Result<Self> {
        let (mut machines, mut cursors) = (Vec::new(), Vec::new());
        let mut query = "limit=1000&order=name".to_owned();
        loop {
            let page = server.machines(&query).await?;
            machines.extend(page.items.iter().map(|machine| machine.id.to_string()));
            let Some(next) = page.next else { break };
            query = format!("limit=1000&order=name&after={next}");
            cursors.push(next);
        }
        ensure!(!machines.is_empty() && !cursors.is_empty(), "the fleet is too small");
        // A stride without a common divisor with the number of machines visits all of them.
        let count = machines.len();
        let machines = (0..MACHINES.min(count)).map(|turn| machines[turn * 7919 % count].clone()).collect();
        Ok(Self { machines, cursors })
    }
}
