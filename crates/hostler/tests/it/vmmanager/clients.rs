//! Clients of others, unmodified, and the samples of the guides. `install_clients` in `scripts/lib.sh` puts them below
//! `target/clients`.

use super::{EMAIL, PASSWORD, Panel, served, terraform};
use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the clients are installed; none where they are not, which must not be in CI.
fn installed() -> Option<PathBuf> {
    let clients = root().join("target/clients");
    if clients.join("installed").is_file() {
        return Some(clients);
    }
    assert!(std::env::var_os("CI").is_none(), "in CI the clients of others must be installed");
    None
}

const SKIPPED: &str = "SKIPPED: clients of others are not installed; scripts/test does that";

fn python(clients: &Path, script: PathBuf) -> Command {
    let mut command = Command::new(clients.join("python/bin/python"));
    command.arg(script).stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn said(mut command: Command) -> Result<String> {
    let output = tokio::time::timeout(DEADLINE, command.output()).await.context("it does not end")??;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    ensure!(output.status.success(), "{said} {}", String::from_utf8_lossy(&output.stderr));
    Ok(said)
}

async fn with_a_stopped_machine(data: &Path) -> Result<(Server, Panel, String)> {
    let server = served(Program::Simulated, data, &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let made = panel.well("POST", "/vm/v3/host", Some(terraform())).await?;
    panel.done(&made, "host_create").await?;
    let id = made["id"].to_string();
    let stopped =
        panel.well("POST", &format!("/vm/v3/host/{id}/stop"), Some(json!({ "force": true }))).await?;
    panel.done(&stopped, "host_stop").await?;
    Ok((server, panel, id))
}

#[tokio::test]
async fn aiovmmanager_logs_in_lists_and_starts() -> Result<()> {
    let Some(clients) = installed() else {
        eprintln!("{SKIPPED}");
        return Ok(());
    };
    let folder = Folder::new()?;
    let (server, _, id) = with_a_stopped_machine(&folder.path().join("data")).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vmmanager/aio.py");
    let mut command = python(&clients, script);
    command.args([&server.url, EMAIL, PASSWORD, &id]);
    let said = said(command).await?;
    ensure!(said.ends_with(&format!(" 1 {id} host_start complete")), "{said}");
    Ok(())
}

#[tokio::test]
async fn vmmanager6_logs_in_lists_and_starts() -> Result<()> {
    let Some(clients) = installed() else {
        eprintln!("{SKIPPED}");
        return Ok(());
    };
    let folder = Folder::new()?;
    let (server, panel, id) = with_a_stopped_machine(&folder.path().join("data")).await?;
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/vmmanager/node.js");
    let mut command = Command::new("node");
    command
        .arg(script)
        .env("NODE_PATH", clients.join("node_modules"))
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command.args([&server.url, EMAIL, PASSWORD, &id]);
    ensure!(said(command).await? == format!("1 {id} stopped {id} number"));
    let task = panel.get("/vm/v3/task?orderby=id+desc&limit=1").await?["list"][0]["consul_id"].clone();
    panel.done(&json!({ "task": task }), "host_start").await?;
    Ok(())
}

/// It asks while the program is in maintenance, which ends when it has been turned away twice.
#[tokio::test]
async fn the_sample_of_the_guide_waits_for_the_end_of_maintenance() -> Result<()> {
    let Some(clients) = installed() else {
        eprintln!("{SKIPPED}");
        return Ok(());
    };
    let folder = Folder::new()?;
    let server = served(Program::Simulated, &folder.path().join("data"), &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    server.ask("PUT", "/maintenance", Some(json!({ "on": true, "reason": "" }))).await?;
    let (status, body) = panel.ask("GET", "/vm/v3/host", None).await?;
    ensure!(status == 503 && body["error"]["code"] == 503, "{status} {body}");
    let mut command = python(&clients, root().join("contracts/vmmanager/retry.py"));
    let mut child = command.args([&server.url, &panel.token]).stdout(Stdio::piped()).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("its output")?).lines();
    let mut next =
        async || tokio::time::timeout(DEADLINE, lines.next_line()).await?.map_err(anyhow::Error::from);
    for number in 1..=2 {
        let line = next().await?.context("it tries again")?;
        ensure!(line.ends_with(&format!("number {number}")), "{line}");
    }
    server.ask("PUT", "/maintenance", Some(json!({ "on": false }))).await?;
    let mut last = String::new();
    while let Some(line) = next().await? {
        last = line;
    }
    ensure!(last == "200 0" && child.wait().await?.success(), "{last}");
    Ok(())
}

/// DCImanager's sample tries nothing again, whatever it says; but it asks as the guide wants it.
#[tokio::test]
async fn the_sample_of_the_other_guide_is_answered() -> Result<()> {
    let Some(clients) = installed() else {
        eprintln!("{SKIPPED}");
        return Ok(());
    };
    let folder = Folder::new()?;
    let server = served(Program::Simulated, &folder.path().join("data"), &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let mut command = python(&clients, root().join("contracts/dcimanager/retry.py"));
    command.args([&server.url, &panel.token]);
    let output = tokio::time::timeout(DEADLINE, command.output()).await??;
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    // There is no server 2.
    ensure!(!output.status.success() && told.contains("404 Client Error"), "{told}");
    Ok(())
}
