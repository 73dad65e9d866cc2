//! Networks that the configuration declares: made at the start, followed at the next, and never made twice.

use crate::folder::Folder;
use crate::server::{Program, Server};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A simulated installation whose configuration changes between starts.
struct Stage {
    folder: Folder,
    file: PathBuf,
}

impl Stage {
    fn new() -> Result<Self> {
        let folder = Folder::new()?;
        let file = folder.path().join("hostler.toml");
        Ok(Self { folder, file })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn file(&self) -> &str {
        self.file.to_str().unwrap_or_default()
    }

    async fn start(&self, declared: &str) -> Result<Server> {
        std::fs::write(&self.file, declared)?;
        Server::start(Program::Simulated, &self.data(), &[("HOSTLER_CONFIG", self.file())]).await
    }
}

fn lab(uplink: &str, last: &str) -> String {
    format!(
        r#"
[[network]]
name = "lab"
kind = "bridge"
uplink = {{ to = "{uplink}" }}
bridge = "br-lab"
subnets = [{{ gateway = "10.9.0.1", prefix = 24 }}, {{ gateway = "fd09::1", prefix = 64 }}]
ranges = [{{ first = "10.9.0.10", last = "{last}" }}]
domain = "lab.example"
resolvers = ["9.9.9.9"]

[[network]]
name = "open"
outbound = true
"#
    )
}

/// What the doctor says of the network `lab` as it is declared.
async fn complaint(server: &Server) -> Result<Option<Value>> {
    let findings = server.get("/doctor").await?;
    let findings = findings.as_array().or_else(|| findings["findings"].as_array()).context("findings")?;
    Ok(findings.iter().find(|one| one["check"] == "network lab").cloned())
}

#[tokio::test]
async fn a_declared_network_is_made_once_and_follows_its_declaration() -> Result<()> {
    let stage = Stage::new()?;
    let server = stage.start(&lab("nat", "10.9.0.99")).await?;
    let made = server.get("/networks/lab").await?;
    ensure!(made["bridge"] == "br-lab" && made["uplink"] == json!({ "to": "nat" }), "{made}");
    ensure!(made["domain"] == "lab.example" && made["resolvers"] == json!(["9.9.9.9"]), "{made}");
    ensure!(server.get("/networks/open").await?["outbound"] == true, "a user network is declared, too");
    server.stop().await?;

    let server = stage.start(&lab("nat", "10.9.0.99")).await?;
    ensure!(server.get("/networks/lab").await? == made, "nothing was declared anew");
    server.stop().await?;

    let server = stage.start(&lab("nat", "10.9.0.50")).await?;
    let followed = server.get("/networks/lab").await?;
    ensure!(followed["id"] == made["id"], "it is the same network");
    ensure!(followed["ranges"] == json!([{ "first": "10.9.0.10", "last": "10.9.0.50" }]), "{followed}");
    ensure!(complaint(&server).await?.is_none(), "it is as declared");
    server.stop().await?;

    let server = stage.start("").await?;
    ensure!(server.get("/networks/lab").await? == followed, "what is no longer declared stays");
    server.stop().await.map(drop)
}

#[tokio::test]
async fn a_declaration_that_a_network_cannot_follow_is_said_by_the_doctor() -> Result<()> {
    let stage = Stage::new()?;
    let server = stage.start(&lab("nat", "10.9.0.99")).await?;
    let made = server.get("/networks/lab").await?;
    server.stop().await?;

    let server = stage.start(&lab("routed", "10.9.0.50")).await?;
    ensure!(server.get("/networks/lab").await? == made, "nothing is changed by halves");
    let said = complaint(&server).await?.context("the doctor says something")?;
    ensure!(said["text"].as_str().is_some_and(|text| text.ends_with("declares it: uplink")), "{said}");
    ensure!(said["hint"].as_str().is_some_and(|hint| hint.contains("hostler network delete lab")), "{said}");
    server.ask("DELETE", "/networks/lab", None).await?;
    server.stop().await?;

    let server = stage.start(&lab("routed", "10.9.0.50")).await?;
    let anew = server.get("/networks/lab").await?;
    ensure!(anew["uplink"] == json!({ "to": "routed" }) && anew["id"] != made["id"], "{anew}");
    ensure!(complaint(&server).await?.is_none(), "it is as declared");
    server.stop().await?;

    // What the file cannot know is in the way: another network has the subnet.
    let second = lab("routed", "10.9.0.50").replace("\"lab\"", "\"second\"").replace("br-lab", "br-second");
    let server = stage.start(&second).await?;
    ensure!(server.request("GET", "/networks/second", None).await?.0 == 404, "it was not made");
    let findings = server.get("/doctor").await?.to_string();
    ensure!(findings.contains("10.9.0.1/24 overlaps 10.9.0.1/24 of network lab"), "{findings}");
    server.stop().await.map(drop)
}

#[tokio::test]
async fn a_declaration_that_makes_no_sense_stops_the_start() -> Result<()> {
    let stage = Stage::new()?;
    std::fs::write(&stage.file, lab("nat", "10.9.1.99"))?;
    for command in [&["serve", "--listen", "127.0.0.1:0"][..], &["config", "check"]] {
        let (code, said) = refused(&stage.data(), &stage.file, command).await?;
        ensure!(code == Some(1) || code == Some(2), "{command:?} ended with {code:?}");
        ensure!(
            said.contains("hostler.toml:8:10: network `lab`: the range 10.9.0.10 to 10.9.1.99"),
            "{said}"
        );
    }
    ensure!(!stage.data().join("hostler.db").exists(), "nothing was made");
    Ok(())
}

async fn refused(data: &Path, file: &Path, command: &[&str]) -> Result<(Option<i32>, String)> {
    let output = Program::Simulated.command(data).args(command).env("HOSTLER_CONFIG", file).output();
    let output = tokio::time::timeout(crate::server::DEADLINE, output).await.context("it goes on")??;
    Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
}
