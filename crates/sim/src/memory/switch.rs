//! Networks that only take up names.

use super::lock;
use crate::faults::{Faults, Verb};
use hostler_core::ids::{HostId, NetworkId};
use hostler_core::ports::{DriverError, NetworkSpec, Switch};
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;

/// A switch that makes nothing and remembers what it was told. Clones are the same switch.
#[derive(Clone)]
pub struct SimSwitch {
    host: HostId,
    faults: Faults,
    networks: Arc<Mutex<BTreeMap<NetworkId, NetworkSpec>>>,
    events: broadcast::Sender<NetworkId>,
}

impl SimSwitch {
    /// A switch without networks.
    pub fn new(host: HostId, faults: Faults) -> Self {
        Self { host, faults, networks: Arc::default(), events: broadcast::Sender::new(64) }
    }

    /// A network as it was applied last.
    pub fn network(&self, id: NetworkId) -> Option<NetworkSpec> {
        lock(&self.networks).get(&id).cloned()
    }
}

impl fmt::Debug for SimSwitch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimSwitch({})", self.host)
    }
}

#[async_trait::async_trait]
impl Switch for SimSwitch {
    fn host(&self) -> HostId {
        self.host
    }

    fn problem(&self) -> Option<String> {
        None
    }

    async fn examine(&self, network: &NetworkSpec) -> Result<(), DriverError> {
        let taken = |other: &NetworkSpec| other.bridge == network.bridge && other.id != network.id;
        if lock(&self.networks).values().any(taken) {
            return Err(DriverError::refused(format!("there is another bridge {}", network.bridge)));
        }
        Ok(())
    }

    async fn apply(&self, network: &NetworkSpec) -> Result<(), DriverError> {
        self.faults.before(Verb::SwitchApply).await?;
        lock(&self.networks).insert(network.id, network.clone());
        self.faults.after(Verb::SwitchApply)
    }

    async fn remove(&self, network: NetworkId) -> Result<(), DriverError> {
        self.faults.before(Verb::SwitchRemove).await?;
        lock(&self.networks).remove(&network);
        self.faults.after(Verb::SwitchRemove)
    }

    async fn networks(&self) -> Result<Vec<NetworkId>, DriverError> {
        Ok(lock(&self.networks).keys().copied().collect())
    }

    async fn defects(&self, network: &NetworkSpec) -> Result<Vec<String>, DriverError> {
        let same = lock(&self.networks).get(&network.id) == Some(network);
        Ok(if same { Vec::new() } else { vec![format!("{} is not as it should be", network.bridge)] })
    }

    fn events(&self) -> broadcast::Receiver<NetworkId> {
        self.events.subscribe()
    }
}
