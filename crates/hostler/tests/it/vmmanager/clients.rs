//! Clients of others, unmodified, and the samples of the guides. `install_clients` in `scripts/lib.sh` puts them below
//! `target/clients`.

use super::{EMAIL, PASSWORD, Panel, served, terraform};
use crate::folder::Folder;
use crate::server::{DEADLINE, Program, Server};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// Where the clients are installed; none, said loudly, where they are not.
fn installed() -> Option<PathBuf> {
    let clients = root().join("target/clients");
    if clients.join("installed").is_file() {
        return Some(clients);
    }
    eprintln!("SKIPPED: clients of others are not installed; scripts/test does that");
    assert!(std::env::var_os("CI").is_none(), "in CI they must be");
    None
}

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
    let Some(clients) = installed() else { return Ok(()) };
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
    let Some(clients) = installed() else { return Ok(()) };
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

/// They ask while the program is in maintenance, which ends while they try again.
#[tokio::test]
async fn the_samples_of_the_guides_wait_for_the_end_of_maintenance() -> Result<()> {
    let Some(clients) = installed() else { return Ok(()) };
    let folder = Folder::new()?;
    let server = served(Program::Simulated, &folder.path().join("data"), &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    for (door, wanted) in [("vmmanager", "200 0"), ("dcimanager", "404 4004")] {
        server.ask("PUT", "/maintenance", Some(json!({ "on": true, "reason": "" }))).await?;
        let (status, body) = panel.ask("GET", "/vm/v3/host", None).await?;
        ensure!(status == 503 && body["error"]["code"] == 503, "{status} {body}");
        let mut command = python(&clients, root().join(format!("contracts/{door}/retry.py")));
        let mut child = command.args([&server.url, &panel.token]).stdout(Stdio::piped()).spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("its output")?);
        let mut line = String::new();
        out.read_line(&mut line).await?;
        ensure!(line == "asking\n", "{line}");
        server.ask("PUT", "/maintenance", Some(json!({ "on": false }))).await?;
        let mut rest = String::new();
        tokio::time::timeout(DEADLINE, out.read_to_string(&mut rest)).await??;
        ensure!(rest.trim() == wanted && child.wait().await?.success(), "{door}: {rest}");
    }
    Ok(())
}
