//! Pools at vmpooler's door: checkouts that are durable when they are answered, with nothing refilled meanwhile; what
//! monitors and scripts ask for all the time; and how soon a place that was left is filled.

use crate::bed::Bed;
use crate::load::Load;
use crate::server::{INSTANT, Server};
use crate::table::{Figure, Runs, ms};
use anyhow::{Context, Result, ensure};
use hostler_doors::native::types::{Page, Task};
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Pools beside the large one.
const SMALL: usize = 99;
/// Machines of each of these.
const EACH: usize = 2;
const MEMORY_MIB: usize = 128;
/// Machines that are read in turn.
const READ: usize = 2000;

/// Measures everything about pools.
pub(crate) async fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let mut figures = full(bed).await?;
    figures.extend(refill(bed).await?);
    Ok(figures)
}

/// A pool's table in the configuration.
fn pool(name: &str, size: usize) -> String {
    format!(
        "[[pool]]\nname = \"{name}\"\ntemplate = \"micro\"\nsize = {size}\nmemory_mib = {MEMORY_MIB}\nclones = 400\nfork = false\ncheck_s = 86400\nlifetime_s = 0\n\n"
    )
}

async fn start(bed: &Bed, data: &Path, pools: String, memory_mib: usize) -> Result<Server> {
    let file = data.with_extension("toml");
    std::fs::write(&file, format!("{pools}[vmpooler]\nclones = 400\n"))?;
    let memory_mib = memory_mib.to_string();
    let mut settings = INSTANT.to_vec();
    settings.extend([
        ("HOSTLER_CONFIG", file.to_str().context("a path")?),
        ("HOSTLER__SIM__MEMORY_MIB", memory_mib.as_str()),
        ("HOSTLER__LOG__LEVEL", "warn"),
    ]);
    Server::start(bed, &bed.simulated(), data, &settings).await
}

/// Machines that the pools have ready, as vmpooler's status tells.
async fn ready(web: &reqwest::Client, url: &str) -> Result<u64> {
    let status: Value = web.get(format!("{url}/status?view=capacity")).send().await?.json().await?;
    status["capacity"]["current"].as_u64().with_context(|| status.to_string())
}

async fn filled(bed: &Bed, server: &Server, web: &reqwest::Client, wanted: usize) -> Result<Duration> {
    let (began, mut again) = (Instant::now(), tokio::time::interval(Duration::from_millis(20)));
    let mut told = 0;
    loop {
        again.tick().await;
        let ready = ready(web, &server.url).await?;
        if ready >= wanted as u64 {
            return Ok(began.elapsed());
        }
        let seconds = began.elapsed().as_secs();
        ensure!(seconds < 1800, "{ready} of {wanted} machines are ready");
        if seconds >= told + 20 {
            told = seconds;
            bed.say(&format!("{ready} of {wanted} machines are ready"));
        }
    }
}

/// A large pool among a hundred that the host can just hold: what is lent is not made anew.
async fn full(bed: &Bed) -> Result<Vec<Figure>> {
    let large = bed.choose(50_000, 8_000);
    let data = bed.folder.join("pools");
    let total = large + SMALL * EACH;
    let pools = (0..SMALL).map(|number| pool(&format!("small-{number}"), EACH)).collect::<String>();
    bed.say(&format!("filling a pool of {large}"));
    let server = start(bed, &data, pool("large", large) + &pools, total * MEMORY_MIB).await?;
    let web = reqwest::Client::builder().build()?;
    let took = filled(bed, &server, &web, total).await?;
    let rate = total as f64 / took.as_secs_f64();
    let mut figures = vec![Figure::new(
        format!("{total} machines of 100 pools filled"),
        format!("{}, {rate:.0}/s", ms(took)),
    )];
    let load = Load { bed, url: server.url.clone(), token: server.token().await? };
    figures.extend(reads(bed, &server, &load, large).await?);
    figures.extend(checkouts(bed, &server, &load, &data, large).await?);
    let (rss, pss) = server.memory()?;
    figures.push(Figure::new("memory after these", format!("RSS {} MiB, PSS {} MiB", rss >> 10, pss >> 10)));
    server.stop().await?;
    std::fs::remove_dir_all(&data)?;
    Ok(figures)
}

async fn reads(bed: &Bed, server: &Server, load: &Load<'_>, large: usize) -> Result<Vec<Figure>> {
    let seconds = bed.choose(8, 3);
    bed.say("reading");
    let status = load.run(&["/status".to_owned()], 32, seconds).await?;
    let page = server.machines("limit=1000&order=name").await?;
    let mut paths: Vec<String> = page.items.iter().map(|machine| format!("/vm/{}", machine.name)).collect();
    let rest = server.machines("limit=1000&order=-name").await?;
    paths.extend(rest.items.iter().map(|machine| format!("/vm/{}", machine.name)));
    paths.truncate(READ);
    // The first reads fill the caches of SQLite and of the system.
    load.run(&paths, 8, 1).await?;
    let one = load.run(&paths, 32, seconds).await?;
    Ok(vec![
        Figure::new("GET /status, 100 pools, 32 connections", status.to_string())
            .budget(">= 5 000/s", status.rate >= 5_000.0),
        Figure::new(format!("GET /vm/NAME of {large}, 32 connections"), one.to_string())
            .budget(">= 15 000/s", one.rate >= 15_000.0),
    ])
}

async fn checkouts(
    bed: &Bed,
    server: &Server,
    load: &Load<'_>,
    data: &Path,
    large: usize,
) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    let path = ["/api/v3/vm/large".to_owned()];
    // The quick pool does not last for all.
    for clients in bed.choose(&[1, 8, 32, 128][..], &[1, 32]).iter().copied() {
        bed.say(&format!("{clients} clients check out"));
        let fsync = bed.fsync()?.median();
        let left = ready(&reqwest::Client::new(), &server.url).await?;
        let before = rows(bed, data).await?;
        let found = load.posts(&path, clients, bed.choose(3, 1)).await?;
        let lent = left.saturating_sub(ready(&reqwest::Client::new(), &server.url).await?);
        let written = (rows(bed, data).await? - before) as f64 / lent.max(1) as f64;
        let words = if clients == 1 { "client" } else { "clients" };
        let what = format!("checkouts of {large}, durable, {clients} {words}");
        let text = format!("{found}; fsync {}, {written:.1} rows", ms(fsync));
        let figure = Figure::new(what, text);
        figures.push(match clients {
            1 => figure.budget("p50 <= fsync + 2 ms", found.p50 <= fsync + Duration::from_millis(2)),
            32 => figure.budget(">= 3 000/s, goal 5 000/s", found.rate >= 3_000.0),
            _ => figure,
        });
    }
    Ok(figures)
}

/// Rows that were ever written, as far as the database tells: records count their versions, events and deeds are added.
async fn rows(bed: &Bed, data: &Path) -> Result<i64> {
    let sum = "SELECT (SELECT coalesce(sum(rev), 0) FROM machine) + (SELECT coalesce(sum(rev), 0) FROM volume) \
               + (SELECT coalesce(sum(rev), 0) FROM task) + (SELECT coalesce(sum(rev), 0) FROM pool) \
               + (SELECT count(*) FROM event) + (SELECT count(*) FROM deed)";
    let mut command = bed.command(Path::new("sqlite3"));
    let output = command.arg("-readonly").arg(data.join("hostler.db")).arg(sum).output().await?;
    ensure!(output.status.success(), "sqlite3: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse()?)
}

/// From the answer of a checkout until the task of the next machine has begun.
async fn refill(bed: &Bed) -> Result<Vec<Figure>> {
    bed.say("refilling");
    let data = bed.folder.join("refill");
    let server = start(bed, &data, pool("large", 20), 1 << 20).await?;
    let web = reqwest::Client::builder().build()?;
    filled(bed, &server, &web, 20).await?;
    let token = server.token().await?;
    let mut runs = Runs::default();
    for _ in 0..bed.choose(100, 40) {
        let last = newest(&server).await?.number;
        let lent = web.post(format!("{}/api/v3/vm/large", server.url)).header("x-auth-token", &token);
        ensure!(lent.send().await?.status().is_success(), "nothing was lent");
        let answered = now();
        let until = Instant::now() + Duration::from_secs(10);
        let begun = loop {
            let task = newest(&server).await?;
            if task.number > last && task.kind == "machine.create" && task.started_at.is_some() {
                break task.started_at.unwrap_or_default().parse::<jiff::Timestamp>()?;
            }
            ensure!(Instant::now() < until, "no refill begins");
        };
        let begun = Duration::from_millis(u64::try_from(begun.as_millisecond())?);
        runs.push(begun.saturating_sub(answered));
        filled(bed, &server, &web, 20).await?;
    }
    server.stop().await?;
    std::fs::remove_dir_all(&data)?;
    Ok(vec![
        Figure::new("refill begins after a checkout's answer", runs.to_string())
            .budget("p99 <= 10 ms", runs.at(0.99) <= Duration::from_millis(10)),
    ])
}

async fn newest(server: &Server) -> Result<Task> {
    let page: Page<Task> = server.get("/tasks?limit=1&kind=machine.create&order=-number").await?;
    page.items.into_iter().next().context("a machine was made")
}

/// The time of day: a server tells nothing else.
fn now() -> Duration {
    #[expect(clippy::disallowed_methods, reason = "a server's moments are compared with it")]
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}
