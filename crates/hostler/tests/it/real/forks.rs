//! A pool of machines forked from one golden machine: each is one of its own, and works.

#![expect(clippy::print_stderr, reason = "figures must be seen")]

use super::Stage;
use crate::figures::{disk_bytes, memory_kib};
use crate::server::{DEADLINE, Program, Server, until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const SIZE: usize = 10;
/// What no two machines may have in common.
const ABOUT: [(&str, &str); 5] = [
    ("host name", "hostname"),
    ("machine id", "cat /etc/machine-id"),
    ("MAC", "cat /sys/class/net/eth0/address"),
    ("random number", "head -c 16 /dev/urandom | xxd -p"),
    ("SSH host key", "sha256sum /etc/dropbear/dropbear_ed25519_host_key"),
];

impl Stage {
    pub(super) async fn forks(self) -> Result<Self> {
        self.a_pool_is_filled_by_forks().await.context("filling")?;
        self.each_is_a_machine_of_its_own().await.context("identities")?;
        self.one_is_lent_used_and_reverted().await.context("a checkout")?;
        let stage = self.forks_outlive_the_server().await.context("a killed server")?;
        stage.a_lifetime_ends().await.context("a lifetime")?;
        stage.the_pool_goes_with_all_it_has().await.context("removal")?;
        Ok(stage)
    }

    async fn pool_is_full(&self) -> Result<Value> {
        self.server.until("/pools/ten", |pool| pool["ready"] == SIZE && pool["filling"] == 0).await
    }

    async fn stock(&self) -> Result<Vec<Value>> {
        let page = self.server.get("/pools/ten/machines?stock=ready").await?;
        Ok(page["items"].as_array().context("machines")?.clone())
    }

    async fn a_pool_is_filled_by_forks(&self) -> Result<()> {
        let pool = json!({
            "name": "ten", "template": "micro", "size": SIZE, "memory_mib": 256, "clones": 4, "probe": "ssh",
            "ssh_keys": [self.key],
        });
        self.server.post("/pools", pool).await?;
        let pool = self.pool_is_full().await?;
        let golden = &pool["goldens"][0];
        ensure!(golden["state"] == "ready" && golden["digest"].is_string(), "{pool}");
        eprintln!("the golden machine: {golden}");
        let mut shared = 0;
        for machine in self.stock().await? {
            ensure!(machine["stock"]["birth"]["forked"] == true, "it booted: {machine}");
            let id = machine["id"].as_str().context("an id")?;
            let memory = memory_kib(&self.server.data, id)?;
            shared += u64::from(memory < 256 * 1024 / 2);
            let volumes = self.server.get(&format!("/volumes?machine={id}")).await?;
            let volume = volumes["items"][0]["id"].as_str().context("a disk")?;
            let disk = disk_bytes(&self.server.data.join(format!("volumes/{volume}.qcow2")))?;
            eprintln!(
                "{}: {} MiB of memory, {} KiB of disk, {}",
                machine["name"],
                memory / 1024,
                disk / 1024,
                machine["stock"]["birth"]["phases"]
            );
        }
        ensure!(shared == SIZE as u64, "only {shared} forks share their memory");
        Ok(())
    }

    async fn each_is_a_machine_of_its_own(&self) -> Result<()> {
        let mut seen = BTreeSet::new();
        for machine in self.stock().await? {
            let name = machine["name"].as_str().context("a name")?;
            for (what, command) in ABOUT {
                let said = self.shell(name, command).await?;
                ensure!(
                    !said.is_empty() && seen.insert((what, said.clone())),
                    "{what} {said} is there twice"
                );
                match what {
                    "host name" => ensure!(said == name),
                    "MAC" => ensure!(said == machine["nics"][0]["mac"], "{said} {machine}"),
                    "machine id" => {
                        ensure!(Some(said) == machine["id"].as_str().map(|id| id.replace('-', "")));
                    }
                    _ => {}
                }
            }
            // With the host key that the API foretold.
            ensure!(self.ssh(&machine, "hostname").await? == name);
            let here = std::time::UNIX_EPOCH.elapsed()?.as_secs();
            let there: u64 = self.shell(name, "date +%s").await?.parse()?;
            ensure!(there.abs_diff(here) < 60, "its clock says {there} and ours {here}");
        }
        Ok(())
    }

    async fn lend(&self) -> Result<Value> {
        let lent = self.server.post("/checkouts", json!({ "pools": { "ten": 1 } })).await?;
        let name = lent["items"][0]["name"].as_str().context("a machine")?;
        self.machine(name).await
    }

    /// With memory, while it runs, as for any other machine.
    async fn one_is_lent_used_and_reverted(&self) -> Result<()> {
        let machine = self.lend().await?;
        let name = machine["name"].as_str().context("a name")?;
        ensure!(self.ssh(&machine, "echo mine > /data/note; sync; cat /data/note").await? == "mine");
        let boot = self.shell(name, "cat /proc/sys/kernel/random/boot_id").await?;
        let body = json!({ "name": "before", "memory": true });
        let taken = self.server.carry_out("POST", &format!("/machines/{name}/snapshots"), Some(body)).await?;
        let snapshot = taken["record"]["id"].as_str().context("a snapshot")?;
        self.shell(name, "echo worse > /data/note; sync").await?;
        self.server.carry_out("POST", &format!("/snapshots/{snapshot}/revert"), Some(json!({}))).await?;
        ensure!(self.shell(name, "cat /data/note").await? == "mine");
        ensure!(self.shell(name, "cat /proc/sys/kernel/random/boot_id").await? == boot, "it has booted");
        // From off, too, where it has other devices than a fork.
        self.power(name, "stop").await?;
        self.server.carry_out("POST", &format!("/snapshots/{snapshot}/revert"), Some(json!({}))).await?;
        ensure!(self.shell(name, "cat /proc/sys/kernel/random/boot_id").await? == boot, "it has booted");
        // Turned off and on it boots from its own disk, and is still the same machine.
        self.power(name, "restart").await?;
        let machine = self.machine(name).await?;
        ensure!(self.ssh(&machine, "cat /data/note").await? == "mine");
        ensure!(self.shell(name, "cat /proc/sys/kernel/random/boot_id").await? != boot);
        self.server.carry_out("DELETE", &format!("/checkouts/{name}"), None).await?;
        self.pool_is_full().await.map(drop)
    }

    /// Killed while it fills; the next one takes the forks over and forks on.
    async fn forks_outlive_the_server(self) -> Result<Self> {
        let before: Vec<Value> = self.stock().await?;
        for _ in 0..3 {
            self.lend().await?;
        }
        let Self { server, folder, key } = self;
        let data = server.data.clone();
        server.kill().await?;
        let server = Server::start(Program::Real, &data, &[]).await?;
        let stage = Self { server, folder, key };
        stage.pool_is_full().await?;
        let names = |machines: &[Value]| -> BTreeSet<String> {
            machines.iter().filter_map(|machine| machine["name"].as_str().map(ToOwned::to_owned)).collect()
        };
        let after = names(&stage.stock().await?);
        ensure!(names(&before).intersection(&after).count() == SIZE - 3, "what was ready is ready");
        stage.each_is_a_machine_of_its_own().await?;
        Ok(stage)
    }

    async fn a_lifetime_ends(&self) -> Result<()> {
        let lent = self.server.post("/checkouts", json!({ "pools": { "ten": 1 }, "lifetime_s": 1 })).await?;
        let name = lent["items"][0]["name"].as_str().context("a machine")?;
        let id = lent["items"][0]["id"].as_str().context("an id")?;
        self.server.until(&format!("/machines/{id}"), |machine| machine["life"] == "gone").await?;
        ensure!(!self.server.data.join("machines").join(id).exists(), "something is left of {name}");
        Ok(())
    }

    async fn the_pool_goes_with_all_it_has(&self) -> Result<()> {
        let lent = self.server.get("/checkouts").await?;
        for machine in lent["items"].as_array().context("checkouts")? {
            let name = machine["name"].as_str().context("a name")?;
            self.server.carry_out("DELETE", &format!("/checkouts/{name}"), None).await?;
        }
        self.server.ask("DELETE", "/pools/ten", None).await?;
        let goldens = self.server.data.join("goldens");
        let left = async || {
            let left = std::fs::read_dir(&goldens).map(|entries| entries.flatten().count()).unwrap_or(0);
            anyhow::Ok((left == 0).then_some(()))
        };
        until("the golden machine to go", DEADLINE, left).await
    }
}
