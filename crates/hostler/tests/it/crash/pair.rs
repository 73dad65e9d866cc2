//! Two processes on one PostgreSQL, killed in turns: while one is dead the other goes on, and nothing is lost.

use super::client::Client;
use super::found::Found;
use super::history::History;
use super::stage::{Kill, SIMULATED, Stage};
use super::{HEALING, asked_seed, check, clear, idle, number};
use crate::crash::check::Moment;
use crate::server::{DEADLINE, Server, until};
use crate::two::Home;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

const NAMES: [&str; 2] = ["a", "b"];
/// Each process has a template on its own host.
const TEMPLATES: [&str; 2] = ["micro", "there"];

const PAIR: Stage = Stage { clients: 8, commands: 40, rest_after: 5, ..SIMULATED };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgres() {
    let asked = number("HOSTLER_CRASH_KILLS").unwrap_or(50);
    let alone = std::env::var_os("HOSTLER_CRASH_PAIR_ONLY").is_some_and(|only| !only.is_empty());
    let kills = if alone { asked } else { asked * 3 / 10 };
    let (seed, begun) = (asked_seed(), Instant::now());
    let Some(home) = Home::new().unwrap() else { return };
    eprintln!("crash pair: seed {seed}, {kills} kills");
    let mut pair = Pair { home: &home, servers: [None, None], history: History::default(), seed };
    if let Err(error) = pair.play(kills).await {
        panic!("crash pair, seed {seed}: {error:#}\n{}", pair.logs());
    }
    let requests = pair.history.len();
    let seconds = begun.elapsed().as_secs();
    eprintln!("crash pair: seed {seed}, {kills} kills; {requests} requests; {seconds} s");
}

struct Pair<'a> {
    home: &'a Home,
    servers: [Option<Server>; 2],
    history: History,
    seed: u64,
}

impl Pair<'_> {
    async fn play(&mut self, kills: u64) -> Result<()> {
        let (a, b) = self.home.two(PAIR.environment).await.context("setting the stage")?;
        self.servers = [Some(a), Some(b)];
        for round in 0..kills {
            self.round(round).await.with_context(|| format!("round {round}"))?;
            if (round + 1).is_multiple_of(PAIR.rest_after) || round + 1 == kills {
                self.rest(round + 1 == kills)
                    .await
                    .with_context(|| format!("at rest after round {round}"))?;
            }
        }
        Ok(())
    }

    fn logs(&self) -> String {
        let log = |name| crate::server::tail(&self.home.data(name).with_extension("log"));
        NAMES.map(|name| format!("{name}: {}", log(name))).join("\n")
    }

    /// Both are asked, one dies, what it did not answer is asked again when it is back.
    async fn round(&mut self, round: u64) -> Result<()> {
        let victim = usize::try_from(round % 2)?;
        let kill = PAIR.kill(self.seed, round);
        // Its fail point was set when it was last started; a first life ends at a random moment.
        let mut dying = self.servers[victim].take().context("it was started")?;
        let survivor = self.servers[1 - victim].as_ref().context("the other lives")?;
        let enough = AtomicBool::new(false);
        let source = json!({ "from": "recipe", "recipe": "micro" });
        let doors = [dying.door.clone(), survivor.door.clone()];
        let clients: Vec<Client<'_>> = (0..8_usize)
            .map(|number| Client {
                door: doors[number % 2].clone(),
                history: &self.history,
                stage: PAIR,
                template: TEMPLATES[number / 2 % 2],
                source: &source,
                enough: Some(&enough),
            })
            .collect();
        let playing = clients.iter().zip(0..).map(|(client, number)| client.play(self.seed, round, number));
        let killing = async {
            match &kill {
                // The moment of death is what is drawn: nothing is waited for.
                Kill::After(moment) => tokio::time::sleep(*moment).await,
                Kill::At(_) => drop(dying.death(PAIR.patience).await),
            }
            let killed = dying.kill().await;
            enough.store(true, Ordering::Relaxed);
            killed
        };
        let (_, killed) = tokio::join!(futures_util::future::join_all(playing), killing);
        killed?;
        self.come_back(victim, round).await
    }

    async fn come_back(&mut self, victim: usize, round: u64) -> Result<()> {
        // Its next turn is two rounds on: it may well be dead before.
        let next = PAIR.kill(self.seed, round + 2);
        let mut environment = PAIR.environment.to_vec();
        if let Kill::At(point) = &next {
            environment.push(("HOSTLER_FAIL_POINT", point));
        }
        let back = match self.home.start(NAMES[victim], &environment).await {
            Ok(server) => server,
            // It got to its fail point before it was ready.
            Err(_) if matches!(next, Kill::At(_)) => {
                self.home.start(NAMES[victim], PAIR.environment).await.context("it does not come back")?
            }
            Err(error) => return Err(error),
        };
        self.servers[victim] = Some(back);
        // The one that was not killed may have died at its own fail point meanwhile.
        let Some(server) = self.living().await else { return Ok(()) };
        let unanswered = self.history.unanswered();
        let client = self.client(server, &Value::Null);
        if client.repeat(unanswered).await.is_none() {
            return Ok(());
        }
        if let Ok(found) = Found::living(server).await {
            // What was made in this round is looked for at rest: either may die while it is looked at.
            let moment = Moment::Work { fresh: self.history.len() };
            let wrong = check::check(&self.history.entries(), &found, moment);
            ensure!(wrong.is_empty(), "after a restart:\n{}", wrong.join("\n"));
        }
        Ok(())
    }

    fn client<'a>(&'a self, server: &Server, source: &'a Value) -> Client<'a> {
        let door = server.door.clone();
        Client { door, history: &self.history, stage: PAIR, template: "", source, enough: None }
    }

    /// A server that answers.
    async fn living(&self) -> Option<&Server> {
        for server in self.servers.iter().flatten() {
            if server.get("/info").await.is_ok() {
                return Some(server);
            }
        }
        None
    }

    /// Both live, all work ends, and everything is compared.
    async fn rest(&mut self, last: bool) -> Result<()> {
        for (name, place) in NAMES.into_iter().zip(0..) {
            if let Some(server) = self.servers[place].take() {
                server.kill().await?;
            }
            self.servers[place] = Some(self.home.start(name, PAIR.environment).await?);
        }
        let [Some(a), Some(b)] = &self.servers else { return Ok(()) };
        self.client(a, &Value::Null).repeat(self.history.unanswered()).await.context("it died by itself")?;
        idle(a).await?;
        let (entries, begun) = (self.history.entries(), Instant::now());
        let look = async || {
            let wrong = check::check(&entries, &both(a, b).await?, Moment::Rest);
            Ok((wrong.is_empty() || begun.elapsed() > HEALING).then_some(wrong))
        };
        let wrong = until("peace", HEALING + DEADLINE, look).await?;
        if let Some(first) = wrong.first() {
            let story = super::story(&entries, &both(a, b).await?, first);
            anyhow::bail!("when all work had ended:\n{}\n{story}", wrong.join("\n"));
        }
        if last {
            clear(b).await.context("removing everything")?;
            idle(a).await?;
            let found = both(a, b).await?;
            let left: Vec<&String> = found.on_disk.values().flatten().collect();
            ensure!(left.is_empty(), "left over: {left:?}");
        }
        Ok(())
    }
}

/// Records as one of them has them, files and findings of both.
pub(super) async fn both(a: &Server, b: &Server) -> Result<Found> {
    let mut found = Found::all(a, PAIR.program).await?;
    let other = Found::all(b, PAIR.program).await?;
    for (folder, names) in other.on_disk {
        found.on_disk.entry(folder).or_default().extend(names);
    }
    found.problems.extend(other.problems);
    found.strangers.extend(other.strangers);
    Ok(found)
}
