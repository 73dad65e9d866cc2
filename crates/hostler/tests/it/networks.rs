//! A story with real guests on a bridge, in a network namespace of its own: the host's own network is never touched.

use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server, missing, until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tokio::process::{Child, Command};

#[tokio::test]
async fn real_networks() {
    if let Some(why) = missing().or_else(no_networks) {
        eprintln!("SKIPPED: no story with real networks was told: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI they must run: {why}");
        return;
    }
    let folder = Folder::new().unwrap();
    let world = Namespace::new().await.unwrap();
    let stage = Stage::set(&world, &folder.path().join("data")).await.unwrap();
    stage.what_is_in_the_way_is_named().await.context("what is in the way").unwrap();
    stage.guests_reach_each_other_by_name().await.context("guests reach each other by name").unwrap();
    let stage = stage.the_network_outlives_the_server().await.context("another server").unwrap();
    let stage = stage.everything_is_made_again_after_a_reboot().await.context("a reboot").unwrap();
    stage.nothing_is_left().await.context("nothing is left").unwrap();
}

fn no_networks() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root to make networks".into());
    }
    let installed =
        |name: &str| ["/usr/sbin", "/usr/bin"].iter().any(|at| Path::new(at).join(name).is_file());
    let missing = ["nft", "dnsmasq", "ip", "unshare", "nsenter"].into_iter().find(|name| !installed(name));
    missing.map(|name| format!("{name} is not installed"))
}

/// A network namespace that lives as long as this.
struct Namespace(Child);

impl Namespace {
    async fn new() -> Result<Self> {
        let mut holder = Command::new("unshare");
        // It says that it is there when the namespace is.
        holder.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"]);
        let mut child = holder.stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
        let mut said = [0; 3];
        let mut output = child.stdout.take().context("its output is read")?;
        tokio::io::AsyncReadExt::read_exact(&mut output, &mut said).await?;
        Ok(Self(child))
    }

    /// A command that runs in it.
    fn wrap(&self, program: &Path) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.0.id().unwrap_or(0))).arg(program);
        command
    }

    async fn run(&self, line: &str) -> Result<String> {
        let mut command = self.wrap(Path::new("sh"));
        let output = command.args(["-c", line]).stdin(Stdio::null()).kill_on_drop(true).output();
        let output = tokio::time::timeout(DEADLINE, output).await.context("it hangs")??;
        let [out, err] =
            [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        ensure!(output.status.success(), "`{line}`: {out}{err}");
        Ok(out.trim().to_owned())
    }

    /// Everything of networks that there is: links, addresses, rules.
    async fn everything(&self) -> Result<String> {
        self.run("ip -brief link; ip -brief address; nft list ruleset").await
    }
}

struct Stage<'a> {
    world: &'a Namespace,
    server: Server,
}

const GUESTS: [(&str, &str, &str); 3] = [
    ("anna", "10.77.0.10", "fd77::10"),
    ("bert", "10.77.0.11", "fd77::11"),
    ("cleo", "10.77.0.20", "fd77::12"),
];

impl<'a> Stage<'a> {
    async fn set(world: &'a Namespace, data: &Path) -> Result<Self> {
        // Packages come from outside, and no way leads out of the namespace.
        let outside = Server::start(Program::Real, data, &[]).await?;
        outside.micro().await.context("building the micro template")?;
        outside.kill().await?;
        let server = Server::start_by(|program| world.wrap(program), Program::Real, data, &[]).await?;
        Ok(Self { world, server })
    }

    fn lab(bridge: &str) -> Value {
        json!({
            "name": "lab", "kind": "bridge", "bridge": bridge, "domain": "lab.test",
            "subnets": [{ "gateway": "10.77.0.1", "prefix": 24 }, { "gateway": "fd77::1", "prefix": 64 }],
            "ranges": [
                { "first": "10.77.0.10", "last": "10.77.0.11" }, { "first": "10.77.0.20", "last": "10.77.0.20" },
                { "first": "fd77::10", "last": "fd77::ff" },
            ],
        })
    }

    async fn what_is_in_the_way_is_named(&self) -> Result<()> {
        self.world.run("ip link add br-lab type bridge").await?;
        let before = self.world.everything().await?;
        let (status, problem) = self.server.request("POST", "/networks", Some(Self::lab("br-lab"))).await?;
        let detail = problem["detail"].as_str().unwrap_or_default();
        ensure!(status == 409 && detail.contains("br-lab that hostler did not make"), "{status} {problem}");
        ensure!(self.world.everything().await? == before, "a refused network left something");
        self.world.run("ip link del br-lab").await.map(drop)
    }

    async fn in_guest(&self, name: &str, line: &str) -> Result<(i64, String)> {
        let argv = ["/bin/busybox", "sh", "-c", line];
        let output = self.server.post(&format!("/machines/{name}/run"), json!({ "argv": argv })).await?;
        let text =
            format!("{}{}", output["stdout"].as_str().unwrap_or(""), output["stderr"].as_str().unwrap_or(""));
        Ok((output["status"].as_i64().unwrap_or(-1), text))
    }

    async fn succeeds(&self, name: &str, line: &str) -> Result<String> {
        let (status, text) = self.in_guest(name, line).await?;
        ensure!(status == 0, "{name}: `{line}` ended with {status}: {text}");
        Ok(text)
    }

    async fn fails(&self, name: &str, line: &str) -> Result<()> {
        let (status, text) = self.in_guest(name, line).await?;
        ensure!(status != 0, "{name}: `{line}` succeeded: {text}");
        Ok(())
    }

    async fn guests_reach_each_other_by_name(&self) -> Result<()> {
        self.server.post("/networks", Self::lab("br-lab")).await?;
        let mut accepted = Vec::new();
        for (name, ip, _) in GUESTS {
            let addresses = if name == "cleo" { json!([ip]) } else { json!([]) };
            let body = json!({ "name": name, "template": "micro", "network": "lab", "addresses": addresses });
            accepted.push(self.server.post("/machines", body).await?);
        }
        for one in &accepted {
            self.server.done(one).await?;
        }
        for (name, v4, v6) in GUESTS {
            let machine = self.server.get(&format!("/machines/{name}")).await?;
            ensure!(machine["nics"][0]["addresses"] == json!([v4, v6]), "{machine}");
            ensure!(machine["ssh"] == json!({ "address": v4, "port": 22 }), "{}", machine["ssh"]);
        }
        let body = json!({ "name": "late", "template": "micro", "network": "lab" });
        let (status, problem) = self.server.request("POST", "/machines", Some(body)).await?;
        ensure!(status == 507 || problem["code"] == "no_capacity", "{status} {problem}");
        ensure!(problem["detail"].as_str().is_some_and(|text| text.contains("network lab")), "{problem}");
        let (status, _) = self.server.request("GET", "/machines/late", None).await?;
        ensure!(status == 404, "a machine without an address was made");

        self.they_reach_each_other().await?;
        self.world
            .run("timeout 60 bash -c 'exec 3<>/dev/tcp/10.77.0.10/22'")
            .await
            .context("SSH from the host")?;
        // One that asks DHCP gets the address of the records.
        let asked = "busybox udhcpc -i eth0 -n -q -t 10 -s /bin/true 2>&1";
        let lease = self.succeeds("bert", asked).await?;
        ensure!(lease.contains("10.77.0.11"), "the lease is {lease}");
        self.liars_are_not_heard().await
    }

    async fn they_reach_each_other(&self) -> Result<()> {
        self.succeeds("anna", "busybox ping -c 1 -W 20 bert.lab.test").await?;
        self.succeeds("bert", "busybox ping -c 1 -W 20 cleo").await?;
        self.succeeds("cleo", "busybox ping -6 -c 1 -W 20 fd77::10").await?;
        let found = self.succeeds("anna", "busybox nslookup cleo.lab.test 10.77.0.1").await?;
        ensure!(found.contains("10.77.0.20") && found.contains("fd77::12"), "{found}");
        Ok(())
    }

    /// Lies from inside a guest; `drivers` has every lie, frame by frame.
    async fn liars_are_not_heard(&self) -> Result<()> {
        self.succeeds("cleo", "ip addr add 10.77.0.99/24 dev eth0").await?;
        self.fails("cleo", "busybox ping -c 1 -W 2 -I 10.77.0.99 10.77.0.10").await?;
        self.world.run("nft delete table bridge hostler-br-lab").await?;
        self.succeeds("cleo", "busybox ping -c 1 -W 20 -I 10.77.0.99 10.77.0.10")
            .await
            .context("without rules the lie gets through")?;
        self.succeeds("cleo", "ip addr del 10.77.0.99/24 dev eth0").await?;
        // The keeper puts the rules back.
        until("the rules", DEADLINE, async || {
            Ok(self.world.run("nft list table bridge hostler-br-lab").await.is_ok().then_some(()))
        })
        .await
    }

    async fn the_network_outlives_the_server(self) -> Result<Self> {
        let Self { world, server } = self;
        let data = server.data.clone();
        let dnsmasq = world.run("pgrep -x dnsmasq --ns $$ --nslist net").await?;
        server.kill().await?;
        let server = Server::start_by(|program| world.wrap(program), Program::Real, &data, &[]).await?;
        let stage = Self { world, server };
        stage.they_reach_each_other().await?;
        let now = world.run("pgrep -x dnsmasq --ns $$ --nslist net").await?;
        ensure!(now == dnsmasq, "dnsmasq was replaced: {dnsmasq}, {now}");
        world.run(&format!("kill -9 {dnsmasq}")).await?;
        until("dnsmasq", DEADLINE, async || Ok(stage.they_reach_each_other().await.ok())).await?;
        Ok(stage)
    }

    async fn everything_is_made_again_after_a_reboot(self) -> Result<Self> {
        let Self { world, server } = self;
        let data = server.data.clone();
        let everything = world.everything().await?;
        server.kill().await?;
        world.run("pkill -9 -x dnsmasq --ns $$ --nslist net; pkill -9 qemu-system --ns $$ --nslist net; nft flush ruleset; ip link del br-lab").await?;
        let server = Server::start_by(|program| world.wrap(program), Program::Real, &data, &[]).await?;
        let stage = Self { world, server };
        for (name, _, _) in GUESTS {
            let path = format!("/machines/{name}");
            stage.server.until(&path, |machine| machine["observed"]["power"] == "off").await?;
            stage.server.carry_out("POST", &format!("{path}/start"), Some(json!({}))).await?;
        }
        stage.they_reach_each_other().await?;
        let now = world.everything().await?;
        let names = |text: &str| text.split_whitespace().filter(|word| word.starts_with("hostler")).count();
        ensure!(names(&now) == names(&everything), "{now}\ninstead of\n{everything}");
        Ok(stage)
    }

    async fn nothing_is_left(&self) -> Result<()> {
        let (status, problem) = self.server.request("DELETE", "/networks/lab", None).await?;
        ensure!(status == 409 && problem["code"] == "in_use", "{problem}");
        for (name, _, _) in GUESTS {
            self.server.carry_out("DELETE", &format!("/machines/{name}"), None).await?;
        }
        let (status, problem) = self.server.request("DELETE", "/networks/lab", None).await?;
        ensure!(status == 204, "{status} {problem}");
        let left = self.world.everything().await?;
        ensure!(!left.contains("lab") && !left.contains("hostler") && left.lines().count() == 2, "{left}");
        let folder = self.server.data.join("networks");
        ensure!(std::fs::read_dir(folder)?.count() == 0, "something is left in networks");
        Ok(())
    }
}
