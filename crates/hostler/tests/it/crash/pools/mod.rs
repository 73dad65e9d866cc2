//! Many clients lend, tag, prolong and give back machines of pools while the server is killed again and again. What they
//! were answered is a history, looks at the books are another; [`check`] holds the two against each other: no machine is
//! handed out twice, none is lost, every promise is kept, no pool is filled beyond its size.
//!
//! [`pair`] does the same to two processes on one PostgreSQL, through either door. [`planted`] then shows on the very history that was recorded that the checker sees what it must see.
//!
//! `HOSTLER_HISTORY_SECONDS` says how long clients play; `scripts/crash` lets them play for a minute.

mod check;
mod client;
mod history;
mod pair;
mod planted;
mod seen;
#[cfg(test)]
mod tests;

use super::chance::Chance;
use super::check::Moment;
use super::found::Found;
use super::{HEALING, asked_seed, idle, number};
use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server, tail, until};
use anyhow::{Context, Result, ensure};
use check::Wanted;
use client::{Client, Common, Place};
use futures_util::future::try_join_all;
use history::{History, Look, Outcome, Record};
use seen::Books;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::sync::watch;

const CLIENTS: usize = 200;
/// Clients of one account, each with a token of its own.
const EACH: usize = 10;
const KILLS: u64 = 5;
/// Between two looks at the books.
const LOOKS: Duration = Duration::from_millis(200);

const POOLS: &str = r#"
[[pool]]
name = "alpha"
aliases = ["any"]
template = "micro"
size = 60
clones = 20
memory_mib = 128

[[pool]]
name = "beta"
aliases = ["any"]
template = "micro"
size = 40
clones = 20
memory_mib = 128

[vmpooler]
clones = 30
"#;

fn wanted() -> Wanted {
    let names = [("alpha", vec!["alpha"]), ("beta", vec!["beta"]), ("any", vec!["alpha", "beta"])];
    Wanted { sizes: BTreeMap::from([("alpha", 60), ("beta", 40)]), names: BTreeMap::from(names) }
}

const QUICK: [(&str, &str); 6] = [
    ("HOSTLER__SIM__BOOT_MS", "40"),
    ("HOSTLER__SIM__START_MS", "5"),
    ("HOSTLER__SIM__SHUTDOWN_MS", "20"),
    ("HOSTLER__SIM__VOLUME_MS", "2"),
    ("HOSTLER__SIM__IMAGE_MS", "20"),
    ("HOSTLER__LOG__LEVEL", "warn"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_machine_is_handed_out_twice_and_none_is_lost() {
    let seconds = number("HOSTLER_HISTORY_SECONDS").unwrap_or(20);
    let seed = asked_seed();
    eprintln!("crash pools: seed {seed}, {CLIENTS} clients, {seconds} s, {KILLS} kills");
    let folder = Folder::new().unwrap();
    let scene = Scene { file: folder.path().join("hostler.toml"), data: folder.path().join("data"), seed };
    let played = scene.play(Duration::from_secs(seconds)).await;
    let log = || tail(&scene.data.with_extension("log"));
    let record = played.unwrap_or_else(|error| panic!("crash pools, seed {seed}: {error:#}\n{}", log()));
    planted::all_are_caught(&record, &wanted()).unwrap();
    eprintln!("crash pools: seed {seed}, {}", summary(&record));
}

fn summary(record: &Record) -> String {
    let count = |of: fn(&Outcome) -> bool| record.entries.iter().filter(|entry| of(&entry.outcome)).count();
    let lent: usize = record
        .entries
        .iter()
        .filter_map(|entry| match &entry.outcome {
            Outcome::Acknowledged { lent } => Some(lent.len()),
            _ => None,
        })
        .sum();
    format!(
        "{} requests: {} promised, {} refused, {} without an answer; {lent} machines lent, {} looks",
        record.entries.len(),
        count(|outcome| matches!(outcome, Outcome::Acknowledged { .. })),
        count(|outcome| matches!(outcome, Outcome::Refused { .. })),
        count(|outcome| *outcome == Outcome::Unknown),
        record.looks.len()
    )
}

struct Scene {
    file: PathBuf,
    data: PathBuf,
    seed: u64,
}

impl Scene {
    async fn start(&self, point: Option<&str>) -> Result<Server> {
        let mut environment = QUICK.to_vec();
        environment.push(("HOSTLER_CONFIG", self.file.to_str().context("a path")?));
        environment.extend(point.map(|point| ("HOSTLER_FAIL_POINT", point)));
        Server::start(Program::Simulated, &self.data, &environment).await
    }

    async fn play(&self, time: Duration) -> Result<Record> {
        std::fs::write(&self.file, POOLS)?;
        let mut server = self.start(None).await?;
        let web = reqwest::Client::builder().timeout(DEADLINE).build()?;
        let tokens = tokens(&server, &web).await.context("making tokens")?;
        let books = Books::open(&self.data, numbered(&tokens)).await?;
        let (place, watched) = watch::channel(Place::Nowhere);
        let common = Common { history: History::default(), web, known: Vec::new().into() };
        full(&common.history, &books).await?;

        let players: Vec<Client<'_>> = tokens
            .into_iter()
            .enumerate()
            .map(|(number, (_, token))| Client { common: &common, place: watched.clone(), number, token })
            .collect();
        let playing = try_join_all(players.iter().map(|player| player.play(self.seed)));
        let killing = async {
            for life in 0..=KILLS {
                server =
                    self.life(server, life, time, &place).await.with_context(|| format!("life {life}"))?;
            }
            place.send_replace(Place::Closed);
            anyhow::Ok(server)
        };
        let looking = look_on(&common.history, watched.clone(), &books);
        let (_, server, ()) = tokio::try_join!(playing, killing, looking)?;
        self.rest(&server, &common.history, &books).await?;
        server.kill().await?;
        Ok(common.history.record())
    }

    /// A server is asked, dies unless this is its last life, and comes back.
    async fn life(
        &self,
        mut server: Server,
        life: u64,
        time: Duration,
        place: &watch::Sender<Place>,
    ) -> Result<Server> {
        place.send_replace(Place::At(server.url.clone()));
        let moment = moment(self.seed, life, time)?;
        // The moment of death is what is drawn: nothing is waited for. Some die earlier, at their fail point.
        let died = server.death(moment).await;
        if life == KILLS {
            ensure!(!died, "it died although nobody killed it");
            return Ok(server);
        }
        server.kill().await?;
        place.send_replace(Place::Nowhere);
        let point = point(self.seed, life + 1);
        self.start(point.as_deref()).await.context("it does not come back")
    }

    async fn rest(&self, server: &Server, history: &History, books: &Books) -> Result<()> {
        rest(server, history, books).await?;
        whole(&Found::all(server, Program::Simulated).await?)
    }
}

/// How long a life lasts at most.
fn moment(seed: u64, life: u64, time: Duration) -> Result<Duration> {
    let part = time / u32::try_from(KILLS + 1)?;
    Ok(Chance::of(seed, &[life, u64::MAX]).between(part / 2, part * 3 / 2))
}

/// Between a commit and its answer is the worst moment to die; by chance it is rarely met. So some lives end there.
fn point(seed: u64, life: u64) -> Option<String> {
    let count = 20 + Chance::of(seed, &[life, u64::MAX - 1]).below(300);
    (life % 2 == 1 && life < KILLS).then(|| format!("store.after_commit:{count}"))
}

/// All work ends, and everything is compared.
async fn rest(server: &Server, history: &History, books: &Books) -> Result<()> {
    let begun = Instant::now();
    let look = async || {
        idle(server).await?;
        books.look(history).await?;
        let wrong = check::at_rest(&last(history)?, &wanted());
        Ok((wrong.is_empty() || begun.elapsed() > HEALING).then_some(wrong))
    };
    let wrong = until("peace", HEALING + DEADLINE, look).await?;
    ensure!(wrong.is_empty(), "when all work had ended:\n{}", wrong.join("\n"));
    let record = history.record();
    let wrong = check::check(&record, &wanted());
    ensure!(wrong.is_empty(), "{}\n{}", summary(&record), first(&wrong, &record));
    Ok(())
}

/// Records, files and tasks agree, too.
fn whole(found: &Found) -> Result<()> {
    let wrong = super::check::check(&[], found, Moment::Rest);
    ensure!(wrong.is_empty(), "of the world:\n{}", wrong.join("\n"));
    Ok(())
}

/// What is wrong, and what was asked about the first machine of which it is.
fn first(wrong: &[String], record: &Record) -> String {
    let name = wrong[0].split_once("machine ").and_then(|(_, rest)| rest.split([',', ' ']).next());
    let about = |entry: &&history::Entry| name.is_some_and(|name| format!("{entry:?}").contains(name));
    let entries: Vec<String> =
        record.entries.iter().filter(about).map(|entry| format!("{entry:?}")).take(30).collect();
    let some: Vec<&str> = wrong.iter().map(String::as_str).take(20).collect();
    format!("{} things are wrong:\n{}\n\n{}", wrong.len(), some.join("\n"), entries.join("\n"))
}

fn last(history: &History) -> Result<Look> {
    history.record().looks.pop().context("a look was had")
}

/// Waits until the pools are full.
async fn full(history: &History, books: &Books) -> Result<()> {
    let look = async || {
        books.look(history).await?;
        Ok(check::at_rest(&last(history)?, &wanted()).is_empty().then_some(()))
    };
    until("full pools", DEADLINE, look).await
}

/// Looks at the books while clients play, also while there is no server.
async fn look_on(history: &History, mut place: watch::Receiver<Place>, books: &Books) -> Result<()> {
    let mut again = tokio::time::interval(LOOKS);
    while *place.borrow_and_update() != Place::Closed {
        again.tick().await;
        books.look(history).await?;
    }
    Ok(())
}

/// Clients by the ids of their tokens.
fn numbered(tokens: &[(String, String)]) -> HashMap<String, usize> {
    tokens.iter().enumerate().map(|(number, (id, _))| (id.clone(), number)).collect()
}

/// The id and the secret of each client's token.
async fn tokens(server: &Server, web: &reqwest::Client) -> Result<Vec<(String, String)>> {
    let mut tokens = Vec::new();
    let native = |path: &str| format!("{}/hostler/v1{path}", server.url);
    for account in 0..CLIENTS / EACH {
        let (login, password) = (format!("client{account}"), "correct horse 7f3a");
        let body = json!({ "login": login, "email": format!("{login}@example.org"), "password": password });
        server.post("/accounts", body).await?;
        let session = server.post("/login", json!({ "login": login, "password": password })).await?;
        let secret = session["secret"].as_str().context("a session has a secret")?;
        for _ in 0..EACH {
            let body = json!({ "description": "plays" });
            let made: Value =
                web.post(native("/tokens")).bearer_auth(secret).json(&body).send().await?.json().await?;
            let text = |value: &Value| value.as_str().map(str::to_owned).with_context(|| made.to_string());
            tokens.push((text(&made["token"]["id"])?, text(&made["secret"])?));
        }
    }
    Ok(tokens)
}
