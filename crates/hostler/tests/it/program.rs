//! The program as it is used by hand and by service supervisors: exit codes, a second server, signals.

use crate::server::{Program, Server};
use anyhow::{Context, Result, ensure};
use std::path::Path;
use std::process::Output;
use std::time::{Duration, Instant};

pub(crate) async fn run(data: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(Program::Simulated.command(data).args(arguments).output().await?)
}

/// Runs the command line, which must end with this code; answers what it printed: stdout, stderr.
pub(crate) async fn ends(data: &Path, arguments: &str, code: i32) -> Result<(String, String)> {
    let output = run(data, &arguments.split(' ').collect::<Vec<_>>()).await?;
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    ensure!(output.status.code() == Some(code), "`{arguments}` ended with {:?}: {out}{err}", output.status);
    Ok((out, err))
}

#[tokio::test]
async fn the_command_line_says_by_its_exit_code_how_it_went() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let (_, err) = ends(&data, "machine list", 1).await?;
    ensure!(err.contains("error: no server is running") && err.contains("hint: "), "{err}");
    ends(&data, "doctor", 0).await?;
    let quick = [("HOSTLER__SIM__BOOT_MS", "0"), ("HOSTLER__SIM__IMAGE_MS", "0")];
    let server = Server::start(Program::Simulated, &data, &quick).await?;
    ends(&data, "template build micro", 0).await?;
    let (out, _) = ends(&data, "machine create -t micro -n web --no-ssh-key -o json", 0).await?;
    let machine: serde_json::Value = serde_json::from_str(&out).context(out)?;
    ensure!(machine["name"] == "web" && machine["ready"] == true, "{machine}");
    let (out, _) = ends(&data, "machine list", 0).await?;
    ensure!(out.lines().count() == 2 && out.contains("web"), "{out}");
    ends(&data, "machine create", 2).await?;
    ends(&data, "machine create -t micro -n NO", 2).await?;
    let (_, err) = ends(&data, "machine show nobody", 3).await?;
    ensure!(err == "error: there is no machine nobody\n", "{err}");
    ends(&data, "machine create -t micro -n web", 5).await?;
    ends(&data, "machine create -t micro --memory 100T", 6).await?;
    ends(&data, &format!("whoami --url {}", server.url), 4).await?;
    let (token, _) = ends(&data, "token create --lifetime 1h", 0).await?;
    let file = folder.path().join("token");
    std::fs::write(&file, token)?;
    ends(&data, &format!("whoami --url {} --token-file {}", server.url, file.display()), 0).await?;
    ends(&data, "machine stop web", 0).await?;
    ends(&data, "ssh web", 5).await?;
    ends(&data, "machine delete web", 0).await?;
    for list in ["volume", "template", "network", "host", "storage", "task", "token"] {
        ends(&data, &format!("{list} list"), 0).await?;
    }
    ensure!(server.stop().await? == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_data_directory_has_one_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(Program::Simulated, &data, &[]).await?;
    let (_, err) = ends(&data, "serve --listen 127.0.0.1:0", 1).await?;
    ensure!(err.starts_with(&format!("error: process {} serves the data directory", server.pid())), "{err}");
    let address = server.url.trim_start_matches("http://");
    let (_, err) = ends(&folder.path().join("other"), &format!("serve --listen {address}"), 1).await?;
    ensure!(err.starts_with(&format!("error: cannot listen on {address}\n")), "{err}");
    ensure!(server.stop().await? == Some(0));
    Ok(())
}

#[tokio::test]
async fn a_step_that_does_not_end_is_cut_off_and_taken_up_again() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let slow = [("HOSTLER__SIM__FAULTS__START__DELAY_MS", "600000"), ("HOSTLER__SERVER__SHUTDOWN_S", "1")];
    let server = Server::start(Program::Simulated, &data, &slow).await?;
    ends(&data, "template build micro", 0).await?;
    let (name, _) = ends(&data, "machine create -t micro -n web --no-wait", 0).await?;
    ensure!(name == "web\n", "{name}");
    server.until("/tasks/2", |task| task["state"] == "running").await?;
    let begin = Instant::now();
    ensure!(server.stop().await? == Some(0));
    ensure!(begin.elapsed() < Duration::from_secs(8), "it took {:?}", begin.elapsed());
    let server = Server::start(Program::Simulated, &data, &[]).await?;
    ends(&data, "task watch 2 --timeout 240s", 0).await?;
    ensure!(server.stop().await? == Some(0));
    Ok(())
}
