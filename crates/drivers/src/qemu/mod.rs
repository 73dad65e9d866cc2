//! Virtual machines as QEMU processes of this host.
//!
//! Each machine has a directory `machines/<uuid>/` with its sockets, logs and records, and one QEMU process that runs
//! in it, in a session of its own: it survives this server and is found again by the next ([`find`]). The process's
//! life: the specification becomes arguments ([`command_line`]), both are written down ([`record`]), the process is
//! spawned ([`start`], [`process`]), controlled over QMP ([`qmp`]), watched until it ends ([`watch`]), or ended by us
//! ([`stop`]). Nothing here remembers what was wanted: the driver acts, looks, and reports.

mod banner;
mod command_line;
mod find;
pub mod firmware;
mod goldens;
mod guest_agent;
#[cfg(test)]
mod isolation_tests;
mod live;
mod names;
mod probe;
mod probe_rom;
pub(crate) mod process;
mod qmp;
mod qmp_types;
mod record;
mod seed;
mod snapshots;
mod start;
mod stop;
#[cfg(test)]
pub(crate) mod test_world;
#[cfg(test)]
mod tests;
mod watch;

use crate::cgroup::Groups;
use crate::durable::{blocking, io_failed};
use crate::guest::AgentLink;
use crate::isolation::Isolation;
pub use crate::isolation::UidRange;
use crate::layout::Layout;
use crate::spawn::{landlock_problem, resolve_binary};
use command_line::{AGENT_SOCKET, GUEST_AGENT_SOCKET, SERIAL_SOCKET, VNC_SOCKET};
use goldens::Shelf;
use hostler_core::ids::{GoldenId, HostId, MachineId, MediumId, VolumeId};
use hostler_core::ports::{
    Capabilities, CommandOutput, Console, DiskSpec, DriverError, DriverErrorKind, GoldenFacts, GoldenSpec,
    GuestCommand, GuestFacts, HostFacts, Hypervisor, HypervisorEvent, Identity, IoLimits, MachineSpec,
    NicSpec, Progress, Sighting, SnapshotSpec,
};
use probe::Probed;
use process::Process;
use qmp::Qmp;
pub(crate) use qmp::fuzz;
use record::{Home, SocketPath, StartRecord};
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// How long we wait for our agent when a verb needs it now.
const AGENT_PATIENCE: Duration = Duration::from_secs(10);

/// How long a guest may take to take its identity; making a few files under emulation.
const IDENTIFY_PATIENCE: Duration = Duration::from_secs(30);
/// The agent ends a command at its deadline; what it has to say about that takes a moment more.
const RUN_GRACE: Duration = Duration::from_secs(10);

/// What the driver needs to know.
#[derive(Clone, Debug)]
pub struct QemuConfig {
    /// The host we act on.
    pub host: HostId,
    /// Where machines, images and volumes lie.
    pub data_dir: PathBuf,
    /// The program; a bare name is looked for in `PATH`.
    pub binary: PathBuf,
    /// Accelerator and CPU model to be used without trying, e.g. `("tcg", "max")`.
    pub accelerator: Option<(String, String)>,
    /// A machine's console log is cut down when it grows beyond this.
    pub console_bytes: u64,
    /// Users for machines, one for each; used when we are root. None: machines run as we do.
    pub uids: Option<UidRange>,
    /// What a machine's process may take beyond the guest's memory, MiB; the buffer for emulated code comes on top.
    pub memory_overhead_mib: u64,
}

impl QemuConfig {
    /// The usual settings.
    pub fn new(host: HostId, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            host,
            data_dir: data_dir.into(),
            binary: "qemu-system-x86_64".into(),
            accelerator: None,
            console_bytes: 1 << 20,
            uids: Some(UidRange::USUAL),
            memory_overhead_mib: 256,
        }
    }
}

/// Runs machines with QEMU. Dropping it lets go of the machines; they run on.
#[derive(Debug)]
pub struct QemuHypervisor {
    driver: Arc<Driver>,
    /// Golden machines, whose homes are elsewhere.
    goldens: Arc<Driver>,
}

impl QemuHypervisor {
    /// Touches nothing yet; [`Hypervisor::adopt`] is the first to look at the host.
    pub fn new(config: QemuConfig) -> Self {
        let layout = Layout::new(&config.data_dir);
        let shelf = Arc::new(Shelf::default());
        let goldens = Driver::new(config.clone(), layout.for_goldens(), shelf.clone());
        Self { driver: Arc::new(Driver::new(config, layout, shelf)), goldens: Arc::new(goldens) }
    }
}

impl Driver {
    fn new(config: QemuConfig, layout: Layout, shelf: Arc<Shelf>) -> Self {
        Self {
            layout,
            shelf,
            binary: resolve_binary(&config.binary),
            isolation: Isolation::new(config.uids),
            groups: Groups::default(),
            config,
            machines: Mutex::default(),
            turns: Mutex::default(),
            ports: Mutex::default(),
            probed: tokio::sync::Mutex::default(),
            events: broadcast::Sender::new(1024),
            closing: CancellationToken::new(),
        }
    }
}

impl Drop for QemuHypervisor {
    fn drop(&mut self) {
        self.driver.closing.cancel();
        self.goldens.closing.cancel();
    }
}

/// The right to connect to a machine's process and to change its files. File work takes a copy along: it goes on when
/// a caller gives up, and nobody else may begin before it has ended.
type Turn = Arc<tokio::sync::OwnedMutexGuard<()>>;

/// What the tasks of the driver share.
#[derive(Debug)]
struct Driver {
    config: QemuConfig,
    layout: Layout,
    binary: PathBuf,
    isolation: Isolation,
    groups: Groups,
    /// Processes that we are connected to.
    machines: Mutex<HashMap<MachineId, Arc<Running>>>,
    /// Who connects to a process waits for who starts it: QEMU talks to one of them only.
    turns: Mutex<HashMap<MachineId, Arc<tokio::sync::Mutex<()>>>>,
    /// Loopback ports given to machines, so that two starting at once do not get the same.
    ports: Mutex<HashSet<u16>>,
    probed: tokio::sync::Mutex<Option<Probed>>,
    events: broadcast::Sender<HypervisorEvent>,
    /// Golden machines that forks start from.
    shelf: Arc<Shelf>,
    /// Ends the tasks that watch machines.
    closing: CancellationToken,
}

/// A process of ours with its control connection.
#[derive(Debug)]
struct Running {
    id: MachineId,
    home: Home,
    record: StartRecord,
    process: Process,
    qmp: Qmp,
    /// We or the guest asked for its end, so the end is no accident.
    ending: AtomicBool,
}

impl Running {
    /// A socket that its process listens on.
    fn channel(&self, name: &str) -> Result<SocketPath, DriverError> {
        self.home.socket(name).map_err(|error| {
            DriverError::new(DriverErrorKind::Unreachable, format!("the machine's {name}: {error}"))
        })
    }
}

impl Driver {
    fn home(&self, id: MachineId) -> Home {
        Home::new(self.layout.machines(), id)
    }

    /// The machine, if we are connected to its process and it has not ended.
    fn connected(&self, id: MachineId) -> Option<Arc<Running>> {
        locked(&self.machines).get(&id).filter(|running| running.process.is_alive()).cloned()
    }

    /// The machine for verbs that need it to be on.
    async fn powered(self: &Arc<Self>, id: MachineId) -> Result<Arc<Running>, DriverError> {
        self.reach(id).await?.ok_or_else(|| DriverError::refused("the machine is off"))
    }

    /// Clears up after a process that has ended, so that its end counts as seen to.
    fn tidy(&self, id: MachineId) -> Result<(), DriverError> {
        self.groups.remove(&id.to_string());
        self.home(id).tidy().map_err(|error| io_failed("cannot tidy up after the machine", &error))
    }

    /// Lets go of a machine, unless its successor has taken its place already.
    fn forget(&self, running: &Arc<Running>) {
        let mut machines = locked(&self.machines);
        if machines.get(&running.id).is_some_and(|known| Arc::ptr_eq(known, running)) {
            machines.remove(&running.id);
        }
    }

    fn release_ports(&self, ports: &[Option<u16>]) {
        let mut taken = locked(&self.ports);
        ports.iter().flatten().for_each(|port| _ = taken.remove(port));
    }

    async fn turn(&self, id: MachineId) -> Turn {
        let turn = locked(&self.turns).entry(id).or_default().clone();
        Arc::new(turn.lock_owned().await)
    }

    async fn probed(&self, refresh: bool) -> Result<Probed, DriverError> {
        let mut known = self.probed.lock().await;
        match &*known {
            Some(probed) if !refresh => Ok(probed.clone()),
            _ => {
                let forced = self.config.accelerator.as_ref();
                let probed = probe::probe(&self.binary, self.layout.root(), forced, refresh).await?;
                Ok(known.insert(probed).clone())
            }
        }
    }

    fn announce(&self, machine: MachineId, what: impl Into<String>) {
        // Nobody may be listening.
        let _ = self.events.send(HypervisorEvent { machine, what: what.into() });
    }

    async fn agent(self: &Arc<Self>, id: MachineId) -> Result<AgentLink, DriverError> {
        let running = self.powered(id).await?;
        let socket = running.channel(AGENT_SOCKET)?;
        AgentLink::connect(&socket.path, AGENT_PATIENCE).await
    }
}

/// A guest may stop answering at any time; nothing waits for it without end.
async fn within<T>(
    patience: Duration,
    answer: impl Future<Output = Result<T, DriverError>>,
) -> Result<T, DriverError> {
    let bounded = tokio::time::timeout(patience, answer).await;
    bounded.unwrap_or_else(|_| Err(DriverError::timeout("the guest's agent does not answer any more")))
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[async_trait::async_trait]
impl Hypervisor for QemuHypervisor {
    fn host(&self) -> HostId {
        self.driver.config.host
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            driver: "qemu".into(),
            pause: true,
            agent: true,
            console_log: true,
            display: true,
            live: true,
            fork: true,
        }
    }

    async fn facts(&self, refresh: bool) -> Result<HostFacts, DriverError> {
        match self.driver.probed(refresh).await {
            Ok(probed) => Ok(host_facts(&self.driver, Some(&probed), Vec::new())),
            Err(error) if error.kind == DriverErrorKind::Gone => {
                Ok(host_facts(&self.driver, None, vec![format!("QEMU is not installed: {error}")]))
            }
            Err(error) => Err(error),
        }
    }

    async fn adopt(&self) -> Result<Vec<Sighting>, DriverError> {
        self.driver.sightings().await
    }

    async fn sightings(&self) -> Result<Vec<Sighting>, DriverError> {
        self.driver.sightings().await
    }

    async fn observe(&self, id: MachineId) -> Result<Sighting, DriverError> {
        self.driver.observe(id).await
    }

    async fn start(&self, spec: &MachineSpec) -> Result<Sighting, DriverError> {
        self.driver.start(spec).await
    }

    async fn shut_down(&self, id: MachineId) -> Result<(), DriverError> {
        let Some(running) = self.driver.reach(id).await? else { return Ok(()) };
        running.command("system_powerdown").await
    }

    async fn power_off(&self, id: MachineId) -> Result<(), DriverError> {
        self.driver.power_off(id).await
    }

    async fn reset(&self, id: MachineId) -> Result<(), DriverError> {
        self.driver.powered(id).await?.command("system_reset").await
    }

    async fn pause(&self, id: MachineId) -> Result<(), DriverError> {
        self.driver.powered(id).await?.command("stop").await
    }

    async fn resume(&self, id: MachineId) -> Result<(), DriverError> {
        self.driver.powered(id).await?.command("cont").await
    }

    async fn remove(&self, id: MachineId) -> Result<(), DriverError> {
        self.driver.remove(id).await
    }

    async fn guest_facts(&self, id: MachineId, patience: Duration) -> Result<GuestFacts, DriverError> {
        guest_facts(&*self.driver.powered(id).await?, patience).await
    }

    async fn ssh_banner(
        &self,
        id: MachineId,
        address: Option<IpAddr>,
        patience: Duration,
    ) -> Result<(), DriverError> {
        let forwarded = self.driver.observe(id).await?.ssh.map(|at| SocketAddr::new(at.address, at.port));
        let at = forwarded.or_else(|| address.map(|ip| SocketAddr::new(ip, 22)));
        let at = at.ok_or_else(|| DriverError::refused("SSH of this machine cannot be reached from here"))?;
        banner::heard(at, patience).await
    }

    async fn identify(&self, id: MachineId, identity: &Identity) -> Result<(), DriverError> {
        let mut agent = self.driver.agent(id).await?;
        within(IDENTIFY_PATIENCE, agent.identify(identity)).await
    }

    async fn guest_run(&self, id: MachineId, command: &GuestCommand) -> Result<CommandOutput, DriverError> {
        let mut agent = self.driver.agent(id).await?;
        within(command.deadline.saturating_add(RUN_GRACE), agent.run(command)).await
    }

    async fn console_log(&self, id: MachineId, bytes: u64) -> Result<Vec<u8>, DriverError> {
        let home = self.driver.home(id);
        let most = bytes.min(self.driver.config.console_bytes);
        blocking(move || {
            if !home.exists() {
                return Err(DriverError::gone("nothing is left of the machine"));
            }
            home.console_tail(most).map_err(|error| io_failed("cannot read the console's log", &error))
        })
        .await
    }

    async fn console(&self, id: MachineId, which: Console) -> Result<UnixStream, DriverError> {
        let running = self.driver.powered(id).await?;
        let name = match which {
            Console::Serial => SERIAL_SOCKET,
            Console::Display => VNC_SOCKET,
        };
        let socket = running.channel(name)?;
        UnixStream::connect(&socket.path).await.map_err(|error| io_failed("cannot open the console", &error))
    }

    async fn disk_attach(&self, id: MachineId, disk: &DiskSpec) -> Result<(), DriverError> {
        self.driver.disk_attach(id, disk).await
    }

    async fn disk_detach(&self, id: MachineId, volume: VolumeId) -> Result<(), DriverError> {
        self.driver.disk_detach(id, volume).await
    }

    async fn disk_grow(&self, id: MachineId, volume: VolumeId, size_mib: u64) -> Result<(), DriverError> {
        self.driver.disk_grow(id, volume, size_mib).await
    }

    async fn disk_limit(&self, id: MachineId, volume: VolumeId, limits: IoLimits) -> Result<(), DriverError> {
        self.driver.disk_limit(id, volume, limits).await
    }

    async fn medium_change(
        &self,
        id: MachineId,
        medium: Option<MediumId>,
        force: bool,
    ) -> Result<(), DriverError> {
        self.driver.medium_change(id, medium, force).await
    }

    async fn nic_attach(&self, id: MachineId, nic: &NicSpec) -> Result<(), DriverError> {
        self.driver.nic_attach(id, nic).await
    }

    async fn nic_detach(&self, id: MachineId, mac: &str) -> Result<(), DriverError> {
        self.driver.nic_detach(id, mac).await
    }

    async fn resize(&self, id: MachineId, vcpus: u32, memory_mib: u64) -> Result<(), DriverError> {
        self.driver.resize(id, vcpus, memory_mib).await
    }

    async fn snapshot_take(
        &self,
        id: MachineId,
        snapshot: &SnapshotSpec,
        progress: &Progress,
    ) -> Result<(), DriverError> {
        self.driver.snapshot_take(id, snapshot, progress).await
    }

    async fn snapshot_revert(
        &self,
        id: MachineId,
        snapshot: &SnapshotSpec,
        progress: &Progress,
    ) -> Result<(), DriverError> {
        self.driver.snapshot_revert(id, snapshot, progress).await
    }

    async fn snapshot_remove(&self, id: MachineId, snapshot: &SnapshotSpec) -> Result<(), DriverError> {
        self.driver.snapshot_remove(id, snapshot).await
    }

    async fn golden_make(&self, spec: &GoldenSpec, progress: &Progress) -> Result<GoldenFacts, DriverError> {
        self.goldens.golden_make(spec, progress).await
    }

    async fn golden_remove(&self, id: GoldenId) -> Result<(), DriverError> {
        self.goldens.golden_remove(id).await
    }

    async fn goldens(&self) -> Result<Vec<GoldenId>, DriverError> {
        self.goldens.goldens().await
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.driver.events.subscribe()
    }
}

/// Asks both agents at once and takes the first good answer: an image has one of them, and which is not recorded here.
async fn guest_facts(running: &Running, patience: Duration) -> Result<GuestFacts, DriverError> {
    let (ours, theirs) = (running.channel(AGENT_SOCKET)?, running.channel(GUEST_AGENT_SOCKET)?);
    let ask_ours = async { AgentLink::connect(&ours.path, patience).await?.facts(patience).await };
    let ask_ours = within(patience, ask_ours);
    let ask_theirs = guest_agent::facts(&theirs.path, patience);
    let both = async {
        tokio::pin!(ask_ours, ask_theirs);
        tokio::select! {
            biased;
            answer = &mut ask_ours => match answer {
                Ok(facts) => Ok(facts),
                Err(error) => ask_theirs.await.map_err(|_| error),
            },
            answer = &mut ask_theirs => match answer {
                Ok(facts) => Ok(facts),
                Err(_) => ask_ours.await,
            },
        }
    };
    tokio::select! {
        biased;
        answer = both => answer,
        () = running.process.ended() => Err(DriverError::refused("the machine went off")),
    }
}

fn host_facts(driver: &Driver, probed: Option<&Probed>, mut problems: Vec<String>) -> HostFacts {
    let accelerator = probed.and_then(|probed| probed.accelerator.clone());
    let outcomes = probed.map(|probed| probed.outcomes.join("; ")).unwrap_or_default();
    if accelerator.is_none() && probed.is_some() {
        problems.push(format!("QEMU cannot run any guest code here: {outcomes}"));
    }
    if let Some(probed) = probed.filter(|probed| is_too_old(probed.version())) {
        problems.push(format!("QEMU {} is older than 7.2, the oldest that is supported.", probed.version()));
    }
    problems.extend(landlock_problem());
    problems.extend(driver.isolation.problem().map(ToOwned::to_owned));
    problems.extend(driver.groups.problem());
    let uname = rustix::system::uname();
    let kernel = || format!("{} {}", uname.release().to_string_lossy(), uname.machine().to_string_lossy());
    tracing::debug!(host = %driver.config.host, ?accelerator, "facts of the host");
    HostFacts {
        version: probed.map(|probed| probed.version().to_owned()).unwrap_or_default(),
        accelerator,
        cpus: host_cpus(),
        memory_mib: host_memory_mib(),
        kernel: probed.map_or_else(kernel, |probed| probed.kernel().to_owned()),
        problems,
        likeness: probed.and_then(|probed| goldens::likeness(probed).ok()).unwrap_or_default(),
    }
}

fn host_cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX))
}

fn host_memory_mib() -> u64 {
    let system = rustix::system::sysinfo();
    let bytes = u128::from(system.totalram) * u128::from(system.mem_unit);
    u64::try_from(bytes >> 20).unwrap_or(u64::MAX)
}

fn is_too_old(version: &str) -> bool {
    let mut numbers = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) < (7, 2)
}
