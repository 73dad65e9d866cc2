//! A pool of a whole distribution, filled by forks: systemd, cloud-init and sshd each believe in the new machine.

#![expect(clippy::print_stderr, reason = "figures must be seen")]

use crate::debian::{PATIENCE, Stage};
use crate::debian_template;
use crate::figures::{disk_bytes, memory_kib};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Instant;

const SIZE: usize = 3;
/// What no two machines may have in common.
const ABOUT: [(&str, &str); 6] = [
    ("host name", "hostnamectl hostname"),
    ("machine id", "cat /etc/machine-id"),
    ("MAC", "cat /sys/class/net/eth0/address"),
    ("random number", "head -c 16 /dev/urandom | od -An -tx1"),
    ("SSH host key", "cat /etc/ssh/ssh_host_ed25519_key.pub | cut -d' ' -f2"),
    ("cloud-init instance", "cat /var/lib/cloud/data/instance-id"),
];

impl Stage {
    pub(crate) async fn a_pool_of_forks(&self) -> Result<()> {
        let begun = Instant::now();
        let pool = json!({
            "name": "three", "template": debian_template::NAME, "size": SIZE, "clones": 2, "probe": "ssh",
            "ssh_keys": [self.public_key],
        });
        self.server.post("/pools", pool).await?;
        let pool = crate::server::until("a full pool", PATIENCE, async || {
            let pool = self.server.get("/pools/three").await?;
            Ok((pool["ready"] == SIZE).then_some(pool))
        });
        let pool = pool.await?;
        eprintln!(
            "Debian, {SIZE} forks with their golden machine: {:?}, {}",
            begun.elapsed(),
            pool["goldens"]
        );
        let page = self.server.get("/pools/three/machines?stock=ready").await?;
        let machines = page["items"].as_array().context("machines")?;
        let mut seen = BTreeSet::new();
        for machine in machines {
            self.is_a_fork_of_its_own(machine, &mut seen).await?;
        }
        let lent = self.server.post("/checkouts", json!({ "pools": { "three": 1 } })).await?;
        let name = lent["items"][0]["name"].as_str().context("a machine")?;
        ensure!(self.ssh(name, "debian", "sudo -n id -u").await? == "0");
        self.it_is_itself_after_a_restart(name).await.context("after a restart")?;
        self.carry_out("DELETE", &format!("/checkouts/{name}"), Value::Null).await?;
        self.server.ask("DELETE", "/pools/three", None).await.map(drop)
    }

    async fn is_a_fork_of_its_own(&self, machine: &Value, seen: &mut BTreeSet<(&str, String)>) -> Result<()> {
        let (id, name) =
            (machine["id"].as_str().context("an id")?, machine["name"].as_str().context("a name")?);
        ensure!(machine["stock"]["birth"]["forked"] == true, "it booted: {machine}");
        let volumes = self.server.get(&format!("/volumes?machine={id}")).await?;
        let volume = volumes["items"][0]["id"].as_str().context("a disk")?;
        eprintln!(
            "{name}: {} MiB of memory, {} KiB of disk, {}",
            memory_kib(&self.server.data, id)? / 1024,
            disk_bytes(&self.server.data.join(format!("volumes/{volume}.qcow2")))? / 1024,
            machine["stock"]["birth"]["phases"]
        );
        for (what, command) in ABOUT {
            let said = self.run(name, &["sh", "-c", command]).await?;
            ensure!(!said.is_empty() && seen.insert((what, said.clone())), "{what} {said} is there twice");
            match what {
                "host name" => ensure!(said == name, "{said} is not {name}"),
                "machine id" => ensure!(said == id.replace('-', "")),
                "MAC" => ensure!(machine["nics"][0]["mac"] == said.as_str()),
                "cloud-init instance" => ensure!(said == id, "{said} is not {id}"),
                _ => {}
            }
        }
        // With the host key that the API foretold.
        ensure!(self.ssh(name, "root", "hostname").await? == name);
        Ok(())
    }

    /// It boots from its own disk, and cloud-init does nothing again that was done for the golden machine.
    async fn it_is_itself_after_a_restart(&self, name: &str) -> Result<()> {
        let keys = self.run(name, &["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).await?;
        self.carry_out("POST", &format!("/machines/{name}/restart"), json!({})).await?;
        ensure!(self.ssh(name, "root", "hostname").await? == name);
        ensure!(self.run(name, &["cloud-init", "status", "--wait"]).await?.contains("done"));
        ensure!(self.run(name, &["cat", "/etc/ssh/ssh_host_ed25519_key.pub"]).await? == keys);
        let instances = self.run(name, &["ls", "/var/lib/cloud/instances"]).await?;
        let machine = self.machine(name).await?;
        ensure!(machine["id"] == instances.as_str(), "cloud-init knows {instances}");
        Ok(())
    }
}
