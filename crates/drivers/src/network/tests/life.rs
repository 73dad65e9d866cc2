//! The life of a network on a host: made, broken, put right, found again, removed without a trace.

use super::super::netlink::Netlink;
use super::super::{names, nft, service};
use super::{in_namespace, lab, port, switch};
use hostler_core::ports::{DriverErrorKind, NetworkSpec, Subnet, Switch, Uplink};
use std::net::Ipv4Addr;
use std::path::Path;
use std::time::Duration;
use tokio::net::UdpSocket;

const DEADLINE: Duration = Duration::from_secs(20);

fn nft() -> &'static Path {
    Path::new("/usr/sbin/nft")
}

async fn names_of_links() -> Vec<String> {
    Netlink::open().unwrap().links().await.unwrap().into_iter().map(|link| link.name).collect()
}

async fn pid(spec: &NetworkSpec) -> Option<u32> {
    service::find(spec.id).await.unwrap().map(|process| process.pid)
}

/// What the network's DNS answers for an IPv4 address, if it has an answer.
async fn resolve(name: &str) -> Option<Ipv4Addr> {
    let mut question = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        question.push(u8::try_from(label.len()).unwrap());
        question.extend_from_slice(label.as_bytes());
    }
    question.extend_from_slice(&[0, 0, 1, 0, 1]);
    let socket = UdpSocket::bind(("10.77.0.1", 0)).await.unwrap();
    let mut answer = [0; 512];
    let exchange = async {
        socket.send_to(&question, ("10.77.0.1", 53)).await.unwrap();
        socket.recv(&mut answer).await.unwrap()
    };
    let length = tokio::time::timeout(DEADLINE, exchange).await.expect("DNS answers");
    let found = answer[7] > 0;
    found.then(|| Ipv4Addr::from(<[u8; 4]>::try_from(&answer[length - 4..length]).unwrap()))
}

async fn lo_up() {
    let netlink = Netlink::open().unwrap();
    let lo = netlink.link("lo").await.unwrap().unwrap();
    netlink.up(&lo).await.unwrap();
}

#[test]
fn a_network_is_made_told_of_changes_and_removed_without_a_trace() {
    in_namespace(async || {
        lo_up().await;
        let folder = tempfile::tempdir().unwrap();
        let (switch, mut spec) = (switch(folder.path()), lab());
        let before = names_of_links().await;
        switch.examine(&spec).await.unwrap();
        assert_eq!(names_of_links().await, before, "examining touches nothing");
        switch.apply(&spec).await.unwrap();
        assert_eq!(switch.defects(&spec).await.unwrap(), Vec::<String>::new());
        assert_eq!(switch.networks().await.unwrap(), [spec.id]);
        assert_eq!(resolve("b.lab.test").await, Some(Ipv4Addr::new(10, 77, 0, 3)));
        assert_eq!(resolve("b.pool.test").await, Some(Ipv4Addr::new(10, 77, 0, 3)));
        assert_eq!(resolve("b").await, Some(Ipv4Addr::new(10, 77, 0, 3)));
        assert_eq!(resolve("a.pool.test").await, None);
        assert_eq!(resolve("d.lab.test").await, None);
        let first = pid(&spec).await.unwrap();
        assert_ne!(effective_user(first), 0, "dnsmasq does not stay root");

        spec.ports.push(port("d", 9));
        switch.apply(&spec).await.unwrap();
        switch.apply(&spec).await.unwrap();
        assert_eq!(pid(&spec).await, Some(first), "names are told to the one that runs");
        let told = async { while resolve("d.lab.test").await.is_none() {} };
        tokio::time::timeout(DEADLINE, told).await.expect("a new name is answered");

        switch.remove(spec.id).await.unwrap();
        switch.remove(spec.id).await.unwrap();
        assert_eq!(names_of_links().await, before);
        assert_eq!(pid(&spec).await, None);
        assert_eq!(nft::listing(nft(), &names::table(&spec.bridge)).await.unwrap(), None);
        assert!(switch.networks().await.unwrap().is_empty());
    });
}

fn effective_user(pid: u32) -> u32 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap().to_owned();
    line.split_whitespace().nth(2).unwrap().parse().unwrap()
}

#[test]
fn what_breaks_is_noticed_and_put_right() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let (switch, spec) = (switch(folder.path()), lab());
        switch.apply(&spec).await.unwrap();
        let defects = async || switch.defects(&spec).await.unwrap().join("; ");
        let mend = async || {
            switch.apply(&spec).await.unwrap();
            assert_eq!(defects().await, "");
        };
        let mut events = switch.events();
        let process = service::find(spec.id).await.unwrap().unwrap();
        process.signal(rustix::process::Signal::KILL);
        let told = tokio::time::timeout(DEADLINE, events.recv()).await.expect("its end is told").unwrap();
        assert_eq!(told, spec.id);
        assert!(defects().await.contains("dnsmasq of br-lab does not run"));
        mend().await;

        let table = names::table(&spec.bridge);
        nft::load(nft(), &format!("delete table bridge {table}")).await.unwrap();
        assert!(defects().await.contains("the rules of br-lab are not there"));
        mend().await;
        nft::load(nft(), &format!("flush chain bridge {table} guests")).await.unwrap();
        assert!(defects().await.contains("somebody changed the rules of br-lab"));
        mend().await;

        let cable = super::frames::Cable::plug(spec.id, &spec.bridge, 2).await;
        let netlink = Netlink::open().unwrap();
        let bridge = netlink.link("br-lab").await.unwrap().unwrap();
        netlink.address_remove(&bridge, "10.77.0.1".parse().unwrap(), 24).await.unwrap();
        assert!(defects().await.contains("lost its address 10.77.0.1/24"));
        mend().await;
        netlink.remove(&bridge).await.unwrap();
        assert!(defects().await.contains("there is no bridge br-lab"));
        mend().await;
        let tap = netlink.link(&names::tap(spec.id, "52:54:00:00:00:02")).await.unwrap().unwrap();
        let bridge = netlink.link("br-lab").await.unwrap().unwrap();
        assert_eq!(tap.controller, Some(bridge.index), "the cables of running guests are plugged in again");
        drop(cable);
        assert!(netlink.link(&tap.name).await.unwrap().is_none(), "a tap goes with its guest");
        switch.remove(spec.id).await.unwrap();
    });
}

#[test]
fn another_server_takes_over_what_runs() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let spec = lab();
        let first = switch(folder.path());
        first.apply(&spec).await.unwrap();
        let running = pid(&spec).await.unwrap();
        drop(first);
        let second = switch(folder.path());
        assert_eq!(second.networks().await.unwrap(), [spec.id]);
        second.apply(&spec).await.unwrap();
        assert_eq!(pid(&spec).await, Some(running));
        let mut events = second.events();
        service::find(spec.id).await.unwrap().unwrap().signal(rustix::process::Signal::KILL);
        tokio::time::timeout(DEADLINE, events.recv()).await.expect("it is watched, too").unwrap();
        second.apply(&spec).await.unwrap();
        assert_ne!(pid(&spec).await, Some(running));
        drop(second);
        switch(folder.path()).remove(spec.id).await.unwrap();
        assert_eq!(pid(&spec).await, None, "one that was never seen before is ended all the same");
    });
}

#[test]
fn what_is_not_ours_is_left_alone() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let (switch, spec) = (switch(folder.path()), lab());
        let netlink = Netlink::open().unwrap();
        let foreign = netlink.bridge_add("br-lab", [0x52, 1, 2, 3, 4, 5]).await.unwrap();
        for refused in [switch.examine(&spec).await, switch.apply(&spec).await] {
            let error = refused.unwrap_err();
            assert_eq!(error.kind, DriverErrorKind::Refused);
            assert!(error.detail.contains("an interface br-lab that hostler did not make"), "{error}");
        }
        switch.remove(spec.id).await.unwrap();
        assert!(netlink.link("br-lab").await.unwrap().is_some(), "it is still there");
        netlink.address_add(&foreign, "10.77.0.200".parse().unwrap(), 25).await.unwrap();
        let other = NetworkSpec { bridge: "br-other".into(), ..spec.clone() };
        let error = switch.examine(&other).await.unwrap_err();
        assert!(error.detail.contains("overlaps 10.77.0.200/25, which the host has on br-lab"), "{error}");
        let uplink = |name: &str| NetworkSpec {
            uplink: Uplink::Interface { name: name.into() },
            subnets: Vec::<Subnet>::new(),
            ..other.clone()
        };
        for (name, why) in [("eth9", "no interface"), ("lo", "in use"), ("br-lab", "in use")] {
            let error = switch.examine(&uplink(name)).await.unwrap_err();
            assert!(error.detail.contains(why), "{name}: {error}");
        }
        netlink.remove(&foreign).await.unwrap();
    });
}

#[test]
fn a_network_on_an_interface_has_no_services_and_gives_the_interface_back() {
    in_namespace(async || {
        let folder = tempfile::tempdir().unwrap();
        let switch = switch(folder.path());
        let other = lab();
        let netlink = Netlink::open().unwrap();
        // Any interface that is nobody's will do: here the end of another network's cable.
        let carrier = netlink.bridge_add("carrier", [0x52, 9, 9, 9, 9, 9]).await.unwrap();
        let cable = super::frames::Cable::plug(other.id, "carrier", 5).await;
        let name = names::tap(other.id, "52:54:00:00:00:05");
        let out = netlink.link(&name).await.unwrap().unwrap();
        netlink.unplug(&out).await.unwrap();
        netlink.remove(&carrier).await.unwrap();
        let spec =
            NetworkSpec { uplink: Uplink::Interface { name: name.clone() }, subnets: Vec::new(), ..lab() };
        switch.examine(&spec).await.unwrap();
        switch.apply(&spec).await.unwrap();
        assert_eq!(switch.defects(&spec).await.unwrap(), Vec::<String>::new());
        assert_eq!(pid(&spec).await, None);
        let plugged = netlink.link(&name).await.unwrap().unwrap();
        assert_eq!(plugged.controller, netlink.link("br-lab").await.unwrap().map(|link| link.index));
        switch.remove(spec.id).await.unwrap();
        assert_eq!(netlink.link(&name).await.unwrap().unwrap().controller, None);
        drop(cable);
    });
}
