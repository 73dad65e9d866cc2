//! The dashboard of vmpooler's door in a real browser.

use crate::server::{DEADLINE, Program, Server};
use anyhow::{Context, Result, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

const CONFIG: &str = r#"
[vmpooler]
site_name = "Machines of the lab"
[[pool]]
name = "debian-12-x86_64"
aliases = ["debian"]
template = "micro"
size = 2
[[pool]]
name = "windows-2022"
template = "not-there"
size = 3
"#;

/// Why there can be no browser here, if so.
fn missing() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let absent = ["chromium", "chromedriver"].into_iter().find(|name| !found(name));
    absent.map(|name| format!("{name} is not installed"))
}

/// A browser with one page.
struct Browser {
    _driver: Child,
    client: reqwest::Client,
    session: String,
}

impl Browser {
    async fn start(folder: &Path) -> Result<Self> {
        let mut driver = Command::new("chromedriver");
        driver.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut driver = driver.kill_on_drop(true).spawn()?;
        let mut lines = BufReader::new(driver.stdout.take().context("its output")?).lines();
        let port = loop {
            let line = tokio::time::timeout(DEADLINE, lines.next_line()).await??.context("it has ended")?;
            if let Some(rest) = line.strip_prefix("ChromeDriver was started successfully on port ") {
                break rest.trim_end_matches('.').to_owned();
            }
        };
        let profile = format!("--user-data-dir={}", folder.join("browser").display());
        let arguments = [
            "--headless=new",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--window-size=1000,700",
            &profile,
        ];
        let wanted = json!({"capabilities": {"alwaysMatch": {
            "goog:chromeOptions": {"args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }}});
        let client = reqwest::Client::builder().timeout(DEADLINE).no_proxy().build()?;
        let answer = client.post(format!("http://127.0.0.1:{port}/session")).json(&wanted).send().await?;
        let answer: Value = answer.json().await?;
        let id = answer["value"]["sessionId"].as_str().with_context(|| answer.to_string())?;
        let session = format!("http://127.0.0.1:{port}/session/{id}");
        Ok(Self { _driver: driver, client, session })
    }

    async fn tell(&self, command: &str, body: Value) -> Result<Value> {
        let answer = self.client.post(format!("{}/{command}", self.session)).json(&body).send().await?;
        let good = answer.status().is_success();
        let mut answer: Value = answer.json().await?;
        ensure!(good, "{command}: {answer}");
        Ok(answer["value"].take())
    }

    /// Waits in the page until an expression is true.
    async fn until(&self, expression: &str) -> Result<()> {
        let script = format!(
            "const done = arguments[0]; \
             const look = () => {{ if ({expression}) done(true); else setTimeout(look, 50); }}; look();"
        );
        self.tell("timeouts", json!({"script": DEADLINE.as_millis()})).await?;
        self.tell("execute/async", json!({"script": script, "args": []})).await?;
        Ok(())
    }

    async fn value(&self, expression: &str) -> Result<Value> {
        self.tell("execute/sync", json!({"script": format!("return {expression};"), "args": []})).await
    }

    async fn end(self) -> Result<()> {
        self.client.delete(&self.session).send().await?;
        Ok(())
    }
}

#[expect(clippy::print_stderr, reason = "whoever runs the tests must see it")]
fn skipped(why: &str) {
    eprintln!("SKIPPED: no page was looked at: {why}");
}

/// A server with two pools, and a browser; none where there can be no browser.
async fn stage(folder: &Path, anonymous: &str) -> Result<Option<(Server, Browser)>> {
    if let Some(why) = missing() {
        ensure!(std::env::var_os("CI").is_none(), "{why}, and this is a CI run");
        skipped(&why);
        return Ok(None);
    }
    let config = folder.join("hostler.toml");
    std::fs::write(&config, CONFIG)?;
    let environment = [
        ("HOSTLER_CONFIG", config.to_str().context("a path")?),
        ("HOSTLER__VMPOOLER__ANONYMOUS", anonymous),
        ("HOSTLER__SIM__BOOT_MS", "0"),
        ("HOSTLER__SIM__IMAGE_MS", "0"),
    ];
    let server = Server::start(Program::Simulated, &folder.join("data"), &environment).await?;
    let browser = Browser::start(folder).await?;
    browser.tell("url", json!({"url": format!("{}/dashboard/", server.url)})).await?;
    Ok(Some((server, browser)))
}

/// One of the pools becomes full, the other cannot.
const FULL: &str = "document.querySelector('#pools tr:nth-child(1) td:nth-child(3)')?.textContent === '2'";

#[tokio::test]
async fn a_browser_shows_the_pools_and_complains_of_nothing() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some((server, browser)) = stage(folder.path(), "full").await? else { return Ok(()) };
    browser.until(FULL).await?;
    let cells = "[...document.querySelectorAll('#pools tr')].map(row => [...row.cells].map(cell => cell.textContent))";
    let rows = browser.value(cells).await?;
    ensure!(rows[0][0] == "debian-12-x86_64debian" && rows[0][2] == "2" && rows[0][3] == "2", "{rows}");
    ensure!(rows[1][0] == "windows-2022" && rows[1][2] == "0" && rows[1][3] == "3", "{rows}");
    let text = browser.value("document.body.innerText").await?;
    let text = text.as_str().context("text")?;
    for part in ["Machines of the lab", "Found 1 empty pools.", "40 %"] {
        ensure!(text.contains(part), "{part} is not in\n{text}");
    }
    ensure!(
        browser.value("document.documentElement.scrollWidth <= window.innerWidth").await? == true,
        "it is too wide"
    );
    let picture = browser.client.get(format!("{}/screenshot", browser.session)).send().await?;
    let picture: Value = picture.json().await?;
    let picture = STANDARD.decode(picture["value"].as_str().context("a picture")?)?;
    // For whoever wants to see it.
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("dashboard.png"), picture)?;
    let complaints = browser.tell("se/log", json!({"type": "browser"})).await?;
    ensure!(complaints == json!([]), "{complaints:#}");
    browser.end().await?;
    ensure!(server.stop().await? == Some(0));
    Ok(())
}

#[tokio::test]
async fn where_nobody_looks_without_a_token_the_page_asks_for_one() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let Some((server, browser)) = stage(folder.path(), "off").await? else { return Ok(()) };
    browser.until("!document.getElementById('login').hidden").await?;
    let look = async |token: &str| {
        let set = format!("document.getElementById('token').value = '{token}'");
        browser.value(&set).await?;
        browser.value("document.getElementById('login').requestSubmit()").await
    };
    look("not-good").await?;
    browser.until("document.getElementById('message').textContent === 'This token is not good.'").await?;
    ensure!(browser.value("document.querySelectorAll('#pools tr').length").await? == 0);
    let (status, made) = server.door.send("POST", "/tokens", &[], Some(json!({}))).await?;
    ensure!(status == 201, "{made}");
    look(made["secret"].as_str().context("a secret")?).await?;
    browser.until(FULL).await?;
    ensure!(browser.value("document.getElementById('login').hidden").await? == true);
    browser.end().await?;
    ensure!(server.stop().await? == Some(0));
    Ok(())
}
