//! Files that no template may be made of, and a disk that is too small for one.

use crate::folder::Folder;
use crate::images::{qemu_img, text};
use crate::server::{Program, Server, missing};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Tries to make a template of a file; answers why that failed.
async fn refused(server: &Server, what: &str, path: &Path, format: &str) -> Result<String> {
    let source = json!({ "from": "file", "path": text(path)?, "format": format, "max_mib": 1024 });
    let accepted = server.post("/templates", json!({ "name": what, "source": source })).await?;
    let task = server.ended(&accepted).await?;
    ensure!(task["state"] == "failed", "{what}: {task}");
    let template = server.get(&format!("/templates/{what}")).await?;
    ensure!(template["state"] == "failed" && template["image"].is_null(), "{what}: {template}");
    ensure!(template["task"].is_null(), "{what}: {template}");
    let reason = template["reason"].as_str().context("a reason")?.to_owned();
    ensure!(task["error"].as_str().is_some_and(|error| reason.contains(error)), "{what}: {task} {template}");
    let left = std::fs::read_dir(server.data.join("images"))?.count();
    ensure!(left == 0, "{what}: {left} entries are left in images");
    let (status, problem) =
        server.request("POST", "/machines", Some(json!({ "name": "m", "template": what }))).await?;
    ensure!(status == 409 && problem["code"] == "not_ready", "{what}: {problem}");
    server.carry_out("DELETE", &format!("/templates/{what}"), None).await?;
    Ok(reason)
}

/// Names of bad files, their declared formats, and what must be said of them.
async fn files(folder: &Path) -> Result<Vec<(&'static str, PathBuf, &'static str, &'static str)>> {
    let at = |name: &str| folder.join(name);
    let secret = at("secret.raw");
    tokio::fs::write(&secret, vec![7; 1 << 20]).await?;
    let base = text(&secret)?.to_owned();
    let made = |name: &str| at(name).to_string_lossy().into_owned();
    qemu_img(&["create", "-q", "-f", "qcow2", "-b", &base, "-F", "raw", &made("backed")]).await?;
    let data = format!("data_file={},data_file_raw=on", made("outside.raw"));
    qemu_img(&["create", "-q", "-f", "qcow2", "-o", &data, &made("split"), "1M"]).await?;
    qemu_img(&["create", "-q", "-f", "qcow2", &made("huge"), "8T"]).await?;
    qemu_img(&["create", "-q", "-f", "qcow2", &made("good"), "1M"]).await?;
    std::os::unix::fs::symlink(&secret, at("link"))?;
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    std::fs::write(at("empty"), "")?;
    std::fs::write(at("cut"), b"QFI\xfb\0\0\0\x03")?;
    Ok(vec![
        ("backing-file", at("backed"), "qcow2", "has a backing file"),
        ("data-file", at("split"), "qcow2", "keeps its data in another file"),
        ("absurd-size", at("huge"), "qcow2", "8388608 MiB, at most 1024"),
        ("disguised", at("good"), "raw", "begins like a qcow2 image"),
        ("not-qcow2", secret, "qcow2", "does not begin like one"),
        ("cut-off", at("cut"), "qcow2", "header is cut off"),
        ("empty", at("empty"), "raw", "is empty"),
        ("link", at("link"), "raw", "is a symbolic link"),
        ("device", "/dev/zero".into(), "raw", "is not a regular file"),
        ("pipe", at("pipe"), "raw", "is not a regular file"),
        ("folder", folder.to_owned(), "raw", "is not a regular file"),
        ("nothing", at("nothing"), "raw", "No such file"),
    ])
}

#[tokio::test]
async fn real_images_that_reach_elsewhere_or_lie_are_refused() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: no bad image was tried: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI they must run: {why}");
        return;
    }
    let folder = Folder::new().unwrap();
    let server = Server::start(Program::Real, &folder.path().join("data"), &[]).await.unwrap();
    for (what, path, format, says) in files(folder.path()).await.unwrap() {
        let reason = refused(&server, what, &path, format).await.unwrap();
        assert!(reason.contains(says), "{what}: `{says}` is not in `{reason}`");
    }
    assert_eq!(server.stop().await.unwrap(), Some(0));
}

/// A small file system, where one may be mounted.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, mib: u32) -> Result<Option<Self>> {
        std::fs::create_dir(&at)?;
        let options = std::ffi::CString::new(format!("size={mib}m"))?;
        let flags = rustix::mount::MountFlags::NODEV | rustix::mount::MountFlags::NOSUID;
        let mounted = rustix::mount::mount("tmpfs", &at, "tmpfs", flags, options.as_c_str());
        Ok(mounted.is_ok().then_some(Self(at)))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a server that a failed test leaves is only killed later.
        let _ = rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH);
    }
}

#[tokio::test]
async fn real_disks_that_run_full_during_an_import_are_named() {
    let folder = Folder::new().unwrap();
    let disk = SmallDisk::mount(folder.path().join("small"), 24).unwrap();
    let (Some(disk), None) = (disk, missing()) else {
        eprintln!("SKIPPED: no disk ran full: this needs root, who may mount, and what runs machines");
        return;
    };
    let source = folder.path().join("large.raw");
    let mut noise = vec![0; 64 << 20];
    let mut word = 1_u64;
    for bytes in noise.chunks_mut(8) {
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    std::fs::write(&source, noise).unwrap();
    let server = Server::start(Program::Real, &disk.0.join("data"), &[]).await.unwrap();
    let reason = refused(&server, "large", &source, "raw").await.unwrap();
    assert!(reason.contains("No space left") || reason.contains("full"), "{reason}");
    // There is room again, and everything goes on.
    let good = folder.path().join("good.qcow2");
    crate::images::bootable(folder.path(), &good).await.unwrap();
    let source = json!({ "from": "file", "path": text(&good).unwrap(), "format": "qcow2" });
    let body: Value = json!({ "name": "good", "source": source });
    server.carry_out("POST", "/templates", Some(body)).await.unwrap();
    assert_eq!(server.stop().await.unwrap(), Some(0));
}
