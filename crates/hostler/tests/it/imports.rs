//! Images and media through the real program: every format, from files and from addresses, and through kill -9.

use crate::folder::Folder;
use crate::images::{qemu_img, text};
use crate::server::{DEADLINE, Program, Server, missing};
use anyhow::{Context, Result, ensure};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::path::Path;
use tokio::process::Command;

/// Lets the server fetch from the tests' own web server.
const ALLOWED: (&str, &str) = ("HOSTLER__IMAGES__ALLOW_ADDRESSES", "[\"127.0.0.0/8\"]");

#[expect(clippy::print_stderr, reason = "a test that was skipped says so")]
fn skipped() -> bool {
    let Some(why) = missing() else { return false };
    eprintln!("SKIPPED: nothing was imported: {why}");
    assert!(std::env::var_os("CI").is_none(), "in CI they must run: {why}");
    true
}

/// A raw disk of 3 MiB whose content nobody else has.
fn content() -> Vec<u8> {
    (0..3_u32 << 20).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// Serves this folder's files by HTTP, with ranges, as static web servers do.
async fn web(folder: &Path) -> Result<SocketAddr> {
    let files = routes(folder);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, files).await });
    Ok(address)
}

/// One route: a file of the folder, whole or from a place on.
fn routes(folder: &Path) -> axum::Router {
    let folder = folder.to_owned();
    let answer = move |axum::extract::Path(name): axum::extract::Path<String>, headers: HeaderMap| {
        let file = std::fs::read(folder.join(name));
        async move {
            file.map_or_else(
                |_| (StatusCode::NOT_FOUND, HeaderMap::new(), Vec::new()),
                |file| part(file, &headers),
            )
        }
    };
    axum::Router::new().route("/{name}", axum::routing::get(answer))
}

fn part(file: Vec<u8>, asked: &HeaderMap) -> (StatusCode, HeaderMap, Vec<u8>) {
    let mut headers = HeaderMap::new();
    headers.insert("etag", HeaderValue::from_static("\"1\""));
    let range =
        asked.get("range").and_then(|range| range.to_str().ok()?.strip_prefix("bytes=")?.strip_suffix('-'));
    let from = range.and_then(|from| from.parse::<usize>().ok());
    let Some(from) = from.filter(|_| asked.get("if-range").is_some_and(|tag| tag == "\"1\"")) else {
        return (StatusCode::OK, headers, file);
    };
    let range = format!("bytes {from}-{}/{}", file.len() - 1, file.len());
    headers.insert("content-range", range.parse().unwrap());
    (StatusCode::PARTIAL_CONTENT, headers, file[from..].to_vec())
}

/// The content of a template's disk as a guest would read it.
async fn disk_of(server: &Server, template: &Value, folder: &Path) -> Result<Vec<u8>> {
    let id = template["id"].as_str().context("an id")?;
    let (disk, raw) = (server.data.join("images").join(id).join("disk.qcow2"), folder.join("read-back.raw"));
    qemu_img(&["convert", "-f", "qcow2", "-O", "raw", text(&disk)?, text(&raw)?]).await?;
    Ok(std::fs::read(raw)?)
}

async fn pack(program: &str, file: &Path) -> Result<()> {
    let status = Command::new(program).args(["-k", "-q"]).arg(file).status().await?;
    ensure!(status.success(), "{program}: {status}");
    Ok(())
}

/// An appliance around this disk.
async fn appliance(folder: &Path, disk: &str) -> Result<()> {
    let description = format!(
        r#"<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1">
        <References><File id="f" href="{disk}"/></References><DiskSection><Disk diskId="d" fileRef="f"/></DiskSection>
        <VirtualSystem><VirtualHardwareSection>
        <Item><ResourceType>3</ResourceType><VirtualQuantity>2</VirtualQuantity></Item>
        <Item><AllocationUnits>MegaBytes</AllocationUnits><ResourceType>4</ResourceType><VirtualQuantity>768</VirtualQuantity></Item>
        </VirtualHardwareSection></VirtualSystem></Envelope>"#
    );
    std::fs::write(folder.join("machine.ovf"), description)?;
    let status = Command::new("tar")
        .args(["--format=ustar", "-cf", "machine.ova", "machine.ovf", disk])
        .current_dir(folder)
        .status()
        .await?;
    ensure!(status.success(), "tar: {status}");
    Ok(())
}

/// Every file that a template can be made of, from one raw disk.
async fn files(folder: &Path) -> Result<Vec<&'static str>> {
    let raw = folder.join("disk.raw");
    std::fs::write(&raw, content())?;
    for (format, options, name) in [
        ("qcow2", "compat=1.1", "disk.qcow2"),
        ("vmdk", "subformat=monolithicSparse", "disk.vmdk"),
        ("vmdk", "subformat=streamOptimized", "stream.vmdk"),
        ("vhdx", "subformat=dynamic", "disk.vhdx"),
        ("vpc", "subformat=dynamic,force_size=on", "disk.vhd"),
        ("vpc", "subformat=fixed,force_size=on", "fixed.vhd"),
    ] {
        let to = folder.join(name);
        qemu_img(&["convert", "-f", "raw", "-O", format, "-o", options, text(&raw)?, text(&to)?]).await?;
    }
    for (program, file) in
        [("gzip", "disk.raw"), ("xz", "disk.qcow2"), ("zstd", "disk.vmdk"), ("bzip2", "disk.raw")]
    {
        pack(program, &folder.join(file)).await?;
    }
    appliance(folder, "stream.vmdk").await?;
    Ok(vec![
        "disk.raw",
        "disk.qcow2",
        "disk.vmdk",
        "stream.vmdk",
        "disk.vhdx",
        "disk.vhd",
        "fixed.vhd",
        "disk.raw.gz",
        "disk.qcow2.xz",
        "disk.vmdk.zst",
        "disk.raw.bz2",
        "machine.ova",
    ])
}

#[tokio::test]
async fn every_format_becomes_the_same_disk() {
    if skipped() {
        return;
    }
    let folder = Folder::new().unwrap();
    let server = Server::start(Program::Real, &folder.path().join("data"), &[ALLOWED]).await.unwrap();
    let names = files(folder.path()).await.unwrap();
    let peer = web(folder.path()).await.unwrap();
    for (turn, name) in names.into_iter().enumerate() {
        let path = folder.path().join(name);
        // By turns, because what comes after is the same.
        let source = match turn % 2 {
            0 => json!({ "from": "file", "path": text(&path).unwrap(), "max_mib": 64 }),
            _ => json!({ "from": "url", "url": format!("http://{peer}/{name}?x=1"), "max_mib": 64 }),
        };
        let template = name.replace('.', "-");
        let body = json!({ "name": template, "source": source });
        server.carry_out("POST", "/templates", Some(body)).await.with_context(|| name.to_owned()).unwrap();
        let template = server.get(&format!("/templates/{template}")).await.unwrap();
        let sizes = if name == "machine.ova" { (2, 768) } else { (1, 512) };
        assert_eq!(template["vcpus"], sizes.0, "{name}");
        assert_eq!(template["memory_mib"], sizes.1, "{name}");
        let disk = disk_of(&server, &template, folder.path()).await.unwrap();
        assert!(disk.starts_with(&content()), "{name}");
        assert_eq!(disk.len(), 3 << 20, "{name}");
        let kept = std::fs::read_dir(server.data.join("images")).unwrap().count();
        assert_eq!(kept, turn + 1, "{name}: something is left");
    }
    assert_eq!(server.stop().await.unwrap(), Some(0));
}

/// Tries to make a template from an address; answers why that failed.
async fn refused(server: &Server, source: Value) -> Result<String> {
    let accepted = server.post("/templates", json!({ "name": "bad", "source": source })).await?;
    let task = server.ended(&accepted).await?;
    ensure!(task["state"] == "failed", "{task}");
    let left = std::fs::read_dir(server.data.join("images")).map_or(0, Iterator::count);
    ensure!(left == 0, "something is left in images");
    Ok(task["error"].as_str().unwrap_or_default().to_owned())
}

#[tokio::test]
async fn addresses_that_may_not_be_fetched_from_are_refused() {
    if skipped() {
        return;
    }
    let folder = Folder::new().unwrap();
    std::fs::write(folder.path().join("disk.raw"), content()).unwrap();
    let peer = web(folder.path()).await.unwrap();
    let data = folder.path().join("data");
    let server = Server::start(Program::Real, &data, &[]).await.unwrap();
    for url in [format!("http://{peer}/disk.raw"), format!("http://localhost:{}/disk.raw", peer.port())] {
        let reason = refused(&server, json!({ "from": "url", "url": url })).await.unwrap();
        assert!(reason.contains("a loopback address, is not fetched from"), "{reason}");
    }
    for url in ["file:///dev/zero", "/dev/zero", "http://user:secret@example.org/x", "http://"] {
        let body = json!({ "name": "bad", "source": { "from": "url", "url": url } });
        let (status, problem) = server.request("POST", "/templates", Some(body)).await.unwrap();
        assert_eq!((status, problem["field"].as_str()), (422, Some("source/url")), "{url}: {problem}");
    }
    let body = json!({ "name": "bad", "source": { "from": "url", "url": "http://a/", "checksum": "md5:1" } });
    let (status, problem) = server.request("POST", "/templates", Some(body)).await.unwrap();
    assert_eq!((status, problem["field"].as_str()), (422, Some("source/checksum")), "{problem}");
    assert_eq!(server.stop().await.unwrap(), Some(0));
    let server = Server::start(Program::Real, &data, &[ALLOWED]).await.unwrap();
    let missing = json!({ "from": "url", "url": format!("http://{peer}/absent.raw") });
    assert!(refused(&server, missing).await.unwrap().contains("404"));
    let checksum = format!("sha256:{}", "0".repeat(64));
    let wrong = json!({ "from": "url", "url": format!("http://{peer}/disk.raw"), "checksum": checksum });
    assert!(refused(&server, wrong).await.unwrap().contains("checksum"));
    assert_eq!(server.stop().await.unwrap(), Some(0));
    let log = std::fs::read_to_string(data.with_extension("log")).unwrap();
    assert!(!log.contains("secret"), "a password is in the log");
}

#[tokio::test]
async fn kill_9_at_any_point_of_an_import_leaves_a_whole_template() {
    if skipped() {
        return;
    }
    let folder = Folder::new().unwrap();
    std::fs::write(folder.path().join("disk.raw"), content()).unwrap();
    let peer = web(folder.path()).await.unwrap();
    let data = folder.path().join("data");
    let url = format!("http://{peer}/disk.raw");
    for (turn, point) in ["fetch.kept", "image.converted", "file.written:3"].into_iter().enumerate() {
        let dying = [ALLOWED, ("HOSTLER_FAIL_POINT", point)];
        let mut server = Server::start(Program::Real, &data, &dying).await.unwrap();
        let body = json!({ "name": "disk", "source": { "from": "url", "url": url } });
        server.post("/templates", body).await.unwrap();
        assert!(server.death(DEADLINE).await, "{point} was never reached");
        let server = Server::start(Program::Real, &data, &[ALLOWED]).await.unwrap();
        let template =
            server.until(&format!("/templates/disk@{}", turn + 1), |one| one["state"] != "building").await;
        let template = template.unwrap();
        assert_eq!(template["state"], "ready", "{point}: {template}");
        assert!(disk_of(&server, &template, folder.path()).await.unwrap() == content(), "{point}");
        let kept = std::fs::read_dir(server.data.join("images")).unwrap().count();
        assert_eq!(kept, turn + 1, "{point}: something is left");
        assert_eq!(server.stop().await.unwrap(), Some(0));
    }
}

#[tokio::test]
async fn media_come_and_go() {
    if skipped() {
        return;
    }
    let folder = Folder::new().unwrap();
    let mut iso = vec![0; 1 << 20];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    std::fs::write(folder.path().join("installer.iso"), &iso).unwrap();
    std::fs::write(folder.path().join("none.iso"), content()).unwrap();
    let peer = web(folder.path()).await.unwrap();
    let data = folder.path().join("data");
    let from_file =
        |name: &str| json!({ "from": "file", "path": folder.path().join(name).to_str().unwrap() });
    let dying = [ALLOWED, ("HOSTLER_FAIL_POINT", "medium.copied")];
    let mut server = Server::start(Program::Real, &data, &dying).await.unwrap();
    server
        .post("/media", json!({ "name": "installer", "source": from_file("installer.iso") }))
        .await
        .unwrap();
    assert!(server.death(DEADLINE).await, "it did not die");
    let server = Server::start(Program::Real, &data, &[ALLOWED]).await.unwrap();
    let medium = server.until("/media/installer", |medium| medium["state"] != "creating").await.unwrap();
    assert_eq!(
        (medium["state"].as_str(), medium["bytes"].as_u64()),
        (Some("ready"), Some(1 << 20)),
        "{medium}"
    );
    let file = data.join("media").join(format!("{}.iso", medium["id"].as_str().unwrap()));
    assert!(std::fs::read(&file).unwrap() == iso);
    let url = json!({ "from": "url", "url": format!("http://{peer}/installer.iso") });
    let (status, problem) =
        server.request("POST", "/media", Some(json!({ "name": "installer", "source": url }))).await.unwrap();
    assert_eq!((status, problem["code"].as_str()), (409, Some("name_taken")), "{problem}");
    server.carry_out("POST", "/media", Some(json!({ "name": "again", "source": url }))).await.unwrap();
    let accepted =
        server.post("/media", json!({ "name": "none", "source": from_file("none.iso") })).await.unwrap();
    let task = server.ended(&accepted).await.unwrap();
    assert!(task["error"].as_str().unwrap().contains("not an ISO image"), "{task}");
    for name in ["installer", "again", "none"] {
        server.carry_out("DELETE", &format!("/media/{name}"), None).await.unwrap();
    }
    assert_eq!(std::fs::read_dir(data.join("media")).unwrap().count(), 0);
    assert_eq!(server.stop().await.unwrap(), Some(0));
}
