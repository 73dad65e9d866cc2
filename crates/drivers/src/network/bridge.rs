//! A network's bridge: made, put right, checked, removed. A bridge is ours when its MAC is the one that derives from the
//! network's id; anything else of that name is left alone.

use super::netlink::{Link, Netlink};
use super::{names, sysctl};
use hostler_core::ids::NetworkId;
use hostler_core::ports::{DriverError, NetworkSpec, Uplink};
use std::net::IpAddr;

/// The network's bridge; refused when something else has its name.
pub(super) async fn find(
    netlink: &Netlink,
    bridge: &str,
    network: NetworkId,
) -> Result<Option<Link>, DriverError> {
    match netlink.link(bridge).await? {
        Some(link) if link.is_bridge && link.mac == names::bridge_mac(network) => Ok(Some(link)),
        Some(_) => {
            Err(DriverError::refused(format!("there is an interface {bridge} that hostler did not make")))
        }
        None => Ok(None),
    }
}

/// Refused when something that is not ours is in the way of this network.
pub(super) async fn examine(netlink: &Netlink, spec: &NetworkSpec) -> Result<(), DriverError> {
    find(netlink, &spec.bridge, spec.id).await?;
    if let Uplink::Interface { name } = &spec.uplink {
        uplink(netlink, name, None).await?;
    }
    for link in netlink.links().await?.iter().filter(|link| link.name != spec.bridge && link.name != "lo") {
        for (address, prefix) in netlink.addresses(link.index).await? {
            let meets = spec.subnets.iter().find(|subnet| {
                let shorter = subnet.prefix.min(prefix);
                same_network(subnet.gateway, address, shorter)
            });
            if let Some(subnet) = meets.filter(|_| !matches!(spec.uplink, Uplink::Interface { .. })) {
                return Err(DriverError::refused(format!(
                    "{}/{} overlaps {address}/{prefix}, which the host has on {}",
                    subnet.gateway, subnet.prefix, link.name
                )));
            }
        }
    }
    Ok(())
}

fn same_network(one: IpAddr, other: IpAddr, prefix: u8) -> bool {
    match (one, other) {
        (IpAddr::V4(one), IpAddr::V4(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(32 - u32::from(prefix)).unwrap_or(0) == 0
        }
        (IpAddr::V6(one), IpAddr::V6(other)) => {
            (one.to_bits() ^ other.to_bits()).checked_shr(128 - u32::from(prefix)).unwrap_or(0) == 0
        }
        _ => false,
    }
}

/// The interface that a network leads onto. One with addresses is the host's own way out: taking it would cut that.
async fn uplink(netlink: &Netlink, name: &str, bridge: Option<u32>) -> Result<Link, DriverError> {
    let missing = || DriverError::refused(format!("there is no interface {name}"));
    let link = netlink.link(name).await?.ok_or_else(missing)?;
    if link.controller.is_some() && link.controller == bridge {
        return Ok(link);
    }
    if link.controller.is_some() || link.is_bridge || name == "lo" {
        return Err(DriverError::refused(format!("the interface {name} is in use by something else")));
    }
    if !netlink.addresses(link.index).await?.is_empty() {
        let text = format!("the interface {name} has addresses of the host, which would lose them");
        return Err(DriverError::refused(text));
    }
    Ok(link)
}

/// Makes the bridge, gives it exactly its addresses, and plugs in whatever belongs there.
pub(super) async fn apply(netlink: &Netlink, spec: &NetworkSpec) -> Result<(), DriverError> {
    let link = match find(netlink, &spec.bridge, spec.id).await? {
        Some(link) => link,
        None => netlink.bridge_add(&spec.bridge, names::bridge_mac(spec.id)).await?,
    };
    for (name, value) in settings(spec) {
        sysctl::set(&name, value)?;
    }
    let wanted = addresses(spec);
    let held = netlink.addresses(link.index).await?;
    for (address, prefix) in held.iter().filter(|one| !wanted.contains(one)) {
        netlink.address_remove(&link, *address, *prefix).await?;
    }
    for (address, prefix) in wanted.iter().filter(|one| !held.contains(one)) {
        netlink.address_add(&link, *address, *prefix).await?;
    }
    if !link.is_up {
        netlink.up(&link).await?;
    }
    if let Uplink::Interface { name } = &spec.uplink {
        let out = uplink(netlink, name, Some(link.index)).await?;
        if out.controller != Some(link.index) {
            netlink.plug(&out, link.index).await?;
            netlink.up(&out).await?;
        }
    }
    for tap in loose(netlink, spec.id, link.index).await? {
        netlink.plug(&tap, link.index).await?;
        netlink.up(&tap).await?;
    }
    Ok(())
}

/// The host's own addresses on the bridge.
fn addresses(spec: &NetworkSpec) -> Vec<(IpAddr, u8)> {
    if matches!(spec.uplink, Uplink::Interface { .. }) {
        return Vec::new();
    }
    spec.subnets.iter().map(|subnet| (subnet.gateway, subnet.prefix)).collect()
}

/// Taps of the network's running guests that are not plugged in: somebody removed the bridge under them.
async fn loose(netlink: &Netlink, network: NetworkId, bridge: u32) -> Result<Vec<Link>, DriverError> {
    let prefix = names::tap_prefix(network);
    let all = netlink.links().await?.into_iter();
    Ok(all.filter(|link| link.name.starts_with(&prefix) && link.controller != Some(bridge)).collect())
}

/// What is set for the bridge and for nothing else. Whether the host forwards at all is the administrator's decision.
fn settings(spec: &NetworkSpec) -> Vec<(String, &'static str)> {
    let bridge = &spec.bridge;
    let on = |yes: bool| if yes { "1" } else { "0" };
    let ours = addresses(spec);
    let forwards = matches!(spec.uplink, Uplink::Nat | Uplink::Routed);
    let v4 = [
        ("forwarding", on(forwards)),
        // Answer for this network's address only, and ask with it.
        ("arp_ignore", "1"),
        ("arp_announce", "2"),
        ("accept_redirects", "0"),
        ("send_redirects", "0"),
        ("rp_filter", "1"),
    ];
    let v6 = [
        // The link-local address derives from the bridge's MAC, so that rules can name it.
        ("addr_gen_mode", "0"),
        ("accept_ra", "0"),
        ("accept_redirects", "0"),
        ("accept_dad", "0"),
        ("disable_ipv6", on(!ours.iter().any(|(address, _)| address.is_ipv6()))),
        ("forwarding", on(forwards && ours.iter().any(|(address, _)| address.is_ipv6()))),
    ];
    let name = |family: &str, key: &str| format!("{family}/conf/{bridge}/{key}");
    let v4 = v4.into_iter().map(|(key, value)| (name("ipv4", key), value));
    v4.chain(v6.into_iter().map(|(key, value)| (name("ipv6", key), value))).collect()
}

/// What is not as it should be.
pub(super) async fn defects(netlink: &Netlink, spec: &NetworkSpec) -> Result<Vec<String>, DriverError> {
    let mut found = Vec::new();
    let bridge = &spec.bridge;
    let link = match find(netlink, bridge, spec.id).await {
        Ok(Some(link)) => link,
        Ok(None) => return Ok(vec![format!("there is no bridge {bridge}")]),
        Err(error) => return Ok(vec![error.detail]),
    };
    if !link.is_up {
        found.push(format!("the bridge {bridge} is down"));
    }
    let held = netlink.addresses(link.index).await?;
    for (address, prefix) in addresses(spec).iter().filter(|one| !held.contains(one)) {
        found.push(format!("the bridge {bridge} has lost its address {address}/{prefix}"));
    }
    for tap in loose(netlink, spec.id, link.index).await? {
        found.push(format!("the tap {} of a guest is not plugged into {bridge}", tap.name));
    }
    if matches!(spec.uplink, Uplink::Nat | Uplink::Routed) {
        let needed = [
            (true, "ipv4/ip_forward", "net.ipv4.ip_forward"),
            (false, "ipv6/conf/all/forwarding", "net.ipv6.conf.all.forwarding"),
        ];
        for (is_v4, name, setting) in needed {
            let used = addresses(spec).iter().any(|(address, _)| address.is_ipv4() == is_v4);
            if used && sysctl::get(name).as_deref() == Some("0") {
                found.push(format!("guests on {bridge} reach nothing outside: {setting} of this host is 0"));
            }
        }
    }
    Ok(found)
}

/// Removes the bridge if it is ours, and lets go of the interface that it led onto.
pub(super) async fn remove(netlink: &Netlink, spec: &NetworkSpec) -> Result<(), DriverError> {
    let Ok(Some(link)) = find(netlink, &spec.bridge, spec.id).await else { return Ok(()) };
    if let Uplink::Interface { name } = &spec.uplink
        && let Some(out) = netlink.link(name).await?.filter(|out| out.controller == Some(link.index))
    {
        netlink.unplug(&out).await?;
    }
    netlink.remove(&link).await
}
