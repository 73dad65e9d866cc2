//! Bridges of this host, behind [`hostler_core::ports::Switch`].

use hostler_core::ids::{HostId, NetworkId};
use hostler_core::ports::{DriverError, NetworkSpec, Switch};

/// Makes networks with the kernel's bridges.
#[derive(Debug)]
pub struct LinuxSwitch {
    host: HostId,
}

impl LinuxSwitch {
    /// Touches nothing yet.
    pub fn new(host: HostId) -> Self {
        Self { host }
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
}
