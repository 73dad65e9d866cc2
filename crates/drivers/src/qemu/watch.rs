//! Watching a machine from its start, or from when it was taken over, to its end.

use super::command_line::CONSOLE_LOG;
use super::qmp_types::QmpEvent;
use super::record::QEMU_LOG;
use super::{Driver, Running, stop};
use crate::durable::{blocking, io_failed};
use hostler_core::ports::DriverError;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::time::MissedTickBehavior;

/// How often the logs' sizes are looked at.
const LOG_INTERVAL: Duration = Duration::from_secs(2);
/// QEMU's own words; a guest can make it repeat them.
const QEMU_LOG_BYTES: u64 = 256 << 10;
/// A process whose connection broke is either just dying or no longer to be trusted.
const DYING_PATIENCE: Duration = Duration::from_secs(5);

/// Passes on what happens to the machine, finishes a shutdown that the guest began, and keeps its logs small.
pub(super) async fn watch(driver: Arc<Driver>, running: Arc<Running>, events: broadcast::Receiver<QmpEvent>) {
    let watching = watch_until_ended(&driver, &running, events);
    let Some(end) = driver.closing.run_until_cancelled(watching).await else { return };
    driver.forget(&running);
    if end == Ended::Lost {
        tracing::warn!(machine.id = %running.id, "lost the connection to a machine that still runs");
        driver.announce(running.id, "LOST");
        return;
    }
    driver.release_ports(&running.record.forwards);
    if let Err(error) = see_to_end(&driver, &running).await {
        tracing::warn!(machine.id = %running.id, %error, "after the machine's end");
    }
    driver.announce(running.id, "EXITED");
}

/// Why watching came to an end.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Ended {
    Process,
    /// The process lives, but we have no connection any more; who looks next will make another.
    Lost,
}

async fn watch_until_ended(
    driver: &Driver,
    running: &Running,
    mut events: broadcast::Receiver<QmpEvent>,
) -> Ended {
    let mut look_at_logs = tokio::time::interval(LOG_INTERVAL);
    look_at_logs.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = running.process.ended() => return Ended::Process,
            event = events.recv() => match event {
                Ok(event) => pass_on(driver, running, &event).await,
                // Events are hints; the state is asked for when it matters.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Ended::Lost,
            },
            () = running.qmp.hung_up() => {
                let dying = tokio::time::timeout(DYING_PATIENCE, running.process.ended());
                return if dying.await.is_ok() { Ended::Process } else { Ended::Lost };
            }
            _ = look_at_logs.tick() => cap_logs(driver, running).await,
        }
    }
}

/// A wanted end leaves no trace. One nobody wanted keeps its pid file, by which it is told from the other.
async fn see_to_end(driver: &Arc<Driver>, running: &Running) -> Result<(), DriverError> {
    let home = running.home.clone();
    if !running.ending.load(Ordering::Acquire) {
        let (driver, id) = (driver.clone(), running.id);
        let words = blocking(move || {
            driver.groups.remove(&id.to_string());
            Ok(home.last_words())
        });
        let words = words.await?.unwrap_or_default();
        tracing::warn!(machine.id = %running.id, words, "a QEMU process ended by itself");
        return Ok(());
    }
    if !home.has_pid() {
        return Ok(());
    }
    // In turn, and only if the files are still those of this process: the machine may have been started again.
    let turn = driver.turn(running.id).await;
    let recorded = (running.process.pid, running.process.started);
    let (driver, id) = (driver.clone(), running.id);
    blocking(move || {
        let _turn = turn;
        match home.recorded_pid() {
            Some(pid) if pid == recorded => driver.tidy(id),
            _ => Ok(()),
        }
    })
    .await
}

async fn pass_on(driver: &Driver, running: &Running, event: &QmpEvent) {
    match event.name.as_str() {
        "SHUTDOWN" => {
            driver.announce(running.id, "SHUTDOWN");
            // The process waits with its memory until we have seen that the guest turned itself off.
            if !running.ending.swap(true, Ordering::AcqRel)
                && let Err(error) = stop::end(&running.process, Some(&running.qmp)).await
            {
                tracing::warn!(machine.id = %running.id, %error, "after the guest turned itself off");
            }
        }
        "RESET" | "STOP" | "RESUME" | "GUEST_PANICKED" | "SUSPEND" | "WAKEUP" | "BLOCK_IO_ERROR" => {
            driver.announce(running.id, event.name.as_str());
        }
        _ => {}
    }
}

async fn cap_logs(driver: &Driver, running: &Running) {
    let home = running.home.clone();
    let console = driver.config.console_bytes;
    let capped = blocking(move || {
        home.cap_log(CONSOLE_LOG, console)
            .and_then(|()| home.cap_log(QEMU_LOG, QEMU_LOG_BYTES))
            .map_err(|error| io_failed("cannot shorten a log", &error))
    });
    if let Err(error) = capped.await {
        tracing::warn!(machine.id = %running.id, %error, "the logs stay long");
    }
}
