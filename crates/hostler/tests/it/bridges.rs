//! Bridge networks in the test world: what core decides, and what it tells the switch.

use hostler_core::access::Caller;
use hostler_core::core::ListAsk;
use hostler_core::error::ErrorKind;
use hostler_core::machines::{Life, Machine, MachineAsk};
use hostler_core::networks::{Network, NetworkAsk, NetworkKind, Range};
use hostler_core::pools::PoolSpec;
use hostler_core::ports::{DriverErrorKind, InboundRule, Protocol, Subnet, Switch, Uplink};
use hostler_core::reconcile::{NetworkKeeper, PoolKeeper};
use hostler_sim::{Mode, Verb, World};
use std::net::IpAddr;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn lab() -> NetworkAsk {
    NetworkAsk {
        name: "lab".into(),
        kind: NetworkKind::Bridge,
        outbound: false,
        uplink: Uplink::Nat,
        bridge: None,
        subnets: vec![
            Subnet { gateway: ip("10.1.0.1"), prefix: 24 },
            Subnet { gateway: ip("fd00::1"), prefix: 64 },
        ],
        ranges: vec![
            Range::new(ip("10.1.0.0"), ip("10.1.0.3")).unwrap(),
            Range::new(ip("fd00::1"), ip("fd00::ff")).unwrap(),
        ],
        domain: Some("lab.test".into()),
        resolvers: Vec::new(),
    }
}

fn ask(name: &str, addresses: &[&str]) -> MachineAsk {
    let addresses = addresses.iter().map(|text| ip(text)).collect();
    MachineAsk { network: Some("lab".into()), addresses, ..World::machine(name) }
}

async fn with_lab() -> (World, Network) {
    let world = World::with_template().await.unwrap();
    let network = world.core.network_create(&world.admin, &lab()).await.unwrap();
    (world, network)
}

async fn made(world: &World, name: &str, addresses: &[&str]) -> Machine {
    world.core.machine_create(&world.admin, &ask(name, addresses), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    world.core.machine_get(&world.admin, name).await.unwrap()
}

async fn round(world: &World) {
    NetworkKeeper::new(world.core.clone(), world.core.local_hosts()[0].clone()).round().await;
}

fn ports(world: &World, network: &Network) -> Vec<(String, Vec<IpAddr>)> {
    let spec = world.switch.network(network.id).unwrap();
    spec.ports.into_iter().map(|port| (port.name, port.addresses)).collect()
}

#[tokio::test]
async fn machines_get_an_address_of_each_family_and_the_switch_knows() {
    let (world, network) = with_lab().await;
    assert!(network.bridge.as_ref().is_some_and(|name| name.len() <= 15));
    assert!(world.switch.network(network.id).is_some(), "a network is made at once");
    let machine = made(&world, "m", &[]).await;
    assert_eq!(machine.life, Life::Present);
    assert!(machine.nics[0].mac.ends_with(":0a:01:00:02"), "{}", machine.nics[0].mac);
    assert_eq!(ports(&world, &network), [("m".into(), vec![ip("10.1.0.2"), ip("fd00::2")])]);
    let other = made(&world, "n", &["fd00::7"]).await;
    assert_ne!(other.nics[0].mac, machine.nics[0].mac);
    assert_eq!(ports(&world, &network)[1], ("n".into(), vec![ip("10.1.0.3"), ip("fd00::7")]));
}

#[tokio::test]
async fn what_cannot_be_had_is_said_and_changes_nothing() {
    let (world, _) = with_lab().await;
    made(&world, "a", &["10.1.0.3"]).await;
    let refused = async |addresses: &[&str]| {
        world.core.machine_create(&world.admin, &ask("x", addresses), None).await.unwrap_err()
    };
    assert_eq!(refused(&["10.1.0.3"]).await.code, "taken");
    for never in ["10.1.0.0", "10.1.0.1", "10.1.0.77", "fd00::1", "192.0.2.1"] {
        let error = refused(&[never]).await;
        assert!(matches!(error.kind, ErrorKind::Invalid { .. }), "{never}: {error}");
    }
    assert!(matches!(refused(&["fd00::5", "fd00::6"]).await.kind, ErrorKind::Invalid { .. }));
    made(&world, "b", &[]).await;
    let before = world.core.event_bounds().await.unwrap();
    let error = refused(&[]).await;
    assert_eq!(
        (error.kind, error.text.as_str()),
        (ErrorKind::NoCapacity, "network lab has no free IPv4 address")
    );
    assert_eq!(world.core.event_bounds().await.unwrap(), before);
    let taken = world.core.address_list(&world.admin, "lab", ListAsk::default()).await.unwrap().items;
    assert_eq!(taken.len(), 4);
}

#[tokio::test]
async fn networks_that_meet_are_refused() {
    let (world, network) = with_lab().await;
    let create = async |change: fn(&mut NetworkAsk)| {
        let mut ask = NetworkAsk { name: "other".into(), ..lab() };
        change(&mut ask);
        world.core.network_create(&world.admin, &ask).await
    };
    assert_eq!(create(|_| ()).await.unwrap_err().code, "overlap");
    let bare = |ask: &mut NetworkAsk| (ask.uplink, ask.subnets, ask.ranges) = (Uplink::None, vec![], vec![]);
    let same = NetworkAsk { name: "same".into(), bridge: network.bridge.clone(), ..lab() };
    let same = NetworkAsk { uplink: Uplink::None, subnets: vec![], ranges: vec![], ..same };
    assert_eq!(world.core.network_create(&world.admin, &same).await.unwrap_err().code, "taken");
    create(bare).await.unwrap();
    let user = Caller { role: hostler_core::access::Role::User, ..world.admin.clone() };
    assert_eq!(world.core.network_create(&user, &lab()).await.unwrap_err().kind, ErrorKind::Denied);
}

#[tokio::test]
async fn a_network_in_use_stays_and_an_empty_one_goes() {
    let (world, network) = with_lab().await;
    made(&world, "m", &[]).await;
    assert_eq!(world.core.network_delete(&world.admin, "lab").await.unwrap_err().code, "in_use");
    made(&world, "still", &[]).await;
    for name in ["m", "still"] {
        world.core.machine_delete(&world.admin, name).await.unwrap();
    }
    world.run_tasks(Mode::Plain).await.unwrap();
    round(&world).await;
    assert_eq!(ports(&world, &network), [], "who is gone is not known to the rules any more");
    world.core.network_delete(&world.admin, "lab").await.unwrap();
    assert_eq!(world.switch.network(network.id), None);
}

#[tokio::test]
async fn what_the_switch_could_not_do_is_done_later() {
    let (world, network) = with_lab().await;
    world.faults.fail(Verb::SwitchApply, 1, DriverErrorKind::Refused);
    world.core.machine_create(&world.admin, &ask("m", &[]), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let taken = world.core.address_list(&world.admin, "lab", ListAsk::default()).await.unwrap().items;
    assert_eq!(taken, [], "a machine whose network cannot be made is undone");
    world.check_whole().await.unwrap();
    world.faults.fail(Verb::SwitchApply, 1, DriverErrorKind::Timeout);
    made(&world, "late", &[]).await;
    assert_eq!(ports(&world, &network).len(), 1);

    world.core.machine_delete(&world.admin, "late").await.unwrap();
    world.run_tasks(Mode::Twice).await.unwrap();
    world.faults.fail(Verb::SwitchRemove, 1, DriverErrorKind::Refused);
    world.core.network_delete(&world.admin, "lab").await.unwrap();
    assert!(world.switch.network(network.id).is_some());
    round(&world).await;
    assert_eq!(world.switch.networks().await.unwrap(), [], "what is in no book is removed");
}

#[tokio::test]
async fn rules_of_a_card_are_kept_and_told_at_once() {
    let (world, network) = with_lab().await;
    let machine = made(&world, "m", &[]).await;
    let mac = machine.nics[0].mac.clone();
    let rules = vec![InboundRule { protocol: Protocol::Tcp, ports: Some((22, 22)), source: None }];
    let set = async |mac: &str| world.core.machine_inbound(&world.admin, "m", mac, Some(&rules)).await;
    assert_eq!(set(&mac).await.unwrap().nics[0].inbound.as_ref(), Some(&rules));
    assert_eq!(world.switch.network(network.id).unwrap().ports[0].inbound.as_ref(), Some(&rules));
    assert_eq!(set("52:00:00:00:00:00").await.unwrap_err().kind, ErrorKind::NotFound);
    world.core.machine_inbound(&world.admin, "m", &mac, None).await.unwrap();
    assert_eq!(world.switch.network(network.id).unwrap().ports[0].inbound, None);
}

#[tokio::test]
async fn a_machine_of_a_pool_is_named_in_the_domain_of_its_pool() {
    let (world, network) = with_lab().await;
    let pool = PoolSpec {
        network: Some("lab".into()),
        domain: Some("ci.example".into()),
        ..PoolSpec::new("a", "micro", 1)
    };
    world.core.pool_create(&world.admin, &pool).await.unwrap();
    made(&world, "m", &[]).await;
    let mut keeper = PoolKeeper::new(world.core.clone());
    for _ in 0..10 {
        keeper.round().await;
        world.run_tasks(Mode::Plain).await.unwrap();
    }
    let ports = world.switch.network(network.id).unwrap().ports;
    assert_eq!(ports.len(), 2);
    for port in ports {
        assert!(!port.addresses.is_empty(), "{port:?}");
        let domain = (port.name != "m").then_some("ci.example");
        assert_eq!(port.domain.as_deref(), domain, "{port:?}");
    }
}
