//! How processes know of each other: each says every few seconds that it lives, and looks who else does.
//!
//! Clocks of hosts differ, so nobody compares times of others with its own: a host is absent when its record has not
//! been renewed for a lease's time of our clock.

use super::Host;
use super::reach::Absence;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::HostId;
use crate::ports::{Alteration, Commit, StoreError};
use crate::query::Filter;
use crate::record::Record;
use crate::time::Timestamp;
use std::collections::HashMap;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A host that has not been heard of for this long is absent.
pub const HOST_LEASE: Duration = Duration::from_secs(15);

/// Says that this process lives, and finds out which hosts' processes do not.
#[derive(Debug)]
pub struct Presence {
    core: Core,
    process: Uuid,
    /// What each other host said last, and when by our clock we heard it.
    heard: HashMap<HostId, (Option<Timestamp>, Timestamp)>,
}

impl Presence {
    /// For this start of a process.
    pub fn new(core: Core, process: Uuid) -> Self {
        Self { core, process, heard: HashMap::new() }
    }

    /// Goes on until `stop`.
    ///
    /// # Errors
    /// Conflict `host_served` when another process has taken a host of ours: nothing may be done on it any more.
    pub async fn run(mut self, stop: CancellationToken) -> Result<()> {
        loop {
            match self.pulse().await {
                Err(error) if error.code == "host_served" => return Err(error),
                Err(error) => tracing::warn!(error = error.chain(), "cannot say that this host lives"),
                Ok(()) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.core.clock().sleep(HOST_LEASE / 3) => {}
            }
        }
    }

    /// Once.
    ///
    /// # Errors
    /// As [`Presence::run`], and those of the store.
    pub async fn pulse(&mut self) -> Result<()> {
        for id in self.ours() {
            self.renew(id).await?;
        }
        self.look_around().await
    }

    fn ours(&self) -> Vec<HostId> {
        self.core.local_hosts().iter().map(|local| local.hypervisor.host()).collect()
    }

    /// A renewal is nobody's news: it makes no event.
    async fn renew(&self, id: HostId) -> Result<()> {
        loop {
            let mut host: Host = self.core.get(id.0).await?;
            if host.process != Some(self.process) {
                let text = format!("another process has taken over host {}", host.name);
                return Err(Error::conflict("host_served", text)
                    .hint("was its data directory copied? Each host needs one of its own"));
            }
            host.seen_at = Some(self.core.now());
            let alterations = vec![Alteration::Update(host.document()?)];
            match self.core.store().commit(Commit { alterations, ..Commit::default() }).await {
                Ok(_) => return Ok(()),
                Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    async fn look_around(&mut self) -> Result<()> {
        let (ours, now) = (self.ours(), self.core.now());
        let mut absent = HashMap::new();
        for host in self.core.all::<Host>(Filter::All).await? {
            if ours.contains(&host.id) {
                continue;
            }
            let at = self.heard(&host, now);
            if now.since(at) > HOST_LEASE {
                let since = host.seen_at.unwrap_or(host.created_at);
                absent.insert(host.id, Absence { name: host.name, since });
            }
        }
        self.core.absences().replace(absent);
        Ok(())
    }

    /// When, by our clock, a host was last heard of.
    fn heard(&mut self, host: &Host, now: Timestamp) -> Timestamp {
        // What was said before we came is taken at its word, as nothing else is known.
        let first = (host.seen_at, host.seen_at.unwrap_or(host.created_at).min(now));
        let known = self.heard.entry(host.id).or_insert(first);
        if known.0 != host.seen_at {
            *known = (host.seen_at, now);
        }
        known.1
    }
}
