//! What stands around machines that the caller has been shown: owners, places, templates, disks, addresses.
//!
//! Whoever sees a machine sees these, so no right is asked for again; one question of each kind serves a whole list.

use super::{Life, Machine, Observed};
use crate::access::{Account, Caller};
use crate::core::{Core, ListAsk, Page};
use crate::error::Result;
use crate::hosts::{Cluster, Host};
use crate::ids::{AccountId, AddressId, ClusterId, HostId, MachineId, NetworkId, TemplateId};
use crate::networks::{Address, Network};
use crate::query::Filter;
use crate::record::{Kind, Record, Value};
use crate::tasks::Task;
use crate::templates::Template;
use crate::volumes::Volume;
use std::collections::{BTreeSet, HashMap};
use uuid::Uuid;

/// Keys in one question, at most: engines bound how many a statement may have.
const KEYS: usize = 500;

/// What stands around machines or tasks, each by its key.
#[derive(Clone, Debug, Default)]
#[expect(missing_docs, reason = "the names say it all")]
pub struct Surroundings {
    pub machines: HashMap<MachineId, Machine>,
    pub clusters: HashMap<ClusterId, Cluster>,
    pub hosts: HashMap<HostId, Host>,
    pub owners: HashMap<AccountId, Account>,
    pub templates: HashMap<TemplateId, Template>,
    pub networks: HashMap<NetworkId, Network>,
    pub addresses: HashMap<AddressId, Address>,
    /// Each machine's in the order of their positions.
    pub volumes: HashMap<MachineId, Vec<Volume>>,
}

/// What the machines of a host come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HostLoad {
    /// Machines that are not gone.
    pub machines: u64,
    /// Those of them that are on.
    pub on: u64,
    /// Those that are off.
    pub off: u64,
    /// Those of which nobody can tell.
    pub unknown: u64,
    /// Their virtual CPUs.
    pub vcpus: i64,
    /// Their memory in MiB.
    pub memory_mib: i64,
}

impl Core {
    /// What stands around these machines.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn machine_surroundings(&self, machines: &[Machine]) -> Result<Surroundings> {
        let mut found = Surroundings {
            clusters: by_key(self.of_keys(machines.iter().map(|one| one.cluster.0)).await?, ClusterId),
            hosts: by_key(self.of_keys(machines.iter().map(|one| one.host.0)).await?, HostId),
            owners: by_key(self.of_keys(machines.iter().map(|one| one.owner.0)).await?, AccountId),
            templates: by_key(self.of_keys(machines.iter().map(|one| one.template.0)).await?, TemplateId),
            ..Surroundings::default()
        };
        let nics = || machines.iter().flat_map(|one| &one.nics);
        found.networks = by_key(self.of_keys(nics().map(|nic| nic.network.0)).await?, NetworkId);
        let addresses = nics().flat_map(|nic| &nic.addresses);
        found.addresses = by_key(self.of_keys(addresses.map(|id| id.0)).await?, AddressId);
        for some in machines.chunks(KEYS) {
            found.volumes.extend(self.volumes_on(some).await?);
        }
        Ok(found)
    }

    /// What stands around these tasks: the machines that they are about, who ordered them, where they run.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn task_surroundings(&self, tasks: &[Task]) -> Result<Surroundings> {
        let about = tasks.iter().filter(|task| task.subject_kind == Kind::Machine.word());
        Ok(Surroundings {
            machines: by_key(self.of_keys(about.map(|task| task.subject)).await?, MachineId),
            owners: by_key(self.of_keys(tasks.iter().map(|task| task.owner.0)).await?, AccountId),
            hosts: by_key(self.of_keys(tasks.iter().filter_map(|task| Some(task.host?.0))).await?, HostId),
            ..Surroundings::default()
        })
    }

    /// The addresses of one machine.
    ///
    /// # Errors
    /// Not found, also when the machine is somebody else's.
    pub async fn machine_address_list(
        &self,
        caller: &Caller,
        key: &str,
        mut ask: ListAsk,
    ) -> Result<Page<Address>> {
        let machine = self.machine_get(caller, key).await?;
        ask.filter = Filter::eq("machine", machine.id.0).and(ask.filter);
        self.page(ask).await
    }

    /// What the machines of a host come to, whoever's they are.
    ///
    /// # Errors
    /// Denied for whoever does not see everything.
    pub async fn host_load(&self, caller: &Caller, host: HostId) -> Result<HostLoad> {
        if !caller.sees_everything() {
            let text = "only an administrator may ask how full a host is";
            return Err(self.deny(caller, "host.load", Some((Kind::Host, host.0)), text).await);
        }
        let there = || Filter::eq("host", host.0).and(Filter::ne("life", Life::Gone.word()));
        let seen = |power: Observed| there().and(Filter::eq("observed", power.word()));
        let count = |filter| self.store().count(Kind::Machine, filter);
        Ok(HostLoad {
            machines: count(there()).await?,
            on: count(seen(Observed::On)).await? + count(seen(Observed::Paused)).await?,
            off: count(seen(Observed::Off)).await?,
            unknown: count(seen(Observed::Unknown)).await?,
            vcpus: self.store().sum(Kind::Machine, "vcpus", there()).await?,
            memory_mib: self.store().sum(Kind::Machine, "memory_mib", there()).await?,
        })
    }

    async fn of_keys<R: Record>(&self, keys: impl Iterator<Item = Uuid>) -> Result<Vec<R>> {
        let keys: Vec<Value> = keys.collect::<BTreeSet<_>>().into_iter().map(Value::Id).collect();
        let mut found = Vec::with_capacity(keys.len());
        for some in keys.chunks(KEYS) {
            found.extend(self.all::<R>(Filter::In("id", some.to_vec())).await?);
        }
        Ok(found)
    }
}

fn by_key<R: Record, I: std::hash::Hash + Eq>(records: Vec<R>, id: impl Fn(Uuid) -> I) -> HashMap<I, R> {
    records.into_iter().map(|record| (id(record.key()), record)).collect()
}
