//! A hypervisor in memory, for thousands of machines.
//!
//! The truth about the machines is kept by the `fleet`; here each verb asks [`Faults`] first, lets its latency pass,
//! then acts. A verb that is dropped while it waits has done nothing.

#[cfg(test)]
mod tests;

use super::devices::Devices;
use super::entry::Live;
use super::fleet::Fleet;
use super::goldens::{Goldens, LIKENESS};
use super::journal::Journal;
use super::storage::SimStorage;
use super::{console, guest, lock, pass};
use crate::config::SimConfig;
use crate::faults::{Faults, Verb};
use hostler_core::ids::{GoldenId, HostId, MachineId, MediumId, SnapshotId, VolumeId};
use hostler_core::machines::Observed;
use hostler_core::ports::{
    Accelerator, Capabilities, CommandOutput, Console, DiskSpec, DriverError, DriverErrorKind, GoldenFacts,
    GoldenSpec, GuestCommand, GuestFacts, HostFacts, Hypervisor, HypervisorEvent, Identity, IoLimits,
    MachineSpec, NicSpec, Progress, Sighting, SnapshotSpec,
};
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::broadcast;
use tokio::time::Instant;

/// How long `identify` waits for an agent that does not answer yet.
const AGENT_PATIENCE: Duration = Duration::from_secs(10);

/// A host whose machines only pretend to run. Clones are the same host.
#[derive(Clone)]
pub struct SimHypervisor {
    config: Arc<SimConfig>,
    faults: Faults,
    fleet: Arc<Fleet>,
    goldens: Arc<Goldens>,
    /// Keeps the disks of its machines.
    storage: Option<SimStorage>,
}

impl SimHypervisor {
    /// A host that keeps its machines under `sim/machines/` of the data directory, unless the configuration says
    /// that nothing shall be kept. Machines of an earlier process appear with [`Hypervisor::adopt`].
    pub fn open(
        host: HostId,
        data_dir: &Path,
        config: &SimConfig,
        faults: Faults,
    ) -> Result<Self, DriverError> {
        let journal = |name: &str| {
            if config.persist {
                Journal::open(data_dir.join("sim").join(name))
            } else {
                Ok(Journal::nowhere())
            }
        };
        Ok(Self::with(host, journal("machines")?, journal("goldens")?, config, faults))
    }

    /// A host that forgets everything, whatever the configuration says of that.
    pub fn in_memory(host: HostId, config: &SimConfig, faults: Faults) -> Self {
        Self::with(host, Journal::nowhere(), Journal::nowhere(), config, faults)
    }

    fn with(host: HostId, machines: Journal, goldens: Journal, config: &SimConfig, faults: Faults) -> Self {
        let (boot, shutdown) = (millis(config.boot_ms), millis(config.shutdown_ms));
        let fleet = Arc::new(Fleet::new(host, machines, boot, shutdown));
        let goldens = Arc::new(Goldens::new(goldens, config.fork));
        Self { config: Arc::new(config.clone()), faults, fleet, goldens, storage: None }
    }

    /// The same host with a storage for its machines' disks: without one it takes no snapshots.
    #[must_use]
    pub fn with_storage(mut self, storage: &SimStorage) -> Self {
        self.storage = Some(storage.clone());
        self
    }

    /// What goes wrong here.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// The machine's process dies with these last words. Gone when the machine is not here.
    pub fn crash(&self, id: MachineId, last_words: &str) -> Result<(), DriverError> {
        self.fleet.end(id, "CRASH", Some(last_words.to_owned()))
    }

    /// Somebody inside the guest turns it off. Gone when the machine is not here.
    pub fn guest_power_off(&self, id: MachineId) -> Result<(), DriverError> {
        self.fleet.end(id, "SHUTDOWN", None)
    }

    /// From now on machines can be forked here, or not.
    pub fn let_fork(&self, fork: bool) {
        self.goldens.let_fork(fork);
    }

    /// Somebody changes the files of a golden machine. Gone when it is not here.
    pub fn spoil_golden(&self, id: GoldenId) -> Result<(), DriverError> {
        self.goldens.spoil(id)
    }

    /// Everything of the machine is lost, as after somebody's `rm -r`; no event tells of it.
    pub fn vanish(&self, id: MachineId) -> Result<(), DriverError> {
        self.fleet.vanish(id)
    }

    /// The identity that the guest was given since this process started, secrets included.
    pub fn identity(&self, id: MachineId) -> Option<Identity> {
        self.fleet.find(id).and_then(|machine| lock(&machine).identity.as_deref().cloned())
    }

    fn seen(&self, verb: Verb, mut sighting: Sighting) -> Sighting {
        sighting.observed = self.faults.reported(verb, sighting.observed);
        sighting
    }

    /// What is plugged into a machine that is up; none when it is off or not here.
    pub fn devices(&self, id: MachineId) -> Option<Devices> {
        let machine = self.fleet.find(id)?;
        let live = lock(&machine);
        live.is_up().then(|| live.entry.devices.clone())
    }

    /// Changes what is plugged into a machine that is up.
    async fn on(
        &self,
        verb: Verb,
        id: MachineId,
        change: impl FnOnce(&mut Devices) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        self.faults.before(verb).await?;
        self.fleet.change(id, change)?;
        self.faults.after(verb)
    }

    /// Does something to each disk of a snapshot of a machine that is up, then something to its memory if that is in
    /// it, too.
    async fn on_snapshot(
        &self,
        verb: Verb,
        id: MachineId,
        snapshot: &SnapshotSpec,
        to_disk: fn(&SimStorage, VolumeId, SnapshotId) -> Result<(), DriverError>,
        to_memory: fn(&Fleet, MachineId, SnapshotId) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        self.faults.before(verb).await?;
        let machine = self.fleet.get(id)?;
        if !lock(&machine).is_up() {
            return Err(DriverError::refused(format!("machine {id} is off")));
        }
        let storage = self.storage.as_ref();
        let storage = storage.ok_or_else(|| DriverError::unsupported("this host has no storage"))?;
        for volume in &snapshot.volumes {
            to_disk(storage, *volume, snapshot.id)?;
        }
        if snapshot.memory {
            to_memory(&self.fleet, id, snapshot.id)?;
        }
        self.faults.after(verb)
    }

    /// Returns the machine once its agent answers.
    async fn until_agent(&self, id: MachineId, patience: Duration) -> Result<Arc<Mutex<Live>>, DriverError> {
        let mut left = patience;
        loop {
            let machine = self.fleet.get(id)?;
            let wait = {
                let live = lock(&machine);
                match live.entry.power {
                    Observed::On => live.answers_at.saturating_duration_since(Instant::now()),
                    Observed::Paused => Duration::MAX,
                    Observed::Off | Observed::Unknown => {
                        return Err(DriverError::refused(format!("machine {id} is off")));
                    }
                }
            };
            if wait.is_zero() {
                return Ok(machine);
            }
            if left.is_zero() {
                return Err(DriverError::timeout(format!("the agent of machine {id} does not answer")));
            }
            // What was waited for may be another matter by then (reset, pause): look again.
            let wait = wait.min(left);
            pass(wait).await;
            left -= wait;
        }
    }
}

impl fmt::Debug for SimHypervisor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimHypervisor({})", self.fleet.host)
    }
}

#[async_trait::async_trait]
impl Hypervisor for SimHypervisor {
    fn host(&self) -> HostId {
        self.fleet.host
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities {
            driver: "sim".to_owned(),
            pause: true,
            agent: true,
            console_log: true,
            display: true,
            live: true,
            fork: self.goldens.forks(),
        }
    }

    async fn facts(&self, _refresh: bool) -> Result<HostFacts, DriverError> {
        self.faults.before(Verb::Facts).await?;
        Ok(HostFacts {
            version: "sim".to_owned(),
            accelerator: Some(Accelerator {
                name: "sim".to_owned(),
                cpu: "sim".to_owned(),
                why: "machines of this host only pretend to run".to_owned(),
            }),
            cpus: self.config.cpus,
            memory_mib: self.config.memory_mib,
            kernel: format!("{} {}", guest::KERNEL, std::env::consts::ARCH),
            problems: Vec::new(),
            likeness: LIKENESS.to_owned(),
        })
    }

    async fn adopt(&self) -> Result<Vec<Sighting>, DriverError> {
        self.faults.before(Verb::Adopt).await?;
        self.fleet.adopt()?;
        self.goldens.adopt()?;
        Ok(self.fleet.sightings().into_iter().map(|sighting| self.seen(Verb::Adopt, sighting)).collect())
    }

    async fn sightings(&self) -> Result<Vec<Sighting>, DriverError> {
        self.faults.before(Verb::Sightings).await?;
        Ok(self.fleet.sightings().into_iter().map(|sighting| self.seen(Verb::Sightings, sighting)).collect())
    }

    async fn observe(&self, id: MachineId) -> Result<Sighting, DriverError> {
        self.faults.before(Verb::Observe).await?;
        let machine = self.fleet.get(id)?;
        let sighting = lock(&machine).sighting();
        Ok(self.seen(Verb::Observe, sighting))
    }

    async fn start(&self, spec: &MachineSpec) -> Result<Sighting, DriverError> {
        self.faults.before(Verb::Start).await?;
        let id = spec.id;
        if spec.vcpus == 0 || spec.memory_mib == 0 {
            return Err(DriverError::refused(format!("machine {id} has no processor or no memory")));
        }
        if let Some(machine) = self.fleet.find(id) {
            let (up, power, before) = {
                let live = lock(&machine);
                (live.is_up(), live.entry.power, live.entry.generation)
            };
            if before > spec.generation && !up {
                return Err(DriverError::refused(format!(
                    "start {} of machine {id} is over: it has been started {before} times",
                    spec.generation
                )));
            }
            if up && before < spec.generation {
                return Err(DriverError::refused(format!(
                    "machine {id} still runs from start {before}: turn it off before start {}",
                    spec.generation
                )));
            }
            if up {
                // The port promises that guest code runs when this returns.
                if power == Observed::Paused {
                    self.fleet.resume(id)?;
                }
                self.faults.after(Verb::Start)?;
                let sighting = lock(&machine).sighting();
                return Ok(self.seen(Verb::Start, sighting));
            }
        }
        if let Some(golden) = spec.golden {
            self.goldens.forkable(golden)?;
        }
        pass(millis(self.config.start_ms)).await;
        let sighting = self.fleet.start(spec)?;
        self.faults.after(Verb::Start)?;
        Ok(self.seen(Verb::Start, sighting))
    }

    async fn shut_down(&self, id: MachineId) -> Result<(), DriverError> {
        self.faults.before(Verb::ShutDown).await?;
        if self.faults.ignores_acpi(id) {
            self.fleet.get(id)?;
        } else {
            self.fleet.press_power_button(id)?;
        }
        self.faults.after(Verb::ShutDown)
    }

    async fn power_off(&self, id: MachineId) -> Result<(), DriverError> {
        self.faults.before(Verb::PowerOff).await?;
        match self.fleet.end(id, "SHUTDOWN", None) {
            // What never ran, or was removed, is off already.
            Err(error) if error.kind == DriverErrorKind::Gone => {}
            other => other?,
        }
        self.faults.after(Verb::PowerOff)
    }

    async fn reset(&self, id: MachineId) -> Result<(), DriverError> {
        self.faults.before(Verb::Reset).await?;
        self.fleet.reset(id)?;
        self.faults.after(Verb::Reset)
    }

    async fn pause(&self, id: MachineId) -> Result<(), DriverError> {
        self.faults.before(Verb::Pause).await?;
        self.fleet.pause(id)?;
        self.faults.after(Verb::Pause)
    }

    async fn resume(&self, id: MachineId) -> Result<(), DriverError> {
        self.faults.before(Verb::Resume).await?;
        self.fleet.resume(id)?;
        self.faults.after(Verb::Resume)
    }

    async fn remove(&self, id: MachineId) -> Result<(), DriverError> {
        self.faults.before(Verb::Remove).await?;
        self.fleet.remove(id)?;
        self.faults.after(Verb::Remove)
    }

    async fn guest_facts(&self, id: MachineId, patience: Duration) -> Result<GuestFacts, DriverError> {
        self.faults.before(Verb::GuestFacts).await?;
        let machine = self.until_agent(id, patience).await?;
        let facts = guest::facts(&lock(&machine).entry);
        self.faults.after(Verb::GuestFacts)?;
        Ok(facts)
    }

    async fn ssh_banner(
        &self,
        id: MachineId,
        _: Option<IpAddr>,
        patience: Duration,
    ) -> Result<(), DriverError> {
        self.faults.before(Verb::SshBanner).await?;
        self.until_agent(id, patience).await?;
        self.faults.after(Verb::SshBanner)
    }

    async fn identify(&self, id: MachineId, identity: &Identity) -> Result<(), DriverError> {
        self.faults.before(Verb::Identify).await?;
        let machine = self.until_agent(id, AGENT_PATIENCE).await?;
        {
            let mut live = lock(&machine);
            self.fleet.alter(&mut live, |entry| {
                entry.host_name.clone_from(&identity.host_name);
                if !identity.addresses.is_empty() {
                    entry.addresses = identity.addresses.iter().map(|&(address, _)| address).collect();
                }
            })?;
            live.identity = Some(Box::new(identity.clone()));
        }
        self.faults.after(Verb::Identify)
    }

    async fn guest_run(&self, id: MachineId, command: &GuestCommand) -> Result<CommandOutput, DriverError> {
        self.faults.before(Verb::GuestRun).await?;
        if command.argv.is_empty() {
            return Err(DriverError::refused("there is no command to run"));
        }
        let machine = self.until_agent(id, command.deadline).await?;
        let host_name = lock(&machine).entry.host_name.clone();
        let output = guest::run(&host_name, command).await;
        self.faults.after(Verb::GuestRun)?;
        Ok(output)
    }

    async fn console_log(&self, id: MachineId, bytes: u64) -> Result<Vec<u8>, DriverError> {
        self.faults.before(Verb::ConsoleLog).await?;
        let machine = self.fleet.get(id)?;
        let log = {
            let live = lock(&machine);
            guest::console_log(&live.entry, live.answers_at <= Instant::now())
        };
        let from = log.len().saturating_sub(usize::try_from(bytes).unwrap_or(usize::MAX));
        Ok(log.into_bytes().split_off(from))
    }

    async fn console(&self, id: MachineId, which: Console) -> Result<UnixStream, DriverError> {
        self.faults.before(Verb::Console).await?;
        let machine = self.fleet.get(id)?;
        let (host_name, ended) = {
            let mut live = lock(&machine);
            if !live.is_up() {
                return Err(DriverError::refused(format!("machine {id} is off and has no console")));
            }
            (live.entry.host_name.clone(), self.fleet.console_token(&mut live))
        };
        let (near, far) = UnixStream::pair()
            .map_err(|cause| DriverError::new(DriverErrorKind::Exhausted, format!("no socket: {cause}")))?;
        tokio::spawn(ended.run_until_cancelled_owned(async move {
            let end = match which {
                Console::Serial => console::serial(far, &host_name).await,
                Console::Display => console::display(far, &host_name, console::colour(id)).await,
            };
            if let Err(cause) = end {
                tracing::debug!(machine.id = %id, %cause, "a simulated console hung up");
            }
        }));
        Ok(near)
    }

    async fn disk_attach(&self, id: MachineId, disk: &DiskSpec) -> Result<(), DriverError> {
        if self.storage.as_ref().is_some_and(|storage| !storage.has(disk.volume)) {
            return Err(DriverError::refused(format!("there is no volume {}", disk.volume)));
        }
        if let Some(other) = self.fleet.holder(disk.volume).filter(|other| *other != id) {
            return Err(DriverError::refused(format!("machine {other} has volume {}", disk.volume)));
        }
        self.on(Verb::DiskAttach, id, |devices| devices.attach(disk)).await
    }

    async fn disk_detach(&self, id: MachineId, volume: VolumeId) -> Result<(), DriverError> {
        self.on(Verb::DiskDetach, id, |devices| devices.detach(volume)).await
    }

    async fn disk_grow(&self, id: MachineId, volume: VolumeId, size_mib: u64) -> Result<(), DriverError> {
        let storage = self.storage.as_ref();
        self.on(Verb::DiskGrow, id, |devices| {
            devices.disk(volume)?;
            storage.map_or(Ok(()), |storage| storage.grow(volume, size_mib))
        })
        .await
    }

    async fn disk_limit(&self, id: MachineId, volume: VolumeId, limits: IoLimits) -> Result<(), DriverError> {
        self.on(Verb::DiskLimit, id, |devices| devices.disk(volume).map(|now| *now = limits)).await
    }

    async fn medium_change(
        &self,
        id: MachineId,
        medium: Option<MediumId>,
        _force: bool,
    ) -> Result<(), DriverError> {
        self.on(Verb::MediumChange, id, |devices| {
            devices.medium = medium;
            Ok(())
        })
        .await
    }

    async fn nic_attach(&self, id: MachineId, nic: &NicSpec) -> Result<(), DriverError> {
        self.on(Verb::NicAttach, id, |devices| devices.plug(nic)).await
    }

    async fn nic_detach(&self, id: MachineId, mac: &str) -> Result<(), DriverError> {
        self.on(Verb::NicDetach, id, |devices| {
            devices.nics.remove(mac);
            Ok(())
        })
        .await
    }

    async fn resize(&self, id: MachineId, vcpus: u32, memory_mib: u64) -> Result<(), DriverError> {
        self.on(Verb::Resize, id, |devices| devices.resize(vcpus, memory_mib)).await
    }

    async fn snapshot_take(
        &self,
        id: MachineId,
        snapshot: &SnapshotSpec,
        _progress: &Progress,
    ) -> Result<(), DriverError> {
        let verb = Verb::SnapshotTake;
        self.on_snapshot(verb, id, snapshot, SimStorage::take, Fleet::keep_memory).await
    }

    async fn snapshot_revert(
        &self,
        id: MachineId,
        snapshot: &SnapshotSpec,
        _progress: &Progress,
    ) -> Result<(), DriverError> {
        if !snapshot.memory {
            return Err(DriverError::refused("a machine that is on cannot change its disks alone"));
        }
        let verb = Verb::SnapshotRevert;
        self.on_snapshot(verb, id, snapshot, SimStorage::take_back, Fleet::load_memory).await
    }

    async fn snapshot_remove(&self, id: MachineId, snapshot: &SnapshotSpec) -> Result<(), DriverError> {
        let verb = Verb::SnapshotRemove;
        self.on_snapshot(verb, id, snapshot, SimStorage::forget, Fleet::forget_memory).await
    }

    async fn golden_make(&self, spec: &GoldenSpec, progress: &Progress) -> Result<GoldenFacts, DriverError> {
        self.faults.before(Verb::GoldenMake).await?;
        if let Some(facts) = self.goldens.facts(spec.id) {
            return Ok(facts);
        }
        progress.report(0.1, "booting the golden machine");
        pass(millis(self.config.start_ms.saturating_add(self.config.boot_ms))).await;
        let facts = GoldenFacts {
            likeness: LIKENESS.to_owned(),
            digest: "0".repeat(64),
            memory_bytes: spec.memory_mib << 18,
            boot_ms: self.config.boot_ms,
            ..GoldenFacts::default()
        };
        self.goldens.save(spec.id, facts.clone())?;
        self.faults.after(Verb::GoldenMake)?;
        Ok(facts)
    }

    async fn golden_remove(&self, id: GoldenId) -> Result<(), DriverError> {
        self.faults.before(Verb::GoldenRemove).await?;
        self.goldens.remove(id)?;
        self.faults.after(Verb::GoldenRemove)
    }

    async fn goldens(&self) -> Result<Vec<GoldenId>, DriverError> {
        self.faults.before(Verb::Goldens).await?;
        Ok(self.goldens.ids())
    }

    fn events(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.fleet.subscribe()
    }
}

fn millis(count: u64) -> Duration {
    Duration::from_millis(count)
}
