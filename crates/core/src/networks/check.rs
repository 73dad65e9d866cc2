//! Which networks make sense: everything that can be known without looking at a host.

use super::addresses::MAX_ADDRESSES;
use super::{NetworkAsk, NetworkKind, Range};
use crate::error::{Error, Result};
use crate::ports::{Subnet, Uplink};
use std::net::IpAddr;

/// Largest and smallest subnets, by the lengths of their prefixes.
const PREFIXES_V4: std::ops::RangeInclusive<u8> = 8..=30;
const PREFIXES_V6: std::ops::RangeInclusive<u8> = 48..=126;

/// Refuses a network that makes no sense, naming the part that does not.
pub(super) fn check(ask: &NetworkAsk) -> Result<()> {
    let good = (1..=63).contains(&ask.name.len())
        && ask.name.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && !ask.name.bytes().all(|c| c.is_ascii_digit());
    if !good {
        return Err(Error::invalid("name", "a network's name has 1 to 63 of a-z, A-Z, 0-9, -, _ and ."));
    }
    check_subnets(&ask.subnets)?;
    check_ranges(ask)?;
    check_names(ask)?;
    match ask.kind {
        NetworkKind::Bridge => check_bridge(ask),
        NetworkKind::User if ask.bridge.is_some() || ask.uplink != Uplink::None => {
            Err(Error::invalid("kind", "a user network has neither a bridge nor an uplink"))
        }
        NetworkKind::User => Ok(()),
    }
}

fn check_subnets(subnets: &[Subnet]) -> Result<()> {
    for (place, subnet) in subnets.iter().enumerate() {
        let field = || format!("subnets/{place}");
        let Subnet { gateway, prefix } = *subnet;
        if subnets[..place].iter().any(|other| other.gateway.is_ipv4() == gateway.is_ipv4()) {
            return Err(Error::invalid(field(), "a network has one subnet of each family at most"));
        }
        if let Some(why) = unusable(gateway) {
            return Err(Error::invalid(field(), format!("{gateway} cannot be a gateway: {why}")));
        }
        let sensible = if gateway.is_ipv4() { PREFIXES_V4 } else { PREFIXES_V6 };
        if !sensible.contains(&prefix) {
            let text = format!(
                "a prefix length of this family is from {} to {}, not {prefix}",
                sensible.start(),
                sensible.end()
            );
            return Err(Error::invalid(field(), text));
        }
        if subnet.reserves(gateway) {
            let text = format!("{gateway} stands for the subnet itself, so it cannot be its gateway");
            return Err(Error::invalid(field(), text));
        }
    }
    Ok(())
}

/// Why no card can have an address, if none can.
fn unusable(ip: IpAddr) -> Option<&'static str> {
    if ip.is_loopback() {
        return Some("it is a loopback address");
    }
    if ip.is_unspecified() {
        return Some("it is no address at all");
    }
    if ip.is_multicast() {
        return Some("it is a multicast address");
    }
    match ip {
        IpAddr::V4(ip) if ip.is_link_local() => Some("it is a link-local address"),
        IpAddr::V4(ip) if ip.octets()[0] == 0 || ip.octets()[0] >= 240 => Some("it is reserved"),
        IpAddr::V6(ip) if ip.is_unicast_link_local() => Some("it is a link-local address"),
        IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some() => Some("it is an IPv4 address in disguise"),
        _ => None,
    }
}

fn check_ranges(ask: &NetworkAsk) -> Result<()> {
    let sizes = ask.ranges.iter().map(|range| range.iter().take(MAX_ADDRESSES + 1).count());
    if sizes.sum::<usize>() > MAX_ADDRESSES {
        let text = format!("a network gives out at most {MAX_ADDRESSES} addresses");
        return Err(Error::invalid("ranges", text));
    }
    for (place, range) in ask.ranges.iter().enumerate() {
        let refuse = |why: String| {
            let text = format!("the range {} to {} {why}", range.first, range.last);
            Err(Error::invalid(format!("ranges/{place}"), text))
        };
        let overlaps = |other: &Range| other.contains(range.first) || range.contains(other.first);
        if ask.ranges[..place].iter().any(overlaps) {
            return refuse("overlaps another".into());
        }
        if let Some(why) = unusable(range.first).or_else(|| unusable(range.last)) {
            return refuse(format!("cannot be given out: {why}"));
        }
        let within = |subnet: &&Subnet| subnet.contains(range.first) && subnet.contains(range.last);
        let needs_one = ask.kind == NetworkKind::Bridge || !ask.subnets.is_empty();
        if needs_one && !ask.subnets.iter().any(|subnet| within(&subnet)) {
            return refuse("is in no subnet of the network".into());
        }
    }
    Ok(())
}

fn check_names(ask: &NetworkAsk) -> Result<()> {
    if let Some(domain) = &ask.domain {
        let label = |part: &str| {
            (1..=63).contains(&part.len())
                && part.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-')
                && !part.starts_with('-')
                && !part.ends_with('-')
        };
        if domain.len() > 190 || !domain.split('.').all(label) {
            return Err(Error::invalid("domain", "a domain has labels of a-z, 0-9 and -, with dots between"));
        }
    }
    if ask.resolvers.len() > 8 {
        return Err(Error::invalid("resolvers", "a network has 8 resolvers at most"));
    }
    match ask.resolvers.iter().position(|ip| ip.is_multicast() || ip.is_unspecified()) {
        Some(place) => Err(Error::invalid(format!("resolvers/{place}"), "it cannot be asked for names")),
        None => Ok(()),
    }
}

fn check_bridge(ask: &NetworkAsk) -> Result<()> {
    if let Some(bridge) = &ask.bridge {
        interface("bridge", bridge)?;
    }
    match &ask.uplink {
        Uplink::Interface { name } => interface("uplink/name", name),
        Uplink::Nat | Uplink::Routed if ask.subnets.is_empty() => {
            Err(Error::invalid("subnets", "a network that leads out through the host needs a subnet"))
        }
        _ => Ok(()),
    }
}

/// Names of interfaces have 15 characters at most, and those of ours must also do as names in rules.
fn interface(field: &str, name: &str) -> Result<()> {
    let good = (1..=15).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c));
    if good {
        return Ok(());
    }
    let text = "the name of an interface has 1 to 15 of a-z, A-Z, 0-9, -, _ and ., and begins with a letter";
    Err(Error::invalid(field, text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lan() -> NetworkAsk {
        let ip = |text: &str| text.parse().unwrap();
        NetworkAsk {
            name: "lan".into(),
            kind: NetworkKind::Bridge,
            outbound: false,
            uplink: Uplink::Nat,
            bridge: Some("br-lan".into()),
            subnets: vec![
                Subnet { gateway: ip("10.1.0.1"), prefix: 24 },
                Subnet { gateway: ip("fd00:1::1"), prefix: 64 },
            ],
            ranges: vec![
                Range::new(ip("10.1.0.10"), ip("10.1.0.20")).unwrap(),
                Range::new(ip("fd00:1::10"), ip("fd00:1::20")).unwrap(),
            ],
            domain: Some("lab.test".into()),
            resolvers: vec![ip("9.9.9.9")],
        }
    }

    fn field(change: impl FnOnce(&mut NetworkAsk)) -> Option<String> {
        let mut ask = lan();
        change(&mut ask);
        match check(&ask).err()?.kind {
            crate::error::ErrorKind::Invalid { field } => Some(field),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_sensible_network_is_accepted() {
        assert_eq!(field(|_| ()), None);
        assert_eq!(field(|ask| (ask.uplink, ask.subnets, ask.ranges) = (Uplink::None, vec![], vec![])), None);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let gateway = |text: &'static str, prefix: u8| {
            field(move |ask| {
                ask.subnets[0] = Subnet { gateway: text.parse().unwrap(), prefix };
                ask.ranges.clear();
            })
        };
        for bad in
            ["127.0.0.1", "0.0.0.0", "224.0.0.1", "169.254.1.1", "255.255.255.255", "0.1.2.3", "10.1.0.0"]
        {
            assert_eq!(gateway(bad, 24).as_deref(), Some("subnets/0"), "{bad}");
        }
        for prefix in [0, 7, 31, 32, 33, 255] {
            assert_eq!(gateway("10.1.0.1", prefix).as_deref(), Some("subnets/0"), "/{prefix}");
        }
        let other = |text: &'static str, prefix: u8| {
            field(move |ask| {
                ask.subnets[1] = Subnet { gateway: text.parse().unwrap(), prefix };
                ask.ranges.truncate(1);
            })
        };
        for bad in ["::1", "::", "ff02::1", "fe80::1", "::ffff:10.2.0.1", "fd00:1::"] {
            assert_eq!(other(bad, 64).as_deref(), Some("subnets/1"), "{bad}");
        }
        assert_eq!(other("10.9.0.1", 24).as_deref(), Some("subnets/1"), "two of a family");
        assert_eq!(field(|ask| ask.subnets.clear()).as_deref(), Some("ranges/0"));
        let range =
            |first: &str, last: &str| Range::new(first.parse().unwrap(), last.parse().unwrap()).unwrap();
        assert_eq!(field(|ask| ask.ranges[0] = range("10.1.0.10", "10.1.1.20")).as_deref(), Some("ranges/0"));
        assert_eq!(field(|ask| ask.ranges[1] = range("10.1.0.15", "10.1.0.16")).as_deref(), Some("ranges/1"));
        assert_eq!(
            field(|ask| ask.ranges[1] = range("fd00:1::", "fd00:1::ffff:ffff")).as_deref(),
            Some("ranges")
        );
        for bad in ["a..b", "A", "-a", "a b", "a\nserver=1.1.1.1", ""] {
            assert_eq!(field(|ask| ask.domain = Some(bad.into())).as_deref(), Some("domain"), "{bad}");
        }
        for bad in ["", "a234567890123456", "br lan", "br\"x", "-br", "9br", "br/x"] {
            assert_eq!(field(|ask| ask.bridge = Some(bad.into())).as_deref(), Some("bridge"), "{bad}");
        }
        let uplink = |ask: &mut NetworkAsk| ask.uplink = Uplink::Interface { name: "eth0; drop".into() };
        assert_eq!(field(uplink).as_deref(), Some("uplink/name"));
        assert_eq!(field(|ask| ask.kind = NetworkKind::User).as_deref(), Some("kind"));
    }
}
