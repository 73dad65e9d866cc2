//! Two processes on one PostgreSQL, killed in turns: half of the clients ask at either door, and one history has them all.

use super::client::{Client, Common, Place};
use super::history::{History, Record};
use super::seen::Books;
use super::{
    KILLS, POOLS, QUICK, full, look_on, moment, numbered, planted, point, rest, summary, tokens, wanted,
    whole,
};
use crate::crash::pair::both;
use crate::crash::{asked_seed, number};
use crate::server::{DEADLINE, Server, tail};
use crate::two::Home;
use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use std::time::Duration;
use tokio::sync::watch;

const NAMES: [&str; 2] = ["a", "b"];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_hand_out_nothing_twice_and_lose_nothing() {
    let seconds = number("HOSTLER_HISTORY_SECONDS").unwrap_or(20);
    let seed = asked_seed();
    let Some(home) = Home::new().unwrap() else { return };
    eprintln!("crash pools, pair: seed {seed}, {seconds} s, {KILLS} kills");
    let pair = Pair { home, seed };
    let played = pair.play(Duration::from_secs(seconds)).await;
    let log = |name| tail(&pair.home.data(name).with_extension("log"));
    let record = played.unwrap_or_else(|error| {
        panic!("crash pools, pair, seed {seed}: {error:#}\n{}", NAMES.map(log).join("\n"))
    });
    planted::all_are_caught(&record, &wanted()).unwrap();
    eprintln!("crash pools, pair: seed {seed}, {}", summary(&record));
}

struct Pair {
    home: Home,
    seed: u64,
}

impl Pair {
    async fn start(&self, name: &str, point: Option<&str>) -> Result<Server> {
        let file = self.home.folder.path().join("hostler.toml");
        std::fs::write(&file, POOLS)?;
        let mut environment = QUICK.to_vec();
        environment.push(("HOSTLER_CONFIG", file.to_str().context("a path")?));
        environment.extend(point.map(|point| ("HOSTLER_FAIL_POINT", point)));
        self.home.start(name, &environment).await
    }

    async fn play(&self, time: Duration) -> Result<Record> {
        let a = self.start("a", None).await?;
        self.home.give("b", "key", &self.home.data("a").join("key"))?;
        let b = self.start("b", None).await?;
        let web = reqwest::Client::builder().timeout(DEADLINE).build()?;
        let tokens = tokens(&a, &web).await.context("making tokens")?;
        let books = Books::connect(self.home.url(), numbered(&tokens)).await?;
        let common = Common { history: History::default(), web, known: Vec::new().into() };
        full(&common.history, &books).await?;
        let places = [&a, &b].map(|server| watch::channel(Place::At(server.url.clone())));
        let players: Vec<Client<'_>> = tokens
            .into_iter()
            .enumerate()
            .map(|(number, (_, token))| Client {
                common: &common,
                place: places[number % 2].1.clone(),
                number,
                token,
            })
            .collect();
        let playing = try_join_all(players.iter().map(|player| player.play(self.seed)));
        let killing = async {
            let mut servers = [Some(a), Some(b)];
            for life in 0..KILLS {
                let victim = usize::try_from(life % 2)?;
                let place = &places[victim].0;
                let dying = servers[victim].take().context("it lives")?;
                servers[victim] = Some(self.life(dying, victim, life, time, place).await?);
            }
            // The last lives end by nobody's hand.
            tokio::time::sleep(moment(self.seed, KILLS, time)?).await;
            for (place, _) in &places {
                place.send_replace(Place::Closed);
            }
            anyhow::Ok(servers)
        };
        let looking = look_on(&common.history, places[0].1.clone(), &books);
        let (_, servers, ()) = tokio::try_join!(playing, killing, looking)?;
        let [Some(a), Some(b)] = servers else { anyhow::bail!("both live") };
        rest(&a, &common.history, &books).await?;
        whole(&both(&a, &b).await?)?;
        a.kill().await?;
        b.kill().await?;
        Ok(common.history.record())
    }

    /// One of them dies and comes back; the other goes on.
    async fn life(
        &self,
        mut server: Server,
        victim: usize,
        life: u64,
        time: Duration,
        place: &watch::Sender<Place>,
    ) -> Result<Server> {
        // The moment of death is what is drawn: nothing is waited for.
        server.death(moment(self.seed, life, time)?).await;
        server.kill().await?;
        // A process that is asked next to nothing may get to its fail point in its next turn only.
        let point = point(self.seed, life + 1).filter(|_| life + 2 < KILLS);
        let back = self.start(NAMES[victim], point.as_deref()).await.context("it does not come back")?;
        // Only now its clients hear that it died: by then the database has finished what it was told last.
        place.send_replace(Place::At(back.url.clone()));
        Ok(back)
    }
}
