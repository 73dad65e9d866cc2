//! Starting a machine: written down, spawned, connected to, let run.
//!
//! The server may die between any two of these steps; each leaves enough behind for the next server to go on or to
//! clean up. The fail points name the places (see [`fail_point`]).

use super::command_line::{CODE_MIB, Memory, Platform, QMP_SOCKET, Wire, command_line};
use super::firmware;
use super::goldens::Loaded;
use super::probe::Probed;
use super::process::{self, Process};
use super::qmp::Qmp;
use super::record::{Home, QEMU_LOG, StartRecord};
use super::{Driver, Running, Turn, locked, seed, snapshots, stop};
use crate::cgroup::Bounds;
use crate::durable::{blocking, io_failed};
use crate::network::tap;
use crate::spawn::Confinement;
use hostler_core::fail::fail_point;
use hostler_core::ids::MachineId;
use hostler_core::ports::{Accelerator, DriverError, DriverErrorKind, Link, MachineSpec, Sighting};
use serde_json::json;
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;
use tokio::net::UnixStream;

/// From spawn to the monitor's answer: 50 ms on a quiet host; many starts at once on a small one take far longer.
const SPAWN_PATIENCE: Duration = Duration::from_secs(30);
/// QEMU makes its sockets itself; there is nothing to wait on but their appearance.
const SOCKET_INTERVAL: Duration = Duration::from_millis(3);
/// Loading takes ten milliseconds.
const LOAD_INTERVAL: Duration = Duration::from_millis(1);
/// QEMU's word for a process that has not yet loaded what it shall run on from.
const LOADING: &str = "inmigrate";
/// A port that was free a moment ago may be taken when QEMU binds it.
const PORT_TRIES: usize = 4;

impl Driver {
    /// See [`Hypervisor::start`](hostler_core::ports::Hypervisor::start). A process of an earlier start is ended first.
    pub(super) async fn start(self: &Arc<Self>, spec: &MachineSpec) -> Result<Sighting, DriverError> {
        let probed = self.probed(false).await?;
        let turn = self.turn(spec.id).await;
        if let Some(running) = self.find(spec.id).await? {
            let status = running.qmp.status().await?;
            // One whose server died before it could be told what to load is of no use.
            if running.record.generation >= spec.generation && status != LOADING {
                return let_run(&running, &status).await;
            }
            running.ending.store(true, std::sync::atomic::Ordering::Release);
            stop::end(&running.process, Some(&running.qmp)).await?;
        }
        let memory = match spec.golden {
            Some(golden) => Origin::Forked(self.golden_loaded(golden, &probed).await?),
            None => Origin::Own,
        };
        for _ in 1..PORT_TRIES {
            match self.launch(spec, &probed, &turn, &memory).await {
                Err(error) if error.detail.contains("Could not set up host forwarding rule") => {
                    tracing::info!(machine.id = %spec.id, "a forwarded port was taken meanwhile; trying another");
                }
                other => return other,
            }
        }
        self.launch(spec, &probed, &turn, &memory).await
    }

    /// Spawns the machine and lets it run. To be called in its turn, while it has no process.
    pub(super) async fn launch(
        self: &Arc<Self>,
        spec: &MachineSpec,
        probed: &Probed,
        turn: &Turn,
        memory: &Origin,
    ) -> Result<Sighting, DriverError> {
        let ports = self.take_ports(spec)?;
        let launched = self.launch_with(spec, probed, turn, ports.clone(), memory).await;
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
        origin: &Origin,
    ) -> Result<Sighting, DriverError> {
        let accelerator = usable(probed)?;
        let machine_type = firmware::machine_type(&probed.machine_type, &spec.boot);
        let platform = platform(accelerator, &machine_type);
        let (memory, mut inherited) = origin.descriptors()?;
        let wires = if let Origin::Golden(_) = origin {
            vec![Wire::Nothing; spec.nics.len()]
        } else {
            let taps = open_taps(spec).await?;
            let wires = wires(&forwards, &taps);
            inherited.extend(taps.into_iter().flatten());
            wires
        };
        let arguments = command_line(spec, platform, &self.layout.seen_from_home(), &wires, memory)?;
        let record = StartRecord {
            generation: spec.generation,
            qemu_version: probed.version().to_owned(),
            arguments,
            forwards,
            spec: MachineSpec { seed: None, ..spec.clone() },
        };
        let home = self.home(spec.id);
        let process = {
            let (driver, home, record, spec) = (self.clone(), home.clone(), record.clone(), spec.clone());
            let (turn, kvm) = (turn.clone(), accelerator.name == "kvm");
            // One piece of blocking work, so that a caller who gives up cannot leave a process without its pid file.
            blocking(move || {
                let _turn = turn;
                spawn_recorded(&driver, &home, &record, &spec, Given { kvm, inherited })
            })
            .await?
        };
        // Memory is loaded before QEMU says its first word.
        let patience = if spec.snapshot.is_some() { snapshots::PATIENCE } else { SPAWN_PATIENCE };
        match self.let_boot(&home, &process, origin, patience).await {
            Ok(qmp) => {
                let id = spec.id;
                let running = Running { id, home, record, process, qmp, ending: AtomicBool::new(false) };
                let running = self.enrol(running);
                let sighting = running.sighting().await;
                fail_point("qemu.running");
                tracing::info!(machine.id = %id, pid = running.process.pid, "started");
                Ok(sighting)
            }
            Err(error) => Err(self.bury(spec.id, &process, turn, error).await),
        }
    }

    /// Connects to the process that was just spawned and lets guest code run.
    async fn let_boot(
        &self,
        home: &Home,
        process: &Process,
        origin: &Origin,
        patience: Duration,
    ) -> Result<Qmp, DriverError> {
        let booting = async {
            let qmp = Qmp::negotiate(first_connection(home).await?, patience).await?;
            if let Origin::Forked(golden) = origin {
                load(&qmp, golden).await?;
            }
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

    /// Ends what came up wrong, and puts its last words into the error.
    async fn bury(
        self: &Arc<Self>,
        id: MachineId,
        process: &Process,
        turn: &Turn,
        error: DriverError,
    ) -> DriverError {
        process.signal(rustix::process::Signal::KILL);
        if tokio::time::timeout(Duration::from_secs(10), process.ended()).await.is_err() {
            return DriverError::timeout("QEMU did not come up and cannot be killed");
        }
        let (driver, turn) = (self.clone(), turn.clone());
        let words = blocking(move || {
            let _turn = turn;
            let words = driver.home(id).last_words();
            driver.tidy(id)?;
            Ok(words)
        });
        match words.await {
            Ok(Some(words)) => in_words(&error, &words),
            Ok(None) => error,
            Err(tidying) => DriverError { detail: format!("{}; {}", error.detail, tidying.detail), ..error },
        }
    }

    /// Lets a machine that grows while it runs take more.
    pub(super) async fn widen(
        self: &Arc<Self>,
        id: MachineId,
        vcpus: u32,
        memory_mib: u64,
    ) -> Result<(), DriverError> {
        let driver = self.clone();
        blocking(move || {
            // However guest code is run, it may take what the hungrier way needs.
            let bounds = bounds(vcpus, memory_mib, driver.config.memory_overhead_mib, false);
            let made = driver.groups.make(&id.to_string(), bounds);
            made.map(drop).map_err(|error| io_failed("cannot raise the process's limits", &error))
        })
        .await
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

/// A machine that runs already. One whose server died just before letting it run is let run now. A fork waits in
/// another state for that, which is also that of a machine that somebody paused: nobody starts one of those.
async fn let_run(running: &Running, status: &str) -> Result<Sighting, DriverError> {
    if status == "prelaunch" || status == "paused" && running.record.spec.golden.is_some() {
        running.command("cont").await?;
    }
    Ok(running.sighting().await)
}

/// Where a machine's memory comes from.
pub(super) enum Origin {
    /// It begins empty.
    Own,
    /// It is written into this file.
    Golden(OwnedFd),
    /// It is a copy of a golden machine's.
    Forked(Arc<Loaded>),
}

impl Origin {
    /// Descriptors for one process, and how they are named to it.
    fn descriptors(&self) -> Result<(Memory, Vec<OwnedFd>), DriverError> {
        let failed = |error: io::Error| io_failed("cannot hand over the golden machine's memory", &error);
        Ok(match self {
            Self::Own => (Memory::Own, Vec::new()),
            Self::Golden(memory) => {
                let memory = memory.try_clone().map_err(failed)?;
                (Memory::Golden(memory.as_raw_fd()), vec![memory])
            }
            Self::Forked(golden) => {
                let memory = golden.memory().map_err(failed)?;
                (Memory::Forked(memory.as_raw_fd()), vec![memory])
            }
        })
    }
}

/// Loads the devices of a fork, which has its memory already. QEMU ends when it cannot.
async fn load(qmp: &Qmp, golden: &Loaded) -> Result<(), DriverError> {
    let state =
        golden.state().map_err(|error| io_failed("cannot hand over the golden machine's state", &error))?;
    qmp.leave_out_memory(true).await?;
    qmp.hand_over("state", state).await?;
    qmp.execute("migrate-incoming", json!({ "uri": "fd:state" })).await?;
    while qmp.status().await? == LOADING {
        tokio::time::sleep(LOAD_INTERVAL).await;
    }
    // Snapshots of the fork have all of its memory; a process that boots could not load them otherwise.
    qmp.leave_out_memory(false).await
}

/// How guest code is run here, if it can be.
pub(super) fn usable(probed: &Probed) -> Result<&Accelerator, DriverError> {
    probed.accelerator.as_ref().ok_or_else(|| {
        DriverError::unsupported(format!("no guest code can run here: {}", probed.outcomes.join("; ")))
    })
}

/// What this host gives all its machines.
pub(super) fn platform<'a>(accelerator: &'a Accelerator, machine_type: &'a str) -> Platform<'a> {
    Platform {
        machine_type,
        accelerator: &accelerator.name,
        cpu: &accelerator.cpu,
        host_cpus: super::host_cpus(),
        host_memory_mib: super::host_memory_mib(),
    }
}

/// What a process gets beside its arguments.
struct Given {
    /// The right to use `/dev/kvm`.
    kvm: bool,
    /// Its memory, its devices' state, taps of its cards.
    inherited: Vec<OwnedFd>,
}

/// Writes everything down, then spawns.
fn spawn_recorded(
    driver: &Driver,
    home: &Home,
    record: &StartRecord,
    spec: &MachineSpec,
    given: Given,
) -> Result<Process, DriverError> {
    let failed = |error: io::Error| io_failed("cannot prepare the machine's directory", &error);
    let user = driver.isolation.settle(&driver.layout, spec.id, &spec.disks, given.kvm).map_err(failed)?;
    let directory = home.prepare().map_err(failed)?;
    firmware::prepare(&directory, user.as_ref(), &spec.boot)?;
    if let Some(seed) = &spec.seed {
        seed::write_seed(&directory, user.as_ref(), seed)?;
    }
    home.write_start(record)?;
    fail_point("qemu.recorded");
    let bounds = bounds(spec.vcpus, spec.memory_mib, driver.config.memory_overhead_mib, given.kvm);
    let groups = driver.groups.make(&spec.id.to_string(), bounds);
    let groups = groups.map_err(|error| io_failed("cannot limit the machine's process", &error))?;
    let (session, network) = (true, true);
    let confinement =
        Confinement { user, groups, session, network, inherited: given.inherited, ..Confinement::default() };
    let pid = process::spawn(&driver.binary, &record.arguments, &directory, QEMU_LOG, confinement)?;
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

/// What the process may take: the guest's memory and QEMU's own; its processors and half of one for QEMU's own work;
/// a thread for each processor and those that QEMU makes for its disks.
fn bounds(vcpus: u32, memory_mib: u64, overhead_mib: u64, kvm: bool) -> Bounds {
    let code_mib = if kvm { 0 } else { CODE_MIB };
    let mib = memory_mib.saturating_add(overhead_mib).saturating_add(code_mib);
    let vcpus = u64::from(vcpus);
    Bounds {
        memory_bytes: mib.saturating_mul(1 << 20),
        cpu_percent: 100 * vcpus + 50,
        tasks: 256 + 2 * vcpus,
    }
}

/// The monitor's socket appears some tens of milliseconds after the spawn.
pub(super) async fn first_connection(home: &Home) -> Result<UnixStream, DriverError> {
    let failed = |error: &io::Error| io_failed("cannot reach QEMU's monitor", error);
    loop {
        let connected = match home.socket(QMP_SOCKET) {
            Ok(socket) => UnixStream::connect(&socket.path).await,
            Err(error) => Err(error),
        };
        match connected {
            Ok(stream) => return Ok(stream),
            Err(error)
                if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {}
            Err(error) => return Err(failed(&error)),
        }
        tokio::time::sleep(SOCKET_INTERVAL).await;
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
