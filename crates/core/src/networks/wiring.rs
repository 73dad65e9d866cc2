//! From records to what a host's switch is told, and the telling.
//!
//! Records are read and the switch is told under one lock: what is told last was read last. What cannot be done now is
//! tried again by the [`NetworkKeeper`](crate::reconcile::NetworkKeeper).

use super::{Address, Network, NetworkKind};
use crate::core::{Core, LocalHost};
use crate::error::{Error, Result};
use crate::hosts::Host;
use crate::ids::{AddressId, NetworkId};
use crate::machines::Machine;
use crate::ports::{DriverError, NetworkSpec, Port};
use crate::query::Filter;
use crate::tasks::StepError;
use std::collections::{BTreeSet, HashMap};
use std::net::IpAddr;

impl Core {
    /// Whether the network can be made on the hosts of this process.
    pub(super) async fn network_examined(&self, network: &Network) -> Result<()> {
        for local in self.hosts_of(network).await? {
            if let Some(problem) = local.switch.problem() {
                let text = format!("this host cannot make bridges: {problem}");
                return Err(Error::unsupported(text).hint("`hostler doctor` says what is missing"));
            }
            local.switch.examine(&self.network_spec(local, network).await?).await?;
        }
        Ok(())
    }

    /// Makes a network that is in the books now. What fails is said in the log and tried again.
    pub(super) async fn network_made(&self, network: &Network) {
        self.network_told(network.id, "a network cannot be made yet").await;
    }

    /// Tells the hosts of this process what a network is now; what fails is said in the log and tried again.
    pub(crate) async fn network_told(&self, network: NetworkId, failure: &str) {
        for local in self.local_hosts() {
            if let Err(error) = self.network_wired(local, network).await {
                tracing::warn!(network.id = %network, error = error.chain(), "{failure}");
            }
        }
    }

    /// Removes a network that is no longer in the books. What fails is said in the log and tried again.
    pub(super) async fn network_unmade(&self, network: &Network) {
        let _turn = self.wiring().lock().await;
        for local in self.local_hosts() {
            if let Err(error) = local.switch.remove(network.id).await {
                tracing::warn!(network = network.name, %error, "a network cannot be removed yet");
            }
        }
    }

    /// Makes one network of this host as its record says, if it is a bridge.
    ///
    /// # Errors
    /// Not found; those of the switch.
    pub async fn network_wired(&self, local: &LocalHost, id: NetworkId) -> Result<()> {
        Ok(self.network_applied(local, id).await??)
    }

    /// What core refuses and what the switch fails at stay apart: a task tries the latter again when that can help.
    async fn network_applied(&self, local: &LocalHost, id: NetworkId) -> Result<Result<(), DriverError>> {
        let _turn = self.wiring().lock().await;
        let network: Network = self.get(id.0).await?;
        if network.kind != NetworkKind::Bridge {
            return Ok(Ok(()));
        }
        Ok(local.switch.apply(&self.network_spec(local, &network).await?).await)
    }

    /// Makes the networks of a machine ready for it: before its guest is heard, the rules know it.
    pub(crate) async fn networks_ready(&self, machine: &Machine) -> Result<(), StepError> {
        let networks: BTreeSet<NetworkId> = machine.nics.iter().map(|nic| nic.network).collect();
        for network in networks {
            self.network_applied(self.host(machine.host)?, network).await??;
        }
        Ok(())
    }

    /// Makes all networks of this host as the records say, and removes those of which there is no record any more.
    /// One that fails does not keep the others from being made; the first failure is answered.
    ///
    /// # Errors
    /// Those of the switch and of the store.
    pub async fn networks_settled(&self, local: &LocalHost) -> Result<()> {
        let networks = self.bridges_of(local).await?;
        if networks.is_empty() && local.switch.problem().is_some() {
            return Ok(());
        }
        let mut failed = None;
        for network in &networks {
            match self.network_wired(local, network.id).await {
                Err(error) if error.code == "not_found" => {}
                Err(error) => failed = failed.or(Some(error)),
                Ok(()) => {}
            }
        }
        let _turn = self.wiring().lock().await;
        for id in local.switch.networks().await? {
            if self.find::<Network>(id.0).await?.is_none()
                && let Err(error) = local.switch.remove(id).await
            {
                failed = failed.or(Some(error.into()));
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// The bridges that a host shall have.
    pub(crate) async fn bridges_of(&self, local: &LocalHost) -> Result<Vec<Network>> {
        let host: Host = self.get(local.switch.host().0).await?;
        let mut networks: Vec<Network> = self.all(Filter::eq("cluster", host.cluster.0)).await?;
        networks.retain(|network| network.kind == NetworkKind::Bridge);
        Ok(networks)
    }

    async fn hosts_of(&self, network: &Network) -> Result<Vec<&LocalHost>> {
        let mut found = Vec::new();
        for local in self.local_hosts() {
            let host: Host = self.get(local.switch.host().0).await?;
            if host.cluster == network.cluster {
                found.push(local);
            }
        }
        Ok(found)
    }

    /// What a host's switch is told about a network.
    pub(crate) async fn network_spec(&self, local: &LocalHost, network: &Network) -> Result<NetworkSpec> {
        let here = Filter::eq("host", local.switch.host().0);
        let machines = self.machines_on(network, here).await?;
        let taken: Vec<Address> = self.all(Filter::eq("network", network.id.0)).await?;
        let addresses: HashMap<AddressId, IpAddr> = taken.iter().map(|one| (one.id, one.ip)).collect();
        let pools = self.pools().await?;
        let mut ports: Vec<Port> = Vec::new();
        for machine in &machines {
            let pool =
                machine.stock.as_ref().and_then(|stock| pools.iter().find(|pool| pool.id == stock.pool));
            for nic in machine.nics.iter().filter(|nic| nic.network == network.id) {
                ports.push(Port {
                    machine: machine.id,
                    name: machine.name.to_string(),
                    domain: pool.and_then(|pool| pool.spec.domain.clone()),
                    mac: nic.mac.clone(),
                    addresses: nic.addresses.iter().filter_map(|id| addresses.get(id).copied()).collect(),
                    inbound: nic.inbound.clone(),
                });
            }
        }
        let nameless = || Error::internal(format!("network {} has no bridge", network.name));
        Ok(NetworkSpec {
            id: network.id,
            bridge: network.bridge.clone().ok_or_else(nameless)?,
            uplink: network.uplink.clone(),
            subnets: network.subnets.clone(),
            domain: network.domain.clone(),
            resolvers: network.resolvers.clone(),
            ports,
        })
    }
}
