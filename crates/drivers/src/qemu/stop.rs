//! Ending machines: politely, then firmly, and removing what is left.

use super::process::Process;
use super::qmp::Qmp;
use super::{Driver, locked};
use crate::durable::{blocking, io_failed};
use hostler_core::fail::fail_point;
use hostler_core::ids::MachineId;
use hostler_core::ports::DriverError;
use rustix::process::Signal;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How long QEMU may take to obey `quit`, which flushes its disks.
const QUIT_PATIENCE: Duration = Duration::from_secs(5);
const TERM_PATIENCE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Ends a process: `quit`, then SIGTERM, then SIGKILL. Returns when it is gone.
pub(super) async fn end(process: &Process, qmp: Option<&Qmp>) -> Result<(), DriverError> {
    if let Some(qmp) = qmp {
        // QEMU may be gone before it has answered.
        let quit = qmp.run("quit", Value::Null, QUIT_PATIENCE);
        let asked = tokio::select! {
            () = process.ended() => return Ok(()),
            asked = quit => asked,
        };
        if asked.is_ok() && ends_within(process, QUIT_PATIENCE).await {
            return Ok(());
        }
    }
    for (signal, patience) in [(Signal::TERM, TERM_PATIENCE), (Signal::KILL, KILL_PATIENCE)] {
        process.signal(signal);
        if ends_within(process, patience).await {
            return Ok(());
        }
    }
    Err(DriverError::timeout("the QEMU process does not end, not even when killed"))
}

async fn ends_within(process: &Process, patience: Duration) -> bool {
    tokio::time::timeout(patience, process.ended()).await.is_ok()
}

impl Driver {
    /// Turns the machine off, however its process is to be reached.
    pub(super) async fn power_off(self: &Arc<Self>, id: MachineId) -> Result<(), DriverError> {
        let turn = self.turn(id).await;
        match self.find(id).await {
            Ok(Some(running)) => {
                running.ending.store(true, Ordering::Release);
                end(&running.process, Some(&running.qmp)).await?;
            }
            Ok(None) | Err(_) => self.end_unreachable(id).await?,
        }
        locked(&self.machines).remove(&id);
        fail_point("qemu.ended");
        let driver = self.clone();
        blocking(move || {
            let _turn = turn;
            driver.tidy(id)
        })
        .await
    }

    /// Ends a process that we have no connection to: its monitor hangs, or its directory has gone.
    async fn end_unreachable(&self, id: MachineId) -> Result<(), DriverError> {
        let home = self.home(id);
        let process = blocking(move || {
            home.process(id).map_err(|error| io_failed("cannot look for the process", &error))
        });
        match process.await? {
            Some(process) => end(&process, None).await,
            None => Ok(()),
        }
    }

    /// Removes the directory of a machine that is off.
    pub(super) async fn remove(self: &Arc<Self>, id: MachineId) -> Result<(), DriverError> {
        let turn = self.turn(id).await;
        let still_running = || DriverError::refused("the machine is still running");
        if self.connected(id).is_some() {
            return Err(still_running());
        }
        let (driver, home) = (self.clone(), self.home(id));
        blocking(move || {
            let _turn = turn;
            if !home.exists() {
                return Ok(());
            }
            match home.process(id) {
                Ok(None) => {}
                Ok(Some(_)) => return Err(still_running()),
                Err(error) => return Err(io_failed("cannot look for the process", &error)),
            }
            fail_point("qemu.removing");
            driver.groups.remove(&id.to_string());
            driver
                .isolation
                .reclaim(&driver.layout, id)
                .and_then(|()| home.remove())
                .map_err(|error| io_failed("cannot remove the machine's directory", &error))
        })
        .await?;
        locked(&self.machines).remove(&id);
        locked(&self.turns).retain(|other, turn| *other != id || Arc::strong_count(turn) > 1);
        Ok(())
    }
}
