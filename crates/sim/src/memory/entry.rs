//! What is known of one simulated machine: the part that outlives the process, and the part that does not.

use super::devices::Devices;
use super::wall_ms;
use hostler_core::ids::{HostId, MachineId, SnapshotId};
use hostler_core::machines::Observed;
use hostler_core::ports::{Endpoint, Identity, MachineSpec, Sighting};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The part that is kept in a file. No secrets in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Entry {
    pub(super) id: MachineId,
    /// Several simulated hosts may share a directory.
    pub(super) host: HostId,
    pub(super) generation: u64,
    pub(super) power: Observed,
    pub(super) ssh: Option<Endpoint>,
    pub(super) reason: Option<String>,
    /// What the guest calls itself; its disk remembers it over restarts.
    pub(super) host_name: String,
    /// Addresses of its first card.
    pub(super) addresses: Vec<IpAddr>,
    /// When guest code began to run, after start or reset.
    pub(super) began_ms: u64,
    /// When the power button was pressed, while the guest has not yet turned itself off.
    pub(super) asked_off_ms: Option<u64>,
    /// What is plugged in; of no meaning while it is off.
    #[serde(default)]
    pub(super) devices: Devices,
    /// Snapshots that its memory was kept in.
    #[serde(default)]
    pub(super) memories: BTreeSet<SnapshotId>,
}

impl Entry {
    /// A machine that has just been started; `before` is what was left of its last start.
    pub(super) fn started(host: HostId, spec: &MachineSpec, before: Option<&Self>) -> Self {
        let forwarded = spec.nics.iter().any(|nic| nic.link.forward().is_some());
        let mut addresses = before.map(|before| before.addresses.clone()).unwrap_or_default();
        if addresses.is_empty() && !spec.nics.is_empty() {
            // What user networking's DHCP gives to everyone.
            addresses.push(Ipv4Addr::new(10, 0, 2, 15).into());
        }
        Self {
            id: spec.id,
            host,
            generation: spec.generation,
            power: Observed::On,
            ssh: forwarded.then(|| pretended_port(spec.id)),
            reason: None,
            host_name: before.map_or_else(|| spec.name.clone(), |before| before.host_name.clone()),
            addresses,
            began_ms: wall_ms(),
            asked_off_ms: None,
            devices: Devices::started(spec),
            memories: before.map(|before| before.memories.clone()).unwrap_or_default(),
        }
    }

    /// The machine is off now.
    pub(super) fn ended(&mut self, reason: Option<String>) {
        self.power = Observed::Off;
        self.ssh = None;
        self.asked_off_ms = None;
        self.reason = reason;
    }
}

/// Nothing listens there. The same at every start, spread over the machines.
fn pretended_port(id: MachineId) -> Endpoint {
    let [.., high, low] = id.0.into_bytes();
    let port = 20_000 + u16::from_be_bytes([high, low]) % 40_000;
    Endpoint { address: Ipv4Addr::LOCALHOST.into(), port }
}

/// A machine in memory.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) entry: Entry,
    /// The guest's agent answers from then on.
    pub(super) answers_at: Instant,
    /// Which run of guest code this is; a timer set for an earlier one does nothing.
    pub(super) run: u64,
    /// Ends the consoles that are open, when the machine goes off; none while none was opened.
    pub(super) consoles: Option<CancellationToken>,
    /// The whole identity that was given by this process, for tests to look at.
    pub(super) identity: Option<Box<Identity>>,
}

impl Live {
    /// A machine whose agent answers after `boot`.
    pub(super) fn new(entry: Entry, run: u64, boot: Duration) -> Self {
        Self { entry, answers_at: soon(boot), run, consoles: None, identity: None }
    }

    /// Guest code begins anew.
    pub(super) fn begin(&mut self, run: u64, boot: Duration) {
        self.run = run;
        self.answers_at = soon(boot);
    }

    /// Whether it runs or stands paused.
    pub(super) fn is_up(&self) -> bool {
        matches!(self.entry.power, Observed::On | Observed::Paused)
    }

    /// How it looks from outside.
    pub(super) fn sighting(&self) -> Sighting {
        Sighting {
            id: self.entry.id,
            generation: self.entry.generation,
            observed: self.entry.power,
            pid: None,
            ssh: self.entry.ssh.clone(),
            reason: self.entry.reason.clone(),
        }
    }
}

/// That much later, however much it is.
pub(super) fn soon(after: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(after).unwrap_or(now + Duration::from_secs(86_400 * 365))
}
