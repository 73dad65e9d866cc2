//! Moving from vmpooler with the real program: its file becomes a configuration, the configuration a server, and its clients
//! find their pools and their tokens.

use crate::rights::account;
use crate::server::{Program, Server};
use anyhow::{Context, Result, ensure};
use hostler_core::access::{Caller, CredentialAsk, CredentialKind, Role};
use hostler_core::error::ErrorKind;
use hostler_core::ids::AccountId;
use hostler_core::secret::Secret;
use hostler_sim::World;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::process::Output;

const TOKEN: &str = "utpg2i2xswor6h8ttjhu3d47z53yy47y";

fn fixture(era: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../contracts/vmpooler/yaml/{era}.yaml"))
}

async fn run(data: &Path, arguments: &[&str]) -> Result<Output> {
    let mut command = Program::Simulated.command(data);
    // What the reports ask for.
    Ok(command.env("LDAP_PASSWORD", "of-the-service").args(arguments).output().await?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[tokio::test]
async fn every_era_passes_the_check_of_the_configuration() -> Result<()> {
    for era in ["2015", "1", "2", "3"] {
        let folder = tempfile::tempdir()?;
        let (config, report) = (folder.path().join("hostler.toml"), folder.path().join("moved.txt"));
        let file = fixture(era);
        let arguments = ["import", "vmpooler", path(&file), "--to", path(&config), "--report", path(&report)];
        let output = run(folder.path(), &arguments).await?;
        ensure!(output.status.success(), "{era}: {}", text(&output.stderr));
        ensure!(output.stdout.is_empty() && output.stderr.is_empty(), "{era}: it is in the files");
        ensure!(std::fs::read_to_string(&report)?.contains("taken over:"), "{era}");
        let output = run(folder.path(), &["config", "check", "--config", path(&config)]).await?;
        ensure!(output.status.success(), "{era}: {}{}", text(&output.stdout), text(&output.stderr));
        let output = run(folder.path(), &arguments).await?;
        ensure!(output.status.code() == Some(1) && text(&output.stderr).contains("not there yet"), "{era}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_wrong_is_named_by_its_place_and_nothing_is_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (file, config) = (folder.path().join("vmpooler.yaml"), folder.path().join("hostler.toml"));
    let report = folder.path().join("moved.txt");
    for (wrong, said) in
        [(":pools: [\n  a: {", "vmpooler.yaml:3:1: "), (":pools:\n  - name: a\n", "vmpooler.yaml:2:5: ")]
    {
        std::fs::write(&file, wrong)?;
        let arguments = ["import", "vmpooler", path(&file), "--to", path(&config), "--report", path(&report)];
        let output = run(folder.path(), &arguments).await?;
        let said_now = text(&output.stderr);
        ensure!(output.status.code() == Some(1) && said_now.contains(said), "{said_now}");
        ensure!(!config.exists() && !report.exists() && output.stdout.is_empty());
    }
    Ok(())
}

/// A request to vmpooler's door over TCP.
async fn asked(server: &Server, method: &str, path: &str, token: Option<&str>) -> Result<(u16, Value)> {
    let method = method.parse::<reqwest::Method>()?;
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", server.url));
    if let Some(token) = token {
        request = request.header("X-AUTH-TOKEN", token);
    }
    let answer = request.send().await?;
    let status = answer.status().as_u16();
    Ok((status, serde_json::from_str(&answer.text().await?).unwrap_or_default()))
}

#[tokio::test]
async fn clients_of_vmpooler_find_their_pools_and_their_tokens() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (data, config) = (folder.path().join("data"), folder.path().join("hostler.toml"));
    let file = fixture("2015");
    let renamed = ["Templates/debian-7-i386=micro", "debian-7-x86_64=micro"];
    let arguments = [
        "import",
        "vmpooler",
        path(&file),
        "--to",
        path(&config),
        "--template",
        renamed[0],
        "--template",
        renamed[1],
    ];
    let output = run(&data, &arguments).await?;
    ensure!(output.status.success(), "{}", text(&output.stderr));
    ensure!(text(&output.stderr).contains("taken over:"), "{}", text(&output.stderr));
    let quick = [
        ("HOSTLER_CONFIG", path(&config)),
        ("HOSTLER__SIM__BOOT_MS", "0"),
        ("HOSTLER__SIM__IMAGE_MS", "0"),
        ("LDAP_PASSWORD", "of-the-service"),
    ];
    let server = Server::start(Program::Simulated, &data, &quick).await?;
    let mut events = server.door.feed("/events").await?;
    let (_, pools) = asked(&server, "GET", "/api/v1/vm", None).await?;
    ensure!(pools == json!(["debian-7-i386", "debian-7-x86_64"]), "{pools}");
    let lent = loop {
        let (status, lent) = asked(&server, "POST", "/vm/debian-7-32", None).await?;
        if status == 200 {
            break lent;
        }
        ensure!(status == 503, "{status} {lent}");
        events.until("machine").await?;
        events = server.door.feed("/events").await?;
    };
    ensure!(lent["domain"] == "company.com", "{lent}");
    let name = lent["debian-7-32"]["hostname"].as_str().context("a name")?;
    ensure!(name.starts_with("ci-"), "{name}");

    let export = folder.path().join("tokens.json");
    let entry = json!({"user": "jdoe", "created": "2015-04-28 19:17:47 -0700", "last": null});
    std::fs::write(&export, json!({ format!("vmpooler__token__{TOKEN}"): entry }).to_string())?;
    let take = ["import", "vmpooler", "--tokens", path(&export)];
    let output = run(&data, &take).await?;
    let said = text(&output.stderr);
    ensure!(
        output.status.success() && said.contains("for you to see to:") && said.contains("jdoe"),
        "{said}"
    );
    ensure!(asked(&server, "GET", &format!("/token/{TOKEN}"), None).await?.0 == 404);
    let account = json!({"login": "jdoe", "email": "jdoe@example.org", "password": "swordfish-of-jdoe", "role": "user"});
    let (status, made) = server.door.send("POST", "/accounts", &[], Some(account)).await?;
    ensure!(status == 201, "{made}");
    for (part, again) in [("taken over:", false), ("without a counterpart:", true)] {
        let output = run(&data, &take).await?;
        let said = text(&output.stderr);
        ensure!(output.status.success() && said.starts_with(part), "again {again}: {said}");
        ensure!(!said.contains(TOKEN) && !text(&output.stdout).contains(TOKEN), "{said}");
    }
    let (status, shown) = asked(&server, "GET", &format!("/token/{TOKEN}"), None).await?;
    ensure!(status == 200 && shown[TOKEN]["user"] == "jdoe", "{shown}");
    let (status, _) =
        asked(&server, "PUT", &format!("/vm/{name}"), Some("z9znth9dn01t416hrguu56ze37t790bl")).await?;
    ensure!(status != 200);
    let (status, lent) = asked(&server, "POST", "/vm/debian-7-amd64", Some(TOKEN)).await?;
    ensure!(status == 200 || status == 503, "an imported token is let in: {status} {lent}");
    ensure!(server.stop().await? == Some(0));
    Ok(())
}

#[tokio::test]
async fn only_administrators_bring_secrets_and_only_such_as_nobody_guesses() -> Result<()> {
    let world = World::new().await?;
    let user = account(&world, 101, Role::User).await;
    let brought = async |caller: &Caller, secret: &str, whose: Option<AccountId>| {
        let given = Some(Secret::new(secret));
        let ask = CredentialAsk { given, account: whose, ..CredentialAsk::default() };
        world.core.credential_make(caller, ask).await.map(|made| made.1.expose() == secret)
    };
    let kind = |outcome: hostler_core::Result<bool>| outcome.map_err(|error| error.kind);
    assert_eq!(kind(brought(&user, TOKEN, None).await), Err(ErrorKind::Denied));
    for weak in [
        "",
        "guessable",
        &TOKEN[1..],
        &TOKEN.to_uppercase(),
        &format!("{TOKEN}a"),
        "1-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    ] {
        let refused = brought(&world.admin, weak, None).await.unwrap_err();
        assert!(
            matches!(&refused.kind, ErrorKind::Invalid { field } if field == "secret"),
            "{weak}: {refused:?}"
        );
        assert!(weak.is_empty() || !refused.text.contains(weak), "{}", refused.text);
    }
    assert_eq!(kind(brought(&world.admin, TOKEN, Some(user.account)).await), Ok(true));
    let again = brought(&world.admin, TOKEN, Some(user.account)).await.unwrap_err();
    assert_eq!(again.code, "known", "{again:?}");
    let (_, login) = world.core.credential_known(TOKEN, CredentialKind::Token).await?;
    assert_eq!(login, "user-101");
    Ok(())
}

#[tokio::test]
async fn the_doctor_tells_of_what_anybody_may_do_from_elsewhere() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let doctor = async |listen: &str, anonymous: &str| -> Result<String> {
        let mut command = Program::Simulated.command(&data);
        command.env("HOSTLER_LISTEN", listen).env("HOSTLER__VMPOOLER__ANONYMOUS", anonymous);
        Ok(text(&command.arg("doctor").output().await?.stdout))
    };
    let told = "can take and remove machines of pools without a token";
    ensure!(doctor("0.0.0.0:8889", "full").await?.contains(told));
    ensure!(!doctor("0.0.0.0:8889", "off").await?.contains("without a token"));
    ensure!(!doctor("127.0.0.1:8889", "full").await?.contains("without a token"));
    Ok(())
}
