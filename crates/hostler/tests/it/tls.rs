//! TLS through the real program: real handshakes, files that change, peers that do not speak it, proxies in front.

use crate::server::{DEADLINE, Program, Server, until};
use anyhow::{Context, Result, ensure};
use rcgen::{CertificateParams, KeyPair};
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Output;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const SELF_SIGNED: (&str, &str) = ("HOSTLER__TLS__SELF_SIGNED", "true");

/// A client that trusts these certificates and no others, one connection for each request.
fn trusting(pem: &[u8]) -> Result<reqwest::Client> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let all = reqwest::Certificate::from_pem_bundle(pem)?;
    let client = reqwest::Client::builder().tls_certs_only(all).pool_max_idle_per_host(0).timeout(DEADLINE);
    Ok(client.build()?)
}

/// A certificate for this host and its key, PEM.
fn pair() -> Result<(String, String)> {
    lasting(2100)
}

/// The same, which runs out with the beginning of a year.
fn lasting(until: i32) -> Result<(String, String)> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    Ok((params.self_signed(&key)?.pem(), key.serialize_pem()))
}

fn address(server: &Server) -> &str {
    server.url.trim_start_matches("https://").trim_start_matches("http://")
}

/// What the doctor says of TLS.
async fn finding(server: &Server) -> Result<Value> {
    let doctor = server.get("/doctor").await?;
    let findings = doctor["findings"].as_array().context("findings")?;
    Ok(findings.iter().find(|one| one["check"] == "tls").context("a finding about tls")?.clone())
}

async fn run(data: &Path, arguments: &[&str]) -> Result<Output> {
    Ok(Program::Simulated.command(data).args(arguments).output().await?)
}

/// Sends these bytes over plain TCP; answers what comes until the end.
async fn plain(address: &str, bytes: &[u8]) -> Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(bytes).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(DEADLINE, stream.read_to_end(&mut answer)).await.context("it does not end")??;
    Ok(answer)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_self_signed_certificate_is_made_once_and_clients_trust_it_by_file_or_fingerprint() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(Program::Simulated, &data, &[SELF_SIGNED]).await?;
    ensure!(server.url.starts_with("https://127.0.0.1:"), "{}", server.url);
    let (certificate, key) = (data.join("tls/certificate.pem"), data.join("tls/key.pem"));
    ensure!(std::fs::metadata(&key)?.permissions().mode() & 0o777 == 0o600);
    let pem = std::fs::read(&certificate)?;
    let answer = trusting(&pem)?.get(format!("{}/livez", server.url)).send().await?;
    ensure!(answer.status() == 200 && answer.version() == reqwest::Version::HTTP_11, "{answer:?}");
    ensure!(answer.headers()["strict-transport-security"] == "max-age=31536000", "{answer:?}");
    // Who trusts other authorities does not trust this one.
    let refused = trusting(pair()?.0.as_bytes())?.get(format!("{}/livez", server.url)).send().await;
    ensure!(refused.is_err_and(|error| error.is_connect()));

    let found = finding(&server).await?;
    let fingerprint =
        found["text"].as_str().and_then(|text| text.rsplit(' ').next()).context("a fingerprint")?;
    ensure!(found["level"] == "ok" && fingerprint.len() == 64, "{found}");
    let token = run(&data, &["token", "create"]).await?.stdout;
    let file = folder.path().join("token");
    std::fs::write(&file, token)?;
    let other = "0".repeat(64);
    let whoami = ["whoami", "--url", &server.url, "--token-file", file.to_str().context("UTF-8")?];
    let shown = certificate.to_str().context("UTF-8")?;
    for (trust, code, words) in [
        (&["--ca", shown][..], 0, "admin"),
        (&["--fingerprint", fingerprint], 0, "admin"),
        (&["--fingerprint", &other], 1, "certificate"),
        (&["--fingerprint", "abc"], 2, "64 hexadecimal digits"),
        (&["--ca", shown, "--fingerprint", &other], 2, "exclude each other"),
        (&[], 1, "--fingerprint"),
    ] {
        let output = run(&data, &[&whoami, trust].concat()).await?;
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        ensure!(
            output.status.code() == Some(code) && said.contains(words),
            "{trust:?}: {} {said}",
            output.status
        );
    }
    if let Ok(output) = tokio::process::Command::new("curl")
        .args(["--silent", "--show-error", "--fail", "--cacert", shown, &format!("{}/livez", server.url)])
        .output()
        .await
    {
        ensure!(output.stdout == b"ok\n", "{}", String::from_utf8_lossy(&output.stderr));
    } else {
        eprintln!("SKIPPED: curl is not installed");
        assert!(std::env::var_os("CI").is_none(), "CI must have curl");
    }
    ensure!(server.stop().await? == Some(0));
    let server = Server::start(Program::Simulated, &data, &[SELF_SIGNED]).await?;
    ensure!(finding(&server).await? == found, "a restart makes no other certificate");
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_served_at_once_and_broken_ones_change_nothing_but_what_is_said() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (certificate, key) = (folder.path().join("certificate.pem"), folder.path().join("key.pem"));
    let write = |pair: &(String, String)| -> Result<()> {
        std::fs::write(&certificate, &pair.0)?;
        Ok(std::fs::write(&key, &pair.1)?)
    };
    let (first, second) = (pair()?, pair()?);
    write(&first)?;
    let files = [
        ("HOSTLER__TLS__CERTIFICATE", certificate.to_str().context("UTF-8")?),
        ("HOSTLER__TLS__KEY", key.to_str().context("UTF-8")?),
    ];
    let server = Server::start(Program::Simulated, &folder.path().join("data"), &files).await?;
    let livez = format!("{}/livez", server.url);
    let trusted = folder.path().join("trusted.pem");
    let served = async |pair: &(String, String)| -> Result<Option<()>> {
        std::fs::write(&trusted, &pair.0)?;
        let mut curl = tokio::process::Command::new("curl");
        curl.args(["--silent", "--fail", "--max-time", "60", &livez, "--cacert"]).arg(&trusted);
        Ok(curl.output().await.context("curl")?.status.success().then_some(()))
    };
    ensure!(served(&first).await?.is_some() && served(&second).await?.is_none());
    // A connection that began with the first certificate.
    let kept = reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(first.0.as_bytes())?)
        .pool_max_idle_per_host(1);
    let kept = kept.build()?;
    kept.get(&livez).send().await?.bytes().await?;

    write(&second)?;
    until("the second certificate", DEADLINE, async || served(&second).await).await?;
    ensure!(served(&first).await?.is_none());
    // It would not trust a new one: this is the old connection.
    kept.get(&livez).send().await?.bytes().await?;

    for broken in [("no certificate".to_owned(), second.1.clone()), (second.0.clone(), first.1.clone())] {
        write(&broken)?;
        until("a finding", DEADLINE, async || {
            Ok((finding(&server).await?["level"] == "problem").then_some(()))
        })
        .await?;
        ensure!(served(&second).await?.is_some(), "the old pair goes on");
        write(&second)?;
        until("peace", DEADLINE, async || Ok((finding(&server).await?["level"] == "ok").then_some(())))
            .await?;
    }
    // One that has run out is served, as nothing is better; the doctor says so.
    write(&lasting(2021)?)?;
    let late = async || {
        let found = finding(&server).await?;
        let cause = found["cause"].as_str().unwrap_or("");
        Ok((found["level"] == "problem" && cause == "it counts until 2021-01-01T00:00:00.000Z").then_some(()))
    };
    until("a finding about its end", DEADLINE, late).await?;
    write(&second)?;
    until("peace", DEADLINE, async || Ok((finding(&server).await?["level"] == "ok").then_some(()))).await?;
    std::fs::remove_file(&key)?;
    until("a finding", DEADLINE, async || Ok((finding(&server).await?["level"] == "problem").then_some(())))
        .await?;
    ensure!(served(&second).await?.is_some());
    ensure!(server.stop().await? == Some(0));

    // A start is another matter: nothing could be served.
    let mut command = Program::Simulated.command(&folder.path().join("data"));
    let output = command.args(["serve", "--listen", "127.0.0.1:0"]).envs(files).output().await?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(output.status.code() == Some(1) && said.contains("cannot read the key"), "{said}");
    let output =
        Program::Simulated.command(folder.path()).args(["config", "check"]).envs(files).output().await?;
    ensure!(output.status.code() == Some(1), "{}", output.status);
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_does_not_shake_hands_is_let_go_and_holds_up_nobody() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let data = folder.path().join("data");
    let server = Server::start(Program::Simulated, &data, &[SELF_SIGNED]).await?;
    let answer = plain(address(&server), b"GET /livez HTTP/1.1\r\nhost: x\r\n\r\n").await?;
    let answer = String::from_utf8_lossy(&answer);
    ensure!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("use https://"), "{answer}");
    // What is no request at all gets no answer but the end, which may be a reset.
    let nonsense = plain(address(&server), b"\0\x01\x02 nonsense").await;
    ensure!(nonsense.map_or_else(|error| format!("{error:?}").contains("reset"), |answer| answer.is_empty()));

    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(address(&server)).await?);
    }
    // The beginning of a handshake that never goes on.
    let mut halting = TcpStream::connect(address(&server)).await?;
    halting.write_all(&[22, 3, 1, 2, 0, 1, 0]).await?;
    let client = trusting(&std::fs::read(data.join("tls/certificate.pem"))?)?;
    let livez = client.get(format!("{}/livez", server.url)).timeout(Duration::from_secs(5));
    ensure!(livez.send().await?.status() == 200, "the silent hold up nobody");
    silent.push(halting);
    for mut stream in silent {
        let mut rest = Vec::new();
        let ended = tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut rest)).await;
        // An end or a reset: either way it is over.
        ensure!(ended.is_ok() && rest.is_empty(), "it is let go: {rest:?}");
    }
    ensure!(server.stop().await? == Some(0));
    Ok(())
}

/// The answer's status to a wrong token from there, and whether browsers are told to come encrypted.
async fn wrong_token(server: &Server, forwarded: &[(&str, &str)]) -> Result<(u16, bool)> {
    let mut request =
        reqwest::Client::new().get(format!("{}/hostler/v1/machines", server.url)).bearer_auth("hst_no");
    for (name, value) in forwarded {
        request = request.header(*name, *value);
    }
    let answer = request.send().await?;
    Ok((answer.status().as_u16(), answer.headers().contains_key("strict-transport-security")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failed_logins_count_for_the_address_that_a_trusted_proxy_tells_and_for_the_peer_otherwise()
-> Result<()> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir()?;
    let open = Server::start(Program::Simulated, &folder.path().join("open"), &[]).await?;
    for count in 0..=10 {
        let spoofed = format!("198.51.100.{count}");
        let headers = [
            ("x-forwarded-for", spoofed.as_str()),
            ("x-forwarded-proto", "https"),
            ("forwarded", "for=192.0.2.1"),
        ];
        let wanted = if count < 10 { 401 } else { 429 };
        ensure!(wrong_token(&open, &headers).await? == (wanted, false), "{count}");
    }
    let proxies = [("HOSTLER__TRUSTED_PROXIES", "[\"127.0.0.0/8\"]"), ("HOSTLER__LOG__LEVEL", "debug")];
    let behind = Server::start(Program::Simulated, &folder.path().join("behind"), &proxies).await?;
    for count in 0..=10 {
        // What stands on the left is the client's own claim.
        let claimed = format!("203.0.113.{count}, 198.51.100.1");
        let headers = [("x-forwarded-for", claimed.as_str()), ("x-forwarded-proto", "https")];
        let wanted = if count < 10 { 401 } else { 429 };
        ensure!(wrong_token(&behind, &headers).await? == (wanted, true), "{count}");
    }
    ensure!(
        wrong_token(&behind, &[("x-forwarded-for", "198.51.100.2")]).await? == (401, false),
        "another client"
    );
    let log = std::fs::read_to_string(folder.path().join("behind.log"))?;
    ensure!(log.contains("198.51.100.1") && !log.contains("203.0.113."), "the log names the client");
    Ok(())
}
