//! Machines through VMmanager's door: the real program, asked as its clients ask it, with simulated and with real guests.

mod clients;
mod seeds;

use crate::folder::Folder;
use crate::server::{Program, Server, missing, until};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

const EMAIL: &str = "admin@example.com";
const PASSWORD: &str = "correct horse battery";
const PATIENCE: Duration = Duration::from_secs(240);

async fn served(program: Program, data: &Path, more: &[(&str, &str)]) -> Result<Server> {
    let mut environment = vec![("HOSTLER_ADMIN_EMAIL", EMAIL), ("HOSTLER_ADMIN_PASSWORD", PASSWORD)];
    if program == Program::Simulated {
        environment.extend([("HOSTLER__SIM__BOOT_MS", "50"), ("HOSTLER__SIM__IMAGE_MS", "0")]);
    }
    environment.extend_from_slice(more);
    let server = Server::start(program, data, &environment).await?;
    server.micro().await?;
    Ok(server)
}

/// Somebody who came in by a token.
struct Panel {
    client: reqwest::Client,
    url: String,
    token: String,
}

impl Panel {
    async fn enter(url: &str, email: &str, password: &str) -> Result<Self> {
        let client = reqwest::Client::builder().timeout(PATIENCE).build()?;
        let mut panel = Self { client, url: url.to_owned(), token: String::new() };
        let body = json!({ "email": email, "password": password });
        let (status, answer) = panel.ask("POST", "/auth/v4/public/token", Some(body)).await?;
        ensure!(status == 201, "{status} {answer}");
        panel.token = answer["token"].as_str().context("a token")?.to_owned();
        Ok(panel)
    }

    async fn ask(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, Value)> {
        let mut request = self.client.request(method.parse()?, format!("{}{path}", self.url));
        if !self.token.is_empty() {
            request = request.header("x-xsrf-token", &self.token);
        }
        if let Some(body) = body {
            request = request.body(body.to_string());
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        let text = answer.text().await?;
        ensure!(
            status >= 400 || !text.contains("\"error\""),
            "{path}: a success has the member `error`: {text}"
        );
        Ok((status, serde_json::from_str(&text).with_context(|| format!("{path}: {text}"))?))
    }

    async fn well(&self, method: &str, path: &str, body: Option<Value>) -> Result<Value> {
        let (status, answer) = self.ask(method, path, body).await?;
        ensure!(status == 200, "{method} {path}: {status} {answer}");
        Ok(answer)
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.well("GET", path, None).await
    }

    /// Status and code of a refusal.
    async fn refused(&self, method: &str, path: &str, body: Option<Value>) -> Result<(u16, i64)> {
        let (status, answer) = self.ask(method, path, body).await?;
        Ok((status, answer["error"]["code"].as_i64().with_context(|| format!("{path}: {answer}"))?))
    }

    /// Looks for a task as clients do: it must be there at once. Waits until it has ended.
    async fn ended(&self, consul: &Value, name: &str) -> Result<Value> {
        let path = format!("/vm/v3/task?where=(consul_id+EQ+'{consul}')+AND+(name+EQ+'{name}')");
        ensure!(self.get(&path).await?["list"][0].is_object(), "task {consul} {name} is not there at once");
        let ended = async || {
            let task = self.get(&path).await?["list"][0].clone();
            let open = ["created", "running"].contains(&task["status"].as_str().unwrap_or_default());
            Ok((!open).then_some(task))
        };
        until(&format!("task {consul}"), PATIENCE, ended).await
    }

    async fn done(&self, answer: &Value, name: &str) -> Result<Value> {
        let task = self.ended(&answer["task"], name).await?;
        ensure!(task["status"] == "complete", "{task}");
        Ok(task)
    }

    async fn state(&self, id: &Value) -> Result<Value> {
        Ok(self.get(&format!("/vm/v3/host/{id}")).await?["state"].clone())
    }
}

/// As the Go client behind the Terraform provider sends it, but for the number of the template, which is here the same.
fn terraform() -> Value {
    json!({
        "account": 3, "anti_spoofing": false, "cluster": 1, "comment": "", "cpu_mode": "default", "cpu_number": 1,
        "custom_interfaces": [{ "bridge": "vmbr0", "ip_count": 1, "ippool": 3 }], "domain": "d", "hdd_mib": 6000,
        "ipv4_number": 1, "ipv4_pool": [2], "name": "n", "os": 1, "password": "x", "ram_mib": 512,
        "vxlan": [{ "id": 1, "ipnet": 2, "ipv4_number": 1 }],
    })
}

/// Whether an element has these members, with a value of the type of the example.
fn typed(shown: &Value, example: &Value) -> Result<()> {
    for (name, example) in example.as_object().context("an object")? {
        let value = &shown[name];
        let same = match example {
            Value::Object(_) => {
                typed(value, example).with_context(|| format!("in {name}"))?;
                true
            }
            Value::Number(_) => value.is_i64() || value.is_u64(),
            other => std::mem::discriminant(other) == std::mem::discriminant(value),
        };
        ensure!(same, "{name} is {value}, not like {example}");
    }
    Ok(())
}

async fn life(program: Program) -> Result<()> {
    let folder = Folder::new()?;
    let server = served(program, &folder.path().join("data"), &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let made = panel.well("POST", "/vm/v3/host", Some(terraform())).await?;
    typed(&made, &json!({ "id": 1, "task": 1, "recipe_task": 0, "recipe_task_list": [], "spice_task": 0 }))?;
    let id = &made["id"];
    let listed = panel.get(&format!("/vm/v3/host?where=id+EQ+{id}")).await?["list"][0].clone();
    typed(
        &listed,
        &json!({
            "id": 1, "name": "", "comment": "", "domain": "", "state": "", "cpu_number": 1, "ram_mib": 1,
            "net_bandwidth_mbitps": 0, "cpu_number_new": 1, "ram_mib_new": 1, "net_bandwidth_mbitps_changed": false,
            "disk": { "id": 1, "disk_mib": 1, "disk_mib_new": 1, "size_mib": 1, "bus": "", "boot_order": 1 },
            "disk_count": 1,
            "cluster": { "id": 1, "name": "", "datacenter_type": "", "virtualization_type": "", "image_storage_path": "" },
            "node": { "id": 1, "name": "", "ip_addr": "", "live_migration_allowed": true, "maintenance_mode": true },
            "account": { "id": 3, "email": "" }, "os": { "id": 1, "name": "" }, "os_name": "", "os_group": "",
            "ip4": [], "ip6": [], "interfaces": [], "firewall_rules": [], "vxlan": [], "tags": [], "anti_spoofing": true,
            "iso_mounted": true, "snapshot_count": 0, "balancer_mode": "", "create_date": "",
        }),
    )?;
    for (name, value) in
        [("name", json!("n")), ("domain", json!("d")), ("comment", json!("")), ("ram_mib", json!(512))]
    {
        ensure!(listed[name] == value, "{name}: {listed}");
    }
    ensure!(
        listed["disk"]["disk_mib"] == 6000
            && listed["anti_spoofing"] == false
            && listed["account"]["id"] == 3
    );
    let task = panel.done(&made, "host_create").await?;
    ensure!(
        task["progress"] == 100.0 && task["host"]["id"] == *id && task["entity"]["type"] == "host",
        "{task}"
    );
    ensure!(panel.state(id).await? == "active");
    // Flat: what it names is named by number.
    let flat = panel.get(&format!("/vm/v3/host/{id}/")).await?;
    typed(&flat, &json!({ "id": 1, "cluster": 1, "node": 1, "account": 3, "os": 1, "state": "" }))?;
    ensure!(flat.get("ip4").is_none() && flat.get("disk").is_none(), "{flat}");
    power(&panel, id).await?;
    parts(&panel, id).await?;
    let delete = panel.well("DELETE", &format!("/vm/v3/host/{id}?force=false"), None).await?;
    panel.done(&delete, "host_delete").await?;
    ensure!(panel.refused("GET", &format!("/vm/v3/host/{id}"), None).await? == (404, 4004));
    ensure!(panel.get(&format!("/vm/v3/host?where=id+EQ+{id}")).await?["size"] == 0);
    // Its tasks are still there to be read.
    let past = panel.get(&format!("/vm/v3/task?where=host.id+EQ+{id}&orderby=id+desc")).await?;
    ensure!(past["list"][0]["name"] == "host_delete" && past["size"].as_i64() > Some(5), "{past}");
    ensure!(server.stop().await? == Some(0));
    Ok(())
}

async fn power(panel: &Panel, id: &Value) -> Result<()> {
    let host = format!("/vm/v3/host/{id}");
    // Running already: a task all the same, and complete.
    let start = panel.well("POST", &format!("{host}/start"), None).await?;
    let so = panel.get(&format!("/vm/v3/task/{}", start["task"])).await?;
    ensure!(so["status"] == "complete" && so["task"]["status"] == "complete", "{so}");
    let stop = panel.well("POST", &format!("{host}/stop"), Some(json!({ "host_id": id }))).await?;
    panel.done(&stop, "host_stop").await?;
    ensure!(panel.state(id).await? == "stopped");
    let start = panel.well("POST", &format!("{host}/start"), Some(json!({}))).await?;
    panel.done(&start, "host_start").await?;
    let restart = panel.well("POST", &format!("{host}/restart"), Some(json!({ "force": true }))).await?;
    panel.done(&restart, "host_restart").await?;
    panel.done(&json!({ "task": restart["start_task"] }), "host_start").await?;
    ensure!(panel.state(id).await? == "active");
    // One after the other, however fast they come.
    let mut last = Value::Null;
    for verb in ["stop", "start", "restart", "stop", "start"] {
        let body = (verb != "start").then(|| json!({ "force": true }));
        last = panel.well("POST", &format!("{host}/{verb}"), body).await?;
    }
    panel.done(&last, "host_start").await?;
    ensure!(panel.state(id).await? == "active");
    Ok(())
}

async fn parts(panel: &Panel, id: &Value) -> Result<()> {
    let host = format!("/vm/v3/host/{id}");
    let metadata = panel.get(&format!("{host}/metadata")).await?["metadata"].clone();
    typed(
        &metadata,
        &json!({
            "id": 1, "name": "", "internal_name": "", "os": { "id": 1 }, "cluster": { "id": 1 }, "disks": [], "ipv4": [],
            "node": { "id": 1, "name": "", "ip_addr": "" }, "state": { "disabled": false },
            "base_resources": { "cpu_number": 1, "ram_mib": 1 },
        }),
    )?;
    ensure!(metadata["state"]["disabled"] == false && metadata["disks"][0]["size_mib"] == 6000, "{metadata}");
    let disks = panel.get(&format!("{host}/disk?where=size_mib+GT+10&orderby=id+desc")).await?;
    typed(
        &disks["list"][0],
        &json!({ "id": 1, "name": "", "size_mib": 1, "storage": { "id": 1, "name": "" } }),
    )?;
    let ips = panel.get(&format!("{host}/ipv4")).await?;
    let ip = &ips["list"][0];
    typed(ip, &json!({ "id": 1, "ip_addr": "", "domain": "", "gateway": "", "mask": "", "family": 4, "network": 1 }))
        .with_context(|| ips.to_string())?;
    let history = panel.get(&format!("{host}/history?orderby=id")).await?;
    ensure!(history["list"][0]["name"] == "host_create" && history["max_id"].is_i64(), "{history}");
    let edit = json!({ "name": "Zwei Wörter", "comment": "worte", "domain": "zwei.example" });
    ensure!(panel.well("POST", &host, Some(edit)).await? == json!({ "id": id }));
    let found = panel.get("/vm/v3/host?where=(name+CP+'zwei%25')+AND+(comment+EQ+'WORTE')").await?;
    ensure!(found["size"] == 1 && found["list"][0]["domain"] == "zwei.example", "{found}");
    Ok(())
}

#[tokio::test]
async fn a_simulated_machine_lives_and_dies() {
    life(Program::Simulated).await.unwrap();
}

#[tokio::test]
async fn a_real_machine_lives_and_dies() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: no real machine lived through VMmanager's door: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI it must run: {why}");
        return;
    }
    life(Program::Real).await.unwrap();
}

/// Commands that wait are rows: a process that dies loses none of them, nor their order.
#[tokio::test]
async fn commands_that_wait_survive_a_crash() -> Result<()> {
    let folder = Folder::new()?;
    let data = folder.path().join("data");
    let slow = [("HOSTLER__SIM__BOOT_MS", "1500")];
    let server = served(Program::Simulated, &data, &slow).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let made = panel.well("POST", "/vm/v3/host", Some(json!({ "name": "n", "os": 1 }))).await?;
    let host = format!("/vm/v3/host/{}", made["id"]);
    let mut asked = vec![made["task"].clone()];
    for place in 0..6 {
        let verb = if place % 2 == 0 { "stop" } else { "start" };
        let answer = panel.well("POST", &format!("{host}/{verb}"), Some(json!({ "force": true }))).await?;
        asked.push(answer["task"].clone());
    }
    let waiting = panel.get("/vm/v3/task?where=status+EQ+created").await?;
    ensure!(waiting["size"] == 6, "{waiting}");
    server.kill().await?;
    let server = Server::start(Program::Simulated, &data, &[("HOSTLER__SIM__BOOT_MS", "50")]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    panel.done(&json!({ "task": asked[6] }), "host_start").await?;
    let order = panel.get("/vm/v3/task?where=host.name+EQ+n&orderby=id").await?;
    let tasks = order["list"].as_array().context("a list")?;
    let ids: Vec<&Value> = tasks.iter().map(|task| &task["consul_id"]).collect();
    ensure!(ids == asked.iter().collect::<Vec<_>>(), "{ids:?} {asked:?}");
    let ended: Vec<&str> = tasks.iter().filter_map(|task| task["date_end"].as_str()).collect();
    ensure!(ended.len() == 7 && ended.is_sorted(), "{order}");
    ensure!(tasks.iter().all(|task| task["status"] == "complete"), "{order}");
    ensure!(panel.state(&made["id"]).await? == "active");
    Ok(())
}

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
        ("preset", json!(1), (400, 4001)),
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
