//! What is refused and to whom; places and settings.

use super::{EMAIL, PASSWORD, Panel, served, terraform, typed};
use crate::folder::Folder;
use crate::server::Program;
use anyhow::{Result, ensure};
use serde_json::{Value, json};

#[tokio::test]
async fn what_makes_no_sense_is_refused_before_any_task() -> Result<()> {
    let folder = Folder::new()?;
    let server = served(Program::Simulated, &folder.path().join("data"), &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let before = panel.get("/vm/v3/task").await?["size"].clone();
    let changed = |name: &str, value: Value| {
        let mut body = terraform();
        body[name] = value;
        Some(body)
    };
    for (name, value, refused) in [
        ("os", json!(99), (404, 4004)),
        ("os", json!("micro"), (400, 4001)),
        ("os", json!(null), (400, 4001)),
        ("cluster", json!(99), (404, 4004)),
        ("account", json!(99), (404, 4004)),
        ("node", json!(99), (404, 4004)),
        ("name", json!(["n"]), (400, 4001)),
        ("name", json!("n".repeat(256)), (400, 4001)),
        ("domain", json!("a b"), (400, 4001)),
        ("cpu_number", json!(-1), (400, 4001)),
        ("cpu_number", json!(100_000), (400, 4001)),
        ("ram_mib", json!(1), (400, 4001)),
        ("ram_mib", json!(1_u64 << 40), (409, 4011)),
        ("hdd_mib", json!("much"), (400, 4001)),
        ("hdd_mib", json!(8), (400, 4001)),
        ("password", json!("a\nroot:b"), (400, 4001)),
        ("preset", json!("large"), (400, 4001)),
        ("ipv4_number", json!("two"), (400, 4001)),
        ("vxlan", json!(7), (400, 4001)),
        ("custom_interfaces", json!([{ "ip_name": "nowhere" }]), (400, 4001)),
        ("disks", json!([{ "size_mib": 1 }, { "size_mib": 1 }]), (400, 4001)),
    ] {
        let got = panel.refused("POST", "/vm/v3/host", changed(name, value.clone())).await?;
        ensure!(got == refused, "{name} {value:.40}: {got:?}, not {refused:?}");
    }
    for (method, path, refused) in [
        ("GET", "/vm/v3/host/7", (404, 4004)),
        ("GET", "/vm/v3/host/m", (404, 4004)),
        ("POST", "/vm/v3/host/7/start", (404, 4004)),
        ("DELETE", "/vm/v3/host/7", (404, 4004)),
        ("GET", "/vm/v3/host/7/ipv4", (404, 4004)),
        ("GET", "/vm/v3/task/1999999999", (404, 4004)),
        ("GET", "/vm/v3/os/9", (404, 4004)),
        ("GET", "/vm/v3/cluster/2", (404, 4004)),
        ("GET", "/vm/v3/nothing", (404, 1106)),
        ("GET", "/vm/v3/host?where=colour+EQ+1", (400, 4002)),
        ("GET", "/vm/v3/host?where=(id+EQ+1", (400, 4002)),
        ("GET", "/vm/v3/task?limit=-1", (400, 4002)),
        ("GET", "/dci/v3/server/2", (404, 4004)),
        ("GET", "/api/dci/v3/setting/unheard_of", (404, 4004)),
    ] {
        let got = panel.refused(method, path, None).await?;
        ensure!(got == refused, "{method} {path}: {got:?}, not {refused:?}");
    }
    let (_, small) = panel.ask("POST", "/vm/v3/host", changed("hdd_mib", json!(8))).await?;
    ensure!(small["error"]["value"]["property"] == "hdd_mib", "{small}");
    ensure!(panel.get("/vm/v3/task").await?["size"] == before, "a refused request left a task");
    Ok(())
}

#[tokio::test]
async fn users_see_and_change_their_own() -> Result<()> {
    let folder = Folder::new()?;
    let server = served(Program::Simulated, &folder.path().join("data"), &[]).await?;
    let admin = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let account = json!({ "email": "user@example.com", "password": "user password", "role": "@user" });
    let user_id = admin.well("POST", "/vm/v3/account", Some(account)).await?["id"].clone();
    let user = Panel::enter(&server.url, "user@example.com", "user password").await?;
    let body = |name: &str| json!({ "name": name, "os": 1 });
    // An administrator makes machines for others, nobody else does.
    let mut given = body("given");
    given["account"] = user_id.clone();
    let given = admin.well("POST", "/vm/v3/host", Some(given)).await?;
    let theirs = admin.well("POST", "/vm/v3/host", Some(body("theirs"))).await?;
    let own = user.well("POST", "/vm/v3/host", Some(body("given"))).await?;
    let list = user.get("/vm/v3/host?orderby=id").await?;
    ensure!(list["size"] == 2 && list["list"][0]["id"] == given["id"], "{list}");
    ensure!(list["list"][1]["account"]["id"] == user_id && list["list"][1]["name"] == "given");
    let mut foreign = body("x");
    foreign["account"] = json!(3);
    ensure!(user.refused("POST", "/vm/v3/host", Some(foreign)).await? == (404, 4004));
    for (method, path) in
        [("GET", ""), ("POST", "/stop"), ("POST", ""), ("DELETE", ""), ("GET", "/ipv4"), ("GET", "/history")]
    {
        let path = format!("/vm/v3/host/{}{path}", theirs["id"]);
        ensure!(user.refused(method, &path, None).await? == (404, 4004), "{method} {path}");
    }
    ensure!(user.refused("GET", &format!("/vm/v3/task/{}", theirs["task"]), None).await? == (404, 4004));
    let tasks = user.get("/vm/v3/task?where=name+EQ+host_create").await?;
    ensure!(tasks["size"] == 2, "{tasks}");
    for (method, path) in [
        ("GET", "/vm/v3/node"),
        ("GET", "/vm/v3/account"),
        ("POST", "/vm/v3/account"),
        ("DELETE", "/vm/v3/account/3"),
        ("POST", "/dci/v3/setting/operation_change_boot_order"),
        ("GET", "/dci/v3/setting/operation_change_boot_order"),
    ] {
        ensure!(user.refused(method, path, None).await? == (403, 3001), "{method} {path}");
    }
    user.done(&own, "host_create").await?;
    let delete = user.well("DELETE", &format!("/vm/v3/host/{}", own["id"]), None).await?;
    user.done(&delete, "host_delete").await?;
    server.ask("PUT", &format!("/quotas/account/{user_id}"), Some(json!({ "machines": 1 }))).await?;
    ensure!(user.refused("POST", "/vm/v3/host", Some(body("more"))).await? == (409, 4011));
    Ok(())
}

#[tokio::test]
async fn settings_and_maintenance_are_as_the_guides_say() -> Result<()> {
    let folder = Folder::new()?;
    let server = served(Program::Simulated, &folder.path().join("data"), &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let path = "/api/dci/v3/setting/operation_change_boot_order";
    ensure!(panel.get(path).await?["value"] == false);
    for (sent, kept) in [(json!("true"), true), (json!(0), false), (json!(true), true), (json!("off"), false)]
    {
        panel.well("POST", path, Some(json!({ "value": sent }))).await?;
        ensure!(panel.get(path).await?["value"] == kept, "{sent}");
    }
    ensure!(panel.refused("POST", path, Some(json!({ "value": "perhaps" }))).await? == (400, 4001));
    ensure!(panel.refused("POST", path, None).await? == (400, 4001));
    ensure!(panel.get("/dci/v3/server?where=name+CP+'%25a%25'").await?["list"] == json!([]));
    let node = panel.get("/vm/v3/node").await?["list"][0].clone();
    typed(
        &node,
        &json!({
            "id": 1, "name": "", "ip": "", "cluster": { "id": 1, "name": "" }, "status": "", "maintenance_mode": false,
            "host_creation_blocked": false, "host_limit": 0, "cpu": { "number": 1, "used": 0 },
            "ram_mib": { "total": 1, "allocated": 0 }, "vm": { "total": 0, "active": 0, "stopped": 0, "crashed": 0 },
            "storage": { "size": 1, "available": 1, "used": 1 }, "qemu_version": "", "ha_error": "", "bird_error": "",
        }),
    )?;
    ensure!(node["status"] == "active" && panel.get("/vm/v3/node/1").await?["cluster"] == 1);
    let cluster = panel.get("/vm/v3/cluster?where=(id+EQ+1)").await?["list"][0].clone();
    typed(
        &cluster,
        &json!({ "id": 1, "name": "", "storage": { "id": 1, "name": "" }, "ippools": [], "nodes_count": 1 }),
    )?;
    let os = panel.get("/vm/v3/os?where=name+EQ+micro").await?["list"][0].clone();
    typed(
        &os,
        &json!({ "id": 1, "name": "", "state": "", "os_group": "", "tags": [], "clusters": [], "nodes": [] }),
    )?;
    Ok(())
}
