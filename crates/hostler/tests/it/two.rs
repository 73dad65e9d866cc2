//! Two processes on one PostgreSQL: one installation, through either door, whoever of them dies, and when the database
//! does.

#![expect(clippy::print_stderr, reason = "a skip must be seen")]

use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server, until};
use anyhow::{Context, Result, ensure};
use futures_util::future::join_all;
use hostler_sim::postgres::{self, Care};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// A database server of its own; none, said loudly, where PostgreSQL is not installed.
fn database(care: Care) -> Option<postgres::Server> {
    if postgres::Server::installed().is_none() {
        eprintln!("SKIPPED: PostgreSQL is not installed");
        assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL");
        return None;
    }
    Some(postgres::Server::start(care).unwrap())
}

/// Where two processes keep what is theirs, and the database that they share.
pub struct Home {
    pub folder: Folder,
    pub database: postgres::Server,
    url: String,
}

impl Home {
    /// None where there is no PostgreSQL.
    pub fn new() -> Result<Option<Self>> {
        Self::with(Care::Fleeting)
    }

    fn with(care: Care) -> Result<Option<Self>> {
        let Some(database) = database(care) else { return Ok(None) };
        let url = database.database(None)?;
        Ok(Some(Self { folder: Folder::new()?, database, url }))
    }

    /// Where the database is.
    pub fn url(&self) -> &str {
        &self.url
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts the process of this data directory.
    pub async fn start(&self, name: &str, environment: &[(&str, &str)]) -> Result<Server> {
        let mut all = vec![("HOSTLER__STORE__URL", self.url.as_str())];
        all.extend(environment);
        Server::start(Program::Simulated, &self.data(name), &all).await
    }

    /// A data directory with this file in it, as an administrator would copy it.
    pub fn give(&self, name: &str, file: &str, from: &Path) -> Result<()> {
        let data = self.data(name);
        std::fs::create_dir_all(&data)?;
        std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o700))?;
        std::fs::copy(from, data.join(file))?;
        std::fs::set_permissions(data.join(file), std::fs::Permissions::from_mode(0o600))?;
        Ok(())
    }

    /// A process that must not start; answers what it says.
    async fn refused(&self, name: &str) -> Result<String> {
        let mut command = Program::Simulated.command(&self.data(name));
        command.args(["serve", "--listen", "127.0.0.1:0"]).env("HOSTLER__STORE__URL", &self.url);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let output = tokio::time::timeout(DEADLINE, command.output()).await.context("it does not end")??;
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(output.status.code() == Some(1), "it ended with {}: {words}", output.status);
        Ok(words)
    }

    /// Two processes, each with a template on its own host: `micro` on that of `a`, `there` on that of `b`.
    pub async fn two(&self, environment: &[(&str, &str)]) -> Result<(Server, Server)> {
        let a = self.start("a", environment).await?;
        self.give("b", "key", &self.data("a").join("key"))?;
        let b = self.start("b", environment).await?;
        a.micro().await?;
        let body = json!({ "name": "there", "source": { "from": "recipe", "recipe": "micro" } });
        b.carry_out("POST", "/templates", Some(body)).await?;
        Ok((a, b))
    }
}

const QUICK: [(&str, &str); 4] = [
    ("HOSTLER__SIM__BOOT_MS", "50"),
    ("HOSTLER__SIM__START_MS", "5"),
    ("HOSTLER__SIM__IMAGE_MS", "20"),
    ("HOSTLER__LOG__LEVEL", "info"),
];

fn create(name: &str, template: &str) -> Value {
    json!({ "name": name, "template": template, "memory_mib": 128 })
}

async fn items(server: &Server, path: &str) -> Result<Vec<Value>> {
    Ok(server.get(path).await?["items"].as_array().context("a list")?.clone())
}

async fn problems(server: &Server) -> Result<Vec<String>> {
    let doctor = server.get("/doctor").await?;
    let findings = doctor["findings"].as_array().context("findings")?;
    Ok(findings.iter().filter(|one| one["level"] == "problem").map(ToString::to_string).collect())
}

fn own_host(hosts: &[Value]) -> Result<&Value> {
    hosts.iter().find(|host| host["here"] == true).context("a host of its own")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn either_door_shows_and_does_everything_that_can_be_done_from_afar() -> Result<()> {
    let Some(home) = Home::new()? else { return Ok(()) };
    let (a, b) = home.two(&QUICK).await?;
    let hosts = items(&a, "/hosts").await?;
    let (here, there) = (own_host(&hosts)?.clone(), own_host(&items(&b, "/hosts").await?)?.clone());
    ensure!(hosts.len() == 2 && here["id"] != there["id"] && here["name"] != there["name"], "{hosts:?}");
    ensure!(items(&b, "/clusters").await?.len() == 1 && here["number"] == 1 && there["number"] == 2);
    let storages: Vec<String> = items(&a, "/storages")
        .await?
        .iter()
        .map(|one| one["name"].as_str().unwrap_or("").to_owned())
        .collect();
    ensure!(storages.contains(&"local".to_owned()) && storages.len() == 2, "{storages:?}");

    let mut feed = b.door.feed("/events").await?;
    a.carry_out("POST", "/machines", Some(create("far", "there"))).await?;
    a.carry_out("POST", "/machines", Some(create("near", "micro"))).await?;
    for door in [&a, &b] {
        let far = door.get("/machines/far").await?;
        ensure!(far["host"] == there["id"] && far["observed"]["power"] == "on", "{far}");
        ensure!(door.get("/machines/near").await?["host"] == here["id"]);
        ensure!(items(door, "/machines").await?.len() == 2);
    }
    // `near` was made by the other process; its events came all the same.
    feed.until("\"near\"").await?;

    let (status, body) = a.request("GET", "/machines/far/console/log", None).await?;
    ensure!(status == 409 && body["code"] == "other_host", "{status} {body}");
    let way = there["door"].as_str().context("a door")?;
    ensure!(body["hint"].as_str().is_some_and(|hint| hint.contains(way)), "{body}");
    let argv = json!({ "argv": ["/bin/true"] });
    ensure!(a.request("POST", "/machines/far/run", Some(argv)).await?.0 == 409);
    ensure!(b.request("GET", "/machines/far/console/log", None).await?.0 == 200);

    let name = storages.iter().find(|name| *name != "local").context("another storage")?;
    let body = json!({ "name": "data", "size_mib": 8, "storage": name });
    let volume = a.carry_out("POST", "/volumes", Some(body)).await?["record"]["id"].clone();
    let path = format!("/volumes/{}/attach", volume.as_str().context("an id")?);
    a.carry_out("POST", "/machines/near/stop", Some(json!({ "force": true }))).await?;
    let (status, body) = a.request("POST", &path, Some(json!({ "machine": "near" }))).await?;
    ensure!(status == 409 && body["code"] == "other_host", "{status} {body}");
    a.carry_out("POST", "/machines/far/stop", Some(json!({ "force": true }))).await?;
    a.post(&path, json!({ "machine": "far" })).await?;
    for door in [&a, &b] {
        ensure!(problems(door).await?.is_empty(), "{:?}", problems(door).await?);
    }
    ensure!(a.stop().await? == Some(0) && b.stop().await? == Some(0));
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_that_come_at_once_makes_the_installation() -> Result<()> {
    let Some(home) = Home::new()? else { return Ok(()) };
    let key = home.data("key");
    std::fs::write(&key, "5a".repeat(32))?;
    home.give("a", "key", &key)?;
    home.give("b", "key", &key)?;
    let (a, b) = tokio::join!(home.start("a", &QUICK), home.start("b", &QUICK));
    let (a, b) = (a?, b?);
    ensure!(items(&a, "/clusters").await?.len() == 1 && items(&b, "/hosts").await?.len() == 2);
    let passwords = ["a", "b"].map(|name| home.data(name).join("initial-admin-password").exists());
    ensure!(passwords[0] != passwords[1], "one password counts: {passwords:?}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_that_does_not_belong_is_refused() -> Result<()> {
    let Some(home) = Home::new()? else { return Ok(()) };
    let a = home.start("a", &QUICK).await?;
    let words = home.refused("b").await?;
    ensure!(words.contains("no key") && words.contains("another host of this installation"), "{words}");
    ensure!(!home.data("b").join("key").exists());
    let other = home.data("other");
    std::fs::write(&other, "5a".repeat(32))?;
    home.give("b", "key", &other)?;
    let words = home.refused("b").await?;
    ensure!(words.contains("the key in the data directory is not the one of this installation"), "{words}");
    ensure!(words.contains("copy the file `key`"), "{words}");
    ensure!(items(&a, "/hosts").await?.len() == 1);

    // A copy of a directory whose process lives.
    for file in ["key", "host"] {
        home.give("copy", file, &home.data("a").join(file))?;
    }
    let words = home.refused("copy").await?;
    ensure!(words.contains("another process serves host"), "{words}");
    a.micro().await?;
    // One that was moved, and whose former process is dead, comes back.
    a.kill().await?;
    let moved = home.start("copy", &QUICK).await?;
    ensure!(items(&moved, "/hosts").await?.len() == 1);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_work_of_a_killed_process_waits_for_it_and_nothing_is_done_twice() -> Result<()> {
    let Some(home) = Home::new()? else { return Ok(()) };
    let slow = [("HOSTLER__SIM__BOOT_MS", "1500"), ("HOSTLER__TASKS__CONCURRENCY", "4")];
    let (a, b) = home.two(&slow).await?;
    b.carry_out("POST", "/machines", Some(create("old", "there"))).await?;
    let mut accepted = Vec::new();
    for count in 0..12 {
        let template = if count % 2 == 0 { "micro" } else { "there" };
        accepted.push(a.post("/machines", create(&format!("m{count}"), template)).await?);
    }
    b.until("/tasks?state=running", |tasks| {
        let busy = tasks["items"].as_array();
        busy.is_some_and(|tasks| tasks.iter().any(|task| task["host"] != accepted[0]["record"]["host"]))
    })
    .await?;
    b.kill().await?;
    for one in accepted.iter().step_by(2) {
        a.done(one).await?;
    }
    let shown = a.until("/machines/old", |machine| machine["observed"]["power"] == "unknown").await?;
    ensure!(shown["reason"].as_str().is_some_and(|reason| reason.contains("not been heard of")), "{shown}");
    let path = format!("/tasks/{}", accepted[11]["task"]["id"].as_str().context("a task")?);
    let waiting = a.get(&path).await?;
    ensure!(
        waiting["open"] == true
            && waiting["message"].as_str().is_some_and(|message| message.starts_with("waiting for its host")),
        "{waiting}"
    );
    ensure!(problems(&a).await?.iter().any(|problem| problem.contains("has not been heard of")));

    let b = home.start("b", &slow).await?;
    for one in &accepted {
        a.done(one).await?;
    }
    let old = a.until("/machines/old", |machine| machine["observed"]["power"] == "on").await?;
    ensure!(old["observed"]["generation"] == 1, "it ran on: {old}");
    for machine in items(&b, "/machines?limit=100").await? {
        ensure!(machine["life"] == "present" && machine["observed"]["generation"] == 1, "{machine}");
    }
    ensure!(items(&a, "/machines?limit=100").await?.len() == 13);
    until("peace", DEADLINE, async || Ok(problems(&a).await?.is_empty().then_some(()))).await?;
    ensure!(problems(&b).await?.is_empty());
    Ok(())
}

/// A creation under a key, asked again until it is answered for good.
async fn insist(server: &Server, count: usize) -> Result<Value> {
    let (name, key) = (format!("m{count}"), format!("key-{count}"));
    let template = if count.is_multiple_of(2) { "micro" } else { "there" };
    let asked = async || {
        let body = Some(create(&name, template));
        let (status, body) =
            server.door.send("POST", "/machines", &[("idempotency-key", &key)], body).await?;
        ensure!(status == 202 || status == 503, "{status} {body}");
        Ok((status == 202).then_some(body))
    };
    until("an answer for good", DEADLINE, asked).await
}

/// A hundred creations while the database goes away and comes back: each ends, none is half-made.
async fn survive(
    home: &Home,
    away: impl FnOnce() -> Result<()>,
    back: impl FnOnce() -> Result<()>,
) -> Result<()> {
    const OUTAGE: Duration = Duration::from_secs(6);
    // More steps at a time than there are connections to read with.
    let crowded = QUICK.into_iter().chain([("HOSTLER__TASKS__CONCURRENCY", "32")]).collect::<Vec<_>>();
    let (a, b) = home.two(&crowded).await?;
    let doors = [&a, &b];
    let asking = join_all((0..100).map(|count| insist(doors[count / 2 % 2], count)));
    let outage = async {
        // In the middle: some are made by then.
        a.until("/machines?limit=100", |list| list["items"].as_array().is_some_and(|all| all.len() > 10))
            .await?;
        away()?;
        // What is tested is that it takes this long.
        tokio::time::sleep(OUTAGE).await;
        back()
    };
    let (accepted, outage) = tokio::join!(asking, outage);
    outage?;
    let mut made = BTreeSet::new();
    for one in accepted {
        let one = one?;
        let path = format!("/tasks/{}", one["task"]["id"].as_str().context("a task")?);
        let ended = until("the end of a task", DEADLINE, async || {
            let (status, task) = a.request("GET", &path, None).await?;
            Ok((status == 200 && task["open"] == false).then_some(task))
        })
        .await;
        let task = match ended {
            Ok(task) => task,
            Err(error) => return Err(error.context(format!("{:?}", a.request("GET", &path, None).await?))),
        };
        ensure!(task["state"] == "done" || task["error"].is_string(), "{task}");
        made.insert(one["record"]["id"].to_string());
    }
    ensure!(made.len() == 100, "each once: {}", made.len());
    for machine in items(&b, "/machines?limit=1000&gone=true").await? {
        ensure!(machine["life"] == "present" || machine["reason"].is_string(), "{machine}");
        ensure!(machine["life"] == "present" || machine["life"] == "gone", "{machine}");
    }
    for door in doors {
        until("peace", DEADLINE, async || Ok(problems(door).await?.is_empty().then_some(()))).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_crashes_and_comes_back_costs_nothing_but_time() -> Result<()> {
    // What it has said to be committed must still be there.
    let Some(home) = Home::with(Care::Durable)? else { return Ok(()) };
    survive(&home, || home.database.stop_at_once(), || home.database.start_again()).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_answer_for_a_while_costs_nothing_but_time() -> Result<()> {
    let Some(home) = Home::new()? else { return Ok(()) };
    survive(&home, || home.database.pause(), || home.database.go_on()).await
}

/// Each process counts for itself what it reads; only the commit decides.
#[tokio::test]
async fn fifty_creations_through_two_processes_never_pass_a_quota() -> Result<()> {
    let Some(home) = Home::new()? else { return Ok(()) };
    let (a, b) = home.two(&QUICK).await?;
    let (status, answer) = a.request("PUT", "/quotas/account/admin", Some(json!({ "machines": 7 }))).await?;
    ensure!(status == 200, "{answer}");
    let asked = (0..50).map(|number| {
        let (server, template) = if number % 2 == 0 { (&a, "micro") } else { (&b, "there") };
        server.request("POST", "/machines", Some(create(&format!("m{number}"), template)))
    });
    let mut made = [0, 0];
    for (number, answer) in join_all(asked).await.into_iter().enumerate() {
        match answer? {
            (202, _) => made[number % 2] += 1,
            (507, answer) => ensure!(answer["code"] == "quota", "{answer}"),
            (status, answer) => anyhow::bail!("{status} {answer}"),
        }
    }
    ensure!(made[0] + made[1] == 7, "{made:?} were let through");
    for server in [&a, &b] {
        let quota = server.get("/quotas/account/admin").await?;
        ensure!(quota["used"]["machines"] == 7, "{quota}");
        ensure!(items(server, "/machines?limit=100").await?.len() == 7);
    }
    Ok(())
}
