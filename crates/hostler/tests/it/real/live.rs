//! One boot of a real guest, and everything that changes while it runs.

use super::Stage;
use crate::server::{Program, Server};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

impl Stage {
    pub(super) async fn live_changes(self) -> Result<Self> {
        let body = json!({ "name": "changing", "template": "micro", "memory_mib": 256, "vcpus": 1 });
        self.server.carry_out("POST", "/machines", Some(body)).await?;
        let volume = self.a_disk_comes_and_grows().await.context("a disk")?;
        self.size_grows().await.context("size")?;
        self.cards_come_and_go().await.context("cards")?;
        let stage = self.a_disk_goes_under_the_next_server(&volume).await.context("after kill -9")?;
        let machine = stage.machine("changing").await?;
        ensure!(machine["observed"]["generation"] == 1, "it was started again: {machine}");
        stage.the_next_start_has_it_all().await.context("another start")?;
        stage.delete("changing").await?;
        stage.server.carry_out("DELETE", &format!("/volumes/{volume}"), None).await?;
        Ok(stage)
    }

    /// Waits in the guest until a command succeeds, then answers what another says.
    async fn once(&self, condition: &str, command: &str) -> Result<String> {
        let wait = format!(
            "i=0; until {condition}; do i=$((i+1)); [ $i -gt 300 ] && exit 1; sleep 0.1; done; {command}"
        );
        self.shell("changing", &wait).await
    }

    async fn change(&self, path: &str, body: Value) -> Result<Value> {
        self.server.carry_out("POST", path, Some(body)).await
    }

    /// Asks for what is refused at once, or by its task; answers why.
    async fn refused(&self, path: &str, body: Value) -> Result<String> {
        let (status, answer) = self.server.request("POST", path, Some(body)).await?;
        if status != 202 {
            ensure!(status == 409, "{path}: {answer}");
            return Ok(answer["detail"].as_str().unwrap_or_default().to_owned());
        }
        let task = self.server.ended(&answer).await?;
        ensure!(task["state"] == "failed", "{path}: {task}");
        Ok(task["error"].as_str().unwrap_or_default().to_owned())
    }

    async fn a_disk_comes_and_grows(&self) -> Result<String> {
        let body = json!({ "name": "hot", "size_mib": 64 });
        let made = self.server.carry_out("POST", "/volumes", Some(body)).await?;
        let volume = made["record"]["id"].as_str().context("an id")?.to_owned();
        self.change(&format!("/volumes/{volume}/attach"), json!({ "machine": "changing" })).await?;
        let sectors = self.once("[ -b /dev/sda ]", "cat /sys/block/sda/size").await?;
        ensure!(sectors == (64 * 2048).to_string(), "the guest sees {sectors} sectors");
        let write = "echo kept > /note; dd if=/note of=/dev/sda bs=512 conv=sync,fsync 2>/dev/null";
        self.shell("changing", write).await?;
        self.change(&format!("/volumes/{volume}/grow"), json!({ "size_mib": 96 })).await?;
        let grown = 96 * 2048;
        self.once(&format!("[ $(cat /sys/block/sda/size) = {grown} ]"), "true").await.context("its size")?;
        self.change(&format!("/volumes/{volume}/limit"), json!({ "iops": 500 })).await?;
        let record = self.server.get(&format!("/volumes/{volume}")).await?;
        ensure!(record["size_mib"] == 96 && record["limits"]["iops"] == 500, "{record}");
        let root = self.machine("changing").await?["volumes"][0].as_str().context("a volume")?.to_owned();
        let why = self.refused(&format!("/volumes/{root}/detach"), json!({})).await?;
        ensure!(why.contains("goes with it"), "{why}");
        Ok(volume)
    }

    async fn size_grows(&self) -> Result<()> {
        let before: u64 = self.memory().await?;
        self.change("/machines/changing/resize", json!({ "vcpus": 2, "memory_mib": 384 })).await?;
        self.once("[ -d /sys/devices/system/cpu/cpu1 ]", "true").await.context("the second CPU")?;
        let more = before + 100_000;
        let grown = format!("[ $(awk '/^MemTotal/ {{ print $2 }}' /proc/meminfo) -gt {more} ]");
        self.once(&grown, "true").await.context("more memory")?;
        let machine = self.machine("changing").await?;
        ensure!(machine["vcpus"] == 2 && machine["memory_mib"] == 384, "{machine}");
        for (size, word) in [
            (json!({ "vcpus": 1 }), "back"),
            (json!({ "memory_mib": 400 }), "steps"),
            (json!({ "vcpus": 500 }), "most"),
        ] {
            let why = self.refused("/machines/changing/resize", size).await?;
            ensure!(why.contains(word), "{why}");
        }
        Ok(())
    }

    async fn memory(&self) -> Result<u64> {
        Ok(self.shell("changing", "awk '/^MemTotal/ { print $2 }' /proc/meminfo").await?.parse()?)
    }

    async fn cards_come_and_go(&self) -> Result<()> {
        self.change("/machines/changing/nics", json!({})).await?;
        let machine = self.machine("changing").await?;
        let mac = machine["nics"][1]["mac"].as_str().context("a second card")?.to_owned();
        let seen = self.once("[ -d /sys/class/net/eth1 ]", "cat /sys/class/net/eth1/address").await?;
        ensure!(seen == mac, "the guest sees {seen}, not {mac}");
        self.server.carry_out("DELETE", &format!("/machines/changing/nics/{mac}"), None).await?;
        self.once("[ ! -d /sys/class/net/eth1 ]", "true").await.context("it is still there")?;
        Ok(())
    }

    async fn a_disk_goes_under_the_next_server(self, volume: &str) -> Result<Self> {
        let Self { server, folder, key } = self;
        let data = server.data.clone();
        server.kill().await?;
        let server = Server::start(Program::Real, &data, &[]).await?;
        let stage = Self { server, folder, key };
        stage.change(&format!("/volumes/{volume}/detach"), json!({})).await?;
        stage.once("[ ! -b /dev/sda ]", "true").await.context("it is still there")?;
        stage.change(&format!("/volumes/{volume}/attach"), json!({ "machine": "changing" })).await?;
        let device = "$(ls -d /sys/block/sd* | sed 's,.*/,/dev/,')";
        let note = stage.once("ls -d /sys/block/sd* >/dev/null 2>&1", &format!("head -n 1 {device}")).await?;
        ensure!(note == "kept", "the disk says {note:?}");
        Ok(stage)
    }

    async fn the_next_start_has_it_all(&self) -> Result<()> {
        self.power("changing", "restart").await?;
        ensure!(self.once("[ -b /dev/sda ]", "head -n 1 /dev/sda").await? == "kept");
        ensure!(self.shell("changing", "grep -c ^processor /proc/cpuinfo").await? == "2");
        ensure!(self.memory().await? > 300_000, "the memory is not what was asked for");
        let volumes = self.machine("changing").await?["volumes"].clone();
        let volume = volumes[1].as_str().context("a second volume")?;
        self.power("changing", "stop").await?;
        let done = self.change(&format!("/volumes/{volume}/detach"), json!({})).await?;
        ensure!(done["task"].is_null(), "a machine that is off needs no task: {done}");
        Ok(())
    }
}
