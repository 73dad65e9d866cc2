//! What callers may ask about networks.

use super::check::check;
use super::{Network, NetworkKind, Range};
use crate::access::{Caller, Object, acts};
use crate::core::{Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::hosts::Cluster;
use crate::ids::NetworkId;
use crate::machines::{Life, Machine};
use crate::ports::{Subnet, Uplink};
use crate::query::Filter;
use crate::record::Kind;
use std::net::IpAddr;

/// A network to be added.
#[derive(Clone, Debug)]
pub struct NetworkAsk {
    /// Unique name.
    pub name: String,
    /// How it is made.
    pub kind: NetworkKind,
    /// Whether guests of a user network may reach anything but us.
    pub outbound: bool,
    /// Where a bridge leads.
    pub uplink: Uplink,
    /// Name of the bridge; made up when left out.
    pub bridge: Option<String>,
    /// Its subnets, one of each family at most.
    pub subnets: Vec<Subnet>,
    /// Addresses that may be given out.
    pub ranges: Vec<Range>,
    /// Domain of its machines' names.
    pub domain: Option<String>,
    /// Where its DNS asks for names of others.
    pub resolvers: Vec<IpAddr>,
}

impl Core {
    /// Adds a network. A bridge is made at once on the hosts of this process, and by the others when they hear of it.
    ///
    /// # Errors
    /// Denied; invalid; conflict `name_taken`, `overlap`, `refused` when something is in the way on the host;
    /// unsupported when the host cannot make bridges.
    pub async fn network_create(&self, caller: &Caller, ask: &NetworkAsk) -> Result<Network> {
        self.administers(caller, "network.create", "add networks").await?;
        check(ask)?;
        let network = decided(async || {
            let cluster: Cluster = self.first().await?;
            let mut network = self.network_drafted(ask, &cluster);
            let others: Vec<Network> = self.all(Filter::eq("cluster", cluster.id.0)).await?;
            clear_of(&network, &others)?;
            if network.kind == NetworkKind::Bridge {
                self.network_examined(&network).await?;
            }
            let mut changes = self.changes();
            // Whoever adds a network at the same time is seen by one of the two.
            changes.update(&cluster)?;
            changes.insert(&network)?;
            self.deed(&mut changes, caller, "network.create", &network)?;
            let stamp = self.commit(changes).await?.stamps[1];
            (network.number, network.rev) = (stamp.number, stamp.rev);
            Ok(network)
        })
        .await?;
        self.network_made(&network).await;
        Ok(network)
    }

    fn network_drafted(&self, ask: &NetworkAsk, cluster: &Cluster) -> Network {
        let id = NetworkId(self.ids().uuid());
        let is_bridge = ask.kind == NetworkKind::Bridge;
        // The last 40 bits of a version 7 UUID are random.
        let made_up = || format!("hbr{:010x}", id.0.as_u128() & 0xff_ffff_ffff);
        Network {
            id,
            number: 0,
            rev: 0,
            name: ask.name.clone(),
            kind: ask.kind,
            cluster: cluster.id,
            outbound: if is_bridge { ask.uplink != Uplink::None } else { ask.outbound },
            uplink: ask.uplink.clone(),
            bridge: is_bridge.then(|| ask.bridge.clone().unwrap_or_else(made_up)),
            subnets: ask.subnets.clone(),
            ranges: ask.ranges.clone(),
            domain: ask.domain.clone(),
            resolvers: ask.resolvers.clone(),
            removing: false,
            created_at: self.now(),
        }
    }

    /// One network, by id, number or name.
    ///
    /// # Errors
    /// Not found.
    pub async fn network_get(&self, _caller: &Caller, key: &str) -> Result<Network> {
        self.network_named(Some(key)).await
    }

    /// The network of this key, or the first one, to put a machine on.
    pub(crate) async fn network_usable(&self, caller: &Caller, key: Option<&str>) -> Result<Network> {
        let network = self.network_named(key).await?;
        self.may(caller, acts::NETWORK_USE, Object::of(&network), &network.name).await?;
        Ok(network)
    }

    /// The network of this key, or the first one.
    pub(crate) async fn network_named(&self, key: Option<&str>) -> Result<Network> {
        let Some(key) = key else { return self.first().await };
        let found = match (key.parse::<NetworkId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.find_by("name", key).await?,
        };
        found.ok_or_else(|| Error::not_found("network", key))
    }

    /// All networks; everybody may use them.
    pub async fn network_list(&self, _caller: &Caller, ask: ListAsk) -> Result<Page<Network>> {
        self.page(ask).await
    }

    /// Removes a network that no machine is on and whose addresses are all free.
    ///
    /// # Errors
    /// Denied; not found; conflict `in_use`.
    pub async fn network_delete(&self, caller: &Caller, key: &str) -> Result<()> {
        let network = self.network_named(Some(key)).await?;
        self.may(caller, acts::NETWORK_DELETE, Object::of(&network), key).await?;
        // First nobody may join any more; only then is it certain that nobody is on it.
        let network = self.network_closed(key, true).await?;
        let taken = self.store().count(Kind::Address, Filter::eq("network", network.id.0)).await?;
        let users = self.machines_on(&network, Filter::All).await?.len();
        if taken > 0 || users > 0 {
            self.network_closed(key, false).await?;
            let text =
                format!("network {} is in use by {users} machines and {taken} addresses", network.name);
            return Err(Error::conflict("in_use", text));
        }
        let mut changes = self.changes();
        changes.delete(&network);
        self.deed(&mut changes, caller, acts::NETWORK_DELETE.name, &network)?;
        self.commit(changes).await?;
        self.network_unmade(&network).await;
        Ok(())
    }

    async fn network_closed(&self, key: &str, removing: bool) -> Result<Network> {
        decided(async || {
            let mut network = self.network_named(Some(key)).await?;
            if network.removing != removing {
                network.removing = removing;
                let mut changes = self.changes();
                changes.update(&network)?;
                network.rev = self.commit(changes).await?.stamps[0].rev;
            }
            Ok(network)
        })
        .await
    }

    /// The machines with a card on this network that are not gone, of those that match.
    pub(super) async fn machines_on(&self, network: &Network, filter: Filter) -> Result<Vec<Machine>> {
        let mut machines: Vec<Machine> = self.all(Filter::ne("life", Life::Gone.word()).and(filter)).await?;
        machines.retain(|machine| machine.nics.iter().any(|nic| nic.network == network.id));
        Ok(machines)
    }
}

/// Whether a new network gets along with the others of its hosts.
fn clear_of(network: &Network, others: &[Network]) -> Result<()> {
    for other in others.iter().filter(|other| other.kind == NetworkKind::Bridge && network.kind == other.kind)
    {
        if other.bridge == network.bridge {
            let bridge = network.bridge.as_deref().unwrap_or_default();
            let text = format!("network {} has the bridge {bridge} already", other.name);
            return Err(Error::conflict("taken", text).hint("choose another name for the bridge"));
        }
        let meets = |one: &Subnet| other.subnets.iter().find(|two| one.overlaps(two)).map(|two| (*one, *two));
        if let Some((one, two)) = network.subnets.iter().find_map(meets) {
            let text = format!(
                "{}/{} overlaps {}/{} of network {}",
                one.gateway, one.prefix, two.gateway, two.prefix, other.name
            );
            return Err(Error::conflict("overlap", text));
        }
    }
    Ok(())
}
