//! Finding machines: those we are connected to, those that run since before this server did, and what is left of
//! others.
//!
//! The authority is the host itself. A machine whose process lives is taken over on sight, wherever the question came
//! from; one whose process ended while nobody watched is reported off, with the process's last words.

use super::qmp::Qmp;
use super::record::{Home, StartRecord};
use super::start::first_connection;
use super::{Driver, Running, locked, process, stop};
use crate::durable::{blocking, io_failed};
use futures_util::StreamExt;
use hostler_core::ids::MachineId;
use hostler_core::machines::Observed;
use hostler_core::ports::{DriverError, DriverErrorKind, Sighting};
use process::Process;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A process that somebody else controls keeps us waiting this long.
const GREETING_PATIENCE: Duration = Duration::from_secs(2);
/// From spawn to an open monitor, on a busy host.
const SOCKET_PATIENCE: Duration = Duration::from_secs(5);
/// Machines looked at side by side.
const AT_ONCE: usize = 32;

/// How a machine's process is looked for.
type Search = fn(&Home, MachineId) -> std::io::Result<Option<Process>>;

impl Driver {
    /// Everything of ours on this host. Processes not yet connected to are taken over.
    pub(super) async fn sightings(self: &Arc<Self>) -> Result<Vec<Sighting>, DriverError> {
        let machines = self.layout.machines();
        let (kept, processes) = blocking(move || {
            let kept = kept_machines(&machines)
                .map_err(|error| io_failed("cannot list the machines' directories", &error))?;
            Ok((kept, process::scan(&machines)))
        })
        .await?;
        let strays = processes.iter().filter(|(id, _)| !kept.contains(id)).map(|(id, pid)| stray(*id, *pid));
        let mut sightings: Vec<Sighting> = strays.collect();
        let alive: BTreeSet<MachineId> = processes.iter().map(|(id, _)| *id).collect();
        let looking = futures_util::stream::iter(kept).map(|id| {
            // Only what was seen alive is worth a search; another search for each that is off would take long.
            let search = if alive.contains(&id) { Home::process } else { Home::recorded_process };
            async move { (id, self.look(id, search).await) }
        });
        let mut looks = looking.buffer_unordered(AT_ONCE);
        while let Some((id, look)) = looks.next().await {
            match look {
                Ok(sighting) => sightings.push(sighting),
                // Removed while we looked.
                Err(error) if error.kind == DriverErrorKind::Gone => {}
                Err(error) => sightings.push(unknown(id, None, error.detail)),
            }
        }
        sightings.sort_by_key(|sighting| sighting.id);
        Ok(sightings)
    }

    /// One machine, as it is now.
    pub(super) async fn observe(self: &Arc<Self>, id: MachineId) -> Result<Sighting, DriverError> {
        self.look(id, Home::recorded_process).await
    }

    async fn look(self: &Arc<Self>, id: MachineId, search: Search) -> Result<Sighting, DriverError> {
        if let Some(running) = self.connected(id) {
            return Ok(running.sighting().await);
        }
        if !self.home(id).exists() {
            return Err(nothing_left());
        }
        let _turn = self.turn(id).await;
        match self.find_by(id, search).await {
            Ok(Some(running)) => Ok(running.sighting().await),
            Ok(None) => self.what_is_left(id).await,
            Err(error) => {
                let record = self.what_is_left(id).await?;
                Ok(Sighting { observed: Observed::Unknown, reason: Some(error.detail), ..record })
            }
        }
    }

    /// The machine if its recorded process lives; connects to it when we are not yet.
    pub(super) async fn reach(self: &Arc<Self>, id: MachineId) -> Result<Option<Arc<Running>>, DriverError> {
        if let Some(running) = self.connected(id) {
            return Ok(Some(running));
        }
        if !self.home(id).exists() {
            return Ok(None);
        }
        let _turn = self.turn(id).await;
        self.find_by(id, Home::recorded_process).await
    }

    /// The machine if its process lives, recorded or not; connects to it when we are not yet. To be called in the
    /// machine's turn.
    pub(super) async fn find(self: &Arc<Self>, id: MachineId) -> Result<Option<Arc<Running>>, DriverError> {
        self.find_by(id, Home::process).await
    }

    async fn find_by(
        self: &Arc<Self>,
        id: MachineId,
        search: Search,
    ) -> Result<Option<Arc<Running>>, DriverError> {
        if let Some(running) = self.connected(id) {
            return Ok(Some(running));
        }
        let home = self.home(id);
        let found = blocking(move || {
            let Some(record) = home.start() else { return Ok(None) };
            let process =
                search(&home, id).map_err(|error| io_failed("cannot look for the process", &error))?;
            Ok(process.map(|process| (home, record, process)))
        })
        .await?;
        match found {
            Some((home, record, process)) => self.take_over(id, home, record, process).await,
            None => Ok(None),
        }
    }

    /// Connects to a process that runs already. One whose guest turned itself off is ended: then there is none.
    async fn take_over(
        self: &Arc<Self>,
        id: MachineId,
        home: Home,
        record: StartRecord,
        process: Process,
    ) -> Result<Option<Arc<Running>>, DriverError> {
        let connecting = async {
            // The process may have been spawned just now by a start that was given up.
            let connection = tokio::time::timeout(SOCKET_PATIENCE, first_connection(&home)).await;
            let stream = connection.map_err(|_| DriverError::timeout("QEMU does not open its monitor"))??;
            let qmp = Qmp::negotiate(stream, GREETING_PATIENCE).await?;
            if qmp.uuid().await? != id.0 {
                return Err(DriverError::new(DriverErrorKind::Protocol, "this is another machine's process"));
            }
            let status = qmp.status().await?;
            Ok((qmp, status))
        };
        let (qmp, status) = tokio::select! {
            biased;
            () = process.ended() => return Ok(None),
            connected = connecting => connected?,
        };
        let running = Running { id, home, record, process, qmp, ending: AtomicBool::new(false) };
        // It may have been spawned by a server that died before it could write down the pid.
        running.home.write_pid(&running.process)?;
        if status == "shutdown" {
            stop::end(&running.process, Some(&running.qmp)).await?;
            self.tidy(id)?;
            return Ok(None);
        }
        tracing::info!(machine.id = %id, pid = running.process.pid, status, "took over a running machine");
        Ok(Some(self.enrol(running)))
    }

    /// From now on the machine is known, and watched until it ends.
    pub(super) fn enrol(self: &Arc<Self>, running: Running) -> Arc<Running> {
        locked(&self.ports).extend(running.record.forwards.iter().flatten());
        let running = Arc::new(running);
        locked(&self.machines).insert(running.id, running.clone());
        let events = running.qmp.events();
        tokio::spawn(super::watch::watch(self.clone(), running.clone(), events));
        running
    }

    /// A machine without a process.
    async fn what_is_left(self: &Arc<Self>, id: MachineId) -> Result<Sighting, DriverError> {
        let (driver, home) = (self.clone(), self.home(id));
        blocking(move || {
            // Its process may have ended while no server was there to see it.
            driver.groups.remove(&id.to_string());
            if !home.exists() {
                return Err(nothing_left());
            }
            let reason = home.has_pid().then(|| match home.last_words() {
                Some(words) => format!("the QEMU process ended by itself: {words}"),
                None => "the QEMU process ended by itself without a word".to_owned(),
            });
            let generation = home.start().map_or(0, |record| record.generation);
            Ok(Sighting { id, generation, observed: Observed::Off, pid: None, ssh: None, reason })
        })
        .await
    }
}

impl Running {
    /// Runs a command whose answer does not matter.
    pub(super) async fn command(&self, command: &str) -> Result<(), DriverError> {
        self.qmp.execute(command, serde_json::Value::Null).await.map(drop)
    }

    /// How the machine is now.
    pub(super) async fn sighting(&self) -> Sighting {
        let (observed, reason) = match self.qmp.status().await {
            Ok(status) => power_of(&status),
            Err(_) if !self.process.is_alive() => (Observed::Off, None),
            Err(error) => (Observed::Unknown, Some(error.detail)),
        };
        let off = observed == Observed::Off;
        Sighting {
            id: self.id,
            generation: self.record.generation,
            observed,
            pid: (!off).then_some(self.process.pid),
            ssh: self.record.endpoint().filter(|_| !off),
            reason,
        }
    }
}

/// QEMU's run states in our words, with a reason for those that are no one's wish.
fn power_of(status: &str) -> (Observed, Option<String>) {
    match status {
        "running" => (Observed::On, None),
        "shutdown" => (Observed::Off, None),
        "io-error" => {
            (Observed::Paused, Some("stopped by an error of a disk; is the host's disk full?".into()))
        }
        "internal-error" => (Observed::Paused, Some("stopped by an error inside QEMU or KVM".into())),
        "guest-panicked" => (Observed::Paused, Some("the guest's kernel panicked".into())),
        "paused" | "prelaunch" | "suspended" | "watchdog" | "debug" | "inmigrate" | "postmigrate"
        | "save-vm" | "restore-vm" | "finish-migrate" => (Observed::Paused, None),
        other => (Observed::Unknown, Some(format!("QEMU says {other:.40}"))),
    }
}

fn nothing_left() -> DriverError {
    DriverError::gone("nothing is left of the machine")
}

/// A process of a machine whose directory has gone.
fn stray(id: MachineId, pid: u32) -> Sighting {
    unknown(id, Some(pid), "a QEMU process runs, but the machine's directory has gone".into())
}

fn unknown(id: MachineId, pid: Option<u32>, reason: String) -> Sighting {
    Sighting { id, generation: 0, observed: Observed::Unknown, pid, ssh: None, reason: Some(reason) }
}

/// Machines that have a directory.
fn kept_machines(machines: &std::path::Path) -> std::io::Result<BTreeSet<MachineId>> {
    let entries = match std::fs::read_dir(machines) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(BTreeSet::new()),
        other => other?,
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}
