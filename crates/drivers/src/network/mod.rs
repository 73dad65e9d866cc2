//! Bridges of this host, behind [`hostler_core::ports::Switch`].
//!
//! A network is a bridge ([`bridge`]), rules by which guests speak only as themselves ([`rules`]), and a dnsmasq that
//! gives them their addresses and resolves their names ([`services`], [`service`]). A guest's cable is a tap ([`tap`]).
//! All names on the host derive from ids ([`names`]), and `networks/<id>/` in the data directory says what is there
//! ([`home`]). Nothing of the host's own configuration is touched: tables, bridges, taps and settings are ours alone.

mod bridge;
mod home;
mod names;
mod netlink;
mod nft;
mod rules;
mod service;
mod services;
mod sysctl;
pub(crate) mod tap;
#[cfg(test)]
mod tests;

use crate::layout::Layout;
use crate::spawn::find_system_program;
use home::{NetworkHome, Told};
use hostler_core::fail::fail_point;
use hostler_core::ids::{HostId, NetworkId};
use hostler_core::ports::{DriverError, NetworkSpec, Switch};
use netlink::Netlink;
use service::Watched;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use tokio::sync::{Mutex, broadcast};

/// Makes networks with the kernel's bridges.
#[derive(Debug)]
pub struct LinuxSwitch {
    host: HostId,
    networks: PathBuf,
    tools: Result<Tools, String>,
    /// Each network's dnsmasq as far as we know it. Held while networks are changed: one at a time.
    services: Mutex<HashMap<NetworkId, Watched>>,
    events: broadcast::Sender<NetworkId>,
}

#[derive(Debug)]
struct Tools {
    nft: PathBuf,
    dnsmasq: PathBuf,
}

impl Tools {
    /// What it takes to make bridges here, or why they cannot be made.
    fn find() -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("hostler does not run as root".into());
        }
        if !Path::new("/dev/net/tun").exists() {
            return Err("there is no /dev/net/tun".into());
        }
        let program = |name: &str, package: &str| {
            find_system_program(name).ok_or_else(|| format!("there is no program {name} (package {package})"))
        };
        Ok(Self { nft: program("nft", "nftables")?, dnsmasq: program("dnsmasq", "dnsmasq-base")? })
    }
}

impl LinuxSwitch {
    /// Looks for the programs that it needs and touches nothing yet.
    pub fn new(host: HostId, data_dir: &Path) -> Self {
        Self {
            host,
            networks: Layout::new(data_dir).networks(),
            tools: Tools::find(),
            services: Mutex::default(),
            events: broadcast::Sender::new(64),
        }
    }

    fn tools(&self) -> Result<&Tools, DriverError> {
        let unsupported =
            |why: &String| DriverError::unsupported(format!("bridges cannot be made here: {why}"));
        self.tools.as_ref().map_err(unsupported)
    }

    fn home(&self, network: NetworkId) -> NetworkHome {
        NetworkHome::new(&self.networks, network)
    }

    async fn apply_rules(&self, tools: &Tools, spec: &NetworkSpec) -> Result<(), DriverError> {
        let (home, text, table) = (self.home(spec.id), rules::rules(spec), names::table(&spec.bridge));
        let listing = nft::listing(&tools.nft, &table).await?;
        if home.has_rules(&text, listing.as_deref()) {
            return Ok(());
        }
        nft::load(&tools.nft, &text).await?;
        let listing = nft::listing(&tools.nft, &table).await?;
        home.write_rules(&text, listing.as_deref())
    }

    async fn apply_service(
        &self,
        tools: &Tools,
        spec: &NetworkSpec,
        services: &mut HashMap<NetworkId, Watched>,
    ) -> Result<(), DriverError> {
        let running = self.running(spec.id, services).await?;
        if !services::wanted(spec) {
            return self.end_service(spec.id, services).await;
        }
        let home = self.home(spec.id);
        let config = services::config(spec, service::user());
        match (home.tell(&config, &services::hosts(spec), &services::cards(spec))?, running) {
            (Told::Same, true) => {}
            (Told::Guests, true) => {
                if let Some(watched) = services.get(&spec.id) {
                    service::reload(&watched.process);
                }
            }
            (Told::Config, _) | (_, false) => {
                self.end_service(spec.id, services).await?;
                fail_point("network.service_starting");
                let process = service::start(&tools.dnsmasq, &home, spec.id).await?;
                tracing::info!(network.id = %spec.id, pid = process.pid, "dnsmasq started");
                self.watch(spec.id, process, services);
            }
        }
        Ok(())
    }

    /// Whether the network's dnsmasq runs; one that an earlier server started is found by its arguments.
    async fn running(
        &self,
        network: NetworkId,
        services: &mut HashMap<NetworkId, Watched>,
    ) -> Result<bool, DriverError> {
        if let Some(watched) = services.get(&network) {
            if watched.process.is_alive() {
                return Ok(true);
            }
            services.remove(&network);
            return Ok(false);
        }
        let Some(process) = service::find(network).await? else { return Ok(false) };
        self.watch(network, process, services);
        Ok(true)
    }

    fn watch(
        &self,
        network: NetworkId,
        process: crate::qemu::process::Process,
        services: &mut HashMap<NetworkId, Watched>,
    ) {
        let events = self.events.clone();
        let ended = move || {
            tracing::warn!(network.id = %network, "dnsmasq has ended by itself");
            // Nobody may be listening.
            let _ = events.send(network);
        };
        services.insert(network, Watched::new(process, ended));
    }

    async fn end_service(
        &self,
        network: NetworkId,
        services: &mut HashMap<NetworkId, Watched>,
    ) -> Result<(), DriverError> {
        if let Some(watched) = services.remove(&network) {
            let process = watched.process.clone();
            drop(watched);
            return service::end(&process).await;
        }
        Ok(())
    }
}

#[async_trait::async_trait]
impl Switch for LinuxSwitch {
    fn host(&self) -> HostId {
        self.host
    }

    fn problem(&self) -> Option<String> {
        self.tools.as_ref().err().cloned()
    }

    async fn examine(&self, network: &NetworkSpec) -> Result<(), DriverError> {
        self.tools()?;
        bridge::examine(&Netlink::open()?, network).await
    }

    async fn apply(&self, network: &NetworkSpec) -> Result<(), DriverError> {
        let tools = self.tools()?;
        let mut services = self.services.lock().await;
        let netlink = Netlink::open()?;
        bridge::find(&netlink, &network.bridge, network.id).await?;
        let home = self.home(network.id);
        home.record(network)?;
        fail_point("network.recorded");
        // Rules first: no guest is ever heard without them.
        self.apply_rules(tools, network).await?;
        fail_point("network.ruled");
        bridge::apply(&netlink, network).await?;
        fail_point("network.bridged");
        self.apply_service(tools, network, &mut services).await
    }

    async fn remove(&self, network: NetworkId) -> Result<(), DriverError> {
        let mut services = self.services.lock().await;
        self.running(network, &mut services).await?;
        self.end_service(network, &mut services).await?;
        let home = self.home(network);
        if let Some(spec) = home.spec() {
            let tools = self.tools()?;
            bridge::remove(&Netlink::open()?, &spec).await?;
            fail_point("network.unbridged");
            nft::load(&tools.nft, &rules::removal(&spec.bridge)).await?;
        }
        home.remove()
    }

    async fn networks(&self) -> Result<Vec<NetworkId>, DriverError> {
        home::all(&self.networks)
    }

    async fn defects(&self, network: &NetworkSpec) -> Result<Vec<String>, DriverError> {
        let tools = self.tools()?;
        let mut services = self.services.lock().await;
        let mut found = bridge::defects(&Netlink::open()?, network).await?;
        let listing = nft::listing(&tools.nft, &names::table(&network.bridge)).await?;
        if listing.is_none() {
            found.push(format!("the rules of {} are not there", network.bridge));
        } else if !self.home(network.id).has_listing(listing.as_deref()) {
            found.push(format!("somebody changed the rules of {}", network.bridge));
        }
        if services::wanted(network) && !self.running(network.id, &mut services).await? {
            found.push(format!("dnsmasq of {} does not run", network.bridge));
        }
        Ok(found)
    }

    fn events(&self) -> broadcast::Receiver<NetworkId> {
        self.events.subscribe()
    }
}
