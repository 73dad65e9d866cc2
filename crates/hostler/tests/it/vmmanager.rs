//! Machines through VMmanager's door: the real program, asked as its clients ask it, with simulated and with real guests.

mod clients;
mod requests;
pub(crate) mod seeds;

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
    // The creation itself may not have begun either.
    ensure!(waiting["size"].as_i64() >= Some(6), "{waiting}");
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

/// Whoever is first is carried out first, and nobody is turned away.
#[tokio::test]
async fn twenty_commands_at_once_are_carried_out_one_after_the_other() -> Result<()> {
    let folder = Folder::new()?;
    let server = served(Program::Simulated, &folder.path().join("data"), &[]).await?;
    let panel = Panel::enter(&server.url, EMAIL, PASSWORD).await?;
    let made = panel.well("POST", "/vm/v3/host", Some(json!({ "name": "n", "os": 1 }))).await?;
    let asked = (0..20).map(|place| {
        let verb = if place % 2 == 0 { "stop" } else { "start" };
        let path = format!("/vm/v3/host/{}/{verb}", made["id"]);
        let panel = &panel;
        async move { panel.well("POST", &path, Some(json!({ "force": true }))).await }
    });
    for answer in futures_util::future::join_all(asked).await {
        ensure!(answer?["task"].is_i64());
    }
    let all = async || {
        let tasks = panel.get("/vm/v3/task?where=host.name+EQ+n&orderby=id").await?;
        let list = tasks["list"].as_array().context("a list")?.clone();
        Ok(list.iter().all(|task| task["status"] == "complete").then_some(list))
    };
    let tasks = until("all tasks", PATIENCE, all).await?;
    let ended: Vec<&str> = tasks.iter().filter_map(|task| task["date_end"].as_str()).collect();
    ensure!(ended.len() == 21 && ended.is_sorted(), "{tasks:?}");
    Ok(())
}
