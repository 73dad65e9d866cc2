//! Maintenance: an administrator's word that nobody may change anything for a while.
//!
//! It is kept in the first cluster's record, so all processes of an installation heed it and it outlives them. Each
//! process knows it from memory ([`Core::maintenance`]), filled at its start, by its own command, by the events of the
//! others, and every few seconds in case one was missed ([`MaintenanceKeeper`]).
//!
//! While it is on, doors answer nearly everything with [`Maintenance::refusal`]. Tasks that have begun go on to their
//! end, also after a restart: to stop a machine half-made would be worse. Tasks that have not begun wait.

use crate::access::Caller;
use crate::core::{Attempt, Core, decided};
use crate::error::{Error, ErrorKind, Result};
use crate::events::Event;
use crate::hosts::Cluster;
use crate::record::Kind;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, watch};
use tokio_util::sync::CancellationToken;

/// Without any news the record is read this often.
const LOOK: Duration = Duration::from_secs(3);
/// A sensible pause for whoever is turned away.
const PAUSE_S: u32 = 5;
/// Characters of a reason, at most.
const REASON: usize = 500;

/// Since when, by whom and why nothing may be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Maintenance {
    /// When it began.
    pub since: Timestamp,
    /// Login name of who began it.
    pub by: String,
    /// Why, shown to everybody; empty when nothing was said.
    pub reason: String,
}

impl Maintenance {
    /// What doors answer meanwhile; the request has had no effect.
    pub fn refusal(&self) -> Error {
        let text = match self.reason.as_str() {
            "" => "hostler is in maintenance".to_owned(),
            reason => format!("hostler is in maintenance: {reason}"),
        };
        Error::new(ErrorKind::Unavailable { retry_after_s: PAUSE_S }, "maintenance", text)
    }
}

/// What this process knows of it.
#[derive(Debug)]
pub(crate) struct Known(watch::Sender<Option<Arc<Maintenance>>>);

impl Default for Known {
    fn default() -> Self {
        Self(watch::Sender::new(None))
    }
}

impl Known {
    fn replace(&self, maintenance: Option<Maintenance>) {
        self.0.send_if_modified(|known| {
            if known.as_deref() == maintenance.as_ref() {
                return false;
            }
            match &maintenance {
                Some(Maintenance { by, reason, .. }) => tracing::warn!(by, reason, "maintenance is on"),
                None => tracing::info!("maintenance is off"),
            }
            *known = maintenance.map(Arc::new);
            true
        });
    }
}

impl Core {
    /// Whether maintenance is on, as this process knows it.
    pub fn maintenance(&self) -> Option<Arc<Maintenance>> {
        self.known_maintenance().0.borrow().clone()
    }

    /// Tells when that changes.
    pub(crate) fn maintenance_changes(&self) -> watch::Receiver<Option<Arc<Maintenance>>> {
        self.known_maintenance().0.subscribe()
    }

    /// The same as it is in the store.
    ///
    /// # Errors
    /// Denied for anybody but administrators.
    pub async fn maintenance_get(&self, caller: &Caller) -> Result<Option<Arc<Maintenance>>> {
        self.administers(caller, "maintenance.ask", "ask about maintenance").await?;
        self.maintenance_refresh().await?;
        Ok(self.maintenance())
    }

    /// Begins maintenance, with a reason for everybody, or ends it with none. This process heeds it when this returns,
    /// the others within moments. Of one that is on already only the reason changes.
    ///
    /// # Errors
    /// Denied for anybody but administrators; invalid, when the reason is too long or has control characters.
    pub async fn maintenance_set(
        &self,
        caller: &Caller,
        reason: Option<&str>,
    ) -> Result<Option<Arc<Maintenance>>> {
        let action = if reason.is_some() { "maintenance.begin" } else { "maintenance.end" };
        self.administers(caller, action, "begin or end maintenance").await?;
        if reason.is_some_and(|reason| reason.chars().count() > REASON || reason.contains(char::is_control)) {
            return Err(Error::invalid(
                "reason",
                format!("it has at most {REASON} characters, all on one line"),
            ));
        }
        let by = self.account_own(caller).await?.login;
        let wanted = decided(async || self.set(caller, &by, reason).await).await?;
        self.known_maintenance().replace(wanted);
        Ok(self.maintenance())
    }

    async fn set(
        &self,
        caller: &Caller,
        by: &str,
        reason: Option<&str>,
    ) -> Result<Option<Maintenance>, Attempt> {
        let mut cluster: Cluster = self.first().await?;
        let wanted = reason.map(|reason| {
            let begun = cluster.maintenance.clone().map(|begun| (begun.since, begun.by));
            let (since, by) = begun.unwrap_or_else(|| (self.now(), by.to_owned()));
            Maintenance { since, by, reason: reason.to_owned() }
        });
        if cluster.maintenance != wanted {
            cluster.maintenance.clone_from(&wanted);
            let mut changes = self.changes();
            changes.update(&cluster)?;
            let action = if wanted.is_some() { "maintenance.begin" } else { "maintenance.end" };
            self.deed_about(&mut changes, caller, action, ("cluster", cluster.id.0, &cluster.name))?;
            self.commit(changes).await?;
        }
        Ok(wanted)
    }

    /// Reads from the store whether maintenance is on.
    ///
    /// # Errors
    /// Those of the store; what was known before still counts.
    pub async fn maintenance_refresh(&self) -> Result<()> {
        let cluster: Cluster = self.first().await?;
        self.known_maintenance().replace(cluster.maintenance);
        Ok(())
    }
}

/// Keeps what a process knows of maintenance true.
#[derive(Debug)]
pub struct MaintenanceKeeper {
    core: Core,
}

impl MaintenanceKeeper {
    /// For this process.
    pub fn new(core: Core) -> Self {
        Self { core }
    }

    /// Goes on until `stop`.
    pub async fn run(self, stop: CancellationToken) {
        let mut events = self.core.event_feed();
        loop {
            if let Err(error) = self.core.maintenance_refresh().await {
                tracing::warn!(error = error.chain(), "cannot see whether maintenance is on");
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock().sleep(LOOK) => {}
                () = cluster_news(&mut events) => {}
            }
        }
    }
}

/// Returns when something happened to a cluster, or when news may have been missed.
async fn cluster_news(events: &mut broadcast::Receiver<Arc<Event>>) {
    loop {
        match events.recv().await {
            Ok(event) if event.event.kind != Kind::Cluster => {}
            Ok(_) | Err(broadcast::error::RecvError::Lagged(_)) => return,
            Err(broadcast::error::RecvError::Closed) => return std::future::pending().await,
        }
    }
}
