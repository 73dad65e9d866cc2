//! Starting a machine: written down, spawned, connected to, let run.
//!
//! The server may die between any two of these steps; each leaves enough behind for the next server to go on or to
//! clean up. The fail points name the places (see [`fail_point`]).

use super::command_line::{Platform, QMP_SOCKET, Wire, command_line};
use super::probe::Probed;
use super::process::{self, Process};
use super::qmp::Qmp;
use super::record::{Home, QEMU_LOG, StartRecord};
use super::{Driver, Running, Turn, locked, seed, snapshots, stop};
use crate::durable::{blocking, io_failed};
use crate::network::tap;
use hostler_core::fail::fail_point;
use hostler_core::ports::{DriverError, DriverErrorKind, Link, MachineSpec, Sighting};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::UnixStream;

/// From spawn to the monitor's answer: 50 ms on a quiet host; many starts at once on a small one take far longer.
const SPAWN_PATIENCE: Duration = Duration::from_secs(30);
/// QEMU makes its sockets itself; there is nothing to wait on but their appearance.
const SOCKET_INTERVAL: Duration = Duration::from_millis(3);
/// A port that was free a moment ago may be taken when QEMU binds it.
const PORT_TRIES: usize = 4;

impl Driver {
    /// See [`Hypervisor::start`](hostler_core::ports::Hypervisor::start). A process of an earlier start is ended first.
    pub(super) async fn start(self: &Arc<Self>, spec: &MachineSpec) -> Result<Sighting, DriverError> {
        let probed = self.probed(false).await?;
        let turn = self.turn(spec.id).await;
        if let Some(running) = self.find(spec.id).await? {
            if running.record.generation >= spec.generation {
                return let_run(&running).await;
            }
            running.ending.store(true, std::sync::atomic::Ordering::Release);
            stop::end(&running.process, Some(&running.qmp)).await?;
        }
        for _ in 1..PORT_TRIES {
            match self.launch(spec, &probed, &turn).await {
                Err(error) if error.detail.contains("Could not set up host forwarding rule") => {
                    tracing::info!(machine.id = %spec.id, "a forwarded port was taken meanwhile; trying another");
                }
                other => return other,
            }
        }
        self.launch(spec, &probed, &turn).await
    }

    async fn launch(
        self: &Arc<Self>,
        spec: &MachineSpec,
        probed: &Probed,
        turn: &Turn,
    ) -> Result<Sighting, DriverError> {
        let ports = self.take_ports(spec)?;
        let launched = self.launch_with(spec, probed, turn, ports.clone()).await;
        if launched.is_err() {
            self.release_ports(&ports);
        }
        launched
    }

    async fn launch_with(
        self: &Arc<Self>,
        spec: &MachineSpec,
        probed: &Probed,
        turn: &Turn,
        forwards: Vec<Option<u16>>,
    ) -> Result<Sighting, DriverError> {
        let accelerator = probed.accelerator.as_ref().ok_or_else(|| {
            DriverError::unsupported(format!("no guest code can run here: {}", probed.outcomes.join("; ")))
        })?;
        let platform = Platform {
            machine_type: &probed.machine_type,
            accelerator: &accelerator.name,
            cpu: &accelerator.cpu,
            host_cpus: super::host_cpus(),
            host_memory_mib: super::host_memory_mib(),
        };
        let taps = open_taps(spec).await?;
        let arguments = command_line(spec, platform, &self.layout, &wires(&forwards, &taps))?;
        let taps: Arc<Vec<OwnedFd>> = Arc::new(taps.into_iter().flatten().collect());
        let record = StartRecord {
            generation: spec.generation,
            qemu_version: probed.version().to_owned(),
            arguments,
            forwards,
            spec: MachineSpec { seed: None, ..spec.clone() },
        };
        let home = self.home(spec.id);
        let process = {
            let (home, record, spec, binary) =
                (home.clone(), record.clone(), spec.clone(), self.binary.clone());
            let turn = turn.clone();
            // One piece of blocking work, so that a caller who gives up cannot leave a process without its pid file.
            blocking(move || {
                let _turn = turn;
                spawn_recorded(&home, &record, &spec, &binary, taps)
            })
            .await?
        };
        // Memory is loaded before QEMU says its first word.
        let patience = if spec.snapshot.is_some() { snapshots::PATIENCE } else { SPAWN_PATIENCE };
        match self.let_boot(&home, &process, patience).await {
            Ok(qmp) => {
                let id = spec.id;
                let running = Running { id, home, record, process, qmp, ending: AtomicBool::new(false) };
                let running = self.enrol(running);
                let sighting = running.sighting().await;
                fail_point("qemu.running");
                tracing::info!(machine.id = %id, pid = running.process.pid, "started");
                Ok(sighting)
            }
            Err(error) => Err(bury(&home, &process, turn, error).await),
        }
    }

    /// Connects to the process that was just spawned and lets guest code run.
    async fn let_boot(&self, home: &Home, process: &Process, patience: Duration) -> Result<Qmp, DriverError> {
        let booting = async {
            let qmp = Qmp::negotiate(first_connection(home).await?, patience).await?;
            qmp.execute("cont", serde_json::Value::Null).await?;
            Ok(qmp)
        };
        tokio::select! {
            biased;
            () = process.ended() => Err(DriverError::refused("QEMU ended while it started")),
            booted = tokio::time::timeout(patience, booting) => {
                booted.unwrap_or_else(|_| Err(DriverError::timeout("QEMU did not come up in time")))
            }
        }
    }

    /// A free loopback port for each card that forwards one.
    fn take_ports(&self, spec: &MachineSpec) -> Result<Vec<Option<u16>>, DriverError> {
        let mut taken = locked(&self.ports);
        let mut free = |_: u16| {
            for _ in 0..64 {
                let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
                if taken.insert(port) {
                    return Ok(port);
                }
            }
            Err(io::Error::from(io::ErrorKind::AddrInUse))
        };
        let ports: io::Result<Vec<_>> =
            spec.nics.iter().map(|nic| nic.link.forward().map(&mut free).transpose()).collect();
        ports.map_err(|error| {
            DriverError::new(DriverErrorKind::Exhausted, format!("no free port for forwarding: {error}"))
        })
    }
}

/// The tap of each card on a bridge. QEMU gets them opened, so it needs no rights of its own.
async fn open_taps(spec: &MachineSpec) -> Result<Vec<Option<OwnedFd>>, DriverError> {
    let mut taps = Vec::with_capacity(spec.nics.len());
    for nic in &spec.nics {
        taps.push(match &nic.link {
            Link::User { .. } => None,
            Link::Bridge { network, bridge, .. } => Some(tap::open(*network, bridge, &nic.mac).await?),
        });
    }
    Ok(taps)
}

fn wires(forwards: &[Option<u16>], taps: &[Option<OwnedFd>]) -> Vec<Wire> {
    let wire = |(port, tap): (&Option<u16>, &Option<OwnedFd>)| match tap {
        Some(tap) => Wire::Tap(tap.as_raw_fd()),
        None => Wire::User(*port),
    };
    forwards.iter().zip(taps).map(wire).collect()
}

/// A machine that runs already. One whose server died just before letting it run is let run now.
async fn let_run(running: &Running) -> Result<Sighting, DriverError> {
    if running.qmp.status().await? == "prelaunch" {
        running.command("cont").await?;
    }
    Ok(running.sighting().await)
}

/// Writes everything down, then spawns.
fn spawn_recorded(
    home: &Home,
    record: &StartRecord,
    spec: &MachineSpec,
    binary: &Path,
    taps: Arc<Vec<OwnedFd>>,
) -> Result<Process, DriverError> {
    home.prepare().map_err(|error| io_failed("cannot prepare the machine's directory", &error))?;
    if let Some(given) = &spec.seed {
        seed::write_seed(&home.file(super::command_line::SEED_IMAGE), given)?;
    }
    home.write_start(record)?;
    fail_point("qemu.recorded");
    let pid = process::spawn(binary, &record.arguments, home.path(), &home.file(QEMU_LOG), taps)?;
    fail_point("qemu.spawned");
    let held = match Process::hold(pid) {
        Ok(Some(process)) => home.write_pid(&process).map(|()| process),
        Ok(None) => Err(DriverError::internal("the process just started is not there")),
        Err(error) => Err(io_failed("cannot watch the process just started", &error)),
    };
    if held.is_err() {
        // Our child, and not waited for, so the pid is still its.
        if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
        }
    }
    fail_point("qemu.pid_written");
    held
}

/// The monitor's socket appears some tens of milliseconds after the spawn.
pub(super) async fn first_connection(home: &Home) -> Result<UnixStream, DriverError> {
    let failed = |error: &io::Error| io_failed("cannot reach QEMU's monitor", error);
    let socket = home.socket(QMP_SOCKET).map_err(|error| failed(&error))?;
    loop {
        match UnixStream::connect(&socket.path).await {
            Ok(stream) => return Ok(stream),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(failed(&error)),
        }
        tokio::time::sleep(SOCKET_INTERVAL).await;
    }
}

/// Ends what came up wrong, and puts its last words into the error.
async fn bury(home: &Home, process: &Process, turn: &Turn, error: DriverError) -> DriverError {
    process.signal(rustix::process::Signal::KILL);
    if tokio::time::timeout(Duration::from_secs(10), process.ended()).await.is_err() {
        return DriverError::timeout("QEMU did not come up and cannot be killed");
    }
    let (home, turn) = (home.clone(), turn.clone());
    let words = blocking(move || {
        let _turn = turn;
        let words = home.last_words();
        home.tidy().map_err(|error| io_failed("cannot tidy up", &error))?;
        Ok(words)
    });
    match words.await {
        Ok(Some(words)) => in_words(&error, &words),
        Ok(None) => error,
        Err(tidying) => DriverError { detail: format!("{}; {}", error.detail, tidying.detail), ..error },
    }
}

/// Some of QEMU's complaints say that a later try may succeed.
fn in_words(error: &DriverError, words: &str) -> DriverError {
    let mut told = DriverError { detail: format!("{}: {words}", error.detail), ..*error };
    if words.contains("Cannot allocate memory") || words.contains("No space left") {
        told.kind = DriverErrorKind::Exhausted;
    }
    // A process that is just ending may still hold the lock of the disk.
    told.retryable |=
        words.contains("Failed to get \"write\" lock") || told.kind == DriverErrorKind::Exhausted;
    told
}
