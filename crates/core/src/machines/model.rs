//! The machine's record and its transitions.

use crate::error::{Error, Result};
use crate::ids::{
    AccountId, AddressId, ClusterId, GoldenId, HostId, MachineId, MediumId, NetworkId, TaskId, TemplateId,
};
use crate::pools::{Stock, StockState};
use crate::ports::{Endpoint, GuestFacts, InboundRule, Sighting};
use crate::record::{Kind, Record, Value, stamped};
use crate::secret::Sealed;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

/// A host name: one label, lower case, at most 63 characters. Never of the form `v1`, which is a path of the API.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct HostName(String);

impl HostName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<HostName> for String {
    fn from(name: HostName) -> Self {
        name.0
    }
}

impl TryFrom<String> for HostName {
    type Error = Error;
    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for HostName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let refuse =
            |why: &str| Err(Error::invalid("name", format!("`{}` is not a host name: {why}", shorten(text))));
        if text.is_empty() || text.len() > 63 {
            return refuse("it must have 1 to 63 characters");
        }
        let allowed = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if !text.bytes().all(allowed) {
            return refuse("only a-z, 0-9 and - may be in it");
        }
        if text.starts_with('-') || text.ends_with('-') {
            return refuse("it must not begin or end with -");
        }
        if is_api_version(text) {
            return refuse("names of the form v1 are paths of the API");
        }
        if Uuid::parse_str(text).is_ok() || text.bytes().all(|c| c.is_ascii_digit()) {
            return refuse("it would be mistaken for an id");
        }
        Ok(Self(text.to_owned()))
    }
}

/// Names of this form are never given to machines, pools or aliases: they are paths of the vmpooler door.
pub(crate) fn is_api_version(name: &str) -> bool {
    name.strip_prefix('v').is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|c| c.is_ascii_digit()))
}

fn shorten(text: &str) -> String {
    text.chars().take(80).collect()
}

/// What we promised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Life {
    /// Being made.
    Creating,
    /// Made, usable.
    Present,
    /// Being removed.
    Deleting,
    /// Removed; the record is kept for a while so that its end can be looked up.
    Gone,
}

impl Life {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Creating => "creating",
            Self::Present => "present",
            Self::Deleting => "deleting",
            Self::Gone => "gone",
        }
    }
}

/// The power that the owner asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// Running.
    On,
    /// Not running.
    Off,
}

impl Power {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

/// The power that was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Observed {
    /// Guest code runs.
    On,
    /// Guest code stands still, memory is kept.
    Paused,
    /// Nothing runs.
    Off,
    /// The host cannot tell.
    Unknown,
}

impl Observed {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Paused => "paused",
            Self::Off => "off",
            Self::Unknown => "unknown",
        }
    }
}

/// What was seen last, when, and of which start. An older generation never replaces a newer one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Observation {
    /// Power as seen.
    pub power: Observed,
    /// When.
    pub at: Timestamp,
    /// Which start of the machine.
    pub generation: u64,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// The network it is on.
    pub network: NetworkId,
    /// Six bytes, lower case, colons.
    pub mac: String,
    /// Its reserved addresses, one of each family at most, on networks that give them out.
    #[serde(default)]
    pub addresses: Vec<AddressId>,
    /// What others may begin to send it, on bridges; none means anything.
    #[serde(default)]
    pub inbound: Option<Vec<InboundRule>>,
}

/// A computer we manage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// The key, the first of its three names.
    pub id: MachineId,
    /// The second name: a small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// The third name.
    pub name: HostName,
    /// What people call it; many may have the same. Empty means the host name.
    #[serde(default)]
    pub title: String,
    /// The full name that was asked for it; may be empty.
    #[serde(default)]
    pub domain: String,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
    /// Words of the owner, by key.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// What only one dialect understands, under that dialect's name.
    #[serde(default)]
    pub attributes: BTreeMap<String, serde_json::Value>,
    /// Whose it is.
    pub owner: AccountId,
    /// Where it may run.
    pub cluster: ClusterId,
    /// Where it runs.
    pub host: HostId,
    /// What it was made from.
    pub template: TemplateId,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// CPUs and memory in MiB that a running task gives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub growing: Option<(u32, u64)>,
    /// Network cards in order.
    pub nics: Vec<Nic>,
    /// What lies in its CD drive.
    #[serde(default)]
    pub medium: Option<MediumId>,
    /// Lines for the administrator's `authorized_keys`.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// cloud-init user data of the owner, which often has passwords.
    #[serde(default)]
    pub user_data: Option<Sealed>,
    /// Password of the guest's administrator.
    #[serde(default)]
    pub password: Option<Sealed>,
    /// What we promised.
    pub life: Life,
    /// What the owner asked for.
    pub wanted: Power,
    /// What was seen.
    pub observed: Observation,
    /// Why it is not as it should be.
    #[serde(default)]
    pub reason: Option<String>,
    /// The task that holds it.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// When its agent first answered since it was last started; none while it has not.
    #[serde(default)]
    pub ready_at: Option<Timestamp>,
    /// What the guest said of itself last. Never trusted.
    #[serde(default)]
    pub guest: Option<GuestFacts>,
    /// Where SSH is forwarded to it, while it runs on user networking.
    #[serde(default)]
    pub ssh: Option<Endpoint>,
    /// The golden machine whose memory it shares: it was forked from it and has not booted since.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub golden: Option<GoldenId>,
    /// What it carries as a machine of a pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stock: Option<Stock>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Machine {
    /// What people call it.
    pub fn title(&self) -> &str {
        if self.title.is_empty() { self.name.as_str() } else { &self.title }
    }

    /// Where it is on its way through its pool, as lists filter it: what leaves the world is no stock any more.
    pub fn stock_word(&self) -> Option<&'static str> {
        let stock = self.stock.as_ref()?;
        Some(match (stock.state, self.life) {
            (StockState::Failed, _) => StockState::Failed.word(),
            (_, Life::Gone) => Life::Gone.word(),
            (_, Life::Deleting) => StockState::Returned.word(),
            // Not stock: somebody waits for it.
            (StockState::Filling, _) if stock.request.is_some() => "requested",
            (state, Life::Creating | Life::Present) => state.word(),
        })
    }

    /// When its checkout ends, while it is lent.
    pub fn lent_until(&self) -> Option<Timestamp> {
        let stock = self.stock.as_ref().filter(|stock| stock.state == StockState::Lent)?;
        stock.checkout.as_ref()?.until
    }

    /// Takes hold of the machine for a task.
    ///
    /// # Errors
    /// Busy, when another task holds it.
    pub(crate) fn hold(&mut self, task: TaskId) -> Result<()> {
        if let Some(holder) = self.task.filter(|holder| *holder != task) {
            return Err(Error::busy(format_args!("machine {}", self.name), holder));
        }
        self.task = Some(task);
        Ok(())
    }

    /// Lets go of the machine, with why it is not as it should be, or nothing when it is.
    pub(crate) fn let_go(&mut self, reason: Option<String>) {
        self.task = None;
        self.growing = None;
        self.reason = reason;
    }

    /// Takes what was seen, unless something of a later start is known already.
    pub(crate) fn saw(&mut self, sighting: &Sighting, at: Timestamp) {
        if sighting.generation < self.observed.generation {
            return;
        }
        let same_start = sighting.generation == self.observed.generation;
        let running = matches!(sighting.observed, Observed::On | Observed::Paused);
        if !same_start || !running {
            self.ready_at = None;
        }
        self.observed = Observation { power: sighting.observed, at, generation: sighting.generation };
        self.ssh = sighting.ssh.clone().filter(|_| running);
    }

    /// Takes that nothing of it is there.
    pub(crate) fn saw_nothing(&mut self, at: Timestamp) {
        self.observed = Observation { power: Observed::Off, at, generation: self.observed.generation };
        self.ready_at = None;
        self.ssh = None;
    }
}

impl Record for Machine {
    const KIND: Kind = Kind::Machine;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        // What it is growing to counts already, so that nothing else takes the room.
        let coming = self.growing.unwrap_or_default();
        let stock = self.stock.as_ref();
        vec![
            ("name", self.name.as_str().into()),
            ("life", self.life.word().into()),
            ("wanted", self.wanted.word().into()),
            ("observed", self.observed.power.word().into()),
            ("owner", self.owner.0.into()),
            ("cluster", self.cluster.0.into()),
            ("host", self.host.0.into()),
            ("template", self.template.0.into()),
            ("task", self.task.map(|task| task.0).into()),
            ("vcpus", i64::from(self.vcpus.max(coming.0)).into()),
            ("memory_mib", i64::try_from(self.memory_mib.max(coming.1)).unwrap_or(i64::MAX).into()),
            ("created_at", self.created_at.0.into()),
            ("updated_at", self.updated_at.0.into()),
            ("title", self.title().into()),
            ("domain", self.domain.as_str().into()),
            ("description", self.description.as_str().into()),
            ("pool", stock.map(|stock| stock.pool.0).into()),
            ("stock", self.stock_word().into()),
            ("stocked_at", stock.and_then(|stock| stock.ready_at).map(|at| at.0).into()),
            ("lent_until", self.lent_until().map(|at| at.0).into()),
            ("borne_mib", i64::try_from(self.borne_mib()).unwrap_or(i64::MAX).into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "name": self.name, "life": self.life, "wanted": self.wanted,
            "observed": self.observed.power, "reason": self.reason, "task": self.task,
            "ready": self.ready_at.is_some(),
            "pool": self.stock.as_ref().map(|stock| stock.pool),
            "stock": self.stock.as_ref().map(|stock| stock.state),
        }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.owner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_are_single_lower_case_labels() {
        for good in ["a", "web-1", "0a", "v", "v1a", "vm1", &"a".repeat(63)] {
            assert!(good.parse::<HostName>().is_ok(), "{good}");
        }
        let id = Uuid::nil().to_string();
        for bad in
            ["", "A", "a.b", "-a", "a-", "a_b", "v1", "v3", "v001", "42", "a b", "ä", &id, &"a".repeat(64)]
        {
            assert!(bad.parse::<HostName>().is_err(), "{bad}");
        }
    }
}
