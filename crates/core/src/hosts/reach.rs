//! What a process can say and do about hosts that are not its own.

use super::Host;
use crate::core::{Core, LocalHost};
use crate::error::{Error, Result};
use crate::ids::{HostId, StorageId};
use crate::machines::{Machine, Observed};
use crate::tasks::Task;
use crate::time::Timestamp;
use crate::volumes::StoragePlace;
use std::collections::HashMap;
use std::sync::{PoisonError, RwLock};

/// A host whose process has not been heard of lately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Absence {
    pub(crate) name: String,
    pub(crate) since: Timestamp,
}

impl Absence {
    fn words(&self) -> String {
        format!("host {} has not been heard of since {}", self.name, self.since)
    }
}

/// The hosts that are absent, as this process knows it. A cache: [`Presence`](super::Presence) fills it anew every few
/// seconds, and it is empty where all hosts are our own.
#[derive(Debug, Default)]
pub(crate) struct Absences(RwLock<HashMap<HostId, Absence>>);

impl Absences {
    pub(super) fn replace(&self, absent: HashMap<HostId, Absence>) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for (id, absence) in &absent {
            if !known.contains_key(id) {
                tracing::warn!(host = absence.name, since = %absence.since, "a host is not heard of any more");
            }
        }
        for (id, absence) in known.iter().filter(|(id, _)| !absent.contains_key(id)) {
            tracing::info!(host = absence.name, host.id = %id, "a host is back");
        }
        *known = absent;
    }

    pub(crate) fn of(&self, host: HostId) -> Option<Absence> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(&host).cloned()
    }
}

impl Core {
    /// Whether this process acts on a host itself.
    pub fn is_here(&self, host: HostId) -> bool {
        self.local_hosts().iter().any(|local| local.hypervisor.host() == host)
    }

    /// Since when a host has not been heard of; none while its process lives.
    pub fn absent_since(&self, host: HostId) -> Option<Timestamp> {
        self.absences().of(host).map(|absence| absence.since)
    }

    /// A machine as it is shown: nobody can tell what a machine on an absent host does.
    pub(crate) fn shown_machine(&self, mut machine: Machine) -> Machine {
        if let Some(absence) = self.absences().of(machine.host) {
            machine.observed.power = Observed::Unknown;
            machine.ready_at = None;
            machine.reason = Some(absence.words());
        }
        machine
    }

    /// A task as it is shown: one that only an absent host's process may run says what it waits for.
    pub(crate) fn shown_task(&self, mut task: Task) -> Task {
        let absence = task.host.filter(|_| task.state.is_open()).and_then(|host| self.absences().of(host));
        if let Some(absence) = absence {
            task.message = format!("waiting for its host: {}", absence.words());
        }
        task
    }

    /// The drivers of a host, for what is done at once and not by a task.
    ///
    /// # Errors
    /// Conflict `other_host`, naming the host and the way to it.
    pub(crate) async fn host_here(&self, id: HostId, what: &str) -> Result<&LocalHost> {
        match self.host(id) {
            Ok(local) => Ok(local),
            Err(_) => Err(self.elsewhere(id, what).await?),
        }
    }

    async fn elsewhere(&self, id: HostId, what: &str) -> Result<Error> {
        let host: Host = self.get(id.0).await?;
        let text = format!(
            "{what} is on host {}, which another process serves; only that one can do this",
            host.name
        );
        let hint = match (self.absences().of(id), host.door) {
            (Some(absence), _) => format!("{}; start hostler there", absence.words()),
            (None, Some(door)) => format!("ask it there: on host {}, or with --url {door}", host.name),
            (None, None) => format!("ask it on host {}", host.name),
        };
        Ok(Error::conflict("other_host", text).hint(hint))
    }

    /// The storage of this key (id, number or name), or that of this process's own host.
    pub(crate) async fn storage_named(&self, key: Option<&str>) -> Result<StoragePlace> {
        let Some(key) = key else {
            let own = self.local_hosts().first().map(|local| local.storage.id());
            let own =
                own.ok_or_else(|| Error::invalid("storage", "this process has no storage: name one"))?;
            return self.get(own.0).await;
        };
        let found = match (key.parse::<StorageId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.find_by("name", key).await?,
        };
        found.ok_or_else(|| Error::invalid("storage", format!("there is no storage {key}")))
    }
}
