//! What one machine has: its disks, its addresses, and all of it together for scripts that move machines.

use super::hosts::named;
use super::{fields, render};
use crate::isp::by::By;
use crate::isp::filters::Filters;
use crate::isp::refused::Answer;
use crate::isp::render::list as rendered;
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::access::Caller;
use hostler_core::core::{ListAsk, Page};
use hostler_core::machines::{Machine, Observed, Surroundings};
use hostler_core::networks::Address;
use hostler_core::query::Filter;
use hostler_core::volumes::{StoragePlace, Volume};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr};

/// `GET host/{id}/disk`.
pub(super) async fn disks(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
    filters: Filters,
) -> Answer<Json<Value>> {
    let mut ask = filters.ask(fields::DISKS)?;
    let machine = named(&state, &caller, &id).await?;
    ask.filter = Filter::eq("machine", machine.id.0).and(ask.filter);
    let page = state.core().volume_list(&caller, ask).await?;
    let storages = storages(&state, &caller).await?;
    rendered(&state, page, |volume| disk(&machine, &volume, &storages)).await
}

async fn storages(
    state: &DoorState,
    caller: &Caller,
) -> Answer<HashMap<hostler_core::ids::StorageId, StoragePlace>> {
    let all = ListAsk { limit: 1000, ..ListAsk::default() };
    let page = state.core().storage_list(caller, all).await?;
    Ok(page.items.into_iter().map(|(place, _)| (place.id, place)).collect())
}

fn disk(
    machine: &Machine,
    volume: &Volume,
    storages: &HashMap<hostler_core::ids::StorageId, StoragePlace>,
) -> Value {
    let storage = storages.get(&volume.storage);
    json!({
        "id": volume.number,
        "name": volume.name,
        "size_mib": volume.size_mib,
        "disk_mib": volume.size_mib,
        "bus": "virtio",
        "boot_order": volume.position + 1,
        "storage": {
            "id": storage.map_or(0, |one| one.number),
            "name": storage.map_or("", |one| one.name.as_str()),
            "type": "file",
        },
        "tags": [],
        "host": { "id": machine.number },
    })
}

/// `GET host/{id}/ipv4`.
pub(super) async fn ipv4(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
    filters: Filters,
) -> Answer<Json<Value>> {
    let ask = filters.ask(fields::ADDRESSES)?;
    let machine = [named(&state, &caller, &id).await?];
    let around = state.core().machine_surroundings(&machine).await?;
    let [machine] = &machine;
    if machine.nics.iter().all(|nic| nic.addresses.is_empty()) {
        return told(&state, machine, &around).await;
    }
    // Of the other family's rows none is shown: text of IPv6 has a colon.
    let mut ask = ask;
    let colon = Filter::Is("ip", hostler_core::query::Compare::Contains, ":".into());
    ask.filter = Filter::Not(Box::new(colon)).and(ask.filter);
    let page = state.core().machine_address_list(&caller, &machine.id.to_string(), ask).await?;
    rendered(&state, page, |address| reserved(machine, &address, &around)).await
}

/// On networks that reserve no addresses, the guest's word is all there is.
async fn told(state: &DoorState, machine: &Machine, around: &Surroundings) -> Answer<Json<Value>> {
    let ips = render::addresses(machine, around).into_iter().filter(|(ip, _)| ip.is_ipv4());
    let items: Vec<Value> =
        ips.zip(1..).map(|((ip, card), place)| entry(machine, (place, ip), "", "", (0, &card))).collect();
    let total = Some(items.len() as u64);
    rendered(state, Page { items, next: None, total }, |item| item).await
}

fn reserved(machine: &Machine, address: &Address, around: &Surroundings) -> Value {
    let network = around.networks.get(&address.network);
    let subnet = network.and_then(|network| network.subnet_of(address.ip));
    let gateway = subnet.map_or_else(String::new, |subnet| subnet.gateway.to_string());
    let mask = subnet.map_or_else(String::new, |subnet| mask(subnet.prefix).to_string());
    let place = machine.nics.iter().position(|nic| nic.addresses.contains(&address.id)).unwrap_or_default();
    let number = network.map_or(0, |network| network.number);
    entry(machine, (address.number, address.ip), &gateway, &mask, (number, &format!("eth{place}")))
}

fn mask(prefix: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0))
}

fn entry(
    machine: &Machine,
    (id, ip): (i64, IpAddr),
    gateway: &str,
    mask: &str,
    (network, card): (i64, &str),
) -> Value {
    json!({
        "id": id,
        "ip_addr": ip,
        "domain": machine.domain,
        "gateway": gateway,
        "mask": mask,
        "state": "active",
        "family": 4,
        "ippool": network,
        "network": network,
        "host": { "id": machine.number, "name": machine.title(), "interface": 0, "interface_name": card },
        "cluster_interface": network,
        "vxlan": Value::Null,
    })
}

/// `GET host/{id}/metadata`.
pub(super) async fn metadata(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let machine = [named(&state, &caller, &id).await?];
    let around = state.core().machine_surroundings(&machine).await?;
    let [machine] = &machine;
    let joined = render::joined(machine, &around);
    let storages = storages(&state, &caller).await?;
    let volumes = around.volumes.get(&machine.id).map_or(&[][..], Vec::as_slice);
    let disks = volumes.iter().map(|volume| disk(machine, volume, &storages));
    let ipv4 = machine.nics.iter().flat_map(|nic| &nic.addresses).filter_map(|id| around.addresses.get(id));
    let ipv4 = ipv4.filter(|address| address.ip.is_ipv4()).map(|address| {
        let network = around.networks.get(&address.network);
        json!({ "ip_addr": address.ip, "ippool_id": network.map_or(0, |one| one.number) })
    });
    let picked = ["id", "name", "internal_name", "domain", "preset", "os", "cluster", "node", "account"];
    let mut metadata: serde_json::Map<String, Value> =
        picked.iter().map(|name| ((*name).to_owned(), joined[*name].clone())).collect();
    metadata.insert("disks".into(), disks.collect());
    metadata.insert("ipv4".into(), ipv4.collect());
    let resources = json!({ "cpu_number": machine.vcpus, "ram_mib": machine.memory_mib });
    metadata.insert("base_resources".into(), resources);
    metadata.insert("state".into(), json!({ "disabled": machine.observed.power == Observed::Off }));
    Ok(Json(json!({ "metadata": metadata })))
}

#[cfg(test)]
mod tests {
    use super::mask;

    #[test]
    fn masks_have_as_many_bits_as_the_prefix() {
        let shown = [0, 8, 24, 31, 32].map(|prefix| mask(prefix).to_string());
        assert_eq!(shown, ["0.0.0.0", "255.0.0.0", "255.255.255.0", "255.255.255.254", "255.255.255.255"]);
    }
}
