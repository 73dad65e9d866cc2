//! From nothing to ready, and what the server takes while it has nothing to do.

use crate::bed::Bed;
use crate::fleet::Fleet;
use crate::server::Server;
use crate::table::{Figure, Runs};
use anyhow::Result;
use std::path::Path;
use std::time::Duration;

/// Until what a start needs only once has been let go.
const SETTLE: Duration = Duration::from_secs(4);

/// On an empty data directory: the first start makes the installation.
pub(crate) async fn empty(bed: &Bed) -> Result<Vec<Figure>> {
    bed.say("starting on empty data directories");
    let (mut first, mut again) = (Runs::default(), Runs::default());
    let mut memory = (0, 0);
    for run in 0..bed.choose(7, 3) {
        let data = bed.folder.join(format!("empty-{run}"));
        let server = Server::start(bed, &bed.real(), &data, &[]).await?;
        first.push(server.ready);
        server.stop().await?;
        let server = Server::start(bed, &bed.real(), &data, &[]).await?;
        again.push(server.ready);
        if run == 0 {
            memory = idle(&server).await?;
        }
        server.stop().await?;
        std::fs::remove_dir_all(&data)?;
    }
    Ok(vec![
        Figure::new("first start until ready", first.to_string()),
        Figure::new("next start until ready, nothing in the database", again.to_string()),
        remembered("idle memory, nothing in the database", memory, 40),
    ])
}

/// On a data directory with a fleet in it.
pub(crate) async fn full(bed: &Bed, fleet: &Fleet) -> Result<Vec<Figure>> {
    bed.say("starting on the full data directory");
    let mut starts = Runs::default();
    let runs = bed.choose(7, 3);
    let mut memory = (0, 0);
    for run in 0..runs {
        let server = Server::start(bed, &bed.real(), &fleet.data, &[]).await?;
        starts.push(server.ready);
        if run + 1 == runs {
            memory = idle(&server).await?;
        }
        server.stop().await?;
    }
    let kept = starts.median() <= Duration::from_millis(300);
    Ok(vec![
        Figure::new(format!("start until ready, {} machines", fleet.machines), starts.to_string())
            .budget("<= 300 ms", kept),
        remembered(&format!("idle memory, {} machines", fleet.machines), memory, 150),
        Figure::new("size of that database", format!("{} MiB", size(&fleet.data.join("hostler.db")) >> 20)),
    ])
}

async fn idle(server: &Server) -> Result<(u64, u64)> {
    tokio::time::sleep(SETTLE).await;
    server.memory()
}

fn remembered(what: &str, (rss, pss): (u64, u64), budget_mib: u64) -> Figure {
    let mib = |kib: u64| kib as f64 / 1024.0;
    Figure::new(what, format!("RSS {:.1} MiB, PSS {:.1} MiB", mib(rss), mib(pss)))
        .budget(format!("<= {budget_mib} MiB"), rss <= budget_mib * 1024)
}

fn size(path: &Path) -> u64 {
    std::fs::metadata(path).map_or(0, |facts| facts.len())
}
