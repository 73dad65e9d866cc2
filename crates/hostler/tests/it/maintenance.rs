//! Maintenance: heeded by all processes of an installation, over kills, and without an effect of what is turned away.

use crate::server::{DEADLINE, Program, Server, until};
use crate::two::Home;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::time::Duration;

const QUICK: [(&str, &str); 3] =
    [("HOSTLER__SIM__BOOT_MS", "0"), ("HOSTLER__SIM__START_MS", "0"), ("HOSTLER__SIM__IMAGE_MS", "0")];

fn create(name: &str) -> Value {
    json!({ "name": name, "template": "micro", "memory_mib": 128 })
}

/// Runs `hostler maintenance` there; answers what it printed.
async fn command(server: &Server, arguments: &[&str]) -> Result<String> {
    let mut command = Program::Simulated.command(&server.data);
    let output = command.arg("maintenance").args(arguments).output().await?;
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    ensure!(output.status.success(), "{arguments:?}: {said}");
    Ok(said)
}

/// Status, content type, pause and body of a request over TCP.
async fn over_tcp(server: &Server, path: &str, token: &str) -> Result<(u16, String, String, String)> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let answer =
        reqwest::Client::new().get(format!("{}{path}", server.url)).bearer_auth(token).send().await?;
    let header =
        |name| answer.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or("").to_owned();
    let (status, kind, pause) = (answer.status().as_u16(), header("content-type"), header("retry-after"));
    Ok((status, kind, pause, answer.text().await?))
}

/// Whether a machine of this name could be made there: none in maintenance.
async fn made(server: &Server, name: &str) -> Result<Option<Value>> {
    let (status, body) = server.request("POST", "/machines", Some(create(name))).await?;
    ensure!(status == 202 || (status == 503 && body["code"] == "maintenance"), "{status} {body}");
    Ok((status == 202).then_some(body))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_processes_heed_it_over_kills_and_take_requests_again_within_seconds() -> Result<()> {
    let Some(home) = Home::new()? else { return Ok(()) };
    let (a, b) = home.two(&QUICK).await?;
    let token = a.post("/tokens", json!({ "description": "test" })).await?["secret"]
        .as_str()
        .context("a token")?
        .to_owned();
    let said = command(&a, &["on", "--reason", "new disks"]).await?;
    ensure!(said.contains("maintenance is on") && said.ends_with("by admin: new disks\n"), "{said}");
    ensure!(made(&a, "early").await?.is_none(), "at once where it was said");
    until("b to heed it", Duration::from_secs(3), async || {
        let (status, _) = b.request("DELETE", "/machines/none", None).await?;
        Ok((status == 503).then_some(()))
    })
    .await?;
    for server in [&a, &b] {
        let (status, kind, pause, body) = over_tcp(server, "/hostler/v1/machines", &token).await?;
        ensure!(
            (status, kind.as_str(), pause.as_str()) == (503, "application/problem+json", "5"),
            "{status} {kind} {pause}"
        );
        ensure!(body.contains("hostler is in maintenance: new disks"), "{body}");
        let (status, _, pause, body) = over_tcp(server, "/vm", &token).await?;
        ensure!(
            (status, pause.as_str()) == (503, "5")
                && body.starts_with("{\n  \"ok\": false")
                && body.contains("hostler is in maintenance: new disks"),
            "{body}"
        );
        let (status, _, _, body) = over_tcp(server, "/readyz", "").await?;
        ensure!(status == 503 && body.contains("maintenance is on"), "{status} {body}");
        ensure!(
            over_tcp(server, "/livez", "").await?.0 == 200
                && over_tcp(server, "/metrics", "").await?.0 == 200
        );
        let (status, _, _, body) = over_tcp(server, "/hostler/v1/maintenance", &token).await?;
        ensure!(status == 200 && body.contains("new disks"), "{status} {body}");
        ensure!(over_tcp(server, "/hostler/v1/maintenance", "hst_wrong").await?.0 == 401);
        // The command line of the host itself can still look.
        ensure!(server.get("/machines").await?["items"].as_array().is_some_and(Vec::is_empty));
    }
    a.kill().await?;
    let a = home.start("a", &QUICK).await?;
    ensure!(made(&a, "late").await?.is_none(), "a start ends nothing");
    ensure!(command(&a, &["status"]).await?.contains("new disks"));
    let found = a.get("/doctor").await?.to_string();
    ensure!(found.contains("`hostler maintenance off` ends it"), "{found}");

    ensure!(command(&b, &["off"]).await? == "maintenance is off\n");
    b.carry_out(
        "POST",
        "/machines",
        Some(json!({ "name": "there", "template": "there", "memory_mib": 128 })),
    )
    .await?;
    let accepted =
        until("a to take requests", Duration::from_secs(3), async || made(&a, "here").await).await?;
    a.done(&accepted).await?;
    let machines = a.get("/machines?gone=true").await?;
    ensure!(
        machines["items"].as_array().is_some_and(|all| all.len() == 2),
        "nothing else was made: {machines}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tasks_that_have_begun_go_on_and_others_wait() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let slow = [
        ("HOSTLER__SIM__BOOT_MS", "1500"),
        ("HOSTLER__SIM__IMAGE_MS", "0"),
        ("HOSTLER__TASKS__CONCURRENCY", "1"),
    ];
    let server = Server::start(Program::Simulated, &data, &slow).await?;
    server.micro().await?;
    let first = made(&server, "first").await?.context("accepted")?;
    let second = made(&server, "second").await?.context("accepted")?;
    let path = |accepted: &Value| format!("/tasks/{}", accepted["task"]["id"].as_str().unwrap_or(""));
    server.until(&path(&first), |task| task["state"] == "running").await?;
    command(&server, &["on"]).await?;
    // What had begun goes on where it was.
    server.kill().await?;
    let server = Server::start(Program::Simulated, &data, &slow).await?;
    server.done(&first).await?;
    ensure!(made(&server, "third").await?.is_none());
    let waiting = server.get(&path(&second)).await?;
    ensure!(waiting["state"] == "queued" && waiting["started_at"].is_null(), "{waiting}");
    command(&server, &["off"]).await?;
    let off = server.get("/info").await?["now"].as_str().context("a time")?.to_owned();
    let task = server.done(&second).await?;
    ensure!(task["state"] == "done", "{task} after {off}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_administrators_may_ask_for_it_and_a_reason_is_one_line() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Server::start(Program::Simulated, &folder.path().join("data"), &QUICK).await?;
    for (reason, status) in [("a\nb", 422), (&*"x".repeat(501), 422), ("", 200)] {
        let body = json!({ "on": true, "reason": reason });
        ensure!(server.request("PUT", "/maintenance", Some(body)).await?.0 == status, "{reason}");
    }
    let since = server.get("/maintenance").await?;
    let again = server.ask("PUT", "/maintenance", Some(json!({ "on": true, "reason": "longer" }))).await?;
    ensure!(again["since"] == since["since"] && again["reason"] == "longer", "{since} {again}");
    let off = server.ask("PUT", "/maintenance", Some(json!({ "on": false }))).await?;
    ensure!(off["on"] == false && off["since"].is_null(), "{off}");
    let taken = until("requests are taken", DEADLINE, async || {
        Ok((server.request("POST", "/networks", Some(json!({}))).await?.0 != 503).then_some(()))
    });
    taken.await
}
