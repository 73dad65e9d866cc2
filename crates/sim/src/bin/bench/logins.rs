//! A hundred people log in at the same moment, while others work.

use crate::bed::Bed;
use crate::fleet::{FEW, Fleet, MANY, PASSWORD};
use crate::load::Load;
use crate::server::{INSTANT, Server};
use crate::table::{Figure, Runs};
use anyhow::{Context, Result};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// People at the door.
const CROWD: usize = 100;
/// How often the memory is looked at.
const GLANCE: Duration = Duration::from_millis(20);

/// Measures the logins, what they take of memory, and what they do to the reads of others.
pub(crate) async fn measure(bed: &Bed, fleet: &Fleet) -> Result<Vec<Figure>> {
    bed.say("logging in");
    let server = Server::start(bed, &bed.simulated(), &fleet.data, &INSTANT).await?;
    let load = Load { bed, url: server.url.clone(), token: server.token().await? };
    let machine = server.machines("limit=1").await?.items.pop().context("the fleet has a machine")?;
    let paths = [format!("/hostler/v1/machines/{}", machine.id)];
    let seconds = bed.choose(10, 5);
    let alone = load.run(&paths, 1, seconds).await?;
    let until = Instant::now() + Duration::from_secs(seconds.into());
    let (beside, logins, most) =
        tokio::join!(load.run(&paths, 1, seconds), crowds(&server, until), most_memory(&server, until));
    let (beside, logins, most) = (beside?, logins?, most?);
    server.stop().await?;
    Ok(vec![
        Figure::new(format!("{CROWD} logins at once, each crowd again"), logins.to_string()),
        Figure::new("memory meanwhile, at most", format!("RSS {} MiB", most >> 10))
            .budget("<= 300 MiB", most <= 300 * 1024),
        Figure::new("reads of one machine, nobody logs in", alone.to_string()),
        Figure::new("reads of one machine meanwhile", beside.to_string())
            .budget("p99 <= 50 ms", beside.p99 <= Duration::from_millis(50)),
    ])
}

/// One crowd after the other until that time; how long each login took.
async fn crowds(server: &Server, until: Instant) -> Result<Runs> {
    let client = reqwest::Client::builder().timeout(Duration::from_secs(120)).build()?;
    let url = format!("{}/hostler/v1/login", server.url);
    let mut runs = Runs::default();
    while Instant::now() < until {
        let mut crowd = JoinSet::new();
        for person in 0..CROWD {
            let login = if person % 2 == 0 { FEW } else { MANY };
            let body = serde_json::json!({ "login": login, "password": PASSWORD });
            let asked = client.post(&url).json(&body);
            crowd.spawn(async move {
                let began = Instant::now();
                asked.send().await?.error_for_status()?;
                anyhow::Ok(began.elapsed())
            });
        }
        while let Some(login) = crowd.join_next().await {
            runs.push(login??);
        }
    }
    Ok(runs)
}

/// The most resident memory seen until that time, in KiB.
async fn most_memory(server: &Server, until: Instant) -> Result<u64> {
    let mut most = 0;
    while Instant::now() < until {
        most = most.max(server.memory()?.0);
        tokio::time::sleep(GLANCE).await;
    }
    Ok(most)
}
