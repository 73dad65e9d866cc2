//! Stories with real QEMU and real guests.

mod forks;
mod live;
mod snapshots;

use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server, missing};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// One server and one template serve all stories, in order.
#[tokio::test]
async fn real_machines() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: no story with real machines was told: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI they must run: {why}");
        return;
    }
    let folder = Folder::new().unwrap();
    let stage = Stage::set(folder.path()).await.unwrap();
    stage.the_life_of_a_machine().await.context("the life of a machine").unwrap();
    stage.a_guest_that_turns_itself_off().await.context("a guest that turns itself off").unwrap();
    stage.a_guest_that_floods_its_channels().await.context("a guest that floods").unwrap();
    stage.a_disk_image_is_imported_and_boots().await.context("an import").unwrap();
    stage.what_cannot_start_says_why().await.context("a machine that cannot start").unwrap();
    let stage = stage.machines_outlive_the_server().await.context("machines outlive the server").unwrap();
    let stage = stage.live_changes().await.context("live changes").unwrap();
    let stage = stage.snapshots().await.context("snapshots").unwrap();
    let stage = stage.forks().await.context("a pool of forks").unwrap();
    stage.ten_at_once().await.context("ten machines at once").unwrap();
    stage.nothing_is_left().await.context("nothing is left").unwrap();
}

struct Stage {
    server: Server,
    folder: PathBuf,
    key: String,
}

impl Stage {
    async fn set(folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        let server = Server::start(Program::Real, &data, &[]).await?;
        server.micro().await.context("building the micro template")?;
        let key = folder.join("key");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f", key.to_str().context("a path")?]).await?;
        let key = tokio::fs::read_to_string(key.with_extension("pub")).await?;
        Ok(Self { server, folder: folder.to_owned(), key: key.trim().to_owned() })
    }

    async fn machine(&self, name: &str) -> Result<Value> {
        self.server.get(&format!("/machines/{name}")).await
    }

    async fn create(&self, name: &str) -> Result<Value> {
        let body = json!({ "name": name, "template": "micro", "ssh_keys": [self.key] });
        self.server.carry_out("POST", "/machines", Some(body)).await?;
        self.machine(name).await
    }

    async fn power(&self, name: &str, verb: &str) -> Result<()> {
        self.server.carry_out("POST", &format!("/machines/{name}/{verb}"), Some(json!({}))).await?;
        Ok(())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        self.server.carry_out("DELETE", &format!("/machines/{name}"), None).await?;
        Ok(())
    }

    /// Runs a command over SSH, with the host key that the API foretold.
    async fn ssh(&self, machine: &Value, command: &str) -> Result<String> {
        let (port, host_key) = (machine["ssh"]["port"].to_string(), machine["ssh_host_key"].as_str());
        self.server.ssh_answers(machine).await?;
        let known = self.folder.join("known_hosts");
        tokio::fs::write(&known, format!("[127.0.0.1]:{port} {}\n", host_key.context("a host key")?)).await?;
        let known = format!("UserKnownHostsFile={}", known.display());
        let key = self.folder.join("key");
        let arguments =
            ["-F", "none", "-o", "StrictHostKeyChecking=yes", "-o", &known, "-o", "BatchMode=yes"];
        let mut all: Vec<&str> = arguments.to_vec();
        all.extend([
            "-o",
            "ConnectTimeout=60",
            "-o",
            "ConnectionAttempts=3",
            "-i",
            key.to_str().context("a path")?,
        ]);
        all.extend(["-p", &port, "root@127.0.0.1", command]);
        let output = run("ssh", &all).await?;
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    async fn in_guest(&self, name: &str, argv: &[&str]) -> Result<String> {
        let output = self.server.post(&format!("/machines/{name}/run"), json!({ "argv": argv })).await?;
        ensure!(output["status"] == 0, "{argv:?}: {output}");
        Ok(output["stdout"].as_str().unwrap_or_default().trim().to_owned())
    }

    async fn the_life_of_a_machine(&self) -> Result<()> {
        let machine = self.create("first").await?;
        ensure!(
            machine["life"] == "present" && machine["observed"]["power"] == "on" && machine["ready"] == true
        );
        ensure!(machine["number"].as_i64().is_some_and(|number| number > 0));
        ensure!(self.ssh(&machine, "hostname").await? == "first");
        let id = machine["id"].as_str().context("an id")?.replace('-', "");
        ensure!(self.ssh(&machine, "cat /etc/machine-id").await? == id);
        ensure!(
            self.in_guest("first", &["/bin/busybox", "echo", "from the agent"]).await? == "from the agent"
        );
        self.ssh(&machine, "echo kept > /data/note && sync").await?;

        let before = self.ssh(&machine, "cat /proc/sys/kernel/random/boot_id").await?;
        self.power("first", "restart").await?;
        let machine = self.machine("first").await?;
        ensure!(machine["ready"] == true && machine["observed"]["generation"] == 2);
        ensure!(self.ssh(&machine, "cat /proc/sys/kernel/random/boot_id").await? != before);
        ensure!(self.ssh(&machine, "cat /data/note").await? == "kept");
        self.power("first", "reset").await?;
        ensure!(self.ssh(&self.machine("first").await?, "cat /data/note").await? == "kept");

        self.power("first", "pause").await?;
        ensure!(self.machine("first").await?["observed"]["power"] == "paused");
        let (status, problem) = self.server.request("POST", "/machines/first/start", Some(json!({}))).await?;
        ensure!(status == 409 && problem["code"] == "wrong_state", "{problem}");
        self.power("first", "resume").await?;
        ensure!(self.in_guest("first", &["/bin/busybox", "hostname"]).await? == "first");

        let log = self.server.get("/machines/first/console/log").await?;
        ensure!(log.as_str().is_some_and(|text| text.contains("READY")), "the console says {log}");
        self.power("first", "stop").await?;
        ensure!(self.machine("first").await?["observed"]["power"] == "off");
        let already = self.server.post("/machines/first/stop", json!({})).await?;
        ensure!(already["task"].is_null(), "it was off already: {already}");
        self.power("first", "start").await?;
        ensure!(self.ssh(&self.machine("first").await?, "cat /data/note").await? == "kept");
        self.delete("first").await?;
        let (status, _) = self.server.request("GET", "/machines/first", None).await?;
        ensure!(status == 404, "a removed machine's name is free");
        Ok(())
    }

    async fn a_guest_that_turns_itself_off(&self) -> Result<()> {
        self.create("sleepy").await?;
        self.in_guest("sleepy", &["/bin/busybox", "sh", "-c", "(sleep 1; poweroff -f) & exit 0"]).await?;
        let machine =
            self.server.until("/machines/sleepy", |machine| machine["observed"]["power"] == "off").await?;
        ensure!(machine["reason"].is_string(), "it does not say why it is off: {machine}");
        self.power("sleepy", "start").await?;
        self.delete("sleepy").await
    }

    /// Everything that a guest can write to without end: its serial line, and the channel of an agent.
    async fn a_guest_that_floods_its_channels(&self) -> Result<()> {
        let machine = self.create("flood").await?;
        let flood = "for to in /dev/ttyS0 /dev/vport*p2; do [ -c $to ] || exit 1; \
                     (exec yes flood > $to 2> /dev/null < /dev/null) & done; exit 0";
        self.in_guest("flood", &["/bin/busybox", "sh", "-c", flood]).await?;
        let id = machine["id"].as_str().context("an id")?;
        let log = self.server.data.join("machines").join(id).join("console.log");
        // Long enough for the log to be cut down several times; what else is asked meanwhile is answered soon.
        let (mut largest, mut last, mut cuts) = (0, 0, 0);
        let begin = Instant::now();
        while cuts < 3 && begin.elapsed() < DEADLINE {
            let asked = Instant::now();
            self.server.get("/machines").await?;
            ensure!(asked.elapsed() < Duration::from_secs(30), "an answer took {:?}", asked.elapsed());
            let length = log.metadata()?.len();
            cuts += u32::from(length < last);
            (largest, last) = (largest.max(length), length);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        ensure!(cuts == 3, "the log was cut down {cuts} times; it has {last} bytes");
        ensure!(largest < 32 << 20, "the log grew to {largest} bytes");
        let told = self.server.get("/machines/flood/console/log").await?;
        ensure!(
            told.as_str().is_some_and(|text| text.ends_with("flood\n") || text.contains("flood")),
            "{told}"
        );
        let machine = self.create("neighbour").await?;
        ensure!(machine["ready"] == true, "a neighbour is not held up: {machine}");
        let status = tokio::fs::read_to_string(format!("/proc/{}/status", self.server.pid())).await?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a size")?;
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse()?;
        ensure!(kib < 200 << 10, "the server has {kib} KiB");
        self.delete("neighbour").await?;
        self.delete("flood").await
    }

    /// The image of a machine that was set up and stopped, as somebody would bring it from elsewhere.
    async fn a_disk_image_is_imported_and_boots(&self) -> Result<()> {
        let image = self.folder.join("boots.qcow2");
        crate::images::bootable(&self.folder, &image).await?;
        let path = image.to_str().context("a path")?;
        let source = json!({ "from": "file", "path": path, "format": "qcow2" });
        let body = json!({ "name": "imported", "source": source });
        self.server.carry_out("POST", "/templates", Some(body)).await?;
        let body = json!({ "name": "guest", "template": "imported", "memory_mib": 64 });
        self.server.carry_out("POST", "/machines", Some(body)).await?;
        let spoke = |log: &Value| log.as_str().is_some_and(|text| text.contains(crate::images::GREETING));
        self.server
            .until("/machines/guest/console/log", spoke)
            .await
            .context("the imported disk does not boot")?;
        let (status, problem) = self.server.request("DELETE", "/templates/imported", None).await?;
        ensure!(status == 409 && problem["code"] == "in_use", "{problem}");
        self.delete("guest").await?;
        self.server.carry_out("DELETE", "/templates/imported", None).await?;
        Ok(())
    }

    async fn what_cannot_start_says_why(&self) -> Result<()> {
        let body = json!({ "name": "broken", "template": "micro", "start": false });
        self.server.carry_out("POST", "/machines", Some(body)).await?;
        let machine = self.machine("broken").await?;
        let volume = machine["volumes"][0].as_str().context("a volume")?.to_owned();
        let file = self.server.data.join("volumes").join(format!("{volume}.qcow2"));
        tokio::fs::write(&file, b"this is no disk").await?;
        let accepted = self.server.post("/machines/broken/start", json!({})).await?;
        let task = self.server.ended(&accepted).await?;
        ensure!(task["state"] == "failed", "{task}");
        let machine = self.machine("broken").await?;
        let reason = machine["reason"].as_str().unwrap_or_default().to_lowercase();
        ensure!(
            reason.contains("image") || reason.contains("qcow2"),
            "QEMU's last words are not in `{reason}`"
        );
        ensure!(machine["observed"]["power"] == "off" && machine["task"].is_null());
        self.delete("broken").await
    }

    async fn machines_outlive_the_server(self) -> Result<Self> {
        let machine = self.create("survivor").await?;
        let before = self.ssh(&machine, "cat /proc/sys/kernel/random/boot_id").await?;
        let Self { server, folder, key } = self;
        let data = server.data.clone();
        server.kill().await?;
        let server = Server::start(Program::Real, &data, &[]).await?;
        let stage = Self { server, folder, key };
        let machine = stage.machine("survivor").await?;
        ensure!(machine["observed"]["power"] == "on", "{machine}");
        ensure!(stage.ssh(&machine, "cat /proc/sys/kernel/random/boot_id").await? == before);
        ensure!(stage.in_guest("survivor", &["/bin/busybox", "hostname"]).await? == "survivor");
        let code = stage.server.stop().await?;
        ensure!(code == Some(0), "after SIGTERM it ended with {code:?}");
        let server = Server::start(Program::Real, &data, &[]).await?;
        let stage = Self { server, folder: stage.folder, key: stage.key };
        ensure!(stage.ssh(&stage.machine("survivor").await?, "hostname").await? == "survivor");
        stage.delete("survivor").await?;
        Ok(stage)
    }

    async fn ten_at_once(&self) -> Result<()> {
        let names: Vec<String> = (0..10).map(|number| format!("many-{number}")).collect();
        let mut accepted = Vec::new();
        for name in &names {
            let body = json!({ "name": name, "template": "micro", "ssh_keys": [self.key] });
            accepted.push(self.server.post("/machines", body).await?);
        }
        for one in &accepted {
            self.server.done(one).await?;
        }
        for name in &names {
            ensure!(self.in_guest(name, &["/bin/busybox", "hostname"]).await? == *name);
        }
        for name in &names {
            self.server.ask("DELETE", &format!("/machines/{name}"), None).await?;
        }
        for name in &names {
            let tasks = self.server.get("/tasks?limit=50&order=-created_at").await?;
            let items = tasks["items"].as_array().context("a list")?;
            let task =
                items.iter().find(|task| task["subject_name"] == **name && task["kind"] == "machine.delete");
            self.server.task_ended(task.and_then(|task| task["id"].as_str()).context("its removal")?).await?;
        }
        Ok(())
    }

    async fn nothing_is_left(&self) -> Result<()> {
        let doctor = self.server.get("/doctor").await?;
        let problems: Vec<&Value> = doctor["findings"]
            .as_array()
            .context("findings")?
            .iter()
            .filter(|one| one["level"] == "problem")
            .collect();
        ensure!(problems.is_empty(), "{problems:?}");
        for folder in ["machines", "volumes"] {
            let left = std::fs::read_dir(self.server.data.join(folder))?.count();
            ensure!(left == 0, "{left} entries are left in {folder}");
        }
        ensure!(crate::images::processes(&self.server.data)? == 0, "a process is left");
        Ok(())
    }
}

async fn run(program: &str, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).kill_on_drop(true).stdin(std::process::Stdio::null());
    let output = tokio::time::timeout(DEADLINE, command.output())
        .await
        .with_context(|| format!("{program} hangs"))??;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{program} {arguments:?}: {stderr}");
    Ok(output)
}
