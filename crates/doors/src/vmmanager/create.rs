//! `POST host`: a machine is made.

use super::hosts::{consul, tasked};
use super::render::DIALECT;
use crate::isp::body::Body;
use crate::isp::by::By;
use crate::isp::refused::{Answer, Refused};
use crate::state::DoorState;
use axum::Json;
use axum::extract::State;
use hostler_core::machines::MachineAsk;
use hostler_core::secret::Secret;
use hostler_core::{Error, ErrorKind};
use serde_json::{Map, Value, json};
use std::net::IpAddr;

/// What clients send that means nothing here, or nothing yet; its type is looked at all the same.
const NUMBERS: [&str; 11] = [
    "image",
    "ipv4_number",
    "ipv6_prefix",
    "iso",
    "net_bandwidth_mbitps",
    "net_in_mbitps",
    "net_out_mbitps",
    "preset",
    "recipe",
    "snapshot_limit",
    "storage",
];
const FLAGS: [&str; 6] =
    ["ipv6_enabled", "snapshot_ram", "snapshots_allowed", "hot_plug", "live_resize", "nesting"];
const LISTS: [&str; 6] = ["ipv4_pool", "vxlan", "recipe_list", "ssh_keys", "firewall_rules", "custom_ns"];

/// `POST host`.
pub(super) async fn create(
    State(state): State<DoorState>,
    By(caller): By,
    body: Body,
) -> Answer<Json<Value>> {
    let ask = ask(&body)?;
    let made = state.core().machine_create(&caller, &ask, None).await;
    let (machine, task) = tasked(made.map_err(in_their_words)?)?;
    Ok(Json(json!({
        "id": machine.number,
        "task": consul(&task),
        "recipe_task_list": [],
        "recipe_task": 0,
        "spice_task": 0,
    })))
}

fn ask(body: &Body) -> Answer<MachineAsk> {
    checked(body)?;
    for other in ["image", "iso"] {
        if body.value("os").is_none() && body.number(other)?.is_some_and(|id| id != 0) {
            return Err(Refused::property(
                other,
                format!("machines are not made from an {other} yet; give an os"),
            ));
        }
    }
    Ok(MachineAsk {
        title: body.required_text("name")?.to_owned(),
        domain: body.text("domain")?.unwrap_or("").to_owned(),
        description: body.text("comment")?.unwrap_or("").to_owned(),
        template: body.required_number("os")?.to_string(),
        owner: id(body, "account")?,
        cluster: id(body, "cluster")?,
        host: id(body, "node")?,
        vcpus: size(body, "cpu_number")?,
        memory_mib: size(body, "ram_mib")?,
        disk_mib: disk(body)?,
        addresses: addresses(body)?,
        password: body.text("password")?.filter(|text| !text.is_empty()).map(Secret::new),
        attributes: [(DIALECT.to_owned(), attributes(body)?)].into(),
        start: true,
        ..MachineAsk::default()
    })
}

/// What core says of a field, under the name that it has here.
pub(super) fn in_their_words(mut error: Error) -> Refused {
    if let ErrorKind::Invalid { field } = &mut error.kind {
        let theirs = match field.as_str() {
            "title" => "name",
            "description" => "comment",
            "vcpus" => "cpu_number",
            "memory_mib" => "ram_mib",
            "disk_mib" => "hdd_mib",
            "addresses" => "custom_interfaces",
            _ => return error.into(),
        };
        theirs.clone_into(field);
    }
    error.into()
}

fn checked(body: &Body) -> Answer<()> {
    for name in NUMBERS {
        body.number(name)?;
    }
    for name in FLAGS {
        body.flag(name)?;
    }
    for name in LISTS {
        body.list(name)?;
    }
    body.text("send_email_mode").map(drop)
}

/// A number that names something; 0 names nothing.
fn id(body: &Body, name: &str) -> Answer<Option<String>> {
    Ok(body.number(name)?.filter(|id| *id != 0).map(|id| id.to_string()))
}

fn size<T: TryFrom<i64>>(body: &Body, name: &str) -> Answer<Option<T>> {
    let number = body.number(name)?.filter(|number| *number != 0);
    number.map(|number| T::try_from(number).map_err(|_| body.wrong(name, "a size"))).transpose()
}

/// The size of the main disk: of `hdd_mib`, or of the one in `disks`.
fn disk(body: &Body) -> Answer<Option<u64>> {
    let disks = body.parts("disks")?.unwrap_or_default();
    match &disks[..] {
        [] => size(body, "hdd_mib"),
        [one] => size(one, "size_mib"),
        _ => Err(body.wrong("disks", "one disk; more can be attached to the machine later")),
    }
}

/// The addresses asked for by name.
fn addresses(body: &Body) -> Answer<Vec<IpAddr>> {
    let mut addresses = Vec::new();
    for card in body.parts("custom_interfaces")?.unwrap_or_default() {
        card.number("ippool")?;
        card.number("ip_count")?;
        if let Some(text) = card.text("ip_name")?.filter(|text| !text.is_empty()) {
            addresses.push(text.parse().map_err(|_| card.wrong("ip_name", "an IP address"))?);
        }
    }
    Ok(addresses)
}

/// What is kept for this dialect alone, because its lists show it.
fn attributes(body: &Body) -> Answer<Value> {
    let mut kept = Map::new();
    if let Some(value) = body.flag("anti_spoofing")? {
        kept.insert("anti_spoofing".into(), value.into());
    }
    for name in ["cpu_mode", "balancer_mode"] {
        if let Some(value) = body.text(name)? {
            kept.insert(name.into(), value.into());
        }
    }
    if let Some(tags) = body.list("tags")? {
        kept.insert("tags".into(), tags.into());
    }
    Ok(kept.into())
}
