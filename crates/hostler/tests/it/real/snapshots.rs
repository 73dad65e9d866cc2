//! Snapshots of a real guest: with its memory, of its disks alone, and with the server killed in the middle.

use super::{Stage, run};
use crate::server::{DEADLINE, Program, Server};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

/// Counts ten times a second, in memory only.
const COUNTING: &str = "(i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.1; done) \
    >/dev/null 2>&1 </dev/null & echo $! > /counting";

impl Stage {
    pub(super) async fn snapshots(self) -> Result<Self> {
        self.create("keeper").await?;
        self.shell("keeper", "echo before > /data/note; sync").await?;
        self.shell("keeper", COUNTING).await?;
        let moment = self.memory_is_kept_and_runs_on().await.context("with memory")?;
        self.disks_alone_are_kept().await.context("disks alone")?;
        self.a_machine_that_is_off_runs_on(&moment).await.context("from off")?;
        let stage = self.a_server_killed_while_it_saves().await.context("killed while it saves")?;
        stage.removed_snapshots_leave_nothing(&moment).await.context("removing")?;
        Ok(stage)
    }

    pub(super) async fn shell(&self, name: &str, script: &str) -> Result<String> {
        self.in_guest(name, &["/bin/busybox", "sh", "-c", script]).await
    }

    async fn take(&self, name: &str, memory: bool) -> Result<String> {
        let body = json!({ "name": name, "memory": memory });
        let accepted = self.server.carry_out("POST", "/machines/keeper/snapshots", Some(body)).await?;
        let id = accepted["record"]["id"].as_str().context("an id")?.to_owned();
        let snapshot = self.server.get(&format!("/snapshots/{id}")).await?;
        ensure!(snapshot["state"] == "present" && snapshot["task"].is_null(), "{snapshot}");
        Ok(id)
    }

    async fn revert(&self, snapshot: &str) -> Result<()> {
        self.server.carry_out("POST", &format!("/snapshots/{snapshot}/revert"), Some(json!({}))).await?;
        Ok(())
    }

    /// What the guest was at the moment is there again, and goes on.
    async fn counts_again(&self) -> Result<()> {
        ensure!(self.shell("keeper", "cat /data/note").await? == "before");
        let count = "kill -0 $(cat /counting) && cat /count";
        let first: u64 = self.shell("keeper", count).await.context("the process is gone")?.parse()?;
        let wait = format!("while ! [ \"$(cat /count)\" -gt {first} ]; do sleep 0.1; done; cat /count");
        let second: u64 = self.shell("keeper", &wait).await.context("it counts no more")?.parse()?;
        ensure!(second > first, "it counted {first}, then {second}");
        Ok(())
    }

    async fn memory_is_kept_and_runs_on(&self) -> Result<String> {
        let boot = self.shell("keeper", "cat /proc/sys/kernel/random/boot_id").await?;
        let moment = self.take("moment", true).await?;
        self.shell("keeper", "echo after > /data/note; sync; kill $(cat /counting); rm /counting").await?;
        self.revert(&moment).await?;
        self.counts_again().await?;
        ensure!(self.shell("keeper", "cat /proc/sys/kernel/random/boot_id").await? == boot, "it has booted");
        let machine = self.machine("keeper").await?;
        ensure!(machine["observed"]["generation"] == 1 && machine["ready"] == true, "{machine}");
        Ok(moment)
    }

    async fn disks_alone_are_kept(&self) -> Result<()> {
        self.shell("keeper", "echo two > /data/note; sync").await?;
        let disks = self.take("disks", false).await?;
        self.shell("keeper", "echo three > /data/note; sync").await?;
        let path = format!("/snapshots/{disks}/revert");
        let (status, problem) = self.server.request("POST", &path, None).await?;
        ensure!(status == 409 && problem["code"] == "wrong_state", "{problem}");
        self.power("keeper", "stop").await?;
        self.revert(&disks).await?;
        let machine = self.machine("keeper").await?;
        ensure!(machine["observed"]["power"] == "off" && machine["wanted"] == "off", "{machine}");
        self.power("keeper", "start").await?;
        ensure!(self.shell("keeper", "cat /data/note").await? == "two");
        ensure!(self.shell("keeper", "cat /count || echo none").await? == "none", "memory was kept");
        let off = json!({ "force": true });
        self.server.carry_out("POST", &path, Some(off)).await.context("with force")?;
        Ok(())
    }

    async fn a_machine_that_is_off_runs_on(&self, moment: &str) -> Result<()> {
        self.revert(moment).await?;
        self.counts_again().await?;
        let machine = self.machine("keeper").await?;
        ensure!(machine["observed"]["generation"] == 3 && machine["wanted"] == "on", "{machine}");
        // Its clock would show the moment of the snapshot, which is long past.
        let host: u64 = std::time::UNIX_EPOCH.elapsed()?.as_secs();
        let guest: u64 = self.shell("keeper", "date +%s").await?.parse()?;
        ensure!(host.abs_diff(guest) <= 3, "the guest's clock shows {guest}, ours {host}");
        Ok(())
    }

    async fn a_server_killed_while_it_saves(self) -> Result<Self> {
        let Self { server, folder, key } = self;
        let data = server.data.clone();
        server.stop().await?;
        let dying = [("HOSTLER_FAIL_POINT", "qemu.snapshot_job")];
        let mut server = Server::start(Program::Real, &data, &dying).await?;
        let body = json!({ "name": "interrupted", "memory": true });
        let accepted = server.post("/machines/keeper/snapshots", body).await?;
        ensure!(server.death(DEADLINE).await, "it did not die while QEMU saved the machine");
        let server = Server::start(Program::Real, &data, &[]).await?;
        server.done(&accepted).await?;
        let stage = Self { server, folder, key };
        stage.counts_again().await?;
        let id = accepted["record"]["id"].as_str().context("an id")?;
        stage.shell("keeper", "kill $(cat /counting)").await?;
        stage.revert(id).await?;
        stage.counts_again().await?;
        Ok(stage)
    }

    /// The names of the snapshots in the machine's disk.
    async fn kept(&self) -> Result<usize> {
        let machine = self.machine("keeper").await?;
        let volume = machine["volumes"][0].as_str().context("a volume")?.to_owned();
        let file = self.server.data.join("volumes").join(format!("{volume}.qcow2"));
        let path = file.to_str().context("a path")?;
        let told = run("qemu-img", &["info", "-U", "-f", "qcow2", "--output=json", path]).await?;
        let told: Value = serde_json::from_slice(&told.stdout)?;
        Ok(told["snapshots"].as_array().map_or(0, Vec::len))
    }

    async fn removed_snapshots_leave_nothing(&self, moment: &str) -> Result<()> {
        ensure!(self.kept().await? == 3, "there are {}", self.kept().await?);
        self.server.carry_out("DELETE", &format!("/snapshots/{moment}"), None).await?;
        ensure!(self.kept().await? == 2, "of a machine that is on");
        self.power("keeper", "stop").await?;
        let list = self.server.get("/machines/keeper/snapshots").await?;
        let left = list["items"].as_array().context("a list")?.clone();
        ensure!(left.len() == 2, "{left:?}");
        let id = left[0]["id"].as_str().context("an id")?;
        self.server.carry_out("DELETE", &format!("/snapshots/{id}"), None).await?;
        ensure!(self.kept().await? == 1, "of a machine that is off");
        self.delete("keeper").await?;
        let list = self.server.get("/snapshots").await?;
        ensure!(list["items"].as_array().is_some_and(Vec::is_empty), "{list}");
        Ok(())
    }
}
