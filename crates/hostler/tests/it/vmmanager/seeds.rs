//! The requests of both guides, word for word, sent by curl over TLS; only the credentials of their examples are replaced
//! by some that count here.

use super::{EMAIL, PASSWORD, served};
use crate::folder::Folder;
use crate::server::Program;
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::Path;
use tokio::process::Command;

pub(crate) fn requests(door: &str) -> Result<Vec<String>> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../contracts/{door}/requests.txt"));
    let text = std::fs::read_to_string(file)?;
    Ok(text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect())
}

/// A line of a guide as a shell carries it out. `curl` stands for one that finds this server under the guide's name.
pub(crate) async fn carried_out(port: &str, line: &str, token: &str) -> Result<(u16, Value)> {
    let command = match line.strip_prefix("GET ") {
        Some(url) => format!("curl -H 'x-xsrf-token: {token}' \"{url}\""),
        None => line.to_owned(),
    };
    let curl = format!(
        "curl() {{ command curl -k -sS -g --max-time 60 --connect-to domain.com:443:127.0.0.1:{port} \
         -w '\\n%{{http_code}}' \"$@\"; }}\n{command}\n"
    );
    let output = Command::new("sh").args(["-c", &curl]).kill_on_drop(true).output().await?;
    let text = String::from_utf8(output.stdout)?;
    let (body, status) =
        text.rsplit_once('\n').with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())?;
    Ok((status.parse()?, serde_json::from_str(body).with_context(|| body.to_owned())?))
}

#[tokio::test]
async fn the_requests_of_the_guides_are_answered_as_they_say() -> Result<()> {
    let folder = Folder::new()?;
    let tls = [("HOSTLER__TLS__SELF_SIGNED", "true")];
    let server = served(Program::Simulated, &folder.path().join("data"), &tls).await?;
    let port = server.url.rsplit_once(':').context("a port")?.1.to_owned();
    let ask = async |line: &str, token: &str| carried_out(&port, line, token).await;
    let login = |path: &str| {
        format!(
            "curl -X POST 'https://domain.com{path}' -d '{{\"email\": \"{EMAIL}\", \"password\": \"{PASSWORD}\"}}'"
        )
    };
    let (status, answer) = ask(&login("/auth/v4/public/token"), "").await?;
    ensure!(status == 201, "{answer}");
    let token = answer["token"].as_str().context("a token")?.to_owned();
    let (_, answer) = ask(&login("/auth/v3/auth"), "").await?;
    let session = answer["session"].as_str().context("a session")?.to_owned();

    let vm = requests("vmmanager")?;
    let [create, cookie, cluster, task, hosts] = &vm[..] else { anyhow::bail!("five requests") };
    let unknown = json!({ "code": 1114, "msg": "Whoami verifired error", "value": { "code": 3002, "msg": "Session not found" } });
    // As they stand: credentials of somebody else's installation.
    ensure!(ask(cookie, "").await? == (401, json!({ "error": unknown })));
    let (status, answer) = ask(create, "").await?;
    ensure!(status == 401 && answer["error"]["code"] == 1000 && answer["error"]["value"] == unknown["value"]);
    // It says nothing of the machine to be made.
    let own = create.replace("4-e9726dd9-61d9-2940-add3-914851d2cb8a", &token);
    let (status, answer) = ask(&own, "").await?;
    ensure!(status == 400 && answer["error"]["code"] == 4001, "{answer}");
    let (status, answer) = ask(&cookie.replace("F2BABF12426B297C86FC5628", &session), "").await?;
    ensure!(status == 200 && answer["list"] == json!([]) && answer["size"] == 0, "{answer}");
    for name in ["one", "two"] {
        let body = json!({ "name": name, "os": 1 }).to_string();
        let (status, answer) = ask(&format!("{own} -d '{body}'"), "").await?;
        ensure!(status == 200, "{answer}");
        let consul = answer["task"].to_string();
        let (_, found) = ask(&task.replace("1341774670", &consul), &token).await?;
        ensure!(found["size"] == 1 && found["list"][0]["consul_id"] == answer["task"], "{found}");
    }
    let (_, none) = ask(task, &token).await?;
    ensure!(none["list"] == json!([]) && none["size"] == 0, "{none}");
    let (_, found) = ask(cluster, &token).await?;
    ensure!(found["size"] == 1 && found["list"][0]["id"] == 1, "{found}");
    let (_, found) = ask(hosts, &token).await?;
    ensure!(found["size"] == 2 && found["list"][0]["cluster"]["name"].is_string(), "{found}");

    let refused = (401, json!({ "error": { "code": 3001, "msg": "Unauthorized" } }));
    for (place, line) in requests("dcimanager")?.iter().enumerate() {
        ensure!(ask(line, "").await? == refused, "{line}");
        let mut own = line.to_owned();
        for example in
            ["24-cee181d2-ccaa-4b64-a229-234aa7a25db6", "1996-0082f9c6-0b07-43ca-b4e7-449c6b0df71f"]
        {
            own = own.replace(example, &token);
        }
        let (status, answer) = ask(&own, "").await?;
        ensure!(status == 200 && answer["id"].is_i64(), "{place}: {answer}");
    }
    let kept = "GET https://domain.com/api/dci/v3/setting/operation_change_boot_order";
    ensure!(ask(kept, &token).await?.1["value"] == true);
    Ok(())
}
