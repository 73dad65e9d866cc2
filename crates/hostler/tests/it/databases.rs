//! One installation, its backups and its databases: carried from SQLite to PostgreSQL and back by the program itself.

use crate::server::{Program, Server};
use anyhow::{Context, Result, ensure};
use hostler_sim::postgres::{Care, Server as Postgres};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

const QUICK: [(&str, &str); 2] = [("HOSTLER__SIM__BOOT_MS", "0"), ("HOSTLER__SIM__IMAGE_MS", "0")];

/// Runs the command line, which must end with this code; answers what it printed on either.
async fn ends(data: &Path, environment: &[(&str, &str)], arguments: &[&str], code: i32) -> Result<String> {
    let mut command = Program::Simulated.command(data);
    let output = command.args(arguments).envs(environment.iter().copied()).output().await?;
    let both =
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    ensure!(output.status.code() == Some(code), "{arguments:?} ended with {:?}: {both}", output.status);
    Ok(both)
}

/// What a backup holds, without the line that says when it was made and the last, which depends on it.
fn content(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    Ok(text
        .lines()
        .filter(|line| !line.contains("made_at") && !line.contains("\"end\""))
        .map(str::to_owned)
        .collect())
}

async fn names(server: &Server) -> Result<Vec<String>> {
    let machines = server.get("/machines").await?;
    let items = machines["items"].as_array().context("a page")?;
    Ok(items.iter().filter_map(|machine| machine["name"].as_str().map(str::to_owned)).collect())
}

async fn machine(data: &Path, name: &str) -> Result<()> {
    let create = ["machine", "create", "-t", "micro", "-n", name, "--no-ssh-key"];
    ends(data, &[], &create, 0).await.map(drop)
}

#[tokio::test]
async fn an_installation_survives_its_backup_and_another_database() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    let (data, restored, file) = (at("data"), at("restored"), at("backup"));
    let backup = ["backup", file.to_str().context("a path")?];
    let restore = ["restore", file.to_str().context("a path")?];

    let server = Server::start(Program::Simulated, &data, &QUICK).await?;
    ends(&data, &[], &["template", "build", "micro"], 0).await?;
    machine(&data, "web").await?;
    ends(&data, &[], &backup, 0).await.context("a backup does not mind a running server")?;
    ensure!(std::fs::metadata(&file)?.permissions().mode() & 0o777 == 0o600);
    machine(&data, "later").await?;
    let refused = ends(&data, &[], &restore, 1).await?;
    ensure!(refused.contains("serves the data directory"), "{refused}");
    ensure!(server.stop().await? == Some(0));
    let refused = ends(&data, &[], &restore, 1).await?;
    ensure!(refused.contains("is not empty"), "{refused}");

    ends(&restored, &[], &restore, 0).await?;
    ensure!(std::fs::read(data.join("key"))? == std::fs::read(restored.join("key"))?);
    let again = at("again");
    ends(&restored, &[], &["backup", again.to_str().context("a path")?], 0).await?;
    ensure!(content(&again)? == content(&file)?, "the restored is not what was backed up");
    let server = Server::start(Program::Simulated, &restored, &QUICK).await?;
    ensure!(names(&server).await? == ["web"], "as it was at that moment");
    ensure!(server.stop().await? == Some(0));

    let whole = std::fs::read(&file)?;
    std::fs::write(&file, &whole[..whole.len() / 2])?;
    let refused = ends(&at("nowhere"), &[], &restore, 1).await?;
    ensure!(refused.contains("cut off") && !at("nowhere").exists(), "{refused}");
    on_another_database(&restored, &folder.path().join("back.db")).await
}

/// The same installation on PostgreSQL, and back in a file.
#[expect(clippy::print_stderr, reason = "a test that is left out says so")]
async fn on_another_database(data: &Path, back: &Path) -> Result<()> {
    if Postgres::installed().is_none() {
        ensure!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL");
        eprintln!("SKIPPED: PostgreSQL is not installed");
        return Ok(());
    }
    let postgres = Postgres::start(Care::Fleeting)?;
    let url = postgres.database(None)?;
    let held = data.with_extension("url");
    std::fs::write(&held, &url)?;
    std::fs::set_permissions(&held, std::fs::Permissions::from_mode(0o600))?;
    let named = format!("@{}", held.display());
    let file = data.join("hostler.db").display().to_string();

    let copied = ends(data, &[], &["store", "copy", "--from", &file, "--to", &named], 0).await?;
    ensure!(copied.contains("records and"), "{copied}");
    let refused = ends(data, &[], &["store", "copy", "--from", &file, "--to", &named], 1).await?;
    ensure!(refused.contains("is not empty"), "{refused}");
    let held = held.display().to_string();
    let environment = [QUICK[0], QUICK[1], ("HOSTLER__STORE__URL_FILE", held.as_str())];
    let checked = ends(data, &environment, &["config", "check"], 0).await?;
    ensure!(checked.contains("store     test_0 at "), "{checked}");
    let server = Server::start(Program::Simulated, data, &environment).await?;
    ensure!(names(&server).await? == ["web"]);
    // A restored installation has no images but those that are put there.
    ends(data, &[], &["template", "build", "micro"], 0).await?;
    machine(data, "on-postgres").await?;
    let doctor = server.get("/doctor").await?;
    let findings = doctor["findings"].as_array().context("findings")?;
    ensure!(
        findings
            .iter()
            .any(|finding| finding["text"].as_str().is_some_and(|text| text.starts_with("postgres ")))
    );
    let refused =
        ends(data, &environment, &["store", "copy", "--from", &named, "--to", "/nonexistent/x.db"], 1)
            .await?;
    ensure!(!refused.contains("postgres://"), "{refused}");
    let to = back.display().to_string();
    let refused = ends(data, &[], &["store", "copy", "--from", &named, "--to", &to], 1).await?;
    ensure!(refused.contains("serves the data directory") || refused.contains("in use"), "{refused}");
    ensure!(server.stop().await? == Some(0));

    ends(data, &[], &["store", "copy", "--from", &named, "--to", &to], 0).await?;
    std::fs::rename(back, data.join("hostler.db"))?;
    let server = Server::start(Program::Simulated, data, &QUICK).await?;
    let mut found = names(&server).await?;
    found.sort();
    ensure!(found == ["on-postgres", "web"], "{found:?}");
    ensure!(server.stop().await? == Some(0));
    Ok(())
}
