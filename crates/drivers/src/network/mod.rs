//! Bridges of this host, behind [`hostler_core::ports::Switch`].

mod names;
mod netlink;
mod sysctl;
pub(crate) mod tap;

use hostler_core::ids::{HostId, NetworkId};
use hostler_core::ports::{DriverError, NetworkSpec, Switch};
use tokio::sync::broadcast;

/// Makes networks with the kernel's bridges.
#[derive(Debug)]
pub struct LinuxSwitch {
    host: HostId,
    events: broadcast::Sender<NetworkId>,
}

impl LinuxSwitch {
    /// Touches nothing yet.
    pub fn new(host: HostId) -> Self {
        Self { host, events: broadcast::Sender::new(64) }
    }
}

#[async_trait::async_trait]
impl Switch for LinuxSwitch {
    fn host(&self) -> HostId {
        self.host
    }

    fn problem(&self) -> Option<String> {
        Some("bridges cannot be made yet".into())
    }

    async fn examine(&self, _network: &NetworkSpec) -> Result<(), DriverError> {
        Err(DriverError::unsupported("bridges cannot be made yet"))
    }

    async fn apply(&self, _network: &NetworkSpec) -> Result<(), DriverError> {
        Err(DriverError::unsupported("bridges cannot be made yet"))
    }

    async fn remove(&self, _network: NetworkId) -> Result<(), DriverError> {
        Ok(())
    }

    async fn networks(&self) -> Result<Vec<NetworkId>, DriverError> {
        Ok(Vec::new())
    }

    async fn defects(&self, _network: &NetworkSpec) -> Result<Vec<String>, DriverError> {
        Ok(Vec::new())
    }

    fn events(&self) -> broadcast::Receiver<NetworkId> {
        self.events.subscribe()
    }
}
