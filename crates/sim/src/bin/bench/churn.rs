//! Many simulated machines made, then removed, through the HTTP API: does it get slower as the fleet grows?

use crate::bed::Bed;
use crate::server::{INSTANT, Server, carry_out, client};
use crate::table::{Figure, Runs, ms};
use anyhow::Result;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// At the same time, each waiting for its task's end before it asks for the next.
const CLIENTS: usize = 16;
/// A rate that is lower by less than this has not fallen: two tenths of a run on a shared machine differ as much.
const NOISE: f64 = 0.85;

/// Makes and removes the machines.
pub(crate) async fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let machines = bed.choose(10_000, 1_000);
    let data = bed.folder.join("churn");
    let server = Server::start(bed, &bed.simulated(), &data, &INSTANT).await?;
    server.micro().await?;
    let clients = Clients { client: client(&server.token().await?)?, url: server.url.clone(), machines };
    bed.say(&format!("making {machines} simulated machines"));
    let made = clients.run(Deed::Make).await?;
    bed.say("removing them");
    let removed = clients.run(Deed::Remove).await?;
    let (rss, pss) = server.memory()?;
    server.stop().await?;
    std::fs::remove_dir_all(&data)?;
    let mut figures = Vec::new();
    for (what, run) in [("made and started", made), ("removed", removed)] {
        let (early, late) = run.rates();
        figures.push(Figure::new(
            format!("{machines} machines {what} by {CLIENTS} clients"),
            format!(
                "{} in all, each p50 {}, p99 {}",
                ms(run.total()),
                ms(run.each.at(0.5)),
                ms(run.each.at(0.99))
            ),
        ));
        figures.push(
            Figure::new(format!("{what}: first tenth, last tenth"), format!("{early:.0}/s, {late:.0}/s"))
                .budget("does not fall", late >= early * NOISE),
        );
    }
    figures.push(Figure::new("memory afterwards", format!("RSS {} MiB, PSS {} MiB", rss >> 10, pss >> 10)));
    Ok(figures)
}

#[derive(Clone, Copy, Debug)]
enum Deed {
    Make,
    Remove,
}

#[derive(Clone, Debug)]
struct Clients {
    client: reqwest::Client,
    url: String,
    machines: usize,
}

/// When machines were done, since the beginning, and how long each took.
struct Run {
    ends: Vec<Duration>,
    each: Runs,
}

impl Clients {
    async fn run(&self, deed: Deed) -> Result<Run> {
        let next = Arc::new(AtomicUsize::new(0));
        let began = Instant::now();
        let mut working = JoinSet::new();
        for _ in 0..CLIENTS {
            let (clients, next) = (self.clone(), Arc::clone(&next));
            working.spawn(async move { clients.one(deed, &next, began).await });
        }
        let mut run = Run { ends: Vec::with_capacity(self.machines), each: Runs::default() };
        while let Some(done) = working.join_next().await {
            for (end, took) in done?? {
                run.ends.push(end);
                run.each.push(took);
            }
        }
        run.ends.sort_unstable();
        Ok(run)
    }

    async fn one(&self, deed: Deed, next: &AtomicUsize, began: Instant) -> Result<Vec<(Duration, Duration)>> {
        let mut done = Vec::new();
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.machines {
                return Ok(done);
            }
            let name = format!("churn-{number}");
            let asked = Instant::now();
            let (method, path, body) = match deed {
                Deed::Make => {
                    ("POST", "/machines".to_owned(), Some(json!({ "name": name, "template": "micro" })))
                }
                Deed::Remove => ("DELETE", format!("/machines/{name}"), None),
            };
            carry_out(&self.client, &self.url, method, &path, body).await?;
            done.push((began.elapsed(), asked.elapsed()));
        }
    }
}

impl Run {
    fn total(&self) -> Duration {
        self.ends.last().copied().unwrap_or_default()
    }

    /// Machines per second over the first and the last tenth.
    fn rates(&self) -> (f64, f64) {
        let tenth = self.ends.len() / 10;
        let at = |place: usize| self.ends.get(place).map_or(0.0, Duration::as_secs_f64);
        let last = self.ends.len().saturating_sub(1);
        let early = tenth as f64 / at(tenth.saturating_sub(1));
        (early, tenth as f64 / (at(last) - at(last.saturating_sub(tenth))))
    }
}
