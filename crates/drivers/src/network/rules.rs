//! A network's rules as text for `nft`: a pure function, so that what is loaded can be read and compared.
//!
//! Two tables of our own for each network, replaced as a whole in one transaction; nothing else of the host's rules is
//! read or written. `bridge`: a guest speaks only as itself (MAC, ARP, IPv4, IPv6, neighbour discovery) and never as a
//! DHCP server or a router, and hears what its inbound rules let through. `inet`: what guests may reach of the host and
//! beyond. Guests are known by the names of their taps, which derive from network and card, so a cable that the rules
//! do not know yet is silent.
//!
//! Inbound rules keep no state, because bridges do not track connections on every kernel: answers are known by TCP's
//! flags and by ports from 32768 on.

use super::names;
use hostler_core::ports::{InboundRule, NetworkSpec, Port, Protocol, Uplink};
use std::fmt::Write;
use std::net::{IpAddr, Ipv6Addr};

/// The transaction that makes the host's rules those of this network, whatever they were.
pub(super) fn rules(spec: &NetworkSpec) -> String {
    let mut text = removal(&spec.bridge);
    bridge_table(&mut text, spec);
    inet_table(&mut text, spec);
    text
}

/// The transaction that removes a network's tables. A table is named first, so that its absence is no error.
pub(super) fn removal(bridge: &str) -> String {
    let table = names::table(bridge);
    ["bridge", "inet"]
        .map(|family| format!("table {family} {table}\ndelete table {family} {table}\n"))
        .concat()
}

/// The link-local address that a card with this MAC makes for itself.
pub(super) fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, ((a ^ 2) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f)
}

fn mac_bytes(text: &str) -> Option<[u8; 6]> {
    let mut mac = [0; 6];
    hex::decode_to_slice(text.replace(':', ""), &mut mac).ok()?;
    Some(mac)
}

fn set(text: &mut String, name: &str, kind: &str, elements: &[String]) {
    let _ = writeln!(text, "\tset {name} {{\n\t\ttype {kind}");
    if !elements.is_empty() {
        let _ = writeln!(text, "\t\telements = {{ {} }}", elements.join(", "));
    }
    text.push_str("\t}\n");
}

fn chain(text: &mut String, name: &str, lines: &[String]) {
    let _ = writeln!(text, "\tchain {name} {{");
    for line in lines {
        let _ = writeln!(text, "\t\t{line}");
    }
    text.push_str("\t}\n");
}

fn lines<const N: usize>(fixed: [&str; N]) -> Vec<String> {
    fixed.map(ToOwned::to_owned).to_vec()
}

/// A guest's card with the names that the rules know it by.
struct Card<'a> {
    port: &'a Port,
    tap: String,
    own6: Vec<Ipv6Addr>,
}

impl<'a> Card<'a> {
    fn new(spec: &NetworkSpec, port: &'a Port) -> Self {
        let mut own6: Vec<Ipv6Addr> = port.addresses.iter().filter_map(v6).collect();
        own6.extend(mac_bytes(&port.mac).map(link_local));
        Self { port, tap: names::tap(spec.id, &port.mac), own6 }
    }

    fn key(&self) -> String {
        format!("\"{}\" . {}", self.tap, self.port.mac)
    }
}

fn v4(address: &IpAddr) -> Option<std::net::Ipv4Addr> {
    if let IpAddr::V4(address) = address { Some(*address) } else { None }
}

fn v6(address: &IpAddr) -> Option<Ipv6Addr> {
    if let IpAddr::V6(address) = address { Some(*address) } else { None }
}

fn bridge_table(text: &mut String, spec: &NetworkSpec) {
    let cards: Vec<Card<'_>> = spec.ports.iter().map(|port| Card::new(spec, port)).collect();
    let _ = writeln!(text, "table bridge {} {{", names::table(&spec.bridge));
    set(text, "cards", "ifname . ether_addr", &cards.iter().map(Card::key).collect::<Vec<_>>());
    let stranger = format!("iifname != \"{}*\" accept", names::tap_prefix(spec.id));
    let mut guests = lines(["type filter hook prerouting priority filter; policy accept;"]);
    guests.push(stranger.clone());
    guests.extend(lines(["iifname . ether saddr != @cards drop"]));
    if spec.subnets.is_empty() {
        // Addresses are somebody else's business here, so only services that nobody may offer are kept away.
        guests.extend(lines([
            "ether type { 8021q, 8021ad } drop",
            "udp sport { 67, 547 } drop",
            "icmpv6 type { nd-router-advert, nd-redirect } drop",
        ]));
    } else {
        pinned(text, spec, &cards);
        guests.extend(lines([
            "ether type arp goto arp_claims",
            "ether type ip goto from_ip4",
            "ether type ip6 goto from_ip6",
            "drop",
        ]));
    }
    chain(text, "guests", &guests);
    // Some frames to the bridge's own group addresses do not pass prerouting.
    let mut group = lines(["type filter hook input priority filter; policy accept;"]);
    group.push(stranger);
    group.extend(lines(["iifname . ether saddr != @cards drop"]));
    chain(text, "group", &group);
    inbound(text, spec, &cards);
    text.push_str("}\n");
}

/// What pins guests to their addresses.
fn pinned(text: &mut String, spec: &NetworkSpec, cards: &[Card<'_>]) {
    let own4 = cards.iter().flat_map(|card| {
        card.port.addresses.iter().filter_map(v4).map(|address| format!("{} . {address}", card.key()))
    });
    set(text, "own4", "ifname . ether_addr . ipv4_addr", &own4.collect::<Vec<_>>());
    let own6 =
        cards.iter().flat_map(|card| card.own6.iter().map(|address| format!("{} . {address}", card.key())));
    set(text, "own6", "ifname . ether_addr . ipv6_addr", &own6.collect::<Vec<_>>());
    // Guests may make up link-local addresses, but not those by which others are known.
    let mut known: Vec<Ipv6Addr> = spec.subnets.iter().filter_map(|subnet| v6(&subnet.gateway)).collect();
    known.push(link_local(names::bridge_mac(spec.id)));
    known.extend(cards.iter().flat_map(|card| card.own6.iter().copied()));
    set(text, "known6", "ipv6_addr", &known.iter().map(ToString::to_string).collect::<Vec<_>>());
    chain(
        text,
        "arp_claims",
        &lines([
            "arp htype != 1 drop",
            "arp ptype != ip drop",
            "arp hlen != 6 drop",
            "arp plen != 4 drop",
            "iifname . arp saddr ether . arp saddr ip @own4 accept",
            "arp operation request arp saddr ip 0.0.0.0 iifname . arp saddr ether @cards accept",
            "drop",
        ]),
    );
    chain(
        text,
        "from_ip4",
        &lines([
            "udp sport 67 drop",
            "ip saddr 0.0.0.0 udp sport 68 udp dport 67 accept",
            "iifname . ether saddr . ip saddr @own4 accept",
            "drop",
        ]),
    );
    neighbours(text, cards, &known);
    chain(text, "ip6_known", &lines(["icmpv6 type nd-neighbor-advert goto neighbours", "accept"]));
    chain(
        text,
        "from_ip6",
        &lines([
            "udp sport 547 drop",
            "icmpv6 type { nd-router-advert, nd-redirect } drop",
            "ip6 saddr :: icmpv6 type nd-neighbor-solicit goto neighbours",
            "ip6 saddr :: icmpv6 type { nd-router-solicit, mld-listener-report, mld-listener-done, mld2-listener-report } accept",
            "iifname . ether saddr . ip6 saddr @own6 goto ip6_known",
            "ip6 saddr fe80::/10 ip6 saddr != @known6 goto ip6_known",
            "drop",
        ]),
    );
}

/// Who may say in neighbour discovery that an address is its own. The address lies eight bytes into the message.
fn neighbours(text: &mut String, cards: &[Card<'_>], known: &[Ipv6Addr]) {
    let list = |addresses: &[Ipv6Addr]| {
        addresses.iter().map(|address| format!("0x{:032x}", address.to_bits())).collect::<Vec<_>>().join(", ")
    };
    chain(
        text,
        "unknown_neighbour",
        &[
            format!("@th,64,128 {{ {} }} drop", list(known)),
            "@th,64,128 & 0xffc00000000000000000000000000000 == 0xfe800000000000000000000000000000 accept"
                .into(),
            "drop".into(),
        ],
    );
    for card in cards {
        let own = format!("@th,64,128 {{ {} }} accept", list(&card.own6));
        chain(text, &format!("neighbour-{}", card.tap), &[own, "goto unknown_neighbour".into()]);
    }
    let mut ways = Vec::new();
    if !cards.is_empty() {
        let each = cards.iter().map(|card| format!("\"{0}\" : goto neighbour-{0}", card.tap));
        ways.push(format!("iifname vmap {{ {} }}", each.collect::<Vec<_>>().join(", ")));
    }
    ways.push("drop".into());
    chain(text, "neighbours", &ways);
}

/// What others may begin to send to guests that have rules for it.
fn inbound(text: &mut String, spec: &NetworkSpec, cards: &[Card<'_>]) {
    let mut ways = Vec::new();
    for card in cards {
        let Some(rules) = &card.port.inbound else { continue };
        let mut allowed = lines([
            "ether type arp accept",
            "icmpv6 type != echo-request accept",
            "icmp type != echo-request accept",
            "tcp flags & (syn | ack) != syn accept",
            "udp dport 32768-65535 accept",
            "ip frag-off & 0x1fff != 0 accept",
        ]);
        // The network's own DHCP and DNS, which come from low ports to low ports.
        for subnet in &spec.subnets {
            let family = if subnet.gateway.is_ipv4() { "ip" } else { "ip6" };
            allowed.push(format!("{family} saddr {} udp sport {{ 53, 67, 547 }} accept", subnet.gateway));
        }
        allowed.push(format!("ip6 saddr {} udp sport 547 accept", link_local(names::bridge_mac(spec.id))));
        allowed.extend(rules.iter().flat_map(allowance));
        allowed.push("drop".into());
        chain(text, &format!("inbound-{}", card.tap), &allowed);
        ways.push(format!("\"{0}\" : goto inbound-{0}", card.tap));
    }
    if !ways.is_empty() {
        let mut to_guests = lines(["type filter hook postrouting priority filter; policy accept;"]);
        to_guests.push(format!("oifname vmap {{ {} }}", ways.join(", ")));
        chain(text, "to_guests", &to_guests);
    }
}

/// A rule, for each family that it is about.
fn allowance(rule: &InboundRule) -> Vec<String> {
    let families: &[(&str, &str)] = match rule.source {
        Some((IpAddr::V4(_), _)) => &[("ip", "icmp")],
        Some((IpAddr::V6(_), _)) => &[("ip6", "icmpv6")],
        None => &[("ip", "icmp"), ("ip6", "icmpv6")],
    };
    let one = |(family, icmp): &(&str, &str)| {
        let source = match rule.source {
            Some((address, prefix)) => format!("{family} saddr {address}/{prefix} "),
            None => format!("ether type {family} "),
        };
        let ports = rule.ports.map(|(first, last)| format!(" dport {first}-{last}"));
        let what = match (rule.protocol, ports) {
            (Protocol::Icmp, _) => format!("{icmp} type echo-request"),
            (Protocol::Tcp, Some(ports)) => format!("tcp{ports}"),
            (Protocol::Udp, Some(ports)) => format!("udp{ports}"),
            (Protocol::Tcp, None) => "meta l4proto tcp".into(),
            (Protocol::Udp, None) => "meta l4proto udp".into(),
        };
        format!("{source}{what} accept")
    };
    families.iter().map(one).collect()
}

/// What guests reach of the host, and what passes between them and the world.
fn inet_table(text: &mut String, spec: &NetworkSpec) {
    let bridge = &spec.bridge;
    let _ = writeln!(text, "table inet {} {{", names::table(bridge));
    let mut input = lines(["type filter hook input priority filter; policy accept;"]);
    input.push(format!("iifname != \"{bridge}\" accept"));
    if !spec.subnets.is_empty() && !matches!(spec.uplink, Uplink::Interface { .. }) {
        input.extend(lines(["ct state established,related accept", "udp dport { 67, 547 } accept"]));
        for subnet in &spec.subnets {
            let (family, icmp) = if subnet.gateway.is_ipv4() { ("ip", "icmp") } else { ("ip6", "icmpv6") };
            let to_us = format!("{family} daddr {}", subnet.gateway);
            input.push(format!("{to_us} meta l4proto {{ tcp, udp }} th dport 53 accept"));
            input.push(format!("{to_us} {icmp} type echo-request accept"));
        }
        input.extend(lines(["icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert, nd-router-solicit, mld-listener-report, mld-listener-done, mld2-listener-report } accept"]));
    }
    input.push("drop".into());
    chain(text, "input", &input);
    let mut forward = lines(["type filter hook forward priority filter; policy accept;"]);
    // Where the kernel shows bridged packets to these rules too, they pass: the other table has looked at them.
    forward.push(format!("iifname \"{bridge}\" oifname \"{bridge}\" accept"));
    match spec.uplink {
        Uplink::None | Uplink::Interface { .. } => {
            forward.push(format!("iifname \"{bridge}\" drop"));
            forward.push(format!("oifname \"{bridge}\" drop"));
        }
        Uplink::Nat => {
            forward.push(format!("oifname \"{bridge}\" ct state established,related accept"));
            forward.push(format!("oifname \"{bridge}\" drop"));
        }
        Uplink::Routed => {}
    }
    chain(text, "forward", &forward);
    if spec.uplink == Uplink::Nat {
        let mut nat = lines(["type nat hook postrouting priority srcnat; policy accept;"]);
        for subnet in &spec.subnets {
            let family = if subnet.gateway.is_ipv4() { "ip" } else { "ip6" };
            let (gateway, prefix) = (subnet.gateway, subnet.prefix);
            nat.push(format!(
                "{family} saddr {gateway}/{prefix} {family} daddr != {gateway}/{prefix} oifname != \"{bridge}\" masquerade"
            ));
        }
        chain(text, "nat", &nat);
    }
    text.push_str("}\n");
}
