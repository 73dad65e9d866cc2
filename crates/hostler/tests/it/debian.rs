//! Stories with a whole distribution as guest: systemd, cloud-init, both agents.

#![expect(clippy::print_stderr, reason = "figures must be seen")]

use crate::folder::Folder;
use crate::server::{Program, Server};
use crate::{debian_image, debian_template};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::Command;

/// A cold boot under emulation, on a busy computer.
pub const PATIENCE: Duration = Duration::from_secs(600);
/// What the owner of the first machine asks of cloud-init.
const USER_DATA: &str = "#cloud-config\nwrite_files:\n- {path: /etc/from-owner, content: 'kept'}\n\
                         runcmd:\n- [sh, -c, 'cloud-init query instance_id > /root/instance']\n";

#[tokio::test]
async fn real_debian() {
    if let Some(why) = debian_template::missing() {
        eprintln!("SKIPPED: Debian is not tested: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI it must run: {why}");
        return;
    }
    let folder = Folder::new().unwrap();
    let stage = Stage::set(folder.path()).await.unwrap();
    stage.what_is_not_signed_is_refused().await.context("Secure Boot").unwrap();
    stage.a_cloud_image_boots_by_secure_boot().await.context("a cloud image").unwrap();
    stage.a_machine_with_an_identity().await.context("a machine with an identity").unwrap();
    stage.a_pool_of_forks().await.context("a pool of forks").unwrap();
    assert_eq!(stage.server.stop().await.unwrap(), Some(0));
}

pub struct Stage {
    pub server: Server,
    folder: PathBuf,
    pub public_key: String,
}

impl Stage {
    /// A server with the Debian template, and a key.
    pub async fn set(folder: &Path) -> Result<Self> {
        let data = folder.join("data");
        debian_template::data_directory(&data).await?;
        let server =
            Server::start(Program::Real, &data, &[("HOSTLER__TASKS__BOOT_PATIENCE_S", "600")]).await?;
        let key = folder.join("key");
        let mut keygen = Command::new("ssh-keygen");
        let made = keygen.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(&key).status().await?;
        ensure!(made.success());
        let public_key = std::fs::read_to_string(key.with_extension("pub"))?.trim().to_owned();
        Ok(Self { server, folder: folder.to_owned(), public_key })
    }

    /// Asks, and waits with the patience that a whole distribution needs.
    pub async fn carry_out(&self, method: &str, path: &str, body: Value) -> Result<()> {
        let accepted = self.server.ask(method, path, Some(body)).await?;
        let Some(id) = accepted["task"]["id"].as_str() else { return Ok(()) };
        let ended = async {
            loop {
                let task = self.server.get(&format!("/tasks/{id}?wait_s=20")).await?;
                if task["open"] == false {
                    return anyhow::Ok(task);
                }
            }
        };
        let task = tokio::time::timeout(PATIENCE, ended).await.context("the task does not end")??;
        ensure!(task["state"] == "done", "{}: {}", task["kind"], task["error"]);
        Ok(())
    }

    pub async fn machine(&self, name: &str) -> Result<Value> {
        self.server.get(&format!("/machines/{name}")).await
    }

    /// Waits until a machine is as wanted; shows its console when it never is.
    pub async fn until(&self, name: &str, what: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let path = format!("/machines/{name}");
        let seen = crate::server::until(what, PATIENCE, async || {
            let machine = self.server.get(&path).await?;
            Ok(wanted(&machine).then_some(machine))
        });
        match seen.await {
            Ok(machine) => Ok(machine),
            Err(error) => Err(error.context(self.console(name).await?)),
        }
    }

    pub async fn console(&self, name: &str) -> Result<String> {
        let log = self.server.get(&format!("/machines/{name}/console/log")).await?;
        let text = log.as_str().unwrap_or_default().to_owned();
        let lines: Vec<&str> = text.lines().collect();
        Ok(lines[lines.len().saturating_sub(40)..].join("\n"))
    }

    /// `hostler ssh`, as a user types it; it knows the host key.
    pub async fn ssh(&self, name: &str, login: &str, command: &str) -> Result<String> {
        let mut ssh = Program::Real.command(&self.server.data);
        ssh.args(["ssh", name, "--login", login, "--identity"]).arg(self.folder.join("key"));
        ssh.args(["--", command]).stdin(Stdio::null());
        let output = tokio::time::timeout(PATIENCE, ssh.output()).await.context("ssh hangs")??;
        let told = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "`{command}` as {login}: {told}");
        Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    pub async fn run(&self, name: &str, argv: &[&str]) -> Result<String> {
        let body = json!({ "argv": argv, "deadline_s": 240 });
        let output = self.server.post(&format!("/machines/{name}/run"), body).await?;
        ensure!(output["status"] == 0, "{argv:?}: {output}");
        Ok(output["stdout"].as_str().unwrap_or_default().trim().to_owned())
    }

    async fn a_machine_with_an_identity(&self) -> Result<()> {
        let keys = [
            self.public_key.as_str(),
            "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJVqRkWzG0C5l9iXgTzNNaHkA7PYAEVYqjHqzSXoEbzr other",
        ];
        let body = json!({ "name": "whole", "template": debian_template::NAME, "disk_mib": 3072,
                           "ssh_keys": keys, "user_data": USER_DATA });
        let begun = Instant::now();
        self.carry_out("POST", "/machines", body).await?;
        eprintln!("Debian, from the command to its identity: {:?}", begun.elapsed());
        let machine = self.machine("whole").await?;
        ensure!(machine["ready"] == true, "{machine}");
        ensure!(machine["guest"]["agent"] == "hostler-agent", "{}", machine["guest"]);
        ensure!(machine["guest"]["os"].as_str().is_some_and(|os| os.starts_with("Debian GNU/Linux 12")));
        ensure!(machine["guest"]["host_name"] == "whole", "{}", machine["guest"]);

        ensure!(self.ssh("whole", "root", "hostname").await? == "whole");
        eprintln!("Debian, from the command to a command over SSH: {:?}", begun.elapsed());
        let id = machine["id"].as_str().context("an id")?;
        ensure!(self.ssh("whole", "root", "cat /etc/machine-id").await? == id.replace('-', ""));
        ensure!(self.ssh("whole", "debian", "sudo -n id -u; id -un").await? == "0\ndebian");
        let size = self.ssh("whole", "root", "stat -f -c '%b %S' /").await?;
        let numbers: Vec<u64> = size.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        ensure!(numbers[0] * numbers[1] > 2800 << 20, "the file system has {size}");
        let seen = |machine: &Value| machine["guest"]["addresses"]["eth0"].to_string().contains("10.0.2.15");
        self.until("whole", "the guest's address", seen).await?;

        // cloud-init says by its code that it had errors, too.
        ensure!(self.run("whole", &["cloud-init", "status", "--wait"]).await?.contains("done"));
        eprintln!("Debian, from the command to the end of cloud-init: {:?}", begun.elapsed());
        ensure!(
            self.run("whole", &["cat", "/etc/from-owner", "/root/instance"]).await? == format!("kept{id}")
        );
        let keys = self.run("whole", &["cat", "/root/.ssh/authorized_keys"]).await?;
        ensure!(keys.matches("ssh-ed25519 ").count() == 2, "{keys}");

        let before = self.ssh("whole", "root", "cat /proc/sys/kernel/random/boot_id").await?;
        let begun = Instant::now();
        self.carry_out("POST", "/machines/whole/stop", json!({})).await?;
        eprintln!("Debian, from the power button to off: {:?}", begun.elapsed());
        let log = self.console("whole").await?;
        ensure!(log.contains("Power down"), "it did not end in order: {log}");
        self.carry_out("POST", "/machines/whole/start", json!({})).await?;
        ensure!(self.ssh("whole", "root", "cat /proc/sys/kernel/random/boot_id").await? != before);
        ensure!(self.run("whole", &["cat", "/etc/from-owner"]).await? == "kept");
        self.carry_out("DELETE", "/machines/whole", Value::Null).await
    }

    async fn import(&self, name: &str, image: &Path, firmware: &str) -> Result<()> {
        let source = json!({ "from": "file", "path": image.to_str(), "format": "qcow2" });
        self.carry_out("POST", "/templates", json!({ "name": name, "source": source, "firmware": firmware }))
            .await
    }

    async fn says(&self, name: &str, words: &str) -> Result<()> {
        let path = format!("/machines/{name}/console/log");
        let spoke = async || {
            let log = self.server.get(&path).await?;
            Ok(log.as_str().is_some_and(|text| text.contains(words)).then_some(()))
        };
        let seen = crate::server::until(words, PATIENCE, spoke).await;
        match seen {
            Ok(()) => Ok(()),
            Err(error) => Err(error.context(self.console(name).await?)),
        }
    }

    /// The same disk, whose kernel somebody has changed: plain UEFI boots it, Secure Boot does not.
    async fn what_is_not_signed_is_refused(&self) -> Result<()> {
        let image = self.folder.join("unsigned.qcow2");
        debian_image::unsigned(&debian_template::disk(&self.server.data)?, &self.folder, &image).await?;
        for (name, firmware, words) in
            [("strict", "uefi_secure", "bad shim signature"), ("lax", "uefi", "Kernel panic")]
        {
            self.import(name, &image, firmware).await?;
            self.carry_out("POST", "/machines", json!({ "name": name, "template": name })).await?;
            self.says(name, words).await?;
            self.carry_out("DELETE", &format!("/machines/{name}"), Value::Null).await?;
        }
        Ok(())
    }

    /// As distributions ship them: partitions, a boot loader, cloud-init, QEMU's agent, and nothing of ours.
    async fn a_cloud_image_boots_by_secure_boot(&self) -> Result<()> {
        let image = self.folder.join("cloud.qcow2");
        debian_image::cloud(&debian_template::disk(&self.server.data)?, &self.folder, &image).await?;
        self.import("cloud", &image, "uefi_secure").await?;
        let body = json!({ "name": "cloudy", "template": "cloud", "memory_mib": 768, "ssh_keys": [self.public_key] });
        let begun = Instant::now();
        self.carry_out("POST", "/machines", body).await?;
        let theirs = |machine: &Value| machine["guest"]["agent"] == "qemu-guest-agent";
        let machine = self.until("cloudy", "QEMU's agent", theirs).await?;
        eprintln!("a cloud image, from the command to QEMU's agent: {:?}", begun.elapsed());
        ensure!(machine["ready"] == true, "{machine}");
        ensure!(self.ssh("cloudy", "root", "hostname").await? == "cloudy");
        eprintln!("a cloud image, from the command to a command over SSH: {:?}", begun.elapsed());
        let id = self.ssh("cloudy", "root", "cat /var/lib/cloud/data/instance-id").await?;
        ensure!(machine["id"] == *id, "{id}");
        let variables = "/sys/firmware/efi/efivars";
        let secure = format!("od -An -tu1 -j4 {variables}/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c");
        ensure!(self.ssh("cloudy", "root", &secure).await? == "1", "Secure Boot is off");
        let own = format!("{variables}/Hostler-5a1d4a0c-5d4b-4f6e-9d0a-3c8f2f8f7a11");
        self.ssh("cloudy", "root", &format!("printf '\\007\\000\\000\\000kept' >{own}")).await?;
        self.carry_out("POST", "/machines/cloudy/stop", json!({})).await?;
        self.carry_out("POST", "/machines/cloudy/start", json!({})).await?;
        // Nothing tells that its SSH server is up: the port on the host takes connections before the guest does.
        let read = format!("tail -c 4 {own}");
        let again = async || Ok(self.ssh("cloudy", "root", &read).await.ok());
        let kept = crate::server::until("SSH after the restart", PATIENCE, again).await?;
        ensure!(kept == "kept", "the variable is `{kept}`");
        self.carry_out("DELETE", "/machines/cloudy", Value::Null).await
    }
}
