//! A conversation with vmpooler 3.9.1, asked again: the same statuses, and bodies of the same shape.

use super::{Door, PASSWORD, Settings, basic};
use anyhow::{Context, Result, ensure};
use hostler_core::pools::PoolRules;
use serde_json::Value;
use std::path::Path;

/// What was asked and what was answered.
struct Exchange {
    method: String,
    path: String,
    login: Option<String>,
    token: Option<String>,
    body: String,
    status: u16,
    told: Value,
}

fn exchanges() -> Result<Vec<Exchange>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/vmpooler/transcript.txt");
    let text = std::fs::read_to_string(path)?;
    text.split("### ").skip(1).map(|part| exchange(part).with_context(|| part.to_owned())).collect()
}

fn exchange(part: &str) -> Result<Exchange> {
    let (line, answer) = part.split_once('\n').context("a line")?;
    let (options, url) = line.rsplit_once("http://vmpooler.example").context("an address")?;
    let option = |name: &str| {
        options.split_once(name).map(|(_, rest)| rest.split(' ').next().unwrap_or("").to_owned())
    };
    let body = options.split_once("-d ").map_or("", |(_, rest)| rest.trim()).to_owned();
    let status = answer.split(' ').nth(1).context("a status")?.parse()?;
    let told =
        answer.split_once("\n\n").or_else(|| answer.split_once("\r\n\r\n")).map_or("", |(_, body)| body);
    Ok(Exchange {
        method: option("-X ").unwrap_or_else(|| "GET".to_owned()),
        path: url.trim().to_owned(),
        login: option("-u "),
        token: option("X-AUTH-TOKEN:"),
        body,
        status,
        told: serde_json::from_str(told.trim()).unwrap_or(Value::Null),
    })
}

/// Whether everything that was told is told, with values of the same type. Names of machines, tokens and requests are keys,
/// and one value of a tag was filtered: these are not compared.
fn alike(told: &Value, ours: &Value, place: &str) -> Result<()> {
    match (told, ours) {
        (Value::Object(told), Value::Object(ours)) => {
            for (name, value) in
                told.iter().filter(|(name, _)| !name.contains("poolvm-") && !name.contains("://"))
            {
                let known = ours.get(name).with_context(|| format!("{place}/{name} is missing"))?;
                alike(value, known, &format!("{place}/{name}"))?;
            }
            Ok(())
        }
        _ => {
            let same = std::mem::discriminant(told) == std::mem::discriminant(ours);
            // One that is lent is text, several are an array; both are told in their own rows.
            ensure!(same, "{place}: {told} is not like {ours}");
            Ok(())
        }
    }
}

#[tokio::test]
async fn what_was_recorded_is_answered_alike() -> Result<()> {
    let open = Settings { experimental_features: true, ..Settings::default() };
    let mut door = Door::set(open, PoolRules::default(), 8).await;
    // The one that changes pools, and an administrator's here.
    let token = door.token("root").await;
    let lent = door.by(&token, "POST", "/vm/debian-7-i386", "").await;
    let name = lent.body["debian-7-i386"]["hostname"].as_str().context("a name")?.to_owned();
    let mut seen = 0;
    for one in exchanges()? {
        // What 3.9.1 stops at with a page, versions that it has given up, and what differs on purpose: a login that is the password, tokens of others,
        // a file of its own settings.
        let skipped = one.status == 500
            || one.path == "/api/v1/vm"
            || one.path.contains("full_config")
            || one.login.as_deref() == Some("jdoe:jdoe")
            || one.path.contains("/ondemandvm/")
            || one.path.contains("prometheus")
            || (one.method == "DELETE" && one.path.contains("/token/"))
            || (one.method == "GET" && one.path.contains("/token"));
        let first = |path: &str| path.starts_with("/api/") || path.starts_with("/vm") || path == "/status";
        if skipped || !first(&one.path) {
            continue;
        }
        let path = one.path.replace("poolvm-jyltt-b2fq82", &name);
        let login = one.login.as_ref().map(|_| basic("jdoe", PASSWORD));
        let mut headers: Vec<(&str, &str)> = Vec::new();
        headers.extend(login.as_deref().map(|login| ("authorization", login)));
        let good =
            one.token.as_deref().map(|token_there| if token_there.len() == 32 { &token } else { "bad" });
        headers.extend(good.map(|token| ("X-AUTH-TOKEN", token)));
        let told = door.ask(&one.method, &path, &headers, &one.body).await;
        let what = format!("{} {} {}: {}", one.method, one.path, one.body, told.text);
        ensure!(told.status == one.status, "{} instead of {}: {what}", told.status, one.status);
        alike(&one.told, &told.body, "").with_context(|| what)?;
        seen += 1;
        // The template that is set in it is not there, so that its pool never comes to rest.
        if !one.path.contains("config") {
            door.scene.settle().await?;
        }
    }
    ensure!(seen > 35, "only {seen} were asked");
    Ok(())
}
