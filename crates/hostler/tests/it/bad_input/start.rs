//! What keeps a server from starting says what, why and what to do, and leaves everything as it was.

use crate::server::{DEADLINE, Program, Server};
use rustix::process::geteuid;
use std::path::Path;
use std::process::Stdio;

/// Runs a command that must fail; answers its words.
async fn refused(program: Program, data: &Path, arguments: &[&str]) -> String {
    let mut command = program.command(data);
    command.args(arguments).stdout(Stdio::null()).stderr(Stdio::piped());
    let output = tokio::time::timeout(DEADLINE, command.output()).await.expect("it ends").unwrap();
    let words = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {words}");
    assert!(words.lines().any(|line| line.starts_with("error: ")), "{words}");
    words
}

async fn serve_refused(data: &Path) -> String {
    refused(Program::Simulated, data, &["serve", "--listen", "127.0.0.1:0"]).await
}

#[track_caller]
fn says(words: &str, parts: &[&str]) {
    for part in parts {
        assert!(words.contains(part), "`{part}` is not in: {words}");
    }
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_shown_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let (data, file) = (folder.path().join("data"), folder.path().join("hostler.toml"));
    let path = file.to_str().unwrap();
    for (text, parts) in [
        (
            "[server]\nshutdown_s = 3\nshutdwn_s = 1\n",
            ["hostler.toml:3:1: unknown field `shutdwn_s`", "3 | shutdwn_s = 1"],
        ),
        ("[tasks]\n\n  concurrency = \"many\"\n", ["hostler.toml:3:17: invalid type", "expected usize"]),
        ("listen = [\n", ["hostler.toml:", "1 | listen = ["]),
        ("[keep]\nmachines_h = 0\n", ["hostler.toml:2:14: keep.machines_h", "between 1 and 876600"]),
    ] {
        tokio::fs::write(&file, text).await.unwrap();
        for arguments in [vec!["config", "check", "--config", path], vec!["serve", "--config", path]] {
            says(&refused(Program::Real, &data, &arguments).await, &parts);
        }
    }
    let nowhere = folder.path().join("none.toml");
    let words = refused(Program::Real, &data, &["serve", "--config", nowhere.to_str().unwrap()]).await;
    says(&words, &["cannot read the configuration", "none.toml"]);
    assert!(!data.exists(), "a server that does not start makes no directory");
}

#[tokio::test]
async fn a_data_directory_that_cannot_be_used_is_named() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "mine").unwrap();
    says(&serve_refused(&file).await, &["is not a directory", "--data-dir"]);
    says(&serve_refused(&file.join("below")).await, &["cannot use the data directory", "Not a directory"]);
    assert_eq!(std::fs::read(&file).unwrap(), b"mine");
    if geteuid().is_root() {
        eprintln!("SKIPPED: root has rights everywhere");
        return;
    }
    let closed = folder.path().join("closed");
    std::fs::create_dir(&closed).unwrap();
    std::fs::set_permissions(&closed, std::fs::Permissions::from_mode(0o500)).unwrap();
    says(
        &serve_refused(&closed).await,
        &["cannot write to the data directory", "Permission denied", "hint: give user"],
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let words =
        refused(Program::Simulated, &folder.path().join("data"), &["serve", "--listen", &address]).await;
    says(
        &words,
        &[&format!("cannot listen on {address}"), "cause: ", "in use", "hint: another program has it"],
    );
}

#[tokio::test]
async fn a_second_server_is_told_which_process_has_the_directory() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let first = Server::start(Program::Simulated, &data, &[]).await.unwrap();
    let words = serve_refused(&data).await;
    says(&words, &[&format!("process {} serves", first.pid()), "hint: stop it first"]);
    // The first one has not noticed.
    first.get("/info").await.unwrap();
    assert_eq!(first.stop().await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_damaged_database_is_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(Program::Simulated, &data, &[]).await.unwrap();
    server.micro().await.unwrap();
    assert_eq!(server.stop().await.unwrap(), Some(0));
    let database = data.join("hostler.db");
    let good = std::fs::read(&database).unwrap();

    let mut overwritten = good.clone();
    overwritten[..16].fill(b'x');
    let mut holed = good.clone();
    holed[100..4096].fill(0xff);
    let cut = good[..good.len() / 3].to_vec();
    for damaged in [overwritten, holed, cut] {
        std::fs::write(&database, &damaged).unwrap();
        let words = serve_refused(&data).await;
        says(&words, &["cannot open the database", "hostler.db", "damaged", "restore it from a backup"]);
        assert!(std::fs::read(&database).unwrap() == damaged, "a damaged database was written to");
    }
    std::fs::write(&database, "PRAGMA foreign_keys=OFF; -- a dump is no database\n".repeat(100)).unwrap();
    says(&serve_refused(&data).await, &["is not a database"]);

    std::fs::write(&database, &good).unwrap();
    let server = Server::start(Program::Simulated, &data, &[]).await.unwrap();
    assert_eq!(server.get("/templates/micro").await.unwrap()["state"], "ready");
    assert_eq!(server.stop().await.unwrap(), Some(0));
}

#[tokio::test]
async fn a_database_of_another_program_and_a_lost_key_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let server = Server::start(Program::Simulated, &data, &[]).await.unwrap();
    assert_eq!(server.stop().await.unwrap(), Some(0));
    let key = data.join("key");
    let kept = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    says(&serve_refused(&data).await, &["there is a database, but no key", "restore it from a backup"]);
    assert!(!key.exists());
    std::fs::write(&key, "this is no key\n").unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    says(&serve_refused(&data).await, &["is damaged: it must hold 64 hexadecimal digits"]);
    std::fs::write(&key, kept).unwrap();
    let server = Server::start(Program::Simulated, &data, &[]).await.unwrap();
    assert_eq!(server.stop().await.unwrap(), Some(0));
}
