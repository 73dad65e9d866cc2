//! A network's dnsmasq: started in a session of its own, found again by its arguments after a restart of this server,
//! told of changes by SIGHUP, ended through a pidfd.
//!
//! Its arguments name the network's id, so a process is known without doubt whatever was written down before.

use super::home::NetworkHome;
use crate::durable::{blocking, io_failed};
use crate::qemu::process::Process;
use crate::spawn::{Confinement, confined, see_as_run};
use hostler_core::ids::NetworkId;
use hostler_core::ports::{DriverError, DriverErrorKind};
use rustix::process::Signal;
use std::io;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

/// From spawn to the first answer; it reads a few files.
const START_PATIENCE: Duration = Duration::from_secs(20);
/// It says in its log that it is up; there is nothing else to wait on.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);
const TERM_PATIENCE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// What it says once it listens, in every version.
const STARTED: &str = "started, version";

fn config_argument(network: NetworkId) -> String {
    format!("--conf-file=/run/{network}.conf")
}

/// The running dnsmasq of this network, whoever started it.
pub(super) async fn find(network: NetworkId) -> Result<Option<Process>, DriverError> {
    let pids = blocking(move || Ok(scan(&config_argument(network)))).await?;
    for pid in pids {
        let held = Process::hold(pid).map_err(|error| io_failed("cannot watch dnsmasq", &error))?;
        // The pidfd is held now, so what the arguments say is said by the process that a signal would hit.
        if let Some(process) = held.filter(|process| process.is_alive() && is_ours(process.pid, network)) {
            return Ok(Some(process));
        }
    }
    Ok(None)
}

fn is_ours(pid: u32, network: NetworkId) -> bool {
    has_argument(pid, &config_argument(network))
}

fn scan(argument: &str) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| has_argument(*pid, argument)).collect()
}

fn has_argument(pid: u32, argument: &str) -> bool {
    let arguments = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let mut parts = arguments.split(|byte| *byte == 0);
    let is_dnsmasq = parts.next().is_some_and(|program| program.ends_with(b"dnsmasq"));
    is_dnsmasq && parts.any(|part| part == argument.as_bytes())
}

/// Starts it and returns when it answers.
pub(super) async fn start(
    dnsmasq: &Path,
    home: &NetworkHome,
    network: NetworkId,
) -> Result<Process, DriverError> {
    let (binary, directory) = (dnsmasq.to_owned(), home.clone());
    let pid = blocking(move || {
        spawn(&binary, &directory, network).map_err(|error| io_failed("cannot start dnsmasq", &error))
    })
    .await?;
    let held = Process::hold(pid).map_err(|error| io_failed("cannot watch dnsmasq", &error))?;
    let process = held.ok_or_else(|| DriverError::internal("dnsmasq went away as soon as it was started"))?;
    let answers = async {
        while !home.service_log().contains(STARTED) {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    };
    let up = tokio::select! {
        biased;
        () = process.ended() => Err(DriverError::refused("dnsmasq ended while it started")),
        up = tokio::time::timeout(START_PATIENCE, answers) => {
            up.map_err(|_| DriverError::timeout("dnsmasq did not come up in time"))
        }
    };
    if let Err(error) = up {
        end(&process).await?;
        let log = home.service_log();
        let last = log.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
        return Err(DriverError { detail: format!("{}: {}", error.detail, last.trim()), ..error });
    }
    Ok(process)
}

fn spawn(dnsmasq: &Path, home: &NetworkHome, network: NetworkId) -> io::Result<u32> {
    let log = home.new_service_log()?;
    let mut command =
        confined(dnsmasq, Confinement { session: true, network: true, ..Confinement::default() })?;
    command.arg("--keep-in-foreground").arg(config_argument(network)).current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    see_as_run(&mut command, home.path())?;
    Ok(command.spawn()?.id())
}

/// Has it read hosts and cards again.
pub(super) fn reload(process: &Process) {
    process.signal(Signal::HUP);
}

/// Ends it and returns when it is gone.
pub(super) async fn end(process: &Process) -> Result<(), DriverError> {
    for (signal, patience) in [(Signal::TERM, TERM_PATIENCE), (Signal::KILL, KILL_PATIENCE)] {
        process.signal(signal);
        if tokio::time::timeout(patience, process.ended()).await.is_ok() {
            return Ok(());
        }
    }
    Err(DriverError::new(DriverErrorKind::Timeout, "dnsmasq does not end, not even when killed"))
}

/// Who it becomes once it has its sockets: a user of its own where the package made one.
pub(super) fn user() -> &'static str {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    if users.lines().any(|line| line.starts_with("dnsmasq:")) { "dnsmasq" } else { "nobody" }
}

/// A dnsmasq that is watched: `ended` is told when it ends by itself.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) process: Arc<Process>,
    watcher: tokio::task::AbortHandle,
}

impl Watched {
    pub(super) fn new(process: Process, ended: impl FnOnce() + Send + 'static) -> Self {
        let process = Arc::new(process);
        let watched = process.clone();
        let watcher = tokio::spawn(async move {
            watched.ended().await;
            ended();
        });
        Self { process, watcher: watcher.abort_handle() }
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.watcher.abort();
    }
}
