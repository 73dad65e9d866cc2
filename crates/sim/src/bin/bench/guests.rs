//! Real machines: how soon QEMU answers, how soon a guest is ready, how soon a new server has found the old one's.

use crate::bed::Bed;
use crate::forks::{self, Kind};
use crate::server::Server;
use crate::table::{Figure, Runs, ms};
use anyhow::{Context, Result, ensure};
use hostler_doors::native::types::{Host, Machine, Page, Task};
use serde_json::json;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

const EMULATOR: &str = "qemu-system-x86_64";
/// What the machines of this measurement get.
const MEMORY_MIB: u32 = 128;

/// Why real machines cannot be measured here, if so.
pub(crate) fn missing(bed: &Bed) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    for tool in [EMULATOR, "qemu-img", "apt-get", "dpkg-deb"] {
        if !found(tool) {
            return Some(format!("{tool} is not installed"));
        }
    }
    (!bed.agent().is_file()).then(|| "the guest agent is not built: run scripts/build-agent".into())
}

/// Measures them.
pub(crate) async fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    let mut figures = vec![greeting(bed).await.context("the monitor's greeting")?];
    let data = bed.folder.join("real");
    let server = Server::start(bed, &bed.real(), &data, &[]).await?;
    bed.say("building the micro template");
    let began = Instant::now();
    server.micro().await?;
    figures.push(Figure::new("micro template from Debian's packages", ms(began.elapsed())));
    figures.push(Figure::new("guest code runs by", accelerator(&server).await?));
    figures.extend(boots(bed, &server).await?);
    let micro =
        Kind { template: "micro", memory_mib: 256, budget: Duration::from_millis(250), budget_mib: 30 };
    figures.extend(forks::measure(bed, &server, &micro, bed.choose(100, 0)).await.context("forks of micro")?);
    if bed.choose(true, false) && Path::new("/usr/bin/mmdebstrap").is_file() {
        figures.extend(debian(bed, &server).await?);
        let debian = Kind {
            template: "debian-12",
            memory_mib: 512,
            budget: Duration::from_millis(500),
            budget_mib: 100,
        };
        figures.extend(forks::measure(bed, &server, &debian, 0).await.context("forks of Debian")?);
    }
    figures.extend(adoption(bed, server, &data).await?);
    Ok(figures)
}

/// From the spawn of a bare QEMU to its first word.
async fn greeting(bed: &Bed) -> Result<Figure> {
    bed.say("asking QEMU for its first word");
    let mut runs = Runs::default();
    for run in 0..bed.choose(11, 5) {
        let socket = format!("greeting-{run}.sock");
        let mut command = bed.command(Path::new(EMULATOR));
        command.args([
            "-nodefaults",
            "-no-user-config",
            "-machine",
            "pc",
            "-accel",
            "tcg",
            "-display",
            "none",
        ]);
        command.args(["-m", "128", "-S", "-qmp", &format!("unix:{socket},server=on,wait=off")]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let began = Instant::now();
        let mut child = command.spawn()?;
        let stream = loop {
            match UnixStream::connect(bed.folder.join(&socket)).await {
                Ok(stream) => break stream,
                Err(_) if began.elapsed() < Duration::from_secs(20) => {}
                Err(error) => return Err(error).context("QEMU opens no monitor"),
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        };
        let line = BufReader::new(stream).lines().next_line().await?.unwrap_or_default();
        ensure!(line.contains("QMP"), "QEMU said `{line}`");
        runs.push(began.elapsed());
        child.kill().await?;
    }
    Ok(Figure::new("QEMU, spawn until its first word", runs.to_string()))
}

/// Waits until the accelerators have been tried, which would disturb what comes.
async fn accelerator(server: &Server) -> Result<String> {
    let until = Instant::now() + Duration::from_secs(60);
    loop {
        let hosts: Page<Host> = server.get("/hosts").await?;
        let facts = hosts.items.into_iter().next().and_then(|host| host.facts);
        if let Some(facts) = facts {
            let found = facts.accelerator.with_context(|| facts.problems.join(" "))?;
            return Ok(format!("{} ({})", found.name, found.cpu));
        }
        ensure!(Instant::now() < until, "the host is not looked at");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

async fn create(server: &Server, name: &str) -> Result<Task> {
    let body = json!({ "name": name, "template": "micro", "memory_mib": MEMORY_MIB });
    server.carry_out("POST", "/machines", Some(body)).await
}

/// One machine after the other, from nothing to its agent's answer; by hostler's own clock.
async fn boots(bed: &Bed, server: &Server) -> Result<Vec<Figure>> {
    bed.say("booting machines one by one");
    let (mut ready, mut whole) = (Runs::default(), Runs::default());
    for run in 0..bed.choose(7, 3) {
        let name = format!("boot-{run}");
        let task = create(server, &name).await?;
        let machine: Machine = server.get(&format!("/machines/{name}")).await?;
        let began = at(task.started_at.as_deref().context("the task began")?)?;
        ready.push(
            at(machine.ready_at.as_deref().context("the machine is ready")?)?
                .duration_since(began)
                .unsigned_abs(),
        );
        whole.push(
            at(task.ended_at.as_deref().context("the task ended")?)?.duration_since(began).unsigned_abs(),
        );
        server.carry_out("DELETE", &format!("/machines/{name}"), None).await?;
    }
    Ok(vec![
        Figure::new("micro, cold: task begins until the agent answers", ready.to_string()),
        Figure::new("micro, cold: task begins until it has ended", whole.to_string()),
    ])
}

/// A whole distribution, cold. Its template takes minutes, so this is left out when time is short.
async fn debian(bed: &Bed, server: &Server) -> Result<Vec<Figure>> {
    bed.say("building the Debian template");
    let began = Instant::now();
    let body = json!({ "name": "debian-12", "source": { "from": "recipe", "recipe": "debian-12" } });
    server.carry_out("POST", "/templates", Some(body)).await.context("the Debian template")?;
    let built = ms(began.elapsed());
    bed.say("booting Debian");
    let mut ready = Runs::default();
    for run in 0..3 {
        let name = format!("debian-{run}");
        let body = json!({ "name": name, "template": "debian-12", "memory_mib": 512 });
        let task = server.carry_out("POST", "/machines", Some(body)).await?;
        let machine: Machine = server.get(&format!("/machines/{name}")).await?;
        let began = at(task.started_at.as_deref().context("the task began")?)?;
        let heard = at(machine.ready_at.as_deref().context("the machine is ready")?)?;
        ready.push(heard.duration_since(began).unsigned_abs());
        server.carry_out("DELETE", &format!("/machines/{name}"), None).await?;
    }
    Ok(vec![
        Figure::new("Debian template from its packages", built),
        Figure::new("Debian, cold: task begins until the agent has given it its identity", ready.to_string()),
    ])
}

fn at(text: &str) -> Result<jiff::Timestamp> {
    Ok(text.parse()?)
}

/// Kills the server while machines run, and sees how soon the next one has found them.
async fn adoption(bed: &Bed, server: Server, data: &Path) -> Result<Vec<Figure>> {
    let machines: u64 = bed.choose(20, 4);
    bed.say(&format!("booting {machines} machines at once"));
    let began = Instant::now();
    let server = Arc::new(server);
    let mut booting = JoinSet::new();
    for number in 0..machines {
        let server = Arc::clone(&server);
        booting.spawn(async move { create(&server, &format!("many-{number}")).await });
    }
    while let Some(booted) = booting.join_next().await {
        booted??;
    }
    let booted = began.elapsed();
    let mut server = Arc::into_inner(server).context("nobody else has it")?;
    bed.say("killing the server and starting the next");
    let (mut ready, mut found) = (Runs::default(), Runs::default());
    for _ in 0..bed.choose(5, 2) {
        server.kill().await?;
        server = Server::start(bed, &bed.real(), data, &[]).await?;
        ready.push(server.ready);
        let adoption = server.adoption().await?;
        ensure!(adoption.machines == machines, "only {} of {machines} were found", adoption.machines);
        found.push(adoption.after);
        let on = server.machines("observed=on&limit=1000").await?.items.len();
        ensure!(on as u64 == machines, "only {on} of {machines} are on");
    }
    bed.say("deleting them");
    let server = Arc::new(server);
    let mut deleting = JoinSet::new();
    for number in 0..machines {
        let server = Arc::clone(&server);
        let path = format!("/machines/many-{number}");
        deleting.spawn(async move { server.carry_out("DELETE", &path, None).await });
    }
    while let Some(deleted) = deleting.join_next().await {
        deleted??;
    }
    Arc::into_inner(server).context("nobody else has it")?.stop().await?;
    Ok(vec![
        Figure::new(format!("micro, cold: {machines} made at once until all are ready"), ms(booted)),
        Figure::new("start after kill -9 until ready", ready.to_string()),
        Figure::new(
            format!("start after kill -9 until {machines} running machines are found"),
            found.to_string(),
        ),
    ])
}
