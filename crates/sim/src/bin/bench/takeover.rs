//! Two processes on one PostgreSQL, of which one is killed: how long until its work goes on, and until the other knows.

use crate::bed::Bed;
use crate::server::Server;
use crate::table::{Figure, ms};
use anyhow::{Context, Result};
use hostler_core::hosts::HOST_LEASE;
use hostler_doors::native::types::{Host, Page, Task};
use hostler_sim::postgres::{self, Care};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// Machines that are being made on the host that is killed.
const MACHINES: usize = 20;
/// Long enough to be killed in the middle.
const BOOT_MS: &str = "200";
/// Between two looks at the survivor.
const LOOK: Duration = Duration::from_millis(2);

/// Why nothing can be measured, if so.
pub(crate) fn missing() -> Option<String> {
    postgres::Server::installed().is_none().then(|| "PostgreSQL is not installed".into())
}

/// Kills one and looks through the door of the other.
pub(crate) async fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let database = postgres::Server::start(Care::Durable)?;
    let url = database.database(None)?;
    let settings = [("HOSTLER__STORE__URL", url.as_str()), ("HOSTLER__SIM__BOOT_MS", BOOT_MS)];
    let [a, b] = ["survivor", "killed"].map(|name| bed.folder.join(name));
    let survivor = Server::start(bed, &bed.simulated(), &a, &settings).await?;
    std::fs::create_dir_all(&b)?;
    std::fs::copy(a.join("key"), b.join("key"))?;
    let killed = Server::start(bed, &bed.simulated(), &b, &settings).await?;
    killed.micro().await?;
    let busy = |server: Server| async move {
        for _ in 0..MACHINES {
            let body = json!({ "template": "micro", "memory_mib": 128 });
            let _: Value = server.ask("POST", "/machines", Some(body)).await?;
        }
        look(&server, "/tasks?state=running", |tasks: &Page<Task>| !tasks.items.is_empty()).await?;
        server.kill().await?;
        anyhow::Ok(Instant::now())
    };
    bed.say("killing one of two processes on one PostgreSQL");
    let died = busy(killed).await?;
    let done = "/tasks?state=done&limit=1000";
    let before = survivor.get::<Page<Task>>(done).await?.items.len();
    let back = Server::start(bed, &bed.simulated(), &b, &settings).await?;
    let ready = died.elapsed();
    look(&survivor, done, |tasks: &Page<Task>| tasks.items.len() > before).await?;
    let resumed = died.elapsed();
    look(&survivor, "/tasks?open=true", |tasks: &Page<Task>| tasks.items.is_empty()).await?;

    let died = busy(back).await?;
    look(&survivor, "/hosts", |hosts: &Page<Host>| hosts.items.iter().any(|host| !host.living)).await?;
    let noticed = died.elapsed();
    survivor.stop().await?;
    Ok(vec![
        Figure::new("kill -9 until the process started at once is ready", ms(ready)),
        Figure::new(format!("kill -9 until its first task is done (a boot takes {BOOT_MS} ms)"), ms(resumed)),
        Figure::new(
            format!("kill -9 until the other host calls it absent (lease {} s)", HOST_LEASE.as_secs()),
            ms(noticed),
        ),
    ])
}

async fn look<T: serde::de::DeserializeOwned>(
    server: &Server,
    path: &str,
    wanted: impl Fn(&T) -> bool,
) -> Result<()> {
    let mut again = tokio::time::interval(LOOK);
    let looks = async {
        loop {
            again.tick().await;
            if wanted(&server.get::<T>(path).await?) {
                return anyhow::Ok(());
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(120), looks)
        .await
        .with_context(|| format!("waiting at {path}"))?
}
