//! The requests of vmpooler's own guide, word for word, with tokens and names that count here.

use super::{Door, PASSWORD, Told, basic};
use anyhow::{Context, Result, ensure};
use std::path::Path;

fn lines() -> Result<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../contracts/vmpooler/requests.txt");
    let text = std::fs::read_to_string(path)?;
    Ok(text.lines().filter(|line| line.starts_with("curl")).map(ToOwned::to_owned).collect())
}

/// A word of a line; those in quotation marks may have spaces.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words
}

/// Does what curl does with this line.
async fn carried_out(door: &Door, line: &str) -> Result<Told> {
    let words = words(line);
    let mut words = words.iter().skip(1);
    let (mut method, mut url, mut data, mut in_url) = (None, None, Vec::new(), false);
    let mut headers: Vec<(String, String)> = Vec::new();
    while let Some(word) = words.next() {
        let mut value = || words.next().cloned().with_context(|| line.to_owned());
        match word.as_str() {
            "-X" => method = Some(value()?),
            "-u" => headers.push(("authorization".into(), basic(&value()?, PASSWORD))),
            "-H" => {
                let header = value()?;
                let (name, value) = header.split_once(':').context("a header")?;
                headers.push((name.to_owned(), value.to_owned()));
            }
            "-d" => data.push(value()?),
            "-G" => in_url = true,
            "--url" => url = Some(value()?),
            // `X POST` for `-X POST`: curl takes both for hosts that are not there, and asks the last address.
            other if other.contains('/') => url = Some(other.to_owned()),
            _ => {}
        }
    }
    let url = url.context("an address")?;
    let (_, path) = url.split_once('/').context("a path")?;
    let (path, body) = match in_url {
        true => (format!("/{path}?{}", data.join("&")), String::new()),
        false => (format!("/{path}"), data.join("&")),
    };
    let method = method.unwrap_or_else(|| if body.is_empty() { "GET".into() } else { "POST".into() });
    let headers: Vec<(&str, &str)> =
        headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    Ok(door.ask(&method, &path, &headers, &body).await)
}

#[tokio::test]
async fn every_request_of_the_guide_is_answered_as_it_says() -> Result<()> {
    let mut door = Door::new().await;
    let all = lines()?;
    ensure!(all.len() == 18, "{}", all.len());
    let first = carried_out(&door, &all[1]).await?;
    let token = first.body["token"].as_str().context("a token")?.to_owned();
    let free = door.lent("").await;
    let owned = door.lent(&token).await;
    let mut snapshot = String::new();
    for (place, line) in all.iter().enumerate().filter(|(place, _)| *place != 3) {
        // Two of its machines are without a token in the guide; a lifetime is only changed with one.
        let name = if line.contains("lifetime") || line.contains("snapshot") { &owned } else { &free };
        let mut line = line.replace("utpg2i2xswor6h8ttjhu3d47z53yy47y", &token);
        line = line.replace("a9znth9dn01t416hrguu56ze37t790bl", &token);
        line = line.replace("n4eb4kdtp7rwv4x158366vd9jhac8btq", &snapshot);
        line = line.replace("pxpmtoonx7fiqg6", name).replace("fq6qlpjlsskycq6", name);
        let mut told = carried_out(&door, &line).await?;
        if line.contains("lifetime") {
            told.is_bare(401);
            told = carried_out(&door, &format!("{line} -H X-AUTH-TOKEN:{token}")).await?;
        }
        // The typing error makes a GET of it, for which there is nothing.
        let status = match place {
            12 => 202,
            14 => 404,
            _ => 200,
        };
        ensure!(told.status == status, "{line}: {} {}", told.status, told.text);
        if place == 12 {
            snapshot = told.body[&owned]["snapshot"].as_str().context("a snapshot")?.to_owned();
        }
        door.scene.settle().await?;
    }
    let ended = carried_out(&door, &all[3].replace("utpg2i2xswor6h8ttjhu3d47z53yy47y", &token)).await?;
    ensure!(ended.status == 200, "{}", ended.text);
    door.scene.world.check_whole().await
}
