//! What is there: in the books, among the processes, on the disk. Read with types of our own, so that a
//! misunderstanding in the product's cannot hide here.

use crate::server::{Program, Server};
use anyhow::{Context, Result};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Machine {
    pub id: String,
    pub number: i64,
    pub name: String,
    pub description: String,
    pub labels: BTreeMap<String, String>,
    pub life: String,
    pub wanted: String,
    pub observed: Observed,
    pub vcpus: u64,
    pub task: Option<String>,
    pub reason: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Observed {
    pub power: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Volume {
    pub id: String,
    pub number: i64,
    pub name: String,
    pub size_mib: u64,
    pub machine: Option<String>,
    pub state: String,
    pub task: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Template {
    pub id: String,
    pub number: i64,
    pub description: String,
    pub state: String,
    pub task: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
pub(crate) struct Task {
    pub id: String,
    pub number: i64,
    pub kind: String,
    pub state: String,
    pub subject: String,
    pub error: Option<String>,
}

/// Everything at one moment.
#[derive(Clone, Debug, Default)]
pub(crate) struct Found {
    pub machines: Vec<Machine>,
    pub volumes: Vec<Volume>,
    pub templates: Vec<Template>,
    pub tasks: Vec<Task>,
    /// Whether machines have processes here.
    pub real: bool,
    /// Process and the machine in whose directory it works.
    pub processes: Vec<(u32, String)>,
    /// Other processes that name the data directory.
    pub strangers: Vec<String>,
    /// Machines, volumes and images that take up space.
    pub on_disk: BTreeMap<&'static str, BTreeSet<String>>,
    /// Problems that the doctor sees.
    pub problems: Vec<String>,
}

impl Found {
    /// Only what is quick to see, while tasks run: everything that lives.
    pub(crate) async fn living(server: &Server) -> Result<Self> {
        Ok(Self {
            machines: all(server, "/machines?").await?,
            volumes: all(server, "/volumes?").await?,
            templates: all(server, "/templates?").await?,
            processes: processes(&server.data)?,
            ..Self::default()
        })
    }

    /// Everything.
    pub(crate) async fn all(server: &Server, program: Program) -> Result<Self> {
        let doctor = server.get("/doctor").await?;
        let findings = doctor["findings"].as_array().context("findings")?;
        let problems =
            findings.iter().filter(|finding| finding["level"] == "problem").map(ToString::to_string);
        Ok(Self {
            machines: all(server, "/machines?gone=true&").await?,
            volumes: all(server, "/volumes?").await?,
            templates: all(server, "/templates?").await?,
            tasks: all(server, "/tasks?").await?,
            real: program == Program::Real,
            processes: processes(&server.data)?,
            strangers: strangers(&server.data, server.pid())?,
            on_disk: on_disk(&server.data, program)?,
            problems: problems.collect(),
        })
    }

    /// Adds a machine that was looked up because no list had it.
    pub(crate) async fn look_up(&mut self, server: &Server, id: &str) -> Result<()> {
        let (status, machine) = server.request("GET", &format!("/machines/{id}"), None).await?;
        if status == 200 {
            self.machines.push(serde_json::from_value(machine)?);
        }
        Ok(())
    }
}

/// All pages of a list.
pub(crate) async fn all<T: DeserializeOwned>(server: &Server, path: &str) -> Result<Vec<T>> {
    let (mut items, mut after) = (Vec::new(), String::new());
    loop {
        let page = server.get(&format!("{path}limit=1000&order=number{after}")).await?;
        for item in page["items"].as_array().context("a page has items")? {
            items.push(T::deserialize(item)?);
        }
        match page["next"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return Ok(items),
        }
    }
}

/// Processes that work in a machine's directory.
pub(crate) fn processes(data: &Path) -> Result<Vec<(u32, String)>> {
    let machines = data.canonicalize()?.join("machines");
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(folder) = std::fs::read_link(entry.path().join("cwd")) else { continue };
        if let Ok(below) = folder.strip_prefix(&machines) {
            let machine = below.to_string_lossy();
            found.push((pid, machine.trim_end_matches(" (deleted)").to_owned()));
        }
    }
    Ok(found)
}

/// Processes other than the server and its machines that have something to do with the data directory.
fn strangers(data: &Path, server: u32) -> Result<Vec<String>> {
    let named = data.canonicalize()?.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let entry = entry?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(line) = std::fs::read(entry.path().join("cmdline")) else { continue };
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let at_home = std::fs::read_link(entry.path().join("cwd"))
            .is_ok_and(|cwd| cwd.starts_with(data.join("machines")));
        if line.contains(&named) && pid != server && pid != std::process::id() && !at_home {
            found.push(format!("{pid}: {line}"));
        }
    }
    Ok(found)
}

/// Names of what takes up space, by folder and without endings.
fn on_disk(data: &Path, program: Program) -> Result<BTreeMap<&'static str, BTreeSet<String>>> {
    let root = if program == Program::Real { data.to_owned() } else { data.join("sim") };
    let mut found = BTreeMap::new();
    for folder in ["machines", "volumes", "images"] {
        let mut names = BTreeSet::new();
        if let Ok(entries) = std::fs::read_dir(root.join(folder)) {
            for entry in entries {
                let name = entry?.file_name().to_string_lossy().into_owned();
                // The simulator's own half-written files are no matter of the product's; packages that were fetched
                // are kept on purpose.
                let simulators = program == Program::Simulated && name.ends_with(".new");
                if !simulators && name != ".cache" {
                    names.insert(name.trim_end_matches(".qcow2").to_owned());
                }
            }
        }
        found.insert(folder, names);
    }
    Ok(found)
}
