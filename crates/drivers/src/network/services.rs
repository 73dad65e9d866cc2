//! What dnsmasq is told about a network, as text: pure functions.
//!
//! dnsmasq answers DHCP, DHCPv6 and router solicitations for guests of our records only, each with the addresses that
//! the records give it, and resolves their names. It keeps no leases: the records are the truth. Its directory appears
//! to it as `/run` (see [`crate::spawn::see_as_run`]).

use hostler_core::ports::{NetworkSpec, Uplink};
use std::fmt::Write;
use std::net::IpAddr;

/// Whether a network has services of ours.
pub(super) fn wanted(spec: &NetworkSpec) -> bool {
    !spec.subnets.is_empty() && !matches!(spec.uplink, Uplink::Interface { .. })
}

/// What dnsmasq reads once, when it starts. `user` is who it becomes.
pub(super) fn config(spec: &NetworkSpec, user: &str) -> String {
    let mut text = String::from("# Written by hostler; changes are lost.\n");
    let mut line = |option: String| _ = writeln!(text, "{option}");
    line(format!("user={user}"));
    line(format!("interface={}", spec.bridge));
    for fixed in [
        "except-interface=lo",
        "bind-dynamic",
        "pid-file=",
        "log-facility=-",
        "quiet-dhcp",
        "quiet-dhcp6",
        "quiet-ra",
        "no-hosts",
        "no-resolv",
        "no-poll",
        "no-ping",
        "domain-needed",
        "bogus-priv",
        "addn-hosts=/run/hosts",
        "dhcp-hostsfile=/run/cards",
        "dhcp-ignore=tag:!known",
        "dhcp-authoritative",
        "leasefile-ro",
        "dhcp-lease-max=65536",
    ] {
        line(fixed.into());
    }
    if let Some(domain) = &spec.domain {
        line(format!("domain={domain}"));
        line(format!("local=/{domain}/"));
    }
    for resolver in &spec.resolvers {
        line(format!("server={resolver}"));
    }
    let leads_out = spec.uplink != Uplink::None;
    for subnet in &spec.subnets {
        let prefix = subnet.prefix;
        match subnet.gateway {
            IpAddr::V4(gateway) => {
                let mask = std::net::Ipv4Addr::from_bits(!u32::MAX.checked_shr(prefix.into()).unwrap_or(0));
                let network = std::net::Ipv4Addr::from_bits(gateway.to_bits() & mask.to_bits());
                line(format!("dhcp-range={network},static,{mask},1h"));
                // Without a value the option is not sent at all.
                let router = if leads_out { format!(",{gateway}") } else { String::new() };
                line(format!("dhcp-option=option:router{router}"));
                line(format!("dhcp-option=option:dns-server,{gateway}"));
            }
            IpAddr::V6(gateway) => {
                let mask = !u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                let network = std::net::Ipv6Addr::from_bits(gateway.to_bits() & mask);
                line(format!("dhcp-range={network},static,{prefix},1h"));
                line(format!("dhcp-option=option6:dns-server,[{gateway}]"));
                line("enable-ra".into());
                let lifetime = if leads_out { 1800 } else { 0 };
                line(format!("ra-param={},60,{lifetime}", spec.bridge));
            }
        }
    }
    text
}

/// Names and their addresses. The first name is what an address is called when that is asked.
pub(super) fn hosts(spec: &NetworkSpec) -> String {
    let mut text = String::new();
    for port in &spec.ports {
        let others = spec.domain.iter().filter(|domain| port.domain.as_ref() != Some(*domain));
        let names: String =
            port.domain.iter().chain(others).map(|domain| format!("{}.{domain} ", port.name)).collect();
        for address in &port.addresses {
            let _ = writeln!(text, "{address} {names}{}", port.name);
        }
    }
    text
}

/// Cards and the addresses that they get when they ask.
pub(super) fn cards(spec: &NetworkSpec) -> String {
    let mut text = String::new();
    for port in spec.ports.iter().filter(|port| !port.addresses.is_empty()) {
        let addresses = port.addresses.iter().map(|address| match address {
            IpAddr::V4(address) => address.to_string(),
            IpAddr::V6(address) => format!("[{address}]"),
        });
        let _ = writeln!(text, "{},{},{}", port.mac, addresses.collect::<Vec<_>>().join(","), port.name);
    }
    text
}
