//! What is secret stays so: in the database, in the log, over the API, and under the right key only.

use crate::server::{Program, Server, tail};
use anyhow::{Context, Result, ensure};
use hostler_core::access::Caller;
use hostler_core::error::ErrorKind;
use hostler_core::ids::AccountId;
use hostler_core::secret::Secret;
use hostler_sim::{Mode, World};
use serde_json::json;
use std::path::Path;
use uuid::Uuid;

const PLANTED: &str = "swordfish-4711-planted";

/// Files of the data directory, except what simulated machines keep of themselves, and the log, that have the secret.
fn leaks(data: &Path) -> Result<Vec<String>> {
    let mut files = vec![data.with_extension("log")];
    for entry in std::fs::read_dir(data)? {
        let path = entry?.path();
        if path.is_file() {
            files.push(path);
        }
    }
    let mut leaks = Vec::new();
    for file in files {
        let bytes = std::fs::read(&file)?;
        if bytes.windows(PLANTED.len()).any(|part| part == PLANTED.as_bytes()) {
            leaks.push(file.display().to_string());
        }
    }
    Ok(leaks)
}

#[tokio::test]
async fn user_data_is_in_neither_database_nor_log_and_another_key_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let loud =
        [("HOSTLER__LOG__LEVEL", "debug"), ("HOSTLER__SIM__IMAGE_MS", "0"), ("HOSTLER__SIM__BOOT_MS", "0")];
    let server = Server::start(Program::Simulated, &data, &loud).await?;
    server.micro().await?;
    let user_data = format!("#cloud-config\npassword: {PLANTED}\n");
    let body = json!({ "name": "web", "template": "micro", "user_data": user_data });
    server.carry_out("POST", "/machines", Some(body)).await?;
    let body = json!({ "name": "db", "template": "micro", "password": PLANTED });
    server.carry_out("POST", "/machines", Some(body.clone())).await?;
    let told = server.request("POST", "/machines", Some(body)).await?.1.to_string();
    ensure!(told.contains("name_taken") && !told.contains(PLANTED), "{told}");
    let told = server.get("/machines/web/user-data").await?;
    ensure!(told["user_data"] == user_data, "its owner reads it back: {told}");
    for path in ["/machines/web", "/machines/db", "/machines", "/tasks", "/audit", "/doctor"] {
        let told = server.get(path).await?.to_string();
        ensure!(!told.contains(PLANTED), "{path}: {told}");
    }
    ensure!(server.stop().await? == Some(0));
    ensure!(leaks(&data)?.is_empty(), "{:?}", leaks(&data)?);

    let key = std::fs::read_to_string(data.join("key"))?;
    std::fs::write(data.join("key"), "07".repeat(32))?;
    let refused = Server::start(Program::Simulated, &data, &[]).await;
    ensure!(refused.is_err());
    let told = tail(&data.with_extension("log"));
    ensure!(told.contains("the key in the data directory is not the one of this installation"), "{told}");
    std::fs::write(data.join("key"), key)?;
    let server = Server::start(Program::Simulated, &data, &[]).await.context("with its own key again")?;
    ensure!(server.get("/machines/web/user-data").await?["user_data"] == user_data);
    ensure!(server.stop().await? == Some(0));
    Ok(())
}

#[tokio::test]
async fn only_its_owner_reads_a_machines_user_data() {
    let world = World::with_template().await.unwrap();
    let ask =
        hostler_core::machines::MachineAsk { user_data: Some(Secret::new(PLANTED)), ..World::machine("m") };
    assert!(!format!("{ask:?}").contains(PLANTED));
    let made = world.core.machine_create(&world.admin, &ask, None).await.unwrap().record;
    world.run_tasks(Mode::Plain).await.unwrap();
    assert!(!serde_json::to_string(&made).unwrap().contains(PLANTED));
    let read = world.core.machine_user_data(&world.admin, "m").await.unwrap().unwrap();
    assert_eq!(read.expose(), PLANTED);
    let another = Caller { account: AccountId(Uuid::from_u128(1)), ..world.admin.clone() };
    let refused = world.core.machine_user_data(&another, "m").await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Denied);
}

/// What the service `auth` of the foreign dialects says to what is right and wrong. The secrets that it gives are added.
async fn dialect(server: &Server, secrets: &mut Vec<String>) -> Result<String> {
    let client = reqwest::Client::new();
    let ask = async |method: &str, path: &str, token: &str, body: String| {
        let request = client.request(method.parse()?, format!("{}{path}", server.url)).body(body);
        anyhow::Ok(request.header("x-xsrf-token", token).send().await?.text().await?)
    };
    let right = json!({ "email": "ann@example.org", "password": PLANTED }).to_string();
    for (path, name) in [("/auth/v4/public/token", "token"), ("/api/auth/v3/auth", "session")] {
        let given: serde_json::Value = serde_json::from_str(&ask("POST", path, "", right.clone()).await?)?;
        secrets.push(given[name].as_str().with_context(|| given.to_string())?.to_owned());
    }
    let token = secrets.last().context("a session")?.clone();
    let mut told = String::new();
    // In a path only what is as long as a key is taken for a secret.
    for (method, path, token, body) in [
        ("POST", "/auth/v4/public/token", "", json!({ "email": "nobody", "password": PLANTED }).to_string()),
        ("POST", "/auth/v3/auth", "", json!({ "email": [PLANTED], "password": PLANTED }).to_string()),
        ("POST", "/auth/v4/public/token", "", format!("{{\"password\": \"{PLANTED}")),
        ("POST", "/auth/v4/public/key", "", json!({ "key": PLANTED }).to_string()),
        ("GET", &format!("/auth/key/{PLANTED}-{PLANTED}"), "", String::new()),
        ("GET", "/vm/v3/host", PLANTED, String::new()),
        ("GET", "/auth/v4/token", &token, String::new()),
        ("GET", "/auth/v4/whoami", &token, String::new()),
        ("DELETE", &format!("/auth/v3/session/{token}"), &token, String::new()),
    ] {
        told += &ask(method, path, token, body).await?;
    }
    Ok(told)
}

#[tokio::test]
async fn passwords_and_tokens_are_in_no_log_event_or_error() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(Program::Simulated, &data, &[("HOSTLER__LOG__LEVEL", "trace")]).await?;
    let ann = json!({ "login": "ann", "email": "ann@example.org", "password": PLANTED });
    server.post("/accounts", ann.clone()).await?;
    let mut secrets = vec![PLANTED.to_owned()];
    let made = server.post("/login", json!({ "login": "ann", "password": PLANTED })).await?;
    secrets.extend(made["secret"].as_str().map(str::to_owned));
    let made = server.post("/tokens", json!({})).await?;
    secrets.extend(made["secret"].as_str().map(str::to_owned));
    ensure!(secrets.len() == 3, "{made}");
    let mut told = dialect(&server, &mut secrets).await?;
    for (method, path, body) in [
        ("POST", "/accounts", ann),
        (
            "POST",
            "/accounts",
            json!({ "login": "x", "email": PLANTED, "password": 1, "role": PLANTED.len() }),
        ),
        ("POST", "/login", json!({ "login": "ann", "password": [PLANTED] })),
        ("POST", "/login", json!({ "login": "nobody", "password": PLANTED })),
        ("PATCH", "/accounts/ann", json!({ "password": PLANTED, "present_password": PLANTED })),
    ] {
        told += &server.request(method, path, Some(body)).await?.1.to_string();
    }
    for path in ["/accounts", "/tokens", "/sessions", "/tasks", "/doctor", "/whoami"] {
        told += &server.get(path).await?.to_string();
    }
    for process in std::fs::read_dir("/proc")? {
        // One that ends meanwhile has nothing to tell.
        let arguments = std::fs::read(process?.path().join("cmdline")).unwrap_or_default();
        told += &String::from_utf8_lossy(&arguments);
    }
    ensure!(server.stop().await? == Some(0));
    for file in std::fs::read_dir(&data)?.map(|entry| entry.map(|entry| entry.path())) {
        let file = file?;
        if file.is_file() {
            told += &String::from_utf8_lossy(&std::fs::read(&file)?);
        }
    }
    told += &std::fs::read_to_string(data.with_extension("log"))?;
    for (place, secret) in secrets.iter().enumerate() {
        let at = told.find(secret.as_str());
        let around = at.map(|at| told[..at].chars().rev().take(200).collect::<Vec<_>>());
        let before: Option<String> = around.map(|letters| letters.into_iter().rev().collect());
        ensure!(at.is_none(), "secret {place} is told after: {}", before.unwrap_or_default());
    }
    Ok(())
}
