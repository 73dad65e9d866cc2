//! Where machines run and what they are made from: clusters, nodes, `os`.

use super::render::os_group;
use super::{about, fields, number};
use crate::isp::by::By;
use crate::isp::filters::Filters;
use crate::isp::refused::{Answer, Refused};
use crate::isp::render::{list as rendered, moment};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::access::Caller;
use hostler_core::core::{ListAsk, Page};
use hostler_core::hosts::{Cluster, Host};
use hostler_core::networks::Network;
use hostler_core::ports::StorageFacts;
use hostler_core::query::Filter;
use hostler_core::templates::{Firmware, Template, TemplateState};
use hostler_core::volumes::StoragePlace;
use serde_json::{Value, json};
use std::collections::HashMap;

/// What stands around clusters and nodes. There are few of them, so everything is read.
struct Places {
    clusters: Vec<Cluster>,
    hosts: Vec<Host>,
    storages: Vec<(StoragePlace, Option<StorageFacts>)>,
    networks: Vec<Network>,
}

impl Places {
    async fn read(state: &DoorState, caller: &Caller) -> Answer<Self> {
        let all = || ListAsk { limit: 1000, ..ListAsk::default() };
        let core = state.core();
        Ok(Self {
            clusters: core.cluster_list(caller, all()).await?.items,
            hosts: core.host_list(caller, all()).await?.items,
            storages: core.storage_list(caller, all()).await?.items,
            networks: core.network_list(caller, all()).await?.items,
        })
    }

    fn hosts_of<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = &'a Host> {
        self.hosts.iter().filter(|host| host.cluster == cluster.id)
    }

    fn cluster(&self, cluster: &Cluster) -> Value {
        let in_cluster = |place: &StoragePlace| self.hosts_of(cluster).any(|host| host.id == place.host);
        let storages = self.storages.iter().map(|(place, _)| place).filter(|place| in_cluster(place));
        let storages: Vec<Value> =
            storages.map(|place| json!({ "id": place.number, "name": place.name, "type": "file" })).collect();
        let networks = || self.networks.iter().filter(|network| network.cluster == cluster.id);
        let pools = networks().filter(|network| !network.ranges.is_empty());
        let interfaces = networks().map(|network| {
            json!({ "id": network.number, "bridge": network.bridge.as_deref().unwrap_or(&network.name) })
        });
        json!({
            "id": cluster.number,
            "name": cluster.name,
            "comment": "",
            "datacenter_type": "common",
            "virtualization_type": "kvm",
            "storage": storages.first().cloned().unwrap_or_else(|| json!({ "id": 0, "name": "" })),
            "storages": storages,
            "ippools": pools.map(|one| json!({ "id": one.number, "name": one.name })).collect::<Value>(),
            "image_storage_path": "/image",
            "nodes_count": self.hosts_of(cluster).count(),
            "interfaces": interfaces.collect::<Value>(),
        })
    }

    async fn node(&self, state: &DoorState, caller: &Caller, host: &Host) -> Answer<Value> {
        let load = state.core().host_load(caller, host.id).await?;
        let cluster = self.clusters.iter().find(|cluster| cluster.id == host.cluster);
        let facts = host.facts.as_ref();
        let own = self
            .storages
            .iter()
            .filter(|(place, _)| place.host == host.id)
            .filter_map(|(_, facts)| facts.as_ref());
        let (size, free) = own.fold((0, 0), |(size, free), one| (size + one.total_mib, free + one.free_mib));
        let (version, kernel) =
            facts.map_or(("", ""), |facts| (facts.version.as_str(), facts.kernel.as_str()));
        let address = address_of(host);
        Ok(json!({
            "id": host.number,
            "name": host.name,
            "ip": address,
            "ip_addr": address,
            "port": 22,
            "ssh_user": "root",
            "cluster": {
                "id": cluster.map_or(0, |one| one.number),
                "name": cluster.map_or("", |one| one.name.as_str()),
                "virtualization_type": "kvm",
            },
            "status": if state.core().absent_since(host.id).is_some() { "unavailable" } else { "active" },
            "maintenance_mode": false,
            "maintenance": false,
            "host_creation_blocked": false,
            "host_limit": 0,
            "cpu": { "number": facts.map_or(0, |facts| facts.cpus), "used": load.vcpus },
            "ram_mib": { "total": facts.map_or(0, |facts| facts.memory_mib), "allocated": load.memory_mib },
            "vm": {
                "total": load.machines, "active": load.on, "stopped": load.off, "crashed": load.unknown, "moving": 0,
                "estimated": 0,
            },
            "storage": { "size": size, "allocated": size - free, "available": free, "used": size - free },
            "qemu_version": version,
            "kernel_version": kernel,
            "os_version": kernel,
            "ha_state": "off",
            "ha_error": "no_error",
            "bird_error": "",
            "frr_error": "",
        }))
    }
}

/// Where a host is reached, without scheme and port.
pub(super) fn address_of(host: &Host) -> String {
    let door = host.door.as_deref().unwrap_or("");
    let rest = door.split_once("://").map_or(door, |(_, rest)| rest).split('/').next().unwrap_or("");
    let name = rest.rsplit_once(':').map_or(rest, |(name, _)| name);
    name.trim_matches(['[', ']']).to_owned()
}

/// `GET cluster`.
pub(super) async fn cluster_list(
    State(state): State<DoorState>,
    By(caller): By,
    filters: Filters,
) -> Answer<Json<Value>> {
    let page = state.core().cluster_list(&caller, filters.ask(fields::CLUSTERS)?).await?;
    let places = Places::read(&state, &caller).await?;
    rendered(&state, page, |cluster| places.cluster(&cluster)).await
}

/// `GET cluster/{id}`.
pub(super) async fn cluster(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = state.core().cluster_get(&caller, &number(&id)?).await;
    let cluster = found.map_err(|error| about(error, &id))?;
    let places = Places::read(&state, &caller).await?;
    let mut shown = places.cluster(&cluster);
    let storage = shown["storage"]["id"].clone();
    without(&mut shown, &["storages", "ippools", "interfaces"]);
    shown["storage"] = storage;
    Ok(Json(shown))
}

/// An element by its id has no associated elements.
fn without(shown: &mut Value, names: &[&str]) {
    if let Value::Object(members) = shown {
        members.retain(|name, _| !names.contains(&name.as_str()));
    }
}

/// `GET node`.
pub(super) async fn node_list(
    State(state): State<DoorState>,
    By(caller): By,
    filters: Filters,
) -> Answer<Json<Value>> {
    let page = state.core().host_list(&caller, filters.ask(fields::NODES)?).await?;
    let places = Places::read(&state, &caller).await?;
    let mut items = Vec::with_capacity(page.items.len());
    for host in &page.items {
        items.push(places.node(&state, &caller, host).await?);
    }
    rendered(&state, Page { items, next: None, total: page.total }, |item| item).await
}

/// `GET node/{id}`.
pub(super) async fn node(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let found = state.core().host_get(&caller, &number(&id)?).await;
    let host = found.map_err(|error| about(error, &id))?;
    let places = Places::read(&state, &caller).await?;
    let mut shown = places.node(&state, &caller, &host).await?;
    shown["cluster"] = shown["cluster"]["id"].clone();
    Ok(Json(shown))
}

/// `GET os`.
pub(super) async fn os_list(
    State(state): State<DoorState>,
    By(caller): By,
    filters: Filters,
) -> Answer<Json<Value>> {
    let page = state.core().template_list(&caller, filters.ask(fields::OSES)?).await?;
    let places = Places::read(&state, &caller).await?;
    let lies: HashMap<_, _> = places.storages.iter().map(|(place, _)| (place.id, place.host)).collect();
    rendered(&state, page, |template| {
        let host = lies.get(&template.storage).and_then(|id| places.hosts.iter().find(|host| host.id == *id));
        let cluster = host.and_then(|host| places.clusters.iter().find(|one| one.id == host.cluster));
        let mut shown = os_flat(&template);
        shown["clusters"] = cluster.iter().map(|one| json!({ "id": one.number, "name": one.name })).collect();
        shown["nodes"] = host
            .iter()
            .map(|one| json!({ "id": one.number, "name": one.name, "ip_addr": address_of(one), "ssh_port": 22 }))
            .collect();
        shown
    })
    .await
}

/// `GET os/{id}`.
pub(super) async fn os(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let ask = ListAsk {
        filter: Filter::eq("number", id.parse::<i64>().map_err(|_| Refused::no_entity(&id))?),
        limit: 1,
        ..ListAsk::default()
    };
    let found = state.core().template_list(&caller, ask).await?.items.pop();
    Ok(Json(os_flat(&found.ok_or_else(|| Refused::no_entity(&id))?)))
}

fn os_flat(template: &Template) -> Value {
    let image = template.image.as_ref();
    let disk_mib = image.and_then(|image| image.disk.as_ref()).map_or(0, |disk| disk.size_mib);
    json!({
        "id": template.number,
        "name": template.name,
        "os_group": os_group(&template.name),
        "comment": template.description,
        "state": match template.state {
            TemplateState::Ready => "active",
            TemplateState::Building => "downloading",
            TemplateState::Deleting => "deleting",
            TemplateState::Failed => "unavailable",
        },
        "adminonly": false,
        "efi_boot": template.firmware != Firmware::Bios,
        "hdd_mib_required": disk_mib,
        "min_ram_mib": 32,
        "cpu_mode": "default",
        "is_lxd_image": false,
        "repository": "local",
        "repository_id": 0,
        "tags": [],
        "kms_supported": false,
        "kms_ip": "",
        "kms_port": 0,
        "product_key": "",
        "updated_at": moment(template.created_at),
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn an_element_loses_what_is_not_its_own() {
        let mut shown = serde_json::json!({ "id": 1, "storages": [] });
        super::without(&mut shown, &["storages"]);
        assert_eq!(shown, serde_json::json!({ "id": 1 }));
    }
}
