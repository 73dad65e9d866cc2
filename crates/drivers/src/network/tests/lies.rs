//! A guest that lies is not heard; without the rules each of its lies gets through.

use super::super::{names, nft, rules};
use super::frames::{Cable, Mac, arp, ethernet, ipv4, ipv6, mac, neighbour, same, tcp, udp, v4, v6};
use super::{in_namespace, lab, switch};
use hostler_core::ports::{InboundRule, NetworkSpec, Protocol, Switch};
use std::net::Ipv6Addr;
use std::path::Path;

const ALL: Mac = [0xff; 6];
const ALL_NODES: (Mac, Ipv6Addr) = ([0x33, 0x33, 0, 0, 0, 1], Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1));
const ICMPV6: u8 = 58;
const UDP: u8 = 17;
const TCP: u8 = 6;

/// Guest 2 speaks, 3 and 4 listen. All is heard in order, so a frame that the next one overtakes was dropped.
struct Party {
    speaker: Cable,
    listener: Cable,
    third: Cable,
    count: u8,
}

impl Party {
    async fn gather(spec: &NetworkSpec) -> Self {
        let plug = |number| Cable::plug(spec.id, &spec.bridge, number);
        Self { speaker: plug(2).await, listener: plug(3).await, third: plug(4).await, count: 0 }
    }

    /// Whether guest 3 hears what guest 2 sends.
    async fn hears(&mut self, frame: &[u8]) -> bool {
        self.count += 1;
        let honest = ipv4((mac(3), mac(2)), v4(2), v4(3), UDP, &udp(40000, 50000, &[self.count; 32]));
        self.speaker.send(frame);
        self.speaker.send(&honest);
        self.listener.hear_until(&honest).await.iter().any(|heard| same(heard, frame))
    }
}

fn own_link_local(number: u8) -> Ipv6Addr {
    rules::link_local(mac(number))
}

fn lies(spec: &NetworkSpec) -> Vec<(&'static str, Vec<u8>)> {
    let to_b = (mac(3), mac(2));
    let nodes = (ALL_NODES.0, mac(2));
    let bridge = rules::link_local(names::bridge_mac(spec.id));
    let from_me = |body: &[u8]| ipv6(nodes, own_link_local(2), ALL_NODES.1, ICMPV6, body);
    let ping = udp(40000, 50000, b"x");
    vec![
        ("another's MAC", ipv4((mac(3), mac(4)), v4(2), v4(3), UDP, &ping)),
        ("another's address", ipv4(to_b, v4(4), v4(3), UDP, &ping)),
        ("the gateway's address", ipv4(to_b, v4(1), v4(3), UDP, &ping)),
        ("an address of nobody", ipv4(to_b, v4(99), v4(3), UDP, &ping)),
        ("no address", ipv4(to_b, 0.into(), v4(3), UDP, &ping)),
        ("ARP: I am the gateway", arp(2, mac(2), (mac(2), v4(1)), v4(3))),
        ("ARP: I am another", arp(1, mac(2), (mac(2), v4(4)), v4(3))),
        ("ARP: another has my address", arp(2, mac(2), (mac(4), v4(2)), v4(3))),
        ("a DHCP server's answer", ipv4((ALL, mac(2)), v4(2), [255; 4].into(), UDP, &udp(67, 68, b"offer"))),
        ("another's IPv6 address", ipv6(to_b, v6(4), v6(3), UDP, &ping)),
        ("the gateway's IPv6 address", ipv6(to_b, v6(1), v6(3), UDP, &ping)),
        ("another's link-local address", ipv6(to_b, own_link_local(4), v6(3), UDP, &ping)),
        ("the gateway's link-local address", ipv6(to_b, bridge, v6(3), UDP, &ping)),
        ("a router's advertisement", from_me(&neighbour(134, Ipv6Addr::UNSPECIFIED))),
        ("a redirect", from_me(&neighbour(137, v6(9)))),
        ("a neighbour that is the gateway", from_me(&neighbour(136, v6(1)))),
        ("a neighbour that is the router", from_me(&neighbour(136, bridge))),
        ("a neighbour that is another", from_me(&neighbour(136, v6(4)))),
        ("a neighbour that is another's link-local", from_me(&neighbour(136, own_link_local(4)))),
        ("a neighbour that is nobody", from_me(&neighbour(136, v6(99)))),
        (
            "taking another's address",
            ipv6(nodes, Ipv6Addr::UNSPECIFIED, ALL_NODES.1, ICMPV6, &neighbour(135, v6(4))),
        ),
        (
            "a DHCPv6 server's answer",
            ipv6(nodes, own_link_local(2), ALL_NODES.1, UDP, &udp(547, 546, b"offer")),
        ),
        ("a VLAN", ethernet(mac(3), mac(2), 0x8100, &[0, 5, 8, 0, 0x45])),
        ("a protocol of nobody", ethernet(mac(3), mac(2), 0x88b5, b"hello")),
    ]
}

fn truths() -> Vec<(&'static str, Vec<u8>)> {
    let to_b = (mac(3), mac(2));
    let nodes = (ALL_NODES.0, mac(2));
    let made_up: Ipv6Addr = "fe80::1234:5678:9abc:def0".parse().unwrap();
    let ping = udp(40000, 50000, b"x");
    vec![
        ("its own address", ipv4(to_b, v4(2), v4(3), UDP, &ping)),
        ("asking by ARP", arp(1, mac(2), (mac(2), v4(2)), v4(3))),
        ("looking whether its address is free", arp(1, mac(2), (mac(2), 0.into()), v4(2))),
        (
            "asking for a lease",
            ipv4((ALL, mac(2)), 0.into(), [255; 4].into(), UDP, &udp(68, 67, b"discover")),
        ),
        ("its own IPv6 address", ipv6(to_b, v6(2), v6(3), UDP, &ping)),
        ("its own link-local address", ipv6(to_b, own_link_local(2), v6(3), UDP, &ping)),
        ("a link-local address that it made up", ipv6(to_b, made_up, v6(3), UDP, &ping)),
        ("being itself", ipv6(nodes, v6(2), ALL_NODES.1, ICMPV6, &neighbour(136, v6(2)))),
        ("being what it made up", ipv6(nodes, made_up, ALL_NODES.1, ICMPV6, &neighbour(136, made_up))),
        ("looking for another", ipv6(nodes, v6(2), ALL_NODES.1, ICMPV6, &neighbour(135, v6(4)))),
        (
            "taking its own address",
            ipv6(nodes, Ipv6Addr::UNSPECIFIED, ALL_NODES.1, ICMPV6, &neighbour(135, v6(2))),
        ),
    ]
}

async fn lift_rules(spec: &NetworkSpec) {
    nft::load(Path::new("/usr/sbin/nft"), &rules::removal(&spec.bridge)).await.unwrap();
}

#[test]
fn guests_are_heard_as_themselves_only() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let (switch, spec) = (switch(folder.path()), lab());
        switch.apply(&spec).await.unwrap();
        let mut party = Party::gather(&spec).await;
        for (truth, frame) in truths() {
            assert!(party.hears(&frame).await, "{truth} is not heard");
        }
        for (lie, frame) in lies(&spec) {
            assert!(!party.hears(&frame).await, "{lie} is heard");
        }
        lift_rules(&spec).await;
        for (lie, frame) in lies(&spec) {
            assert!(party.hears(&frame).await, "without rules {lie} would be heard");
        }
        switch.remove(spec.id).await.unwrap();
    });
}

#[test]
fn a_frame_to_the_bridge_itself_does_not_steal_anothers_place() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let (switch, spec) = (switch(folder.path()), lab());
        switch.apply(&spec).await.unwrap();
        let mut party = Party::gather(&spec).await;
        let here = arp(1, mac(3), (mac(3), v4(3)), v4(4));
        let theft = ethernet([0x01, 0x80, 0xc2, 0, 0, 0x0e], mac(3), 0x88cc, b"lldp");
        let to_b = |count: u8| ipv4((mac(3), mac(4)), v4(4), v4(3), UDP, &udp(40000, 50000, &[count; 32]));
        party.listener.send(&here);
        party.third.hear_until(&here).await;
        party.speaker.send(&theft);
        party.third.send(&to_b(1));
        party.listener.hear_until(&to_b(1)).await;

        let mut learn = crate::spawn::unconfined(Path::new("/usr/sbin/ip"));
        learn.args(["link", "set", "br-lab", "type", "bridge", "no_linklocal_learn", "0"]);
        assert!(learn.status().unwrap().success());
        lift_rules(&spec).await;
        party.speaker.send(&theft);
        party.third.send(&to_b(2));
        party.speaker.hear_until(&to_b(2)).await;
        switch.apply(&spec).await.unwrap();
        party.listener.send(&here);
        assert!(
            party.hears(&truths()[0].1).await,
            "what was stolen comes back with the next word of its owner"
        );
        switch.remove(spec.id).await.unwrap();
    });
}

#[test]
fn inbound_rules_let_in_what_they_name() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let (switch, mut spec) = (switch(folder.path()), lab());
        switch.apply(&spec).await.unwrap();
        let mut party = Party::gather(&spec).await;
        let to_b = (mac(3), mac(2));
        let packet = |protocol, body: &[u8]| ipv4(to_b, v4(2), v4(3), protocol, body);
        let syn = |port| packet(TCP, &tcp(40000, port, 2));
        assert!(party.hears(&syn(80)).await && party.hears(&packet(UDP, &udp(40000, 53, b"x"))).await);
        let rule = |source: &str, prefix| InboundRule {
            protocol: Protocol::Tcp,
            ports: Some((20, 22)),
            source: Some((source.parse().unwrap(), prefix)),
        };
        spec.ports[1].inbound = Some(vec![rule("10.77.0.2", 32)]);
        switch.apply(&spec).await.unwrap();
        assert!(party.hears(&syn(22)).await && party.hears(&syn(20)).await);
        assert!(!party.hears(&syn(23)).await && !party.hears(&syn(80)).await);
        assert!(!party.hears(&packet(UDP, &udp(40000, 53, b"x"))).await);
        assert!(!party.hears(&packet(1, &[8, 0, 0, 0, 0, 1, 0, 1])).await, "an echo request");
        assert!(party.hears(&packet(TCP, &tcp(80, 40001, 18))).await, "an answer to what it asked");
        assert!(party.hears(&arp(1, mac(2), (mac(2), v4(2)), v4(3))).await);
        assert!(!party.hears(&ipv6(to_b, v6(2), v6(3), TCP, &tcp(40000, 22, 2))).await, "another family");
        spec.ports[1].inbound = Some(vec![rule("10.77.0.9", 32)]);
        switch.apply(&spec).await.unwrap();
        assert!(!party.hears(&syn(22)).await, "from another source");
        spec.ports[1].inbound = None;
        switch.apply(&spec).await.unwrap();
        assert!(party.hears(&syn(80)).await);
        switch.remove(spec.id).await.unwrap();
    });
}

#[test]
fn a_cable_that_the_rules_do_not_know_is_silent() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let (switch, mut spec) = (switch(folder.path()), lab());
        let unknown = spec.ports.remove(2);
        switch.apply(&spec).await.unwrap();
        let party = Party::gather(&spec).await;
        party.third.send(&arp(1, mac(4), (mac(4), v4(4)), v4(3)));
        let marker = truths()[0].1.clone();
        party.speaker.send(&marker);
        assert!(party.listener.hear_until(&marker).await.iter().all(|frame| frame[6..12] != mac(4)));
        spec.ports.push(unknown);
        switch.apply(&spec).await.unwrap();
        let here = arp(1, mac(4), (mac(4), v4(4)), v4(3));
        party.third.send(&here);
        party.listener.hear_until(&here).await;
        switch.remove(spec.id).await.unwrap();
    });
}
