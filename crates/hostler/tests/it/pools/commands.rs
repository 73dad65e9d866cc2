//! Pools from the command line, against a server with simulated hosts.

use crate::folder::Folder;
use crate::program::{ends, run};
use crate::server::{DEADLINE, Program, Server};
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

/// A server on which machines are there as soon as they are asked for, with a template.
struct Scene {
    data: PathBuf,
    server: Server,
    _folder: Folder,
}

impl Scene {
    async fn new() -> Result<Self> {
        Self::with(&[]).await
    }

    async fn with(settings: &[(&str, &str)]) -> Result<Self> {
        let folder = Folder::new()?;
        let data = folder.path().join("data");
        let quick = [("HOSTLER__SIM__BOOT_MS", "0"), ("HOSTLER__SIM__IMAGE_MS", "0")];
        let settings: Vec<_> = quick.into_iter().chain(settings.iter().copied()).collect();
        let server = Server::start(Program::Simulated, &data, &settings).await?;
        ends(&data, "template build micro", 0).await?;
        Ok(Self { data, server, _folder: folder })
    }

    /// What a command prints that must end well.
    async fn says(&self, line: &str) -> Result<String> {
        Ok(ends(&self.data, line, 0).await?.0)
    }

    /// What a command answers as JSON.
    async fn json(&self, line: &str) -> Result<Value> {
        let text = self.says(&format!("{line} -o json")).await?;
        serde_json::from_str(&text).context(text)
    }

    /// What a command says on stderr that ends with this code.
    async fn refused(&self, line: &str, code: i32) -> Result<String> {
        Ok(ends(&self.data, line, code).await?.1)
    }

    /// Waits until a pool is as it shall be; looks again at everything that happens.
    async fn until(&self, pool: &str, holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut feed = self.server.door.feed("/events?kind=pool,machine").await?;
        let seen = async {
            loop {
                let shown = self.json(&format!("pool show {pool}")).await?;
                if holds(&shown) {
                    return Ok(shown);
                }
                feed.next().await?;
            }
        };
        tokio::time::timeout(DEADLINE, seen).await.with_context(|| format!("pool {pool} never was so"))?
    }

    async fn filled(&self, pool: &str) -> Result<Value> {
        self.until(pool, |pool| pool["ready"] == pool["size"]).await
    }

    async fn end(self) -> Result<()> {
        ensure!(self.server.stop().await? == Some(0));
        Ok(())
    }
}

fn name(machine: &Value) -> String {
    machine["name"].as_str().unwrap_or_default().to_owned()
}

/// Seconds that a machine is lent for in all.
fn lasts(machine: &Value) -> Result<i64> {
    let checkout = &machine["stock"]["checkout"];
    let at = |name: &str| -> Result<jiff::Timestamp> {
        Ok(checkout[name].as_str().with_context(|| format!("{name} of {checkout}"))?.parse()?)
    };
    Ok(at("until")?.as_second() - at("at")?.as_second())
}

#[tokio::test]
async fn a_machine_of_a_pool_is_lent_extended_tagged_and_returned() -> Result<()> {
    let scene = Scene::new().await?;
    let made = scene.says("pool create ci --template micro --size 2 --alias linux --lifetime 1h").await?;
    ensure!(made.contains("ci") && made.contains("linux"), "{made}");
    scene.filled("ci").await?;
    let shown = scene.says("pool show ci").await?;
    for told in ["Newest machines", "clone ", "boot ", " ms on average", "lent for", "size"] {
        ensure!(shown.contains(told), "{told} is missing: {shown}");
    }
    let born =
        |line: &&str| line.contains(" ready ") && (line.contains(" cold ") || line.contains(" forked "));
    ensure!(shown.lines().filter(born).count() == 2, "{shown}");
    let list = scene.says("pool list").await?;
    let row = list.lines().nth(1).context("no row")?.split_whitespace().collect::<Vec<_>>();
    ensure!(row[..6] == ["ci", "micro", "2", "2", "0", "0"], "{list}");

    let lent = scene.json("checkout linux --lifetime 2h --tag job=17").await?;
    let machine = &lent[0];
    let web = name(machine);
    ensure!(lasts(machine)? == 7200 && machine["stock"]["checkout"]["tags"]["job"] == "17", "{machine}");
    ensure!(machine["stock"]["birth"]["forked"].is_boolean(), "{machine}");
    let list = scene.says("checkouts").await?;
    let ssh = &machine["ssh"];
    let way = format!("{}:{}", ssh["address"].as_str().context("no way in")?, ssh["port"]);
    for told in [web.as_str(), &way, "in 1", "job=17", "admin"] {
        ensure!(list.contains(told), "{told} is missing: {list}");
    }

    let tagged = scene.json(&format!("tag {web} by=me stage=a=b")).await?;
    let tags = &tagged[0]["stock"]["checkout"]["tags"];
    ensure!(*tags == serde_json::json!({"job": "17", "by": "me", "stage": "a=b"}), "{tags}");
    ensure!(lasts(&scene.json(&format!("extend {web} 30m")).await?)? == 9000);
    ensure!(lasts(&scene.json(&format!("extend {web} 3h --in-all")).await?)? == 10_800);
    let said = scene.says(&format!("extend {web} never --in-all")).await?;
    ensure!(said == format!("machine {web} ends never\n"), "{said}");
    let endless = scene.refused(&format!("extend {web} 1h"), 5).await?;
    ensure!(endless.contains("without an end") && endless.contains("--in-all"), "{endless}");
    scene.refused(&format!("extend {web} never"), 2).await?;

    // What there is is returned, whatever stands before it.
    let output = run(&scene.data, &["return", "nobody", &web]).await?;
    let out = String::from_utf8(output.stdout)?;
    ensure!(output.status.code() == Some(3) && out == format!("machine {web} is returned\n"), "{out}");
    scene.refused(&format!("return {web}"), 3).await?;
    scene.refused(&format!("extend {web} 1h"), 3).await?;
    scene.refused(&format!("tag {web} a=b"), 3).await?;
    ensure!(scene.json("checkouts").await? == serde_json::json!([]));
    let figures = scene.json("pool figures").await?;
    ensure!(figures[0]["pool"] == "ci" && figures[0]["checkouts"] == 1, "{figures}");
    scene.end().await
}

/// A guest's SSH server, as far as its first line. Ends only by an error.
async fn greets(listener: &TcpListener) -> Result<()> {
    loop {
        let (mut stream, _) = listener.accept().await?;
        stream.write_all(b"SSH-2.0-guest\r\n").await?;
    }
}

#[tokio::test]
async fn ssh_leads_to_a_machine_that_is_lent_by_its_name() -> Result<()> {
    let scene = Scene::new().await?;
    scene.says("pool create ci -t micro -s 1").await?;
    scene.filled("ci").await?;
    let machine = scene.json("checkout ci").await?[0].clone();
    let port = u16::try_from(machine["ssh"]["port"].as_u64().context("no way in")?)?;
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    // In the place of ssh: says what it was asked for, and with which host keys.
    let tools = Folder::new()?;
    let ssh = tools.path().join("ssh");
    std::fs::write(
        &ssh,
        "#!/bin/sh\necho \"$@\"\nfor word in \"$@\"; do\n  case $word in UserKnownHostsFile=*) eval cat \"${word#*=}\" ;; esac\ndone\nexit 7\n",
    )?;
    std::fs::set_permissions(&ssh, Permissions::from_mode(0o755))?;
    let path = format!("{}:/usr/bin:/bin", tools.path().display());
    let mut asked = Program::Simulated.command(&scene.data);
    let asked = asked.args(["ssh", &name(&machine), "--", "uptime"]).env("PATH", path).output();
    let output = tokio::select! {
        output = asked => output?,
        ended = greets(&listener) => return ended,
    };
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(output.status.code() == Some(7), "{output:?}");
    let key = machine["ssh_host_key"].as_str().context("no host key")?;
    for told in [&format!("HostKeyAlias={}", name(&machine)), &format!("-p {port}"), "127.0.0.1 uptime", key]
    {
        ensure!(out.contains(told), "{told} is missing: {out}");
    }
    scene.end().await
}

#[tokio::test]
async fn an_empty_pool_ends_with_six_and_says_why() -> Result<()> {
    let scene = Scene::new().await?;
    scene.says("pool create none --template nothing --size 1").await?;
    scene.until("none", |pool| pool["trouble"]["reason"].is_string()).await?;
    let why =
        scene.json("pool show none").await?["trouble"]["reason"].as_str().unwrap_or_default().to_owned();
    let err = scene.refused("checkout none", 6).await?;
    for told in [why.as_str(), "`hostler pool show none`", "--wait"] {
        ensure!(err.contains(told), "{told} is missing: {err}");
    }
    let shown = scene.says("pool show none").await?;
    let list = scene.says("pool list").await?;
    ensure!(shown.contains(&why) && shown.contains("tried again") && list.contains(&why), "{shown}{list}");
    let unknown = scene.refused("checkout nowhere", 3).await?;
    ensure!(unknown.contains("nowhere"), "{unknown}");
    scene.refused("pool show nowhere", 3).await?;
    for wrong in
        ["checkout", "checkout none=0", "checkout none --lifetime soon", "checkout none --deadline 1m"]
    {
        scene.refused(wrong, 2).await?;
    }
    scene.end().await
}

#[tokio::test]
async fn who_waits_gets_machines_that_are_made_for_them() -> Result<()> {
    let scene = Scene::new().await?;
    scene.says("pool create rare --template micro --size 0").await?;
    scene.refused("checkout rare", 6).await?;
    let lent = scene.json("checkout rare=2 --wait --deadline 4m --lifetime 2h --tag job=9").await?;
    let lent = lent.as_array().context("no list")?;
    ensure!(lent.len() == 2, "{lent:?}");
    for machine in lent {
        let tags = &machine["stock"]["checkout"]["tags"];
        ensure!(lasts(machine)? == 7200 && tags["job"] == "9", "{machine}");
    }
    let names: Vec<_> = lent.iter().map(name).collect();
    scene.says(&format!("return {}", names.join(" "))).await?;
    scene.end().await
}

#[tokio::test]
async fn who_gives_up_waiting_leaves_nothing_behind() -> Result<()> {
    let scene = Scene::with(&[("HOSTLER__SIM__BOOT_MS", "3600000")]).await?;
    scene.says("pool create slow --template micro --size 0").await?;
    let err = scene.refused("checkout slow --wait --deadline 1s", 6).await?;
    ensure!(err.contains("not ready in time") && err.contains("`hostler pool show slow`"), "{err}");
    let (_, requests) = scene.server.door.send("GET", "/requests", &[], None).await?;
    ensure!(requests["items"][0]["state"] == "deleted", "{requests}");
    scene.until("slow", |pool| pool["filling"] == 0 && pool["lent"] == 0).await?;
    scene.end().await
}

#[tokio::test]
async fn an_administrator_changes_a_pool() -> Result<()> {
    let scene = Scene::new().await?;
    scene.says("pool create ci -t micro -s 1 --memory 128M --probe-command true").await?;
    let first = scene.filled("ci").await?;
    let taken = scene.refused("pool create ci -t micro -s 1", 5).await?;
    ensure!(taken.contains("ci"), "{taken}");
    scene.refused("pool create v1 -t micro -s 1", 2).await?;
    scene.refused("pool create big -t micro -s 4294967295", 2).await?;
    scene.refused("pool change ci", 2).await?;

    let sized = scene.says("pool resize ci 3").await?;
    ensure!(sized.contains("3 (1 until it was changed)"), "{sized}");
    let three = scene.filled("ci").await?;
    let newest = three["newest"].as_array().context("no machines")?;
    let ready = newest.iter().filter(|machine| machine["stock"]["state"] == "ready");
    ensure!(ready.count() == 3, "{three}");
    let stock = scene.says("pool stock ci --state ready").await?;
    ensure!(stock.lines().count() == 4, "{stock}");
    ensure!(scene.json("pool reset ci").await?["size"] == 1);
    scene.until("ci", |pool| pool["ready"] == 1).await?;

    let before = scene.json("pool stock ci --state ready").await?;
    scene.says("pool drain ci").await?;
    let replaced = |pool: &Value| {
        let newest = &pool["newest"][0];
        pool["ready"] == 1 && newest["stock"]["state"] == "ready" && newest["id"] != before[0]["id"]
    };
    scene.until("ci", replaced).await?;

    let changed = scene.json("pool change ci --description quick --lifetime never").await?;
    ensure!(changed["description"] == "quick" && changed["spec"]["lifetime_s"] == 0, "{changed}");
    ensure!(changed["spec"]["memory_mib"] == first["spec"]["memory_mib"], "{changed}");
    let templated = scene.json("pool template ci nothing").await?;
    ensure!(templated["overrides"]["template"] == "nothing", "{templated}");
    scene.says("pool failures ci").await?;

    scene.says("pool reset ci").await?;
    scene.filled("ci").await?;
    let lent = scene.json("checkout ci").await?;
    scene.refused("pool delete ci", 5).await?;
    scene.says(&format!("return {}", name(&lent[0]))).await?;
    scene.until("ci", |pool| pool["lent"] == 0).await?;
    scene.says("pool delete ci").await?;
    scene.end().await
}

#[tokio::test]
async fn what_a_hurried_or_hostile_hand_types_is_refused_in_words() -> Result<()> {
    let scene = Scene::new().await?;
    scene.says("pool create ci -t micro -s 1").await?;
    scene.filled("ci").await?;
    let lent = name(&scene.json("checkout ci").await?[0]);
    let many: Vec<_> = (0..1000).map(|count| format!("k{count}=v")).collect();
    let century = "1000000000000000000";
    for (line, code) in [
        (format!("extend {lent} {century} --in-all"), 2),
        (format!("extend {lent} {century}"), 2),
        (format!("checkout ci --lifetime {century}"), 2),
        (format!("tag {lent} {}", many.join(" ")), 2),
        (format!("tag {lent} a=1 a=2"), 2),
        ("extend nobody 1h".into(), 3),
        ("pool show ..".into(), 3),
        ("pool show a?b#c%2e".into(), 3),
        ("pool show a/b".into(), 2),
        ("return ..".into(), 3),
        ("pool create ../x -t micro -s 1".into(), 2),
        ("pool create ci=2 -t micro -s 1".into(), 2),
        ("pool resize ci -1".into(), 2),
        ("checkout ci=4000000000".into(), 2),
    ] {
        let err = scene.refused(&line, code).await?;
        ensure!(err.contains("error: ") && !err.contains("makes no sense"), "`{line}`: {err}");
    }
    ensure!(lasts(&scene.json("checkouts").await?[0])? == 43_200, "nothing of it was done");
    scene.end().await
}

#[tokio::test]
async fn without_a_server_the_commands_say_so() -> Result<()> {
    let folder = Folder::new()?;
    for line in ["pool list", "checkout ci", "checkouts", "return x", "extend x 1h", "tag x a=b"] {
        let err = ends(&folder.path().join("data"), line, 1).await?.1;
        ensure!(err.contains("no server is running"), "{line}: {err}");
    }
    let (completions, _) = ends(&folder.path().join("data"), "completions bash", 0).await?;
    ensure!(completions.contains("checkouts") && completions.contains("--deadline"), "{completions}");
    Ok(())
}
