//! Rules and configurations as text, as written down.

use super::super::{rules, services};
use hostler_core::ids::NetworkId;
use hostler_core::ports::{InboundRule, NetworkSpec, Protocol, Uplink};
use uuid::Uuid;

fn lab() -> NetworkSpec {
    NetworkSpec { id: NetworkId(Uuid::from_u128(7)), ..super::lab() }
}

#[test]
fn the_rules_are_as_written_down() {
    let mut spec = lab();
    spec.ports.truncate(1);
    spec.uplink = Uplink::Nat;
    spec.ports[0].inbound = Some(vec![
        InboundRule { protocol: Protocol::Tcp, ports: Some((22, 22)), source: None },
        InboundRule { protocol: Protocol::Icmp, ports: None, source: Some(("10.0.0.0".parse().unwrap(), 8)) },
    ]);
    insta::assert_snapshot!(rules::rules(&spec));
}

#[test]
fn a_network_whose_addresses_are_somebody_elses_pins_cards_only() {
    let mut spec = lab();
    spec.ports.truncate(1);
    spec.subnets.clear();
    spec.ports[0].addresses.clear();
    spec.uplink = Uplink::Interface { name: "eth1".into() };
    insta::assert_snapshot!(rules::rules(&spec));
}

#[test]
fn dnsmasq_is_told_what_is_written_down() {
    let mut spec = lab();
    spec.uplink = Uplink::Routed;
    spec.resolvers = vec!["9.9.9.9".parse().unwrap()];
    let told = [services::config(&spec, "dnsmasq"), services::hosts(&spec), services::cards(&spec)];
    insta::assert_snapshot!(told.join("---\n"));
    spec.uplink = Uplink::None;
    let isolated = services::config(&spec, "dnsmasq");
    assert!(isolated.contains("dhcp-option=option:router\n") && isolated.contains("ra-param=br-lab,60,0\n"));
}
