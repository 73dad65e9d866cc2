//! The machines of one simulated host and everything that happens to them without waiting.
//!
//! The map's lock is held for a lookup only; each machine has a lock of its own, held while its state changes in the
//! journal and in memory, in this order, so that what the process remembered was always written before.

use super::devices::Devices;
use super::entry::{Entry, Live};
use super::journal::Journal;
use super::{lock, wall_ms};
use hostler_core::ids::{HostId, MachineId, SnapshotId, VolumeId};
use hostler_core::machines::Observed;
use hostler_core::ports::{DriverError, HypervisorEvent, MachineSpec, Sighting};
use std::collections::HashMap;
use std::collections::hash_map::Entry::Vacant;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;

/// Hints that fit before a slow listener loses the oldest.
const EVENTS: usize = 1_024;

pub(super) struct Fleet {
    pub(super) host: HostId,
    boot: Duration,
    shutdown: Duration,
    journal: Journal,
    machines: Mutex<HashMap<MachineId, Arc<Mutex<Live>>>>,
    events: broadcast::Sender<HypervisorEvent>,
    runs: AtomicU64,
    /// Ends every console when the host is dropped.
    all_consoles: CancellationToken,
}

impl Drop for Fleet {
    fn drop(&mut self) {
        self.all_consoles.cancel();
    }
}

impl Fleet {
    pub(super) fn new(host: HostId, journal: Journal, boot: Duration, shutdown: Duration) -> Self {
        Self {
            host,
            boot,
            shutdown,
            journal,
            machines: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
            runs: AtomicU64::new(0),
            all_consoles: CancellationToken::new(),
        }
    }

    pub(super) fn subscribe(&self) -> broadcast::Receiver<HypervisorEvent> {
        self.events.subscribe()
    }

    pub(super) fn find(&self, id: MachineId) -> Option<Arc<Mutex<Live>>> {
        lock(&self.machines).get(&id).cloned()
    }

    pub(super) fn get(&self, id: MachineId) -> Result<Arc<Mutex<Live>>, DriverError> {
        self.find(id).ok_or_else(|| DriverError::gone(format!("machine {id} is not on this host")))
    }

    /// All of them, by id.
    pub(super) fn sightings(&self) -> Vec<Sighting> {
        let machines: Vec<_> = lock(&self.machines).values().cloned().collect();
        let mut sightings: Vec<_> = machines.iter().map(|machine| lock(machine).sighting()).collect();
        sightings.sort_by_key(|sighting| sighting.id);
        sightings
    }

    /// Finds what an earlier process left running, with guests that went on meanwhile.
    pub(super) fn adopt(self: &Arc<Self>) -> Result<(), DriverError> {
        let now_ms = wall_ms();
        let mut waiting = Vec::new();
        for entry in self.journal.entries::<Entry>()? {
            if entry.host != self.host {
                continue;
            }
            let id = entry.id;
            let since = |began: u64| Duration::from_millis(now_ms.saturating_sub(began));
            let boot_left = self.boot.saturating_sub(since(entry.began_ms));
            let asked_off = entry
                .asked_off_ms
                .filter(|_| entry.power == Observed::On)
                .map(|asked| self.shutdown.saturating_sub(since(asked)));
            let run = self.next_run();
            let mut machines = lock(&self.machines);
            // What this process knows is newer than any file.
            if let Vacant(place) = machines.entry(id) {
                place.insert(Arc::new(Mutex::new(Live::new(entry, run, boot_left))));
                waiting.extend(asked_off.map(|left| (id, run, left)));
            }
        }
        for (id, run, left) in waiting {
            self.turn_off_after(id, run, left);
        }
        Ok(())
    }

    /// The end of a start: guest code runs.
    pub(super) fn start(&self, spec: &MachineSpec) -> Result<Sighting, DriverError> {
        if let Some(machine) = self.find(spec.id) {
            let mut live = lock(&machine);
            if let Some(snapshot) = spec.snapshot {
                has_memory(&live.entry, snapshot)?;
            }
            let entry = Entry::started(self.host, spec, Some(&live.entry));
            self.alter(&mut live, |kept| *kept = entry)?;
            live.begin(self.next_run(), self.boot_of(spec));
            let sighting = live.sighting();
            self.tell(spec.id, "RESUME");
            return Ok(sighting);
        }
        if spec.snapshot.is_some() {
            return Err(DriverError::refused(format!("machine {} has no memory to run on from", spec.id)));
        }
        let entry = Entry::started(self.host, spec, None);
        self.journal.keep(spec.id.0, &entry)?;
        let live = Live::new(entry, self.next_run(), self.boot);
        let sighting = live.sighting();
        lock(&self.machines).insert(spec.id, Arc::new(Mutex::new(live)));
        self.tell(spec.id, "RESUME");
        Ok(sighting)
    }

    /// A guest that runs on from a snapshot has booted already.
    fn boot_of(&self, spec: &MachineSpec) -> Duration {
        if spec.snapshot.is_some() || spec.golden.is_some() { Duration::ZERO } else { self.boot }
    }

    /// Changes what is plugged into a machine that is up, in the journal and in memory, or not at all.
    pub(super) fn change(
        &self,
        id: MachineId,
        change: impl FnOnce(&mut Devices) -> Result<(), DriverError>,
    ) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        if !live.is_up() {
            return Err(is_off(id));
        }
        let mut devices = live.entry.devices.clone();
        change(&mut devices)?;
        self.alter(&mut live, |entry| entry.devices = devices)
    }

    /// The machine that is up and has this disk.
    pub(super) fn holder(&self, volume: VolumeId) -> Option<MachineId> {
        let machines: Vec<_> = lock(&self.machines).values().cloned().collect();
        let has = |machine: &Arc<Mutex<Live>>| {
            let live = lock(machine);
            (live.is_up() && live.entry.devices.disks.contains_key(&volume)).then_some(live.entry.id)
        };
        machines.iter().find_map(has)
    }

    /// Keeps the memory of a machine that is up.
    pub(super) fn keep_memory(&self, id: MachineId, snapshot: SnapshotId) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        self.alter(&mut live, |entry| _ = entry.memories.insert(snapshot))
    }

    /// The memory of a machine that is up becomes that of the snapshot; guest code runs.
    pub(super) fn load_memory(&self, id: MachineId, snapshot: SnapshotId) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        has_memory(&live.entry, snapshot)?;
        self.alter(&mut live, |entry| {
            entry.power = Observed::On;
            entry.asked_off_ms = None;
        })?;
        live.begin(self.next_run(), Duration::ZERO);
        self.tell(id, "RESUME");
        Ok(())
    }

    /// Forgets a kept memory.
    pub(super) fn forget_memory(&self, id: MachineId, snapshot: SnapshotId) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        self.alter(&mut live, |entry| _ = entry.memories.remove(&snapshot))
    }

    /// Presses the power button of a guest that heeds it.
    pub(super) fn press_power_button(self: &Arc<Self>, id: MachineId) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        if !live.is_up() || live.entry.asked_off_ms.is_some() {
            return Ok(());
        }
        self.alter(&mut live, |entry| entry.asked_off_ms = Some(wall_ms()))?;
        let (paused, run) = (live.entry.power == Observed::Paused, live.run);
        drop(live);
        // A paused guest hears of it when it goes on.
        if !paused {
            self.turn_off_after(id, run, self.shutdown);
        }
        Ok(())
    }

    /// Ends a machine that is up, whatever its guest thinks of it.
    pub(super) fn end(&self, id: MachineId, what: &str, reason: Option<String>) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        if live.is_up() {
            self.alter(&mut live, |entry| entry.ended(reason))?;
            self.went_off(&mut live, what);
        }
        Ok(())
    }

    pub(super) fn pause(&self, id: MachineId) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        match live.entry.power {
            Observed::Paused => Ok(()),
            Observed::On => {
                self.alter(&mut live, |entry| entry.power = Observed::Paused)?;
                self.tell(id, "STOP");
                Ok(())
            }
            Observed::Off | Observed::Unknown => Err(is_off(id)),
        }
    }

    pub(super) fn resume(self: &Arc<Self>, id: MachineId) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        match live.entry.power {
            Observed::On => Ok(()),
            Observed::Paused => {
                // The timer of a button pressed before the pause has found the guest standing still, or will find
                // it running again; a new run makes sure that only one counts.
                live.run = self.next_run();
                let asked_off = live.entry.asked_off_ms.is_some();
                self.alter(&mut live, |entry| {
                    entry.power = Observed::On;
                    entry.asked_off_ms = asked_off.then(wall_ms);
                })?;
                self.tell(id, "RESUME");
                let run = live.run;
                drop(live);
                if asked_off {
                    self.turn_off_after(id, run, self.shutdown);
                }
                Ok(())
            }
            Observed::Off | Observed::Unknown => Err(is_off(id)),
        }
    }

    /// Guest code begins anew; a paused machine stays paused, as QEMU's do.
    pub(super) fn reset(&self, id: MachineId) -> Result<(), DriverError> {
        let machine = self.get(id)?;
        let mut live = lock(&machine);
        if !live.is_up() {
            return Err(is_off(id));
        }
        self.alter(&mut live, |entry| {
            entry.began_ms = wall_ms();
            entry.asked_off_ms = None;
        })?;
        live.begin(self.next_run(), self.boot);
        self.tell(id, "RESET");
        Ok(())
    }

    pub(super) fn remove(&self, id: MachineId) -> Result<(), DriverError> {
        let Some(machine) = self.find(id) else { return Ok(()) };
        let live = lock(&machine);
        if live.is_up() {
            return Err(DriverError::refused(format!("machine {id} is {}", live.entry.power.word())));
        }
        self.journal.forget(id.0)?;
        lock(&self.machines).remove(&id);
        Ok(())
    }

    /// As if it had never been, without a word.
    pub(super) fn vanish(&self, id: MachineId) -> Result<(), DriverError> {
        self.journal.forget(id.0)?;
        // Bound first: the map's lock is never held while a machine's is taken.
        let machine = lock(&self.machines).remove(&id);
        if let Some(machine) = machine {
            Self::close_consoles(&mut lock(&machine));
        }
        Ok(())
    }

    /// Changes what outlives the process: first in the journal, then in memory, or not at all.
    pub(super) fn alter(&self, live: &mut Live, change: impl FnOnce(&mut Entry)) -> Result<(), DriverError> {
        let mut entry = live.entry.clone();
        change(&mut entry);
        self.journal.keep(entry.id.0, &entry)?;
        live.entry = entry;
        Ok(())
    }

    /// Ends with the machine's run.
    pub(super) fn console_token(&self, live: &mut Live) -> CancellationToken {
        live.consoles.get_or_insert_with(|| self.all_consoles.child_token()).clone()
    }

    fn turn_off_after(self: &Arc<Self>, id: MachineId, run: u64, after: Duration) {
        if after.is_zero() {
            return self.turn_off(id, run);
        }
        // Weak: a host that was dropped is a process that was killed.
        let fleet = Arc::downgrade(self);
        tokio::spawn(async move {
            tokio::time::sleep(after).await;
            if let Some(fleet) = fleet.upgrade() {
                fleet.turn_off(id, run);
            }
        });
    }

    /// The guest turns itself off, if it is still that run of it and not standing still.
    fn turn_off(&self, id: MachineId, run: u64) {
        let Some(machine) = self.find(id) else { return };
        let mut live = lock(&machine);
        if live.run != run || live.entry.power != Observed::On {
            return;
        }
        if let Err(cause) = self.alter(&mut live, |entry| entry.ended(None)) {
            tracing::warn!(machine.id = %id, %cause, "a simulated machine turned itself off unrecorded");
            live.entry.ended(None);
        }
        self.went_off(&mut live, "SHUTDOWN");
    }

    fn went_off(&self, live: &mut Live, what: &str) {
        Self::close_consoles(live);
        self.tell(live.entry.id, what);
    }

    fn close_consoles(live: &mut Live) {
        if let Some(consoles) = live.consoles.take() {
            consoles.cancel();
        }
    }

    fn tell(&self, machine: MachineId, what: &str) {
        // An error means that nobody listens.
        let _ = self.events.send(HypervisorEvent { machine, what: what.to_owned() });
    }

    fn next_run(&self) -> u64 {
        self.runs.fetch_add(1, Ordering::Relaxed) + 1
    }
}

fn has_memory(entry: &Entry, snapshot: SnapshotId) -> Result<(), DriverError> {
    if entry.memories.contains(&snapshot) {
        return Ok(());
    }
    Err(DriverError::refused(format!("machine {} has no memory of snapshot {snapshot}", entry.id)))
}

fn is_off(id: MachineId) -> DriverError {
    DriverError::refused(format!("machine {id} is off"))
}
