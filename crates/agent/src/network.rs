//! Gives the first network card its MAC and its addresses.

use crate::netlink::Netlink;
use crate::wire::Address;
use crate::{Place, dhcp, files};
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long the identity waits for a DHCP server; afterwards asking goes on in the background.
const DHCP_PATIENCE: Duration = Duration::from_secs(3);
/// Pause between attempts in the background.
const DHCP_PAUSE: Duration = Duration::from_secs(20);

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Card {
    pub(crate) name: String,
    pub(crate) index: u32,
    pub(crate) mac: [u8; 6],
}

/// What is kept between two identities: which of our background leases still counts.
#[derive(Debug, Default)]
pub(crate) struct Leases(Arc<AtomicU64>);

/// What the card shall become.
#[derive(Debug)]
pub(crate) struct Wanted<'a> {
    pub(crate) mac: Option<[u8; 6]>,
    pub(crate) addresses: &'a [Address],
    pub(crate) gateways: &'a [IpAddr],
    pub(crate) resolvers: &'a [IpAddr],
    pub(crate) domain: Option<&'a str>,
    pub(crate) host_name: &'a str,
}

/// Six bytes from their usual text.
pub(crate) fn mac_from_text(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut mac {
        let part = parts
            .next()
            .filter(|part| part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_hexdigit()))?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    parts.next().is_none().then_some(mac)
}

/// Applies all of it. Returns what did not work but does not keep the machine from being itself.
pub(crate) fn apply(wanted: &Wanted<'_>, place: Place, leases: &Leases) -> io::Result<Vec<String>> {
    let turn = leases.0.fetch_add(1, Ordering::Relaxed) + 1;
    let mut netlink = Netlink::open()?;
    let Some(card) = first_card(wanted.mac) else {
        let needed = wanted.mac.is_some() || !wanted.addresses.is_empty();
        return if needed { Err(io::Error::other("there is no network card")) } else { Ok(vec![]) };
    };
    // Without this, switches and QEMU's own network go on sending to the MAC that this address had before.
    let notify = format!("/proc/sys/net/ipv4/conf/{}/arp_notify", card.name);
    let _ = fs::write(notify, "1");
    let mac = wanted.mac.unwrap_or(card.mac);
    let changed = mac != card.mac;
    if changed {
        netlink.link_set_up(card.index, false)?;
        netlink.link_set_mac(card.index, mac)?;
    }
    let card = Card { mac, ..card };
    if !wanted.addresses.is_empty() {
        set_static(&mut netlink, &card, wanted)?;
        return Ok(vec![]);
    }
    netlink.link_set_up(card.index, true)?;
    let has_one = netlink.addresses()?.iter().any(|held| held.index == card.index && held.global);
    if place == Place::System && has_one && !changed {
        // Somebody else took care of this card, and goes on doing so.
        return Ok(vec![]);
    }
    let asked = lease(&mut netlink, &card, wanted.host_name, DHCP_PATIENCE);
    let note = asked.as_ref().err().map(|error| format!("DHCP: {error}; asking goes on"));
    renew_later(card, wanted.host_name.to_owned(), asked.ok(), leases, turn);
    Ok(note.into_iter().collect())
}

/// The card with that MAC, or else the first real one.
fn first_card(mac: Option<[u8; 6]>) -> Option<Card> {
    let entries = fs::read_dir("/sys/class/net").ok()?;
    let mut cards: Vec<Card> = entries.flatten().filter_map(|entry| card_at(&entry.path())).collect();
    cards.sort_by_key(|card| (Some(card.mac) != mac, card.index));
    cards.into_iter().next()
}

fn card_at(path: &Path) -> Option<Card> {
    // Only hardware has a device behind it; bridges, tunnels and the loopback have none.
    if !path.join("device").exists() {
        return None;
    }
    let index = files::text(path.join("ifindex")).parse().ok()?;
    let mac = mac_from_text(&files::text(path.join("address")))?;
    Some(Card { name: path.file_name()?.to_str()?.to_owned(), index, mac })
}

/// Exactly these addresses and gateways. The card goes up in between: IPv4 addresses are announced when it does,
/// IPv6 addresses and routes need it up.
fn set_static(netlink: &mut Netlink, card: &Card, wanted: &Wanted<'_>) -> io::Result<()> {
    for held in netlink.addresses()? {
        let stays =
            wanted.addresses.iter().any(|one| one.address == held.address && one.prefix == held.prefix);
        if held.index == card.index && held.global && !stays {
            netlink.address_remove(&held)?;
        }
    }
    for one in wanted.addresses.iter().filter(|one| one.address.is_ipv4()) {
        netlink.address_add(card.index, one.address, one.prefix)?;
    }
    netlink.link_set_up(card.index, true)?;
    for one in wanted.addresses.iter().filter(|one| one.address.is_ipv6()) {
        netlink.address_add(card.index, one.address, one.prefix)?;
    }
    for &gateway in wanted.gateways {
        netlink.gateway_set(card.index, gateway)?;
    }
    resolve_by(wanted.resolvers, wanted.domain)
}

/// Names are asked for there, unless another program of the guest takes care of that, which leaves a link.
fn resolve_by(resolvers: &[IpAddr], domain: Option<&str>) -> io::Result<()> {
    let file = Path::new("/etc/resolv.conf");
    let another_owns_it = fs::symlink_metadata(file).is_ok_and(|facts| facts.is_symlink());
    if resolvers.is_empty() || another_owns_it {
        return Ok(());
    }
    let mut text: String = domain.map(|domain| format!("search {domain}\n")).unwrap_or_default();
    text.extend(resolvers.iter().map(|server| format!("nameserver {server}\n")));
    files::write(file, text.as_bytes(), 0o644)
}

/// Asks for a lease and applies it. Returns how long it is ours.
fn lease(netlink: &mut Netlink, card: &Card, host_name: &str, patience: Duration) -> io::Result<Duration> {
    let lease = dhcp::ask(&card.name, card.mac, host_name, patience)?;
    for held in netlink.addresses()? {
        if held.index == card.index && held.global && held.address.is_ipv4() && held.address != lease.address
        {
            netlink.address_remove(&held)?;
        }
    }
    netlink.address_add(card.index, lease.address.into(), lease.prefix)?;
    if let Some(&router) = lease.routers.first() {
        netlink.gateway_set(card.index, router.into())?;
    }
    let resolvers: Vec<IpAddr> = lease.dns.iter().map(|server| (*server).into()).collect();
    resolve_by(&resolvers, None)?;
    Ok(Duration::from_secs(u64::from(lease.seconds.max(60))))
}

/// Asks again at half of the lease's time, or soon when there is none, until another identity is applied.
fn renew_later(card: Card, host_name: String, held: Option<Duration>, leases: &Leases, turn: u64) {
    let current = Arc::clone(&leases.0);
    let renew = move || {
        let mut pause = held.map_or(DHCP_PAUSE, |time| time / 2);
        loop {
            std::thread::sleep(pause);
            if current.load(Ordering::Relaxed) != turn {
                return;
            }
            let asked =
                Netlink::open().and_then(|mut link| lease(&mut link, &card, &host_name, DHCP_PATIENCE));
            pause = asked.map_or(DHCP_PAUSE, |time| time / 2);
        }
    };
    // Without a thread the lease is simply not renewed; nothing can be done about it here.
    let _ = std::thread::Builder::new().name("lease".into()).spawn(renew);
}

#[cfg(test)]
mod tests {
    use super::mac_from_text;

    #[test]
    fn a_mac_is_six_pairs_of_digits() {
        assert_eq!(mac_from_text("52:54:00:ab:CD:03"), Some([0x52, 0x54, 0, 0xab, 0xcd, 3]));
        for bad in ["", "52:54:00:ab:cd", "52:54:00:ab:cd:03:04", "52:54:0:ab:cd:03", "+2:54:00:ab:cd:03"] {
            assert_eq!(mac_from_text(bad), None, "{bad}");
        }
    }
}
