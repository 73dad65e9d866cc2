//! The real program as a child process, and a client for it: black-box tests see what a user sees.

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, Command};

/// Nothing that a test waits for takes longer, even on a busy machine without virtualization.
pub const DEADLINE: Duration = Duration::from_secs(240);

/// Which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Program {
    /// `hostler`, with QEMU.
    Real,
    /// `hostler-sim`.
    Simulated,
}

impl Program {
    pub fn path(self) -> PathBuf {
        let real = PathBuf::from(env!("CARGO_BIN_EXE_hostler"));
        match self {
            Self::Real => real,
            Self::Simulated => real.with_file_name("hostler-sim"),
        }
    }

    /// A command of this program for a data directory.
    pub fn command(self, data: &Path) -> Command {
        self.prepared(Command::new(self.path()), data)
    }

    fn prepared(self, mut command: Command, data: &Path) -> Command {
        command.env_remove("HOSTLER_URL").env_remove("HOSTLER_TOKEN").env("HOSTLER_DATA_DIR", data);
        command.env("HOSTLER__QEMU__AGENT", agent()).env("RUST_BACKTRACE", "1").kill_on_drop(true);
        command.stdin(Stdio::null());
        command
    }
}

/// Where the scripts leave the static guest agent.
pub fn agent() -> PathBuf {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/agent/hostler-agent");
    std::env::var_os("HOSTLER__QEMU__AGENT").map_or(beside, PathBuf::from)
}

/// Why real machines cannot be tested here, if so.
pub fn missing() -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    for tool in ["qemu-system-x86_64", "qemu-img", "ssh", "ssh-keygen", "apt-get", "dpkg-deb"] {
        if !found(tool) {
            return Some(format!("{tool} is not installed"));
        }
    }
    (!agent().is_file()).then(|| "the guest agent is not built: run scripts/build-agent".into())
}

/// A way to ask a server, as its local administrator.
#[derive(Clone, Debug)]
pub struct Door(reqwest::Client);

impl Door {
    /// Over the unix socket of this data directory.
    pub fn of(data: &Path) -> Result<Self> {
        // Another test may have chosen it already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder().unix_socket(data.join("hostler.sock")).timeout(DEADLINE);
        Ok(Self(client.build()?))
    }

    /// The stream of events at this path.
    pub async fn feed(&self, path: &str) -> Result<Events> {
        let answer = self.0.get(format!("http://localhost/hostler/v1{path}")).send().await?;
        Ok(Events { answer: answer.error_for_status()?, heard: String::new() })
    }

    /// A request; answers status and body.
    ///
    /// # Errors
    /// When there was no answer.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<Value>,
    ) -> Result<(u16, Value)> {
        let method = method.parse::<reqwest::Method>()?;
        let mut request = self.0.request(method, format!("http://localhost/hostler/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(body) = body {
            request = request.json(&body);
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        let value = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok((status, value))
    }
}

/// A stream of events as they come.
#[derive(Debug)]
pub struct Events {
    answer: reqwest::Response,
    heard: String,
}

impl Events {
    /// Returns when something was heard that was not heard before.
    pub async fn next(&mut self) -> Result<()> {
        let chunk =
            tokio::time::timeout(DEADLINE, self.answer.chunk()).await.context("nothing is heard")??;
        chunk.context("the stream has ended").map(drop)
    }

    /// Returns when this was heard.
    pub async fn until(&mut self, text: &str) -> Result<()> {
        let heard = async {
            while !self.heard.contains(text) {
                let chunk = self.answer.chunk().await?.context("the stream has ended")?;
                self.heard.push_str(&String::from_utf8_lossy(&chunk));
            }
            Ok(())
        };
        tokio::time::timeout(DEADLINE, heard).await.with_context(|| format!("{text} was not heard"))?
    }
}

/// A running server.
#[derive(Debug)]
pub struct Server {
    child: Child,
    pub data: PathBuf,
    pub url: String,
    pub door: Door,
}

impl Server {
    /// Starts a server on this data directory and waits until it is ready.
    pub async fn start(program: Program, data: &Path, environment: &[(&str, &str)]) -> Result<Self> {
        Self::start_by(|path| Command::new(path), program, data, environment).await
    }

    /// The same, by a command that becomes the program: in a namespace, or with fewer rights.
    pub async fn start_by(
        by: impl FnOnce(&Path) -> Command,
        program: Program,
        data: &Path,
        environment: &[(&str, &str)],
    ) -> Result<Self> {
        let mut command = program.prepared(by(&program.path()), data);
        let log = std::fs::File::options().create(true).append(true).open(data.with_extension("log"))?;
        command.args(["serve", "--listen", "127.0.0.1:0"]).envs(environment.iter().copied());
        command.stdout(Stdio::piped()).stderr(log);
        let mut child =
            command.spawn().with_context(|| format!("cannot run {}", program.path().display()))?;
        let mut lines = BufReader::new(child.stdout.take().context("its output is read")?).lines();
        let line =
            tokio::time::timeout(DEADLINE, lines.next_line()).await.context("it does not become ready")??;
        let Some(line) = line else {
            bail!("it ended at once: {}", tail(&data.with_extension("log")));
        };
        let url = line
            .strip_prefix("hostler is ready on ")
            .with_context(|| format!("it said `{line}`"))?
            .to_owned();
        Ok(Self { child, data: data.to_owned(), url, door: Door::of(data)? })
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.child.id().unwrap_or(0)
    }

    /// Kill -9.
    pub async fn kill(mut self) -> Result<()> {
        self.child.start_kill().ok();
        self.child.wait().await?;
        Ok(())
    }

    /// Waits for it to die by itself, at a fail point.
    pub async fn death(&mut self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.child.wait()).await.is_ok()
    }

    /// SIGTERM; answers its exit code.
    pub async fn stop(mut self) -> Result<Option<i32>> {
        let pid = rustix::process::Pid::from_raw(self.pid().try_into()?).context("it runs")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        // Ten are promised; the others are for a machine that is busy with other tests.
        let status = tokio::time::timeout(Duration::from_secs(20), self.child.wait()).await;
        Ok(status.context("it did not end in time")??.code())
    }

    /// A request as the local administrator; answers status and body.
    pub async fn request(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        self.door.send(method, path, &[], body).await
    }

    /// A request that must succeed.
    pub async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let (status, value) = self.request(method, path, body).await?;
        ensure!((200..300).contains(&status), "{method} {path}: {status} {value}");
        Ok(value)
    }

    pub async fn get(&self, path: &str) -> Result<Value> {
        self.ask("GET", path, None).await
    }

    pub async fn post(&self, path: &str, body: Value) -> Result<Value> {
        self.ask("POST", path, Some(body)).await
    }

    /// Waits until the task of an accepted command has ended; answers it.
    pub async fn ended(&self, accepted: &Value) -> Result<Value> {
        let Some(id) = accepted["task"]["id"].as_str() else { return Ok(Value::Null) };
        self.task_ended(id).await
    }

    pub async fn task_ended(&self, id: &str) -> Result<Value> {
        let path = format!("/tasks/{id}?wait_s=20");
        let wait = async {
            loop {
                let task = self.get(&path).await?;
                if task["open"] == false {
                    return Ok(task);
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.context("the task does not end")?
    }

    /// Waits until the task of an accepted command is done.
    pub async fn done(&self, accepted: &Value) -> Result<Value> {
        let task = self.ended(accepted).await?;
        ensure!(task.is_null() || task["state"] == "done", "{}: {}", task["kind"], task["error"]);
        Ok(task)
    }

    /// Asks for something and waits until it is done.
    pub async fn carry_out(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let accepted = self.ask(method, path, body).await?;
        self.done(&accepted).await?;
        Ok(accepted)
    }

    /// Waits until what is at this path is as wanted; answers it.
    pub async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let wait = async {
            loop {
                look.tick().await;
                let seen = self.get(path).await?;
                if wanted(&seen) {
                    return anyhow::Ok(seen);
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait)
            .await
            .with_context(|| format!("{path} does not become as wanted"))?
    }

    /// Waits for the banner of a machine's SSH server: its port accepts before the guest does.
    pub async fn ssh_answers(&self, machine: &Value) -> Result<()> {
        let port: u16 = machine["ssh"]["port"].as_u64().context("an SSH port")?.try_into()?;
        let mut look = tokio::time::interval(Duration::from_millis(100));
        let wait = async {
            loop {
                look.tick().await;
                let mut greeting = [0; 4];
                let Ok(mut stream) = tokio::net::TcpStream::connect(("127.0.0.1", port)).await else {
                    continue;
                };
                if stream.read_exact(&mut greeting).await.is_ok() && &greeting == b"SSH-" {
                    return;
                }
            }
        };
        tokio::time::timeout(DEADLINE, wait).await.context("no SSH server answers")
    }

    /// Builds the micro template.
    pub async fn micro(&self) -> Result<()> {
        let body = serde_json::json!({
            "name": "micro", "memory_mib": 192, "source": { "from": "recipe", "recipe": "micro" },
        });
        self.carry_out("POST", "/templates", Some(body)).await?;
        Ok(())
    }
}

/// Looks again and again until there is something to see.
///
/// # Errors
/// When there is nothing within the time; `what` says what was waited for.
pub async fn until<T>(
    what: &str,
    patience: Duration,
    look: impl AsyncFn() -> Result<Option<T>>,
) -> Result<T> {
    let seen = async {
        let mut again = tokio::time::interval(Duration::from_millis(100));
        loop {
            again.tick().await;
            if let Some(seen) = look().await? {
                return anyhow::Ok(seen);
            }
        }
    };
    tokio::time::timeout(patience, seen).await.with_context(|| format!("waited in vain for {what}"))?
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(20)..].join("\n")
}
