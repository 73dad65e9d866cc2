//! A whole application for tests: a real store, simulated hosts, a clock that only tests move, seeded ids.

use crate::memory::{SeededIds, SimHypervisor, SimStorage, SimSwitch, TestClock};
use crate::{Faults, SimConfig};
use anyhow::{Context, Result, bail, ensure};
use hostler_core::Core;
use hostler_core::access::Caller;
use hostler_core::core::ListAsk;
use hostler_core::core::{LocalHost, Parts, Settings};
use hostler_core::goldens::Golden;
use hostler_core::hosts::{Arrival, FirstStart, Key, Presence, arrive, fingerprint};
use hostler_core::ids::{GoldenId, HostId, MachineId, NetworkId, StorageId, TemplateId, VolumeId};
use hostler_core::machines::{Life, Machine, MachineAsk, Observed};
use hostler_core::media::MediumAsk;
use hostler_core::ports::{
    Boot, Claim, Claimed, GoldenSpec, Hypervisor, Ids, ImageSource, MachineSpec, NetworkSpec, Progress,
    Storage, StorageItem, Store, StoreError, Switch, Uplink, VolumeSpec,
};
use hostler_core::query::Sort;
use hostler_core::record::{Kind, Record};
use hostler_core::snapshots::{Snapshot, SnapshotState};
use hostler_core::tasks::{Runner, Task, TaskState};
use hostler_core::templates::{Firmware, Image, TemplateAsk};
use hostler_core::volumes::Volume;
use hostler_store::SqliteStore;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// How a test wants tasks to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Each step once.
    Plain,
    /// Each step twice before its result is kept: what it did is done again.
    Twice,
    /// Each step runs, then the worker dies before it could write the result; another takes over.
    Crash,
}

/// A whole application.
#[derive(Debug)]
pub struct World {
    /// The facade.
    pub core: Core,
    /// The clock.
    pub clock: Arc<TestClock>,
    /// The simulated hypervisor.
    pub hypervisor: SimHypervisor,
    /// The simulated storage.
    pub storage: SimStorage,
    /// The simulated switch.
    pub switch: SimSwitch,
    /// What goes wrong.
    pub faults: Faults,
    /// The first administrator.
    pub admin: Caller,
    /// Says that this process lives, when a test has it do so.
    pub presence: Presence,
    ids: Arc<SeededIds>,
    runner: Runner,
    /// The store, for what happens behind core's back.
    pub store: Arc<SqliteStore>,
}

const WORKER: &str = "test";
const KEY: [u8; 32] = [7; 32];

impl World {
    /// A fresh world in which nothing takes time.
    ///
    /// # Errors
    /// When there is nowhere to put the store.
    pub async fn new() -> Result<Self> {
        let store = Arc::new(SqliteStore::temporary().await?);
        let clock = Arc::new(TestClock::new());
        let ids = Arc::new(SeededIds::new(1));
        let first = || Ok(FirstStart { email: "admin@localhost".into(), password: "none".into() });
        let arrival = Self::arrival(ids.as_ref(), "test");
        let found = arrive(store.as_ref(), clock.as_ref(), ids.as_ref(), &arrival, first).await?;
        let (config, faults) = (SimConfig::instant(), Faults::none());
        let hypervisor = SimHypervisor::in_memory(found.host, &config, faults.clone());
        let storage = SimStorage::in_memory(found.storage, &config, faults.clone());
        let hypervisor = hypervisor.with_storage(&storage);
        let switch = SimSwitch::new(found.host, faults.clone());
        let host = LocalHost {
            hypervisor: Arc::new(hypervisor.clone()),
            storage: Arc::new(storage.clone()),
            switch: Arc::new(switch.clone()),
        };
        let core = Core::new(Parts {
            store: store.clone(),
            clock: clock.clone(),
            ids: ids.clone(),
            hosts: vec![host],
            key: KEY,
            settings: Settings::default(),
        });
        let presence = Presence::new(core.clone(), arrival.process);
        let admin = core.local_administrator().await?;
        let runner = Runner::new(core.clone());
        Ok(Self { core, clock, hypervisor, storage, switch, faults, admin, presence, ids, runner, store })
    }

    /// A process that comes with a data directory of its own.
    pub fn arrival(ids: &dyn Ids, host_name: &str) -> Arrival {
        Arrival {
            host: HostId(ids.uuid()),
            storage: StorageId(ids.uuid()),
            process: ids.uuid(),
            host_name: host_name.into(),
            same_place: true,
            key: Key { fingerprint: fingerprint(&KEY), replaced: false },
            door: None,
        }
    }

    /// A world with a template named `micro`.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn with_template() -> Result<Self> {
        let world = Self::new().await?;
        let ask = TemplateAsk {
            name: "micro".into(),
            source: ImageSource::Recipe { recipe: "micro".into(), mirror: None },
            description: String::new(),
            vcpus: 1,
            memory_mib: 128,
            disk_mib: 0,
            firmware: Firmware::Bios,
            fork: true,
            storage: None,
        };
        world.core.template_make(&world.admin, &ask, None).await?;
        world.run_tasks(Mode::Plain).await?;
        Ok(world)
    }

    /// A request for a machine of this name.
    pub fn machine(name: &str) -> MachineAsk {
        MachineAsk {
            name: Some(name.into()),
            template: "micro".into(),
            vcpus: None,
            memory_mib: None,
            disk_mib: None,
            network: None,
            addresses: Vec::new(),
            ssh_keys: Vec::new(),
            user_data: None,
            description: String::new(),
            labels: BTreeMap::new(),
            start: true,
            ..MachineAsk::default()
        }
    }

    /// Leaves a machine, a golden one, a volume and a network on the host that no record knows.
    ///
    /// # Errors
    /// When they cannot be made.
    pub async fn leave_something(&self) -> Result<()> {
        let volume = VolumeSpec { id: VolumeId(self.ids.uuid()), size_mib: 8, backing: None };
        self.storage.volume_make(&volume).await?;
        let spec = MachineSpec {
            id: MachineId(self.ids.uuid()),
            name: "stray".into(),
            generation: 1,
            vcpus: 1,
            memory_mib: 64,
            template: TemplateId(self.ids.uuid()),
            boot: Boot::Firmware(Firmware::default()),
            disks: Vec::new(),
            nics: Vec::new(),
            seed: None,
            medium: None,
            snapshot: None,
            golden: None,
        };
        self.hypervisor.start(&spec).await?;
        let network = NetworkSpec {
            id: NetworkId(self.ids.uuid()),
            bridge: "stray".into(),
            uplink: Uplink::None,
            subnets: Vec::new(),
            domain: None,
            resolvers: Vec::new(),
            ports: Vec::new(),
        };
        self.switch.apply(&network).await?;
        let golden = GoldenSpec {
            id: GoldenId(self.ids.uuid()),
            vcpus: 1,
            memory_mib: 64,
            template: spec.template,
            image: Image::default(),
            disk_mib: None,
            boot: spec.boot,
            seed: None,
            patience: Duration::ZERO,
        };
        self.hypervisor.golden_make(&golden, &Progress::ignored()).await?;
        Ok(())
    }

    /// Runs tasks until none is open, moving the clock when they wait.
    ///
    /// # Errors
    /// When a task does not end within ten thousand steps, or the store fails.
    pub async fn run_tasks(&self, mode: Mode) -> Result<()> {
        for _ in 0..10_000 {
            let Some(claimed) = self.claim().await? else {
                match self.store.next_due(vec![self.hypervisor.host()]).await? {
                    None => return Ok(()),
                    Some(due) => self.clock.advance(due.since(self.core.clock().now())),
                }
                continue;
            };
            self.step(claimed, mode).await?;
        }
        bail!("tasks do not end")
    }

    async fn claim(&self) -> Result<Option<Claimed>> {
        let now = self.core.clock().now();
        let claim = Claim {
            worker: WORKER.into(),
            hosts: vec![self.hypervisor.host()],
            now,
            until: now.plus(Duration::from_secs(30)),
            limit: 1,
            begun: false,
        };
        Ok(self.store.claim(claim).await?.pop())
    }

    async fn step(&self, claimed: Claimed, mode: Mode) -> Result<()> {
        let task = Task::from_document(&claimed.document)?;
        let progress = Progress::ignored();
        let mut epoch = claimed.epoch;
        let mut executed = self.runner.execute(&task, claimed.cancel_requested, &progress).await?;
        match mode {
            Mode::Plain => {}
            Mode::Twice => executed = self.runner.execute(&task, claimed.cancel_requested, &progress).await?,
            Mode::Crash => {
                self.store.disown(WORKER.into()).await?;
                let again = self.claim().await?.context("a task that was cut off is taken up again")?;
                ensure!(again.document.id == claimed.document.id && again.epoch > epoch);
                let late = self.runner.commit(&mut executed, epoch).await;
                ensure!(
                    matches!(late, Err(StoreError::Fenced(_))),
                    "a worker that lost its lease wrote: {late:?}"
                );
                epoch = again.epoch;
                executed = self.runner.execute(&task, again.cancel_requested, &progress).await?;
            }
        }
        match self.runner.commit(&mut executed, epoch).await {
            Ok(_) | Err(StoreError::Stale { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        self.store.disown(WORKER.into()).await?;
        Ok(())
    }

    /// The newest task.
    ///
    /// # Errors
    /// When there is none.
    pub async fn last_task(&self) -> Result<Task> {
        let ask = ListAsk { order: vec![Sort::descending("id")], limit: 1, ..ListAsk::default() };
        self.core.task_list(&self.admin, ask).await?.items.pop().context("there is no task")
    }

    /// Checks that records and the simulated world agree and that nothing is held or half-made.
    ///
    /// # Errors
    /// Saying what does not agree.
    pub async fn check_whole(&self) -> Result<()> {
        let all = ListAsk { limit: 1000, ..ListAsk::default() };
        let machines = self.core.machine_list(&self.admin, all.clone()).await?.items;
        let sightings = self.hypervisor.sightings().await?;
        for machine in &machines {
            let name = &machine.name;
            ensure!(machine.task.is_none(), "machine {name} is still held");
            let seen = sightings.iter().find(|sighting| sighting.id == machine.id);
            let power = seen.map_or(Observed::Off, |sighting| sighting.observed);
            match machine.life {
                Life::Present => {
                    ensure!(machine.observed.power == power, "machine {name} is {power:?}: {machine:?}");
                }
                Life::Gone => ensure!(seen.is_none(), "something is left of machine {name}"),
                Life::Creating | Life::Deleting => bail!("machine {name} is still {}", machine.life.word()),
            }
        }
        for sighting in &sightings {
            ensure!(
                machines.iter().any(|machine| machine.id == sighting.id),
                "{} has no record",
                sighting.id
            );
        }
        let items: BTreeSet<StorageItem> = self.storage.items().await?.into_iter().collect();
        let volumes = self.core.volume_list(&self.admin, all.clone()).await?.items;
        let media = self.core.medium_list(&self.admin, all.clone()).await?.items;
        let templates = self.core.template_list(&self.admin, all).await?.items;
        let mut known = BTreeSet::new();
        known.extend(media.iter().filter(|one| one.bytes.is_some()).map(|one| StorageItem::Medium(one.id)));
        known.extend(volumes.iter().map(|volume| StorageItem::Volume(volume.id)));
        known
            .extend(templates.iter().filter(|one| one.image.is_some()).map(|one| StorageItem::Image(one.id)));
        ensure!(items == known, "files {items:?} are not those of the records {known:?}");
        let goldens: Vec<Golden> = self.core.goldens().await?;
        let saved = goldens.iter().filter(|golden| golden.facts.is_some()).map(|golden| golden.id);
        ensure!(
            goldens.iter().all(|golden| golden.task.is_none()),
            "a golden machine is still held: {goldens:?}"
        );
        let lying: BTreeSet<GoldenId> = self.hypervisor.goldens().await?.into_iter().collect();
        ensure!(
            lying == saved.collect(),
            "golden machines {lying:?} are not those of the records {goldens:?}"
        );
        let snapshots = self.core.snapshot_list(&self.admin, ListAsk { limit: 1000, ..ListAsk::default() });
        let snapshots = snapshots.await?.items;
        for snapshot in &snapshots {
            ensure!(snapshot.task.is_none(), "snapshot {} is still held", snapshot.name);
            ensure!(snapshot.state == SnapshotState::Present, "snapshot {}: {snapshot:?}", snapshot.name);
        }
        self.check_devices(&machines, &volumes)?;
        for volume in &volumes {
            let has = |snapshot: &&Snapshot| snapshot.volumes.iter().any(|kept| kept.volume == volume.id);
            let known = snapshots.iter().filter(has).map(|snapshot| snapshot.id).collect();
            let kept = self.storage.snapshots(volume.id);
            ensure!(kept == known, "volume {} has the snapshots {kept:?}, not {known:?}", volume.name);
            ensure!(volume.task.is_none(), "volume {} is still held", volume.name);
            let owner = volume.machine.and_then(|id| machines.iter().find(|machine| machine.id == id));
            ensure!(
                owner.is_none_or(|machine| machine.life == Life::Present),
                "volume {} is left over",
                volume.name
            );
        }
        Ok(())
    }

    /// What is plugged into each machine that is up is what the records say.
    fn check_devices(&self, machines: &[Machine], volumes: &[Volume]) -> Result<()> {
        for machine in machines {
            let Some(devices) = self.hypervisor.devices(machine.id) else { continue };
            let (name, own) = (&machine.name, |volume: &&Volume| volume.machine == Some(machine.id));
            let disks: BTreeMap<_, _> =
                volumes.iter().filter(own).map(|volume| (volume.id, volume.limits)).collect();
            let plugged: BTreeMap<_, _> =
                devices.disks.iter().map(|(id, (_, limits))| (*id, *limits)).collect();
            ensure!(plugged == disks, "machine {name} has the disks {plugged:?}, its record {disks:?}");
            let macs: BTreeSet<_> = machine.nics.iter().map(|nic| &nic.mac).collect();
            let cards: BTreeSet<_> = devices.nics.keys().collect();
            ensure!(cards == macs, "machine {name} has the cards {cards:?}, its record {macs:?}");
            ensure!(devices.medium == machine.medium, "machine {name} has {:?} in its drive", devices.medium);
            let (size, known) = ((devices.vcpus, devices.memory_mib), (machine.vcpus, machine.memory_mib));
            ensure!(size == known, "machine {name} has the size {size:?}, its record {known:?}");
        }
        Ok(())
    }

    /// A medium that can be inserted.
    ///
    /// # Errors
    /// When it cannot be made.
    pub async fn medium(&self, name: &str) -> Result<()> {
        let url = format!("https://example.org/{name}.iso");
        let source = ImageSource::Url { url, format: None, checksum: None, max_mib: 1024 };
        let ask = MediumAsk { name: name.into(), source, description: String::new() };
        self.core.medium_make(&self.admin, &ask, None).await?;
        self.run_tasks(Mode::Plain).await
    }

    /// How many tasks ended in this state.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn tasks_ended(&self, state: TaskState) -> Result<u64> {
        let filter = hostler_core::query::Filter::eq("state", state.word());
        Ok(self.store.count(Kind::Task, filter).await?)
    }
}
