//! Machines, tasks and disks as VMmanager shows them. The types are those that typed clients decode into.

use super::CONSUL;
use crate::isp::render::moment;
use hostler_core::machines::{Life, Machine, Observed, Surroundings};
use hostler_core::query::{Filter, language::Case};
use hostler_core::tasks::{Task, TaskState};
use hostler_core::time::Timestamp;
use hostler_core::volumes::Volume;
use serde_json::{Value, json};
use std::net::IpAddr;

/// The dialect's own attributes of a machine stand under this name.
pub(super) const DIALECT: &str = "vmmanager";

/// The word for how a machine is.
pub(super) fn state(machine: &Machine) -> &'static str {
    match (machine.life, machine.observed.power) {
        (Life::Creating, _) => "creating",
        (Life::Deleting | Life::Gone, _) => "deleting",
        (Life::Present, Observed::On | Observed::Paused) => "active",
        (Life::Present, Observed::Off) => "stopped",
        (Life::Present, Observed::Unknown) => "unavailable",
    }
}

/// A machine in a list, with what belongs to it.
pub(super) fn joined(machine: &Machine, around: &Surroundings) -> Value {
    let mut shown = flat(machine, around);
    let owner = around.owners.get(&machine.owner);
    shown["account"] =
        json!({ "id": number(owner, |one| one.number), "email": owner.map_or("", |one| &one.email) });
    shown["cluster"] = cluster(machine, around);
    shown["node"] = node(machine, around);
    let template = around.templates.get(&machine.template);
    let os_name = template.map_or("", |one| one.name.as_str());
    shown["os"] = json!({ "id": number(template, |one| one.number), "name": os_name });
    shown["os_name"] = os_name.into();
    shown["os_group"] = os_group(os_name).into();
    let volumes = around.volumes.get(&machine.id).map_or(&[][..], Vec::as_slice);
    shown["disk"] = main_disk(volumes);
    shown["disk_count"] = volumes.len().into();
    let ips = addresses(machine, around);
    let of = |v4: bool| {
        let some = ips.iter().filter(|(ip, _)| ip.is_ipv4() == v4);
        some.map(|(ip, interface)| json!({ "ip": ip, "interface": interface })).collect::<Value>()
    };
    shown["ip4"] = of(true);
    shown["ip6"] = of(false);
    shown["interfaces"] = interfaces(machine, around);
    shown["vxlan"] = json!([]);
    shown["preset"] = Value::Null;
    shown
}

/// A machine by itself: what it names is named by number.
pub(super) fn flat(machine: &Machine, around: &Surroundings) -> Value {
    let mut shown = json!({
        "id": machine.number,
        "name": machine.title(),
        "internal_name": format!("{}_{}", machine.number, machine.name),
        "comment": machine.description,
        "domain": machine.domain,
        "state": state(machine),
        "disabled": machine.observed.power == Observed::Off,
        "cpu_number": machine.vcpus,
        "ram_mib": machine.memory_mib,
        "cpu_number_new": machine.growing.map_or(machine.vcpus, |(vcpus, _)| vcpus),
        "ram_mib_new": machine.growing.map_or(machine.memory_mib, |(_, memory_mib)| memory_mib),
        "cluster": number(around.clusters.get(&machine.cluster), |one| one.number),
        "node": number(around.hosts.get(&machine.host), |one| one.number),
        "account": number(around.owners.get(&machine.owner), |one| one.number),
        "os": number(around.templates.get(&machine.template), |one| one.number),
        "preset": 0,
        "create_date": moment(machine.created_at),
        "mon_install_date": moment(machine.created_at),
        "iso_mounted": machine.medium.is_some(),
        "iso_reboot": false,
        "iso_status": if machine.medium.is_some() { "mounted" } else { "" },
    });
    extend(&mut shown, own(machine));
    extend(&mut shown, unlimited());
    shown
}

/// What the machine was asked to have that is this dialect's alone.
fn own(machine: &Machine) -> Value {
    let kept = machine.attributes.get(DIALECT);
    let told =
        |name: &str, otherwise: Value| kept.and_then(|kept| kept.get(name)).cloned().unwrap_or(otherwise);
    json!({
        "anti_spoofing": told("anti_spoofing", true.into()),
        "anti_spoofing_settings": { "vlan": false },
        "balancer_mode": told("balancer_mode", "on".into()),
        "cpu_mode": told("cpu_mode", "default".into()),
        "tags": told("tags", json!([])),
        // Rules of this kind are not enforced here, so none is shown.
        "firewall_rules": [],
        "is_protected": false,
        "extended_protection": false,
        "efi_boot": false,
        "hot_plug": true,
        "live_resize": true,
        "hot_plug_cell_counter": 0,
        "nesting": false,
        "cpu_custom_model": "",
    })
}

/// What VMmanager can limit or count and we do not. 0 is "no limit".
fn unlimited() -> Value {
    json!({
        "net_bandwidth_mbitps": 0, "net_bandwidth_mbitps_changed": false, "net_in_mbitps": 0, "net_out_mbitps": 0,
        "net_weight": 0, "net_is_synced": true,
        "cpu_weight": 0, "io_weight": 0, "io_read_mbitps": 0, "io_write_mbitps": 0, "io_read_iops": 0, "io_write_iops": 0,
        "tcp_connections_in": 0, "tcp_connections_out": 0, "process_number": 0,
        "snapshot_count": 0, "snapshot_limit": 0, "snapshot_ram": false, "snapshot_curr": 0, "snapshots_allowed": false,
        "uptime": 0, "rescue_mode": false, "expand_part": "", "ip_automation": "none", "ip_summary": "",
        "linked_clone_image": 0, "spice_enabled": false, "spice_additional_enabled": false, "has_noname_iface": false,
        "vm5_restrictions": {},
    })
}

fn extend(shown: &mut Value, more: Value) {
    if let (Value::Object(shown), Value::Object(more)) = (shown, more) {
        shown.extend(more);
    }
}

fn number<R>(record: Option<&R>, of: impl Fn(&R) -> i64) -> i64 {
    record.map_or(0, of)
}

fn cluster(machine: &Machine, around: &Surroundings) -> Value {
    let cluster = around.clusters.get(&machine.cluster);
    json!({
        "id": number(cluster, |one| one.number),
        "name": cluster.map_or("", |one| one.name.as_str()),
        "datacenter_type": "common",
        "virtualization_type": "kvm",
        "image_storage_path": "/image",
    })
}

fn node(machine: &Machine, around: &Surroundings) -> Value {
    let host = around.hosts.get(&machine.host);
    json!({
        "id": number(host, |one| one.number),
        "name": host.map_or("", |one| one.name.as_str()),
        "ip_addr": host.map_or_else(String::new, super::places::address_of),
        "live_migration_allowed": false,
        "maintenance_mode": false,
        "hot_plug_memory": true,
    })
}

fn main_disk(volumes: &[Volume]) -> Value {
    let first = volumes.first();
    let size_mib = first.map_or(0, |volume| volume.size_mib);
    json!({
        "id": number(first, |volume| volume.number),
        "disk_mib": size_mib,
        "disk_mib_new": first.and_then(|volume| volume.growing_mib).unwrap_or(size_mib),
        "size_mib": size_mib,
        "bus": "virtio",
        "boot_order": 1,
    })
}

/// A machine's addresses with the name of their card, the main one first. On networks that reserve none, what the guest
/// says of itself.
pub(super) fn addresses(machine: &Machine, around: &Surroundings) -> Vec<(IpAddr, String)> {
    let reserved: Vec<(IpAddr, String)> = machine
        .nics
        .iter()
        .enumerate()
        .flat_map(|(place, nic)| nic.addresses.iter().map(move |id| (place, id)))
        .filter_map(|(place, id)| Some((around.addresses.get(id)?.ip, format!("eth{place}"))))
        .collect();
    if !reserved.is_empty() {
        return reserved;
    }
    let told = machine.guest.iter().flat_map(|facts| &facts.addresses);
    told.flat_map(|(card, ips)| ips.iter().map(move |ip| (*ip, card.clone())))
        .filter(|(ip, _)| !ip.is_loopback())
        .take(16)
        .collect()
}

fn interfaces(machine: &Machine, around: &Surroundings) -> Value {
    let cards = machine.nics.iter().enumerate().map(|(place, nic)| {
        json!({
            "host_interface": format!("eth{place}"),
            "mac": nic.mac,
            "node_interface": number(around.networks.get(&nic.network), |one| one.number),
            "dhcp": nic.addresses.is_empty(),
        })
    });
    cards.collect()
}

/// The family that VMmanager sorts systems into, by their names.
pub(super) fn os_group(name: &str) -> &'static str {
    let name = name.to_ascii_lowercase();
    let has = |words: &[&str]| words.iter().any(|word| name.contains(word));
    if has(&["alma", "centos", "fedora", "oracle", "redhat", "rocky"]) {
        "redhat"
    } else if has(&["debian"]) {
        "debian"
    } else if has(&["ubuntu"]) {
        "ubuntu"
    } else if has(&["freebsd"]) {
        "freebsd"
    } else if has(&["windows"]) {
        "windows"
    } else {
        "other"
    }
}

/// A task, in lists and by itself.
pub(super) fn task(task: &Task, around: &Surroundings, now: Timestamp) -> Value {
    let machine = (task.subject_kind == "machine")
        .then(|| around.machines.get(&hostler_core::ids::MachineId(task.subject)))
        .flatten();
    let owner = around.owners.get(&task.owner);
    let host = task.host.and_then(|host| around.hosts.get(&host));
    let begun = task.started_at;
    let waited = begun.or(task.ended_at).unwrap_or(now).since(task.created_at);
    let ran = begun.map_or(0, |begun| task.ended_at.unwrap_or(now).since(begun).as_secs());
    json!({
        "id": task.number,
        "consul_id": task.number + CONSUL,
        "name": task_name(task),
        "status": status(task.state),
        "progress": (task.progress.clamp(0.0, 1.0) * 100.0).round(),
        "entity": { "type": entity(task), "id": number(machine, |one| one.number) },
        "host": { "id": number(machine, |one| one.number), "name": machine.map_or("", |one| one.title()) },
        "account": { "id": number(owner, |one| one.number), "email": owner.map_or("", |one| &one.email) },
        "node": { "id": number(host, |one| one.number), "name": host.map_or("", |one| one.name.as_str()) },
        "date_create": moment(task.created_at),
        "date_start": begun.map(moment),
        "date_end": task.ended_at.map(moment),
        "waiting_time": waited.as_secs(),
        "running_time": ran,
        "output": task.error.as_deref().unwrap_or(""),
    })
}

fn entity(task: &Task) -> &str {
    match task.subject_kind.as_str() {
        "machine" => "host",
        "volume" => "disk",
        "template" => "os",
        "medium" => "iso",
        "host" => "node",
        other => other,
    }
}

/// The name of a task's kind.
pub(super) fn task_name(task: &Task) -> &'static str {
    let is = |case: &&Case| (case.when)() == Filter::eq("kind", task.kind.as_str());
    super::fields::TASK_NAMES.iter().find(is).map_or("unknown", |case| case.word)
}

/// The word for where a task is.
pub(super) fn status(state: TaskState) -> &'static str {
    match state {
        TaskState::Queued => "created",
        TaskState::Running | TaskState::Undoing => "running",
        TaskState::Done => "complete",
        TaskState::Failed => "fail",
        TaskState::Cancelled => "canceled",
    }
}
