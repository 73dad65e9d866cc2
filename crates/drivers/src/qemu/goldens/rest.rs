//! Bringing a golden machine to rest, and writing out its devices.

use super::super::Running;
use crate::durable::io_failed;
use crate::guest::AgentLink;
use hostler_core::ports::{DriverError, GuestCommand};
use serde_json::{Value, json};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::time::Duration;

/// One look at how much the process does.
const LOOK: Duration = Duration::from_secs(1);
/// A guest at rest: the process takes less than this part of one processor.
const RESTS_BELOW_PERCENT: u64 = 15;
/// Looks in a row that must find it at rest.
const RESTS: u32 = 2;
/// Longer than any guest takes to write out what it has not yet.
const SYNC_PATIENCE: Duration = Duration::from_secs(30);
/// The state has no memory in it; it is written within tens of milliseconds.
const STATE_PATIENCE: Duration = Duration::from_secs(60);
const STATE_INTERVAL: Duration = Duration::from_millis(3);
/// Clock ticks of a second in `/proc`.
const TICKS: u64 = 100;

/// Waits until nothing starts any more and its disk has been written. A guest that never rests is saved as it is when
/// the patience is over: it would be no calmer in a fork.
pub(super) async fn come_to_rest(running: &Running, patience: Duration) -> Result<(), DriverError> {
    let resting = async {
        // Where there is a system that knows when it has started. It says no when anything failed; that is no reason.
        said(running, &["systemctl", "is-system-running", "--wait"], patience).await;
        let mut quiet = 0;
        while quiet < RESTS {
            let before = ticks(running.process.pid)?;
            tokio::time::sleep(LOOK).await;
            let spent = ticks(running.process.pid)?.saturating_sub(before);
            quiet = if spent * 100 < TICKS * RESTS_BELOW_PERCENT * LOOK.as_secs() { quiet + 1 } else { 0 };
        }
        Ok::<_, DriverError>(())
    };
    tokio::select! {
        () = running.process.ended() => return Err(DriverError::refused("the golden machine went off")),
        rested = tokio::time::timeout(patience, resting) => rested.unwrap_or(Ok(()))?,
    }
    said(running, &["sync"], SYNC_PATIENCE).await;
    Ok(())
}

/// Runs a program that the guest may not have.
async fn said(running: &Running, argv: &[&str], deadline: Duration) {
    let command =
        GuestCommand { argv: argv.iter().map(ToString::to_string).collect(), stdin: Vec::new(), deadline };
    let Ok(socket) = running.channel(super::super::AGENT_SOCKET) else { return };
    let run = async { AgentLink::connect(&socket.path, deadline).await?.run(&command).await };
    let _ = tokio::time::timeout(deadline, run).await;
}

/// Processor time that a process has taken, in clock ticks.
fn ticks(pid: u32) -> Result<u64, DriverError> {
    let gone = |error| io_failed("cannot look at the golden machine's process", &error);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).map_err(gone)?;
    // The name is in parentheses and may have anything in it; user and system time are the 12th and 13th after it.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    Ok(fields.filter_map(|field| field.parse::<u64>().ok()).sum())
}

impl Running {
    /// Stops the guest and writes the state of its devices into this file.
    pub(super) async fn write_state(&self, file: &File) -> Result<(), DriverError> {
        self.command("stop").await?;
        self.qmp.leave_out_memory(true).await?;
        let descriptor =
            file.try_clone().map(OwnedFd::from).map_err(|error| io_failed("the state's file", &error))?;
        self.qmp.hand_over("state", descriptor).await?;
        self.qmp.execute("migrate", json!({ "uri": "fd:state" })).await?;
        let written = async {
            loop {
                let answer = self.qmp.execute("query-migrate", Value::Null).await?;
                match answer["status"].as_str() {
                    Some("completed") => return Ok(()),
                    Some("failed" | "cancelled") => {
                        let why = answer["error-desc"].as_str().unwrap_or("QEMU does not say why");
                        return Err(DriverError::refused(format!("the state cannot be saved: {why:.200}")));
                    }
                    _ => tokio::time::sleep(STATE_INTERVAL).await,
                }
            }
        };
        let bounded = tokio::time::timeout(STATE_PATIENCE, written).await;
        bounded.unwrap_or_else(|_| Err(DriverError::timeout("saving the state takes too long")))
    }
}
