//! What both guides say of coming in, word for word, sent by curl over TLS to the real program; only the credentials of
//! their examples are replaced by some that count here.

use crate::folder::Folder;
use crate::server::{Program, Server};
use crate::vmmanager::seeds::{carried_out, requests};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

/// What the guides replace by words of their own.
const TOKENS: [&str; 2] =
    ["4-e9726dd9-61d9-2940-add3-914851d2cb8a", "24-cee181d2-ccaa-4b64-a229-234aa7a25db6"];

/// What a browser gets that opens this address: status and head.
async fn opened(port: &str, url: &str, how: &str) -> Result<(u16, String)> {
    let to = format!("domain.com:443:127.0.0.1:{port}");
    let output = Command::new("curl")
        .args(["-ksS", "--max-time", "60", "--connect-to", &to, "-D", "-", how, url])
        .kill_on_drop(true)
        .output()
        .await?;
    let text = String::from_utf8(output.stdout)?;
    let status = text.split(' ').nth(1).with_context(|| text.clone())?.parse()?;
    Ok((status, text))
}

fn text<'a>(answer: &'a Value, name: &str) -> Result<&'a str> {
    answer[name].as_str().with_context(|| format!("no text {name} in {answer}"))
}

async fn started(folder: &Folder) -> Result<Server> {
    let settings = [
        ("HOSTLER__TLS__SELF_SIGNED", "true"),
        ("HOSTLER_ADMIN_EMAIL", "admin@example.com"),
        ("HOSTLER_ADMIN_PASSWORD", "secret"),
    ];
    let server = Server::start(Program::Simulated, &folder.path().join("data"), &settings).await?;
    let client = json!({ "login": "client", "email": "client@example.com", "password": "another secret" });
    server.ask("POST", "/accounts", Some(client)).await?;
    Ok(server)
}

#[tokio::test]
async fn the_guides_ways_to_come_in_work_as_they_stand() -> Result<()> {
    let folder = Folder::new()?;
    let server = started(&folder).await?;
    let port = server.url.rsplit_once(':').context("a port")?.1.to_owned();
    let ask = async |line: &str| carried_out(&port, line, "").await;
    let all = requests("isp")?;
    let [make, key_inside, users_inside, link, log_in, make_key, redeem, link_4] = &all[..] else {
        anyhow::bail!("eight requests")
    };

    // DCImanager's login, with the id as text; VMmanager's, without the prefix, has a number.
    let (status, came) = ask(log_in).await?;
    ensure!(status == 201 && came["confirmed"] == true && came["id"].is_string(), "{came}");
    let token = text(&came, "token")?.to_owned();
    ensure!(token.starts_with(&format!("{}-", text(&came, "id")?)), "{came}");
    let (status, came) = ask(&log_in.replace("/api/auth", "/auth")).await?;
    ensure!(status == 201 && came["id"].is_i64() && came["expires_at"].is_null(), "{came}");
    let (status, answer) = ask(&log_in.replace("\"secret\"", "\"wrong\"")).await?;
    ensure!(
        status == 401 && answer == json!({ "error": { "code": 3001, "msg": "Unauthorized" } }),
        "{answer}"
    );
    let own = |line: &str| TOKENS.iter().fold(line.to_owned(), |line, example| line.replace(example, &token));

    // A token with an end of its own, by the one header alone.
    ensure!(ask(make).await?.0 == 401, "the guide's own token counts nowhere else");
    let (status, lasting) = ask(&own(make)).await?;
    ensure!(status == 201 && lasting["expires_at"] == "2030-01-31 00:00:00", "{lasting}");
    ensure!(lasting["description"] == "Token for integration", "{lasting}");

    // A key for somebody, which lets one in, once.
    let (status, made) = ask(&own(make_key)).await?;
    ensure!(status == 201 && made["id"].is_string(), "{made}");
    let redeem = redeem.replace("4-74e7c0e9-a5ff-4f52-a2ac-ed03c6ed1e21", text(&made, "key")?);
    let (status, came) = ask(&redeem).await?;
    ensure!(status == 201, "{came}");
    let client = text(&came, "token")?;
    let (_, who) = carried_out(&port, "GET https://domain.com/auth/v4/whoami", client).await?;
    ensure!(who["email"] == "client@example.com" && who["roles"] == json!(["@user"]), "{who}");
    ensure!(ask(&redeem).await?.0 == 401, "a key lets in once");

    // The same by a browser, under both spellings; who only looks burns nothing.
    for link in [link, link_4] {
        let (_, made) = ask(&own(make_key)).await?;
        let url = link.trim_start_matches("GET ").replace("<key>", text(&made, "key")?);
        opened(&port, &url, "-I").await?;
        let (status, head) = opened(&port, &url, "-i").await?;
        let head = head.to_lowercase();
        ensure!(status == 302 && head.contains("location: /\r\n"), "{head}");
        for name in ["ses6", "token"] {
            let cookie = head.lines().find(|line| line.starts_with(&format!("set-cookie: {name}=")));
            let cookie = cookie.with_context(|| head.clone())?;
            for part in ["; path=/", "; samesite=lax", "; httponly", "; secure"] {
                ensure!(cookie.contains(part), "{cookie}");
            }
        }
        ensure!(opened(&port, &url, "-i").await?.0 == 403, "a link lets in once");
    }

    // Inside the vendor's container it is one header; here it is the socket that only administrators reach.
    let socket = server.data.join("hostler.sock");
    let inside = |line: &str| {
        let line = line.replace("docker exec vm_box curl", "curl").replace("<user_id>", "3");
        line.replace("curl ", &format!("curl --unix-socket '{}' ", socket.display()))
    };
    let (status, made) = ask(&inside(key_inside)).await?;
    ensure!(status == 201 && made["id"].is_string() && made["key"].is_string(), "{made}");
    let (status, users) = ask(&inside(users_inside)).await?;
    ensure!(status == 200 && users["size"] == 2 && users["list"][0]["id"] == 3, "{users}");
    // On the network the header is nothing.
    for line in [key_inside, users_inside] {
        let line = line.replace("docker exec vm_box curl", "curl").replace("<user_id>", "3");
        let line = line.replace("http://input:1500", "https://domain.com");
        ensure!(ask(&line).await?.0 == 401, "{line}");
    }
    server.stop().await?;
    Ok(())
}
