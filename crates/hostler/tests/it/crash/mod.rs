//! Kill -9 at any moment: several clients ask for random things while the server dies again and again, at random
//! moments and at named ones. After each restart, and when all work has ended, what was promised must be there, once,
//! and nothing else may be left.
//!
//! [`pair`] does the same to two processes on one PostgreSQL, in turns; [`pools`] to a server whose machines are lent.
//!
//! The seed is printed and decides which commands each client asks for and how each server dies. How far the server
//! got by then is up to the machine that the test runs on, so a replay asks for the same, but may not fail the same.
//!
//! `HOSTLER_CRASH_KILLS` and `HOSTLER_CRASH_SEED` choose; `scripts/crash` sets them.

mod chance;
mod check;
mod client;
mod command;
mod found;
mod history;
mod pair;
mod pools;
mod stage;

use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server, missing, until};
use anyhow::{Context, Result, bail, ensure};
use check::Moment;
use client::Client;
use found::Found;
use history::{Asked, Entry, History, Kind, Outcome};
use serde_json::{Value, json};
use stage::{Kill, Stage};
use std::path::Path;
use std::time::{Duration, Instant};

/// A directory is used for so many kills; then the history begins anew, or comparing it would take longest.
const CHAPTER: u64 = 100;
/// What heals by itself has this long to do so.
const HEALING: Duration = Duration::from_secs(180);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated() {
    let kills = asked_kills();
    run(stage::SIMULATED, kills * 4 / 5).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn real() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: no server of real machines was killed: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI they must run: {why}");
        return;
    }
    run(stage::REAL, asked_kills() / 4).await;
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} must be a number, not `{text}`")))
}

/// Without a wish always the same: whether a change lands shall not depend on chance. `scripts/crash` draws.
fn asked_seed() -> u64 {
    number("HOSTLER_CRASH_SEED").unwrap_or(20_260_101)
}

fn asked_kills() -> u64 {
    number("HOSTLER_CRASH_KILLS").unwrap_or(50)
}

#[expect(clippy::print_stderr, reason = "the seed must be seen")]
async fn run(stage: Stage, kills: u64) {
    let seed = asked_seed();
    let (program, begun) = (stage.program, Instant::now());
    eprintln!("crash {program:?}: seed {seed}, {kills} kills");
    let mut tale = Tale { stage, seed, at_points: 0, requests: 0, unanswered: 0 };
    let mut round = 0;
    while round < kills {
        let end = kills.min(round + CHAPTER);
        if let Err(error) = tale.chapter(round, end).await {
            panic!("crash {program:?}, seed {seed}: {error:#}");
        }
        round = end;
    }
    let Tale { at_points, requests, unanswered, .. } = tale;
    let seconds = begun.elapsed().as_secs();
    eprintln!(
        "crash {program:?}: seed {seed}, {kills} kills, {at_points} of them at fail points; {requests} requests, {unanswered} without an answer; {seconds} s"
    );
}

/// All chapters.
struct Tale {
    stage: Stage,
    seed: u64,
    at_points: u64,
    requests: usize,
    unanswered: usize,
}

impl Tale {
    /// Kills in one data directory.
    async fn chapter(&mut self, first: u64, end: u64) -> Result<()> {
        let folder = Folder::new()?;
        let data = folder.path().join("data");
        let set = Set::up(&self.stage, folder.path()).await.context("setting the stage")?;
        let (history, mut known) = (History::default(), 0);
        for round in first..end {
            let kill = self.stage.kill(self.seed, round);
            let played = self.round(&set, &data, &history, &mut known, round, &kill).await;
            played.with_context(|| {
                format!("round {round}, {kill:?}, log: {}", crate::server::tail(&data.with_extension("log")))
            })?;
            if (round + 1 - first).is_multiple_of(self.stage.rest_after) || round + 1 == end {
                let last = round + 1 == end;
                let rested = self.rest(&data, &history, last).await;
                rested.with_context(|| {
                    format!(
                        "at rest after round {round}, log: {}",
                        crate::server::tail(&data.with_extension("log"))
                    )
                })?;
                known = history.len();
            }
        }
        let entries = history.entries();
        self.requests += entries.len();
        self.unanswered += entries.iter().filter(|entry| entry.outcome == Outcome::Unknown).count();
        Ok(())
    }

    /// One server: it comes up, is checked, is asked, and dies.
    async fn round(
        &mut self,
        set: &Set,
        data: &Path,
        history: &History,
        known: &mut usize,
        round: u64,
        kill: &Kill,
    ) -> Result<()> {
        let mut environment = self.stage.environment.to_vec();
        if let Kill::At(point) = kill {
            environment.push(("HOSTLER_FAIL_POINT", point));
        }
        let mut server = match Server::start(self.stage.program, data, &environment).await {
            Ok(server) => server,
            // It got there before it was ready.
            Err(_) if matches!(kill, Kill::At(_)) && died_there(data) => {
                self.at_points += 1;
                return Ok(());
            }
            Err(error) => return Err(error.context("the server does not come back")),
        };
        let client = Client {
            door: server.door.clone(),
            history,
            stage: self.stage,
            template: &set.template,
            source: &set.source,
            enough: None,
        };
        let come_back = async {
            client.repeat(history.unanswered()).await.context("it died")?;
            check_living(&server, history, *known).await
        };
        match come_back.await {
            Ok(wrong) => ensure!(wrong.is_empty(), "after the restart:\n{}", wrong.join("\n")),
            // It may die at its fail point while it is asked.
            Err(error) if matches!(kill, Kill::After(_)) => return Err(error),
            Err(_) => {}
        }
        *known = history.len();
        let clients = (0..self.stage.clients).map(|number| client.play(self.seed, round, number));
        let killing = async {
            let by_itself = match kill {
                Kill::After(moment) => {
                    // The moment of death is what is drawn: nothing is waited for.
                    tokio::time::sleep(*moment).await;
                    false
                }
                Kill::At(_) => server.death(self.stage.patience).await,
            };
            server.kill().await.map(|()| by_itself)
        };
        // Every client sees the death, so that no request is forgotten that was on its way.
        let (_, killed) = tokio::join!(futures_util::future::join_all(clients), killing);
        self.at_points += u64::from(killed?);
        Ok(())
    }

    /// Lets everything come to an end and checks everything; at the last time also that all can be removed.
    async fn rest(&self, data: &Path, history: &History, last: bool) -> Result<()> {
        let server = Server::start(self.stage.program, data, self.stage.environment).await?;
        let set = Value::Null;
        let client = Client {
            door: server.door.clone(),
            history,
            stage: self.stage,
            template: "",
            source: &set,
            enough: None,
        };
        client.repeat(history.unanswered()).await.context("it died although nobody killed it")?;
        at_rest(&server, self.stage.program, history).await?;
        if last {
            clear(&server).await.context("removing everything")?;
            at_rest_and_empty(&server, self.stage.program).await?;
        }
        server.kill().await
    }
}

/// What is played with.
struct Set {
    template: String,
    source: Value,
}

impl Set {
    async fn up(stage: &Stage, folder: &Path) -> Result<Self> {
        let server = Server::start(stage.program, &folder.join("data"), stage.environment).await?;
        server.micro().await?;
        let source = if stage.program == Program::Real {
            let image = folder.join("boots.qcow2");
            crate::images::bootable(folder, &image).await?;
            json!({ "from": "file", "path": crate::images::text(&image)?, "format": "qcow2" })
        } else {
            json!({ "from": "recipe", "recipe": "micro" })
        };
        server.kill().await?;
        Ok(Self { template: "micro".into(), source })
    }
}

fn died_there(data: &Path) -> bool {
    crate::server::tail(&data.with_extension("log")).contains("dying here as asked")
}

/// A quick look after a restart: at what lives, and at what the last rounds promised.
async fn check_living(server: &Server, history: &History, known: usize) -> Result<Vec<String>> {
    let entries = history.entries();
    let mut found = Found::living(server).await?;
    for entry in history.since(known) {
        if let (Asked::Create { kind: Kind::Machine, .. }, Some(id)) = (&entry.asked, entry.promised())
            && !found.machines.iter().any(|machine| machine.id == id)
        {
            found.look_up(server, id).await?;
        }
    }
    Ok(check::check(&entries, &found, Moment::Work { fresh: known }))
}

async fn idle(server: &Server) -> Result<()> {
    let look = async || {
        let open = server.get("/tasks?open=true&limit=1").await?;
        Ok(open["items"].as_array().is_some_and(Vec::is_empty).then_some(()))
    };
    until("the end of all tasks", DEADLINE, look).await
}

async fn at_rest(server: &Server, program: Program, history: &History) -> Result<()> {
    idle(server).await?;
    let entries = history.entries();
    let begun = Instant::now();
    // What a crash in the middle of a removal left is found at the next look, so the first comparison may be early.
    let look = async || {
        let found = Found::all(server, program).await?;
        let wrong = check::check(&entries, &found, Moment::Rest);
        Ok((wrong.is_empty() || begun.elapsed() > HEALING).then_some(wrong))
    };
    let wrong = until("peace", HEALING + DEADLINE, look).await?;
    if wrong.is_empty() {
        return Ok(());
    }
    let found = Found::all(server, program).await?;
    bail!("when all work had ended:\n{}\n{}", wrong.join("\n"), story(&entries, &found, &wrong[0]));
}

/// What was asked and done about the object that a sentence names.
fn story(entries: &[Entry], found: &Found, sentence: &str) -> String {
    let words =
        || sentence.split(|c: char| !c.is_ascii_hexdigit() && c != '-').filter(|word| word.len() == 36);
    let mut lines = Vec::new();
    for id in words() {
        let machine = found.machines.iter().find(|machine| machine.id == id);
        let name = machine.map_or(id, |machine| &machine.name);
        lines.extend(machine.map(|machine| format!("{machine:?}")));
        let about = entries.iter().filter(|entry| {
            let asked = format!("{:?}", entry.asked);
            entry.promised() == Some(id)
                || entry.may_be_done() && (asked.contains(id) || asked.contains(&format!("{name:?}")))
        });
        lines.extend(about.map(|entry| format!("{entry:?}")));
        lines.extend(found.tasks.iter().filter(|task| task.subject == id).map(|task| format!("{task:?}")));
    }
    lines.join("\n")
}

/// Removes everything but the accounts, as somebody would.
async fn clear(server: &Server) -> Result<()> {
    for machine in found::all::<found::Machine>(server, "/machines?").await? {
        server.carry_out("DELETE", &format!("/machines/{}", machine.id), None).await?;
    }
    for volume in found::all::<found::Volume>(server, "/volumes?").await? {
        server.carry_out("DELETE", &format!("/volumes/{}", volume.id), None).await?;
    }
    for template in found::all::<found::Template>(server, "/templates?").await? {
        server.carry_out("DELETE", &format!("/templates/{}", template.id), None).await?;
    }
    Ok(())
}

async fn at_rest_and_empty(server: &Server, program: Program) -> Result<()> {
    idle(server).await?;
    let found = Found::all(server, program).await?;
    let left: Vec<&String> = found.on_disk.values().flatten().collect();
    ensure!(left.is_empty() && found.processes.is_empty(), "left over: {left:?}, {:?}", found.processes);
    Ok(())
}
