//! A server as a child process, timed, and a client for it.

use crate::bed::Bed;
use anyhow::{Context, Result, bail, ensure};
use hostler_doors::native::types::{Machine, Page, Task};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::sync::oneshot;

/// Nothing that is waited for takes longer.
const DEADLINE: Duration = Duration::from_secs(300);

/// A world without latency: what is measured is hostler.
pub(crate) const INSTANT: [(&str, &str); 6] = [
    ("HOSTLER__SIM__BOOT_MS", "0"),
    ("HOSTLER__SIM__START_MS", "0"),
    ("HOSTLER__SIM__SHUTDOWN_MS", "0"),
    ("HOSTLER__SIM__VOLUME_MS", "0"),
    ("HOSTLER__SIM__IMAGE_MS", "0"),
    ("HOSTLER__SIM__PERSIST", "false"),
];

/// How the machines that ran before were found again.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Adoption {
    /// Since the process was started.
    pub(crate) after: Duration,
    /// How many of them.
    pub(crate) machines: u64,
}

/// A running server.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    /// Where it listens.
    pub(crate) url: String,
    /// From the start of the process until it said that it is ready.
    pub(crate) ready: Duration,
    adopted: Option<oneshot::Receiver<Adoption>>,
    client: reqwest::Client,
}

impl Server {
    /// Starts a program on a data directory and waits until it is ready. Its log lies beside the directory.
    pub(crate) async fn start(
        bed: &Bed,
        program: &Path,
        data: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let command = bed.command(program);
        Self::start_by(bed, command, data, settings).await.with_context(|| program.display().to_string())
    }

    /// The same by a command of the bed that becomes the program.
    pub(crate) async fn start_by(
        bed: &Bed,
        mut command: Command,
        data: &Path,
        settings: &[(&str, &str)],
    ) -> Result<Self> {
        let log = data.with_extension("log");
        command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(data);
        command.env("HOSTLER__QEMU__AGENT", bed.agent()).env("HOSTLER__LOG__FORMAT", "json");
        command.envs(settings.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().context("cannot be run")?;
        let words = child.stderr.take().context("its log is read")?;
        let (tell, adopted) = oneshot::channel();
        tokio::spawn(follow(
            words,
            tokio::fs::File::options().create(true).append(true).open(log.clone()).await?,
            began,
            tell,
        ));
        let mut lines = BufReader::new(child.stdout.take().context("its output is read")?).lines();
        let line =
            tokio::time::timeout(DEADLINE, lines.next_line()).await.context("it does not become ready")??;
        let ready = began.elapsed();
        let Some(url) = line.as_deref().and_then(|line| line.strip_prefix("hostler is ready on ")) else {
            let words = std::fs::read_to_string(&log).unwrap_or_default();
            bail!("the server did not start: {}", words.lines().last().unwrap_or("it said nothing"));
        };
        let socket = data.join("hostler.sock");
        let client = reqwest::Client::builder().unix_socket(socket).timeout(DEADLINE).build()?;
        Ok(Self { child, url: url.to_owned(), ready, adopted: Some(adopted), client })
    }

    /// Waits until it has found the machines that ran before it.
    pub(crate) async fn adoption(&mut self) -> Result<Adoption> {
        let adopted = self.adopted.take().context("this is asked once")?;
        Ok(tokio::time::timeout(DEADLINE, adopted).await.context("no word of running machines")??)
    }

    /// Its memory in KiB: resident, and its fair share of what it shares.
    pub(crate) fn memory(&self) -> Result<(u64, u64)> {
        let pid = self.child.id().context("it has ended")?;
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let field = |name: &str| {
            let line = rollup.lines().find_map(|line| line.strip_prefix(name))?;
            line.trim().strip_suffix("kB")?.trim().parse().ok()
        };
        Ok((field("Rss:").context("no Rss")?, field("Pss:").context("no Pss")?))
    }

    /// Ends it as an operator does.
    pub(crate) async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().context("it has ended")?;
        let pid = rustix::process::Pid::from_raw(pid.try_into()?).context("a process has an id")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        tokio::time::timeout(Duration::from_secs(15), self.child.wait())
            .await
            .context("it does not stop")??;
        Ok(())
    }

    /// Kill -9.
    pub(crate) async fn kill(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Asks as the local administrator; a refusal is an error.
    pub(crate) async fn ask<T: DeserializeOwned>(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Result<T> {
        ask(&self.client, "http://localhost", method, path, body).await
    }

    /// Reads something.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        self.ask("GET", path, None).await
    }

    /// Commands something and waits for its end; answers its task.
    pub(crate) async fn carry_out(&self, method: &str, path: &str, body: Option<Value>) -> Result<Task> {
        carry_out(&self.client, "http://localhost", method, path, body).await
    }

    /// Makes the template `micro`.
    pub(crate) async fn micro(&self) -> Result<()> {
        let body = json!({ "name": "micro", "source": { "from": "recipe", "recipe": "micro" } });
        self.carry_out("POST", "/templates", Some(body)).await.context("the template")?;
        Ok(())
    }

    /// The secret of a new token.
    pub(crate) async fn token(&self) -> Result<String> {
        let made: Value = self.ask("POST", "/tokens", Some(json!({ "description": "bench" }))).await?;
        Ok(made["secret"].as_str().context("a token has a secret")?.to_owned())
    }

    /// The secret of a new session of this account.
    pub(crate) async fn log_in(&self, login: &str, password: &str) -> Result<String> {
        let body = json!({ "login": login, "password": password });
        let begun: Value = self.ask("POST", "/login", Some(body)).await?;
        Ok(begun["secret"].as_str().context("a session has a secret")?.to_owned())
    }

    /// A page of machines.
    pub(crate) async fn machines(&self, query: &str) -> Result<Page<Machine>> {
        self.get(&format!("/machines?{query}")).await
    }
}

/// A client over TCP with a token, as most are.
pub(crate) fn client(token: &str) -> Result<reqwest::Client> {
    let mut headers = reqwest::header::HeaderMap::new();
    headers.insert(reqwest::header::AUTHORIZATION, format!("Bearer {token}").parse()?);
    Ok(reqwest::Client::builder().default_headers(headers).timeout(DEADLINE).build()?)
}

async fn ask<T: DeserializeOwned>(
    client: &reqwest::Client,
    origin: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Result<T> {
    let mut request = client.request(method.parse()?, format!("{origin}/hostler/v1{path}"));
    if let Some(body) = body {
        request = request.json(&body);
    }
    let answer = request.send().await?;
    let status = answer.status();
    let bytes = answer.bytes().await?;
    ensure!(status.is_success(), "{method} {path}: {status} {}", String::from_utf8_lossy(&bytes));
    // What is removed at once is answered by nothing.
    Ok(serde_json::from_slice(if bytes.is_empty() { b"null" } else { &bytes })?)
}

/// Commands something and waits for its end; answers its task.
pub(crate) async fn carry_out(
    client: &reqwest::Client,
    origin: &str,
    method: &str,
    path: &str,
    body: Option<Value>,
) -> Result<Task> {
    let mut accepted: Value = ask(client, origin, method, path, body).await?;
    let mut task: Task = serde_json::from_value(accepted["task"].take()).context("there is no task")?;
    let until = Instant::now() + DEADLINE;
    while task.open {
        ensure!(Instant::now() < until, "{} of {} does not end", task.kind, task.subject_name);
        task = ask(client, origin, "GET", &format!("/tasks/{}?wait_s=30", task.id), None).await?;
    }
    ensure!(
        task.error.is_none(),
        "{} of {}: {}",
        task.kind,
        task.subject_name,
        task.error.unwrap_or_default()
    );
    Ok(task)
}

/// Keeps the log, and listens for the one line that no answer tells: that running machines were found.
async fn follow(
    words: ChildStderr,
    mut log: tokio::fs::File,
    began: Instant,
    tell: oneshot::Sender<Adoption>,
) -> std::io::Result<()> {
    let mut lines = BufReader::new(words).lines();
    let mut tell = Some(tell);
    while let Some(line) = lines.next_line().await? {
        if line.contains("took over running machines")
            && let Some(tell) = tell.take()
        {
            let after = began.elapsed();
            let told: Value = serde_json::from_str(&line).unwrap_or_default();
            // Not everybody waits for it.
            let _ = tell.send(Adoption { after, machines: told["machines"].as_u64().unwrap_or(0) });
        }
        log.write_all(line.as_bytes()).await?;
        log.write_all(b"\n").await?;
    }
    log.flush().await
}
