//! What the doors of one process share.

use crate::client::TrustedProxies;
use crate::login::Failures;
use crate::ops::Metrics;
use crate::vmpooler;
use hostler_core::time::Timestamp;
use hostler_core::{Core, Result};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use uuid::Uuid;

/// What the doors of one process share. Cheap to clone; all clones are one.
#[derive(Clone, Debug)]
pub struct DoorState {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    core: Core,
    started: Timestamp,
    shutdown: CancellationToken,
    streams: TaskTracker,
    metrics: Metrics,
    failures: Failures,
    proxies: TrustedProxies,
    templates: Mutex<HashMap<Uuid, (String, u32)>>,
    host_keys: Mutex<HashMap<Uuid, String>>,
    requests: AtomicU64,
    vmpooler: vmpooler::Settings,
    vmpooler_counters: vmpooler::Counters,
    vmpooler_limits: vmpooler::Limits,
}

/// Names of templates remembered, at most.
const TEMPLATES_KEPT: usize = 4096;
/// Host keys remembered, at most: some 200 bytes each.
const HOST_KEYS_KEPT: usize = 16_384;

impl DoorState {
    /// Doors over this core, started now. When `shutdown` is cancelled, streams end and `/readyz` says no.
    pub fn new(core: Core, shutdown: CancellationToken) -> Self {
        Self::behind(core, shutdown, TrustedProxies::default())
    }

    /// The same, behind proxies that may say on whose behalf they ask.
    pub fn behind(core: Core, shutdown: CancellationToken, proxies: TrustedProxies) -> Self {
        Self::set(core, shutdown, proxies, vmpooler::Settings::default())
    }

    /// The same, with vmpooler's door set so.
    pub fn set(
        core: Core,
        shutdown: CancellationToken,
        proxies: TrustedProxies,
        vmpooler: vmpooler::Settings,
    ) -> Self {
        let started = core.clock().now();
        let shared = Shared {
            metrics: Metrics::new(started),
            core,
            started,
            shutdown,
            streams: TaskTracker::new(),
            failures: Failures::default(),
            proxies,
            templates: Mutex::default(),
            host_keys: Mutex::default(),
            requests: AtomicU64::new(0),
            vmpooler,
            vmpooler_counters: vmpooler::Counters::default(),
            vmpooler_limits: vmpooler::Limits::default(),
        };
        Self { shared: Arc::new(shared) }
    }

    /// The domain.
    pub fn core(&self) -> &Core {
        &self.shared.core
    }

    /// When this process was started.
    pub fn started(&self) -> Timestamp {
        self.shared.started
    }

    /// Cancelled when the server shuts down.
    pub fn shutdown(&self) -> &CancellationToken {
        &self.shared.shutdown
    }

    /// Open consoles. They end by themselves after `shutdown`; whoever serves may wait for that.
    pub fn streams(&self) -> &TaskTracker {
        &self.shared.streams
    }

    /// What `/metrics` shows.
    pub fn metrics(&self) -> &Metrics {
        &self.shared.metrics
    }

    pub(crate) fn failures(&self) -> &Failures {
        &self.shared.failures
    }

    pub(crate) fn proxies(&self) -> &TrustedProxies {
        &self.shared.proxies
    }

    /// What is set for vmpooler's door.
    pub(crate) fn vmpooler(&self) -> &vmpooler::Settings {
        &self.shared.vmpooler
    }

    pub(crate) fn vmpooler_counters(&self) -> &vmpooler::Counters {
        &self.shared.vmpooler_counters
    }

    pub(crate) fn vmpooler_limits(&self) -> &vmpooler::Limits {
        &self.shared.vmpooler_limits
    }

    /// A name for the next request: when this process was started, and how many requests came before.
    pub(crate) fn request_id(&self) -> String {
        let before = self.shared.requests.fetch_add(1, Ordering::Relaxed);
        format!("{:x}-{before}", self.shared.started.0)
    }

    /// Name and version of a template. They never change, so they are remembered; null when its record is gone.
    pub(crate) async fn template_name(
        &self,
        caller: &hostler_core::access::Caller,
        id: Uuid,
    ) -> Result<Option<(String, u32)>> {
        let known = || self.shared.templates.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = known().get(&id) {
            return Ok(Some(found.clone()));
        }
        let template = match self.core().template_get(caller, &id.to_string()).await {
            Ok(template) => template,
            Err(error) if error.kind == hostler_core::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let found = (template.name, template.version);
        let mut names = known();
        if names.len() >= TEMPLATES_KEPT {
            names.clear();
        }
        names.insert(id, found.clone());
        Ok(Some(found))
    }

    /// The public SSH host key of a machine. Deriving it was a seventh of the work of a read, and it never changes, so
    /// it is remembered.
    pub(crate) fn host_key(&self, machine: &hostler_core::machines::Machine) -> Result<String> {
        let known = || self.shared.host_keys.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(key) = known().get(&machine.id.0) {
            return Ok(key.clone());
        }
        let key = self.core().machine_host_key(machine)?;
        let mut keys = known();
        if keys.len() >= HOST_KEYS_KEPT {
            keys.clear();
        }
        keys.insert(machine.id.0, key.clone());
        Ok(key)
    }
}
