//! Faults on demand: the simulators ask here before and after each verb whether it shall go wrong.
//!
//! A verb can fail the next few times, fail by (seeded) chance, take longer, hang until released, or do its work and
//! lose the answer. Sightings can lie about power, guests can ignore the power button. All of it is set while the
//! simulators run; one [`Faults`] is shared by every simulator of a world. While none was ever set, asking costs
//! one atomic load.

use crate::chance::Chance;
use crate::config::SimConfig;
use crate::memory::{lock, pass};
use hostler_core::ids::MachineId;
use hostler_core::machines::Observed;
use hostler_core::ports::{DriverError, DriverErrorKind};
use serde::{Deserialize, Serialize};
use std::collections::{HashMap, HashSet, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

macro_rules! verbs {
    ($($name:ident = $word:literal),* $(,)?) => {
        /// A verb of a port, by the name of its method; the word is what `[sim.faults]` calls it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Verb {
            $(#[doc = concat!("`", $word, "`")] #[serde(rename = $word)] $name,)*
        }

        impl Verb {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// Its word in the configuration file.
            pub fn word(self) -> &'static str {
                match self { $(Self::$name => $word),* }
            }
        }
    };
}

verbs! {
    Facts = "facts",
    Adopt = "adopt",
    Sightings = "sightings",
    Observe = "observe",
    Start = "start",
    ShutDown = "shut_down",
    PowerOff = "power_off",
    Reset = "reset",
    Pause = "pause",
    Resume = "resume",
    Remove = "remove",
    GuestFacts = "guest_facts",
    SshBanner = "ssh_banner",
    Identify = "identify",
    GuestRun = "guest_run",
    ConsoleLog = "console_log",
    Console = "console",
    DiskAttach = "disk_attach",
    DiskDetach = "disk_detach",
    DiskGrow = "disk_grow",
    DiskLimit = "disk_limit",
    MediumChange = "medium_change",
    NicAttach = "nic_attach",
    NicDetach = "nic_detach",
    Resize = "resize",
    SnapshotTake = "snapshot_take",
    SnapshotRevert = "snapshot_revert",
    SnapshotRemove = "snapshot_remove",
    GoldenMake = "golden_make",
    GoldenRemove = "golden_remove",
    Goldens = "goldens",
    SwitchApply = "switch_apply",
    SwitchRemove = "switch_remove",
    StorageFacts = "storage_facts",
    ImageMake = "image_make",
    ImageRemove = "image_remove",
    VolumeMake = "volume_make",
    VolumeGrow = "volume_grow",
    VolumeRemove = "volume_remove",
    Items = "items",
    VolumeUsage = "volume_usage",
    VolumeSnapshot = "volume_snapshot",
    VolumeRevert = "volume_revert",
    VolumeSnapshotRemove = "volume_snapshot_remove",
    MediumMake = "medium_make",
    MediumRemove = "medium_remove",
    DirectoryLogIn = "directory_log_in",
    DirectoryPeople = "directory_people",
    DirectoryCheck = "directory_check",
    ProviderBegin = "provider_begin",
    ProviderFinish = "provider_finish",
    ProviderCheck = "provider_check",
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// What shall go wrong. Clones share the same orders.
#[derive(Clone)]
pub struct Faults(Arc<Shared>);

struct Shared {
    /// Whether anything was ever ordered: without faults no call takes the lock.
    armed: AtomicBool,
    orders: Mutex<Orders>,
    /// Tells hanging calls to look again.
    released: watch::Sender<()>,
}

struct Orders {
    verbs: HashMap<Verb, Order>,
    chance: Chance,
    /// Applies to every verb but `adopt`: a host that cannot be adopted is no host at all.
    any_per_million: u32,
    deaf: HashSet<MachineId>,
    all_deaf: bool,
}

#[derive(Default)]
struct Order {
    /// The next calls fail like this, in order.
    fail: VecDeque<(u32, DriverErrorKind)>,
    /// The next calls do their work, then fail like this.
    lose: VecDeque<(u32, DriverErrorKind)>,
    randomly: Option<(u32, DriverErrorKind)>,
    delay: Duration,
    hung: bool,
    hanging: usize,
    lie: Option<Observed>,
}

impl Faults {
    /// Nothing goes wrong until told.
    pub fn none() -> Self {
        Self::with_seed(1)
    }

    /// Nothing goes wrong until told; chance begins at `seed`.
    pub fn with_seed(seed: u64) -> Self {
        Self(Arc::new(Shared {
            armed: AtomicBool::new(false),
            orders: Mutex::new(Orders {
                verbs: HashMap::new(),
                chance: Chance::new(seed),
                any_per_million: 0,
                deaf: HashSet::new(),
                all_deaf: false,
            }),
            released: watch::Sender::new(()),
        }))
    }

    /// What the configuration asks for.
    pub fn from_config(config: &SimConfig) -> Self {
        let faults = Self::with_seed(config.seed);
        if config.fail_per_million > 0 {
            faults.fail_any_randomly(config.fail_per_million);
        }
        for (&verb, fault) in &config.faults {
            faults.order(verb, |order| {
                let kind = fault.kind.into();
                order.fail.extend((fault.fail > 0).then_some((fault.fail, kind)));
                order.randomly = (fault.per_million > 0).then_some((fault.per_million, kind));
                order.delay = Duration::from_millis(fault.delay_ms);
            });
        }
        faults
    }

    /// The next `times` calls of this verb fail before anything is done. Adds to what was ordered before.
    pub fn fail(&self, verb: Verb, times: u32, kind: DriverErrorKind) {
        self.order(verb, |order| order.fail.push_back((times, kind)));
    }

    /// The next `times` successful calls of this verb do their work, but their answer is lost: they fail.
    pub fn fail_after(&self, verb: Verb, times: u32, kind: DriverErrorKind) {
        self.order(verb, |order| order.lose.push_back((times, kind)));
    }

    /// So many calls of this verb out of a million fail before anything is done; 0 ends it.
    pub fn fail_randomly(&self, verb: Verb, per_million: u32, kind: DriverErrorKind) {
        self.order(verb, |order| order.randomly = (per_million > 0).then_some((per_million, kind)));
    }

    /// So many calls out of a million, of any verb but `adopt`, fail as unreachable; 0 ends it.
    pub fn fail_any_randomly(&self, per_million: u32) {
        self.arm(|orders| orders.any_per_million = per_million);
    }

    /// Each call of this verb takes so much longer; zero ends it.
    pub fn delay(&self, verb: Verb, delay: Duration) {
        self.order(verb, |order| order.delay = delay);
    }

    /// Calls of this verb do not go on until [`release`](Self::release).
    pub fn hang(&self, verb: Verb) {
        self.order(verb, |order| order.hung = true);
    }

    /// Calls that hang go on, and later ones do not hang.
    pub fn release(&self, verb: Verb) {
        self.order(verb, |order| order.hung = false);
        self.0.released.send_replace(());
    }

    /// How many calls of this verb hang now.
    pub fn hanging(&self, verb: Verb) -> usize {
        lock(&self.0.orders).verbs.get(&verb).map_or(0, |order| order.hanging)
    }

    /// Sightings that this verb answers (`observe`, `sightings`, `adopt`, `start`) report this power, whatever is
    /// true; none ends it.
    pub fn lie(&self, verb: Verb, power: Option<Observed>) {
        self.order(verb, |order| order.lie = power);
    }

    /// Whether this machine's guest ignores the power button from now on.
    pub fn ignore_acpi(&self, machine: MachineId, ignores: bool) {
        self.arm(|orders| {
            if ignores {
                orders.deaf.insert(machine)
            } else {
                orders.deaf.remove(&machine)
            };
        });
    }

    /// Whether all guests ignore the power button from now on.
    pub fn ignore_acpi_everywhere(&self, ignores: bool) {
        self.arm(|orders| orders.all_deaf = ignores);
    }

    /// Nothing goes wrong any more; hanging calls go on.
    pub fn clear(&self) {
        self.arm(|orders| {
            for order in orders.verbs.values_mut() {
                // Calls that hang now still count themselves out.
                *order = Order { hanging: order.hanging, ..Order::default() };
            }
            orders.any_per_million = 0;
            orders.deaf.clear();
            orders.all_deaf = false;
        });
        self.0.released.send_replace(());
    }

    /// Asked before a verb does anything.
    pub(crate) async fn before(&self, verb: Verb) -> Result<(), DriverError> {
        if !self.armed() {
            return Ok(());
        }
        self.wait_while_hung(verb).await;
        let delay = lock(&self.0.orders).verbs.get(&verb).map_or(Duration::ZERO, |order| order.delay);
        pass(delay).await;
        match lock(&self.0.orders).drawn(verb) {
            Some(kind) => Err(DriverError::new(kind, format!("simulated fault: {verb} failed"))),
            None => Ok(()),
        }
    }

    /// Asked when a verb has done its work.
    pub(crate) fn after(&self, verb: Verb) -> Result<(), DriverError> {
        if !self.armed() {
            return Ok(());
        }
        let lost = lock(&self.0.orders).verbs.get_mut(&verb).and_then(|order| next(&mut order.lose));
        match lost {
            Some(kind) => {
                Err(DriverError::new(kind, format!("simulated fault: the answer to {verb} was lost")))
            }
            None => Ok(()),
        }
    }

    /// What this verb shall report when the truth is `power`.
    pub(crate) fn reported(&self, verb: Verb, power: Observed) -> Observed {
        if !self.armed() {
            return power;
        }
        lock(&self.0.orders).verbs.get(&verb).and_then(|order| order.lie).unwrap_or(power)
    }

    /// Whether this machine's guest ignores the power button.
    pub(crate) fn ignores_acpi(&self, machine: MachineId) -> bool {
        self.armed() && {
            let orders = lock(&self.0.orders);
            orders.all_deaf || orders.deaf.contains(&machine)
        }
    }

    fn armed(&self) -> bool {
        self.0.armed.load(Ordering::Acquire)
    }

    fn arm(&self, change: impl FnOnce(&mut Orders)) {
        change(&mut lock(&self.0.orders));
        self.0.armed.store(true, Ordering::Release);
    }

    fn order(&self, verb: Verb, change: impl FnOnce(&mut Order)) {
        self.arm(|orders| change(orders.verbs.entry(verb).or_default()));
    }

    async fn wait_while_hung(&self, verb: Verb) {
        // Subscribed before looking, so that a release in between is not missed.
        let mut released = self.0.released.subscribe();
        let hung = || lock(&self.0.orders).verbs.get(&verb).is_some_and(|order| order.hung);
        if !hung() {
            return;
        }
        let _counted = Hanging::new(self, verb);
        while hung() {
            if released.changed().await.is_err() {
                return;
            }
        }
    }
}

impl fmt::Debug for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faults").field("armed", &self.armed()).finish_non_exhaustive()
    }
}

impl Orders {
    /// Whether, and how, this call fails.
    fn drawn(&mut self, verb: Verb) -> Option<DriverErrorKind> {
        if let Some(order) = self.verbs.get_mut(&verb) {
            if let Some(kind) = next(&mut order.fail) {
                return Some(kind);
            }
            if let Some((per_million, kind)) = order.randomly
                && self.chance.hits(per_million)
            {
                return Some(kind);
            }
        }
        (verb != Verb::Adopt && self.chance.hits(self.any_per_million))
            .then_some(DriverErrorKind::Unreachable)
    }
}

/// Takes one from the first order that has any left.
fn next(queue: &mut VecDeque<(u32, DriverErrorKind)>) -> Option<DriverErrorKind> {
    while let Some((times, kind)) = queue.front_mut() {
        if *times > 0 {
            *times -= 1;
            return Some(*kind);
        }
        queue.pop_front();
    }
    None
}

/// Counts a call that hangs, also when the call is dropped.
struct Hanging<'a>(&'a Faults, Verb);

impl<'a> Hanging<'a> {
    fn new(faults: &'a Faults, verb: Verb) -> Self {
        faults.order(verb, |order| order.hanging += 1);
        Self(faults, verb)
    }
}

impl Drop for Hanging<'_> {
    fn drop(&mut self) {
        self.0.order(self.1, |order| order.hanging = order.hanging.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::{Faults, Verb};
    use crate::config::SimConfig;
    use hostler_core::machines::Observed;
    use hostler_core::ports::DriverErrorKind;
    use serde_json::json;
    use std::time::Duration;

    async fn kind(faults: &Faults, verb: Verb) -> Option<DriverErrorKind> {
        faults.before(verb).await.err().map(|error| error.kind)
    }

    #[test]
    fn verbs_are_called_by_their_words() -> anyhow::Result<()> {
        for &verb in Verb::ALL {
            assert_eq!(serde_json::to_value(verb)?, json!(verb.word()));
        }
        Ok(())
    }

    #[tokio::test]
    async fn fails_as_often_as_told_and_no_other_verb() {
        let faults = Faults::none();
        faults.fail(Verb::Start, 2, DriverErrorKind::Timeout);
        faults.fail(Verb::Start, 1, DriverErrorKind::Exhausted);
        assert_eq!(kind(&faults, Verb::Reset).await, None);
        assert_eq!(kind(&faults, Verb::Start).await, Some(DriverErrorKind::Timeout));
        assert_eq!(kind(&faults, Verb::Start).await, Some(DriverErrorKind::Timeout));
        assert_eq!(kind(&faults, Verb::Start).await, Some(DriverErrorKind::Exhausted));
        assert_eq!(kind(&faults, Verb::Start).await, None);
    }

    #[tokio::test]
    async fn the_same_seed_fails_the_same_calls() {
        let mut runs = Vec::new();
        for seed in [3, 3, 4] {
            let config = SimConfig { seed, fail_per_million: 300_000, ..SimConfig::instant() };
            let faults = Faults::from_config(&config);
            let mut failed = Vec::new();
            for _ in 0..100 {
                failed.push(kind(&faults, Verb::Observe).await);
                assert_eq!(kind(&faults, Verb::Adopt).await, None);
            }
            assert!(failed.contains(&Some(DriverErrorKind::Unreachable)) && failed.contains(&None));
            runs.push(failed);
        }
        assert_eq!(runs[0], runs[1]);
        assert_ne!(runs[0], runs[2]);
    }

    #[tokio::test(start_paused = true)]
    async fn delays_by_configuration() -> anyhow::Result<()> {
        let config =
            serde_json::from_value(json!({ "faults": { "start": { "delay_ms": 5000, "fail": 1 } } }))?;
        let faults = Faults::from_config(&config);
        let began = tokio::time::Instant::now();
        assert_eq!(kind(&faults, Verb::Start).await, Some(DriverErrorKind::Unreachable));
        assert_eq!(kind(&faults, Verb::Start).await, None);
        assert_eq!(began.elapsed(), Duration::from_secs(10));
        Ok(())
    }

    #[tokio::test]
    async fn hangs_until_released_and_forgets_dropped_calls() -> anyhow::Result<()> {
        let faults = Faults::none();
        faults.hang(Verb::Start);
        let calls: Vec<_> = (0..2)
            .map(|_| {
                let faults = faults.clone();
                tokio::spawn(async move { faults.before(Verb::Start).await })
            })
            .collect();
        while faults.hanging(Verb::Start) < 2 {
            tokio::task::yield_now().await;
        }
        let [first, second] = <[_; 2]>::try_from(calls).map_err(|_| anyhow::anyhow!("two calls"))?;
        first.abort();
        assert!(first.await.is_err());
        assert_eq!(faults.hanging(Verb::Start), 1);
        faults.release(Verb::Start);
        second.await??;
        assert_eq!(faults.hanging(Verb::Start), 0);
        assert_eq!(kind(&faults, Verb::Start).await, None);
        Ok(())
    }

    #[tokio::test]
    async fn clearing_ends_everything() {
        let faults = Faults::none();
        faults.fail(Verb::Start, 9, DriverErrorKind::Timeout);
        faults.fail_after(Verb::Reset, 9, DriverErrorKind::Timeout);
        faults.lie(Verb::Observe, Some(Observed::Off));
        faults.ignore_acpi_everywhere(true);
        faults.hang(Verb::Pause);
        assert_eq!(faults.reported(Verb::Observe, Observed::On), Observed::Off);
        assert!(faults.after(Verb::Reset).is_err());
        faults.clear();
        assert_eq!(faults.reported(Verb::Observe, Observed::On), Observed::On);
        assert!(faults.after(Verb::Reset).is_ok());
        assert_eq!(kind(&faults, Verb::Start).await, None);
        assert_eq!(kind(&faults, Verb::Pause).await, None);
        assert!(!faults.ignores_acpi(uuid::Uuid::nil().into()));
    }
}
