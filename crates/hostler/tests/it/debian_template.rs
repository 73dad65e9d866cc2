//! A data directory with the Debian template in it. Building one takes minutes, so it is built once and kept under
//! `target/` until the recipe, the agent or the database change; every story gets a directory of its own with the same
//! image in it.

#![expect(clippy::print_stderr, reason = "a build takes long")]

use crate::folder::{Folder, Guard};
use crate::server::{Program, Server, agent};
use anyhow::{Context, Result, ensure};
use serde_json::json;
use sha2::{Digest, Sha256};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

pub const NAME: &str = "debian-12";
/// A slow mirror on a busy computer.
const PATIENCE: Duration = Duration::from_secs(40 * 60);
/// What an image depends on, beside the agent and what the mirror has.
const SOURCES: [&str; 4] = [
    "crates/drivers/src/debian",
    "crates/drivers/src/micro",
    "crates/core/src/templates",
    "crates/store/migrations/sqlite",
];
/// What a fresh data directory takes over. Images are linked: nobody writes to them.
const TAKEN: [&str; 4] = ["hostler.db", "hostler.db-wal", "key", "images"];

/// What is missing for building it, if anything.
pub fn missing() -> Option<String> {
    let places = ["/usr/bin", "/usr/sbin"].map(Path::new);
    let found = |tool: &str| places.iter().any(|place| place.join(tool).is_file());
    let lacking = ["mmdebstrap", "mke2fs", "debugfs", "mformat", "mcopy", "sfdisk"]
        .into_iter()
        .find(|tool| !found(tool));
    let lacking = lacking.map(|tool| format!("{tool} is not installed"));
    crate::server::missing().or(lacking).or_else(hostler_drivers::qemu::firmware::missing)
}

/// Makes `data` a data directory with the template, which is built if need be.
pub async fn data_directory(data: &Path) -> Result<()> {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/templates");
    fs::create_dir_all(&kept)?;
    let _only_us = lock(kept.join("lock")).await?;
    let place = kept.join(format!("{NAME}-{}", key()?));
    if !place.exists() {
        let begun = Instant::now();
        build(&kept, &place).await?;
        eprintln!("the {NAME} template was built in {} s", begun.elapsed().as_secs());
    }
    fs::create_dir_all(data)?;
    for name in TAKEN {
        take(&place.join(name), &data.join(name)).with_context(|| format!("taking over {name}"))?;
    }
    Ok(())
}

/// The template's disk in a data directory.
pub fn disk(data: &Path) -> Result<PathBuf> {
    let found = fs::read_dir(data.join("images"))?.flatten().map(|entry| entry.path().join("disk.qcow2"));
    let mut sized: Vec<_> = found.filter_map(|path| Some((path.metadata().ok()?.len(), path))).collect();
    sized.sort();
    Ok(sized.pop().context("there is no template")?.1)
}

async fn lock(path: PathBuf) -> Result<fs::File> {
    let locked = tokio::task::spawn_blocking(move || {
        let file = fs::File::create(path)?;
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)?;
        io::Result::Ok(file)
    });
    Ok(locked.await??)
}

fn key() -> Result<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut digest = Sha256::new();
    for folder in SOURCES {
        let mut files: Vec<PathBuf> =
            fs::read_dir(root.join(folder))?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        files.sort();
        for file in files.iter().filter(|file| file.file_name() != Some(OsStr::new("tests.rs"))) {
            digest.update(fs::read(file)?);
        }
    }
    digest.update(fs::read(agent())?);
    Ok(hex::encode(&digest.finalize()[..8]))
}

async fn build(kept: &Path, place: &Path) -> Result<()> {
    let making = kept.join("making");
    let packages = kept.join("packages");
    for entry in fs::read_dir(kept)?.flatten() {
        let old = entry.file_name().to_str().is_some_and(|name| name.starts_with(NAME));
        if old || entry.path() == making {
            fs::remove_dir_all(entry.path())?;
        }
    }
    fs::create_dir_all(making.join("images"))?;
    if packages.exists() {
        fs::rename(&packages, making.join("images/.cache"))?;
    }
    let _guard = Guard::of(&making)?;
    let server = Server::start(Program::Real, &making, &[]).await?;
    let body = json!({ "name": NAME, "source": { "from": "recipe", "recipe": NAME } });
    let accepted = server.post("/templates", body).await?;
    let id = accepted["task"]["id"].as_str().context("a task")?.to_owned();
    let ended = async {
        let (mut last, mut shown) = (0.0, String::new());
        loop {
            let task = server.get(&format!("/tasks/{id}?wait_s=5")).await?;
            let progress = task["progress"].as_f64().unwrap_or(0.0);
            ensure!(progress >= last, "progress went back from {last} to {progress}");
            let message = task["message"].as_str().unwrap_or_default().to_owned();
            if message != shown {
                eprintln!("{NAME}: {:.0} % {message}", 100.0 * progress);
            }
            (last, shown) = (progress, message);
            if task["open"] == false {
                return Ok(task);
            }
        }
    };
    let task = tokio::time::timeout(PATIENCE, ended).await.context("the template is not built")??;
    ensure!(task["state"] == "done", "{}", task["error"]);
    ensure!(server.stop().await? == Some(0));
    let leftovers: Vec<_> = fs::read_dir(making.join("images"))?
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with(".making")))
        .collect();
    ensure!(leftovers.is_empty(), "the build left {leftovers:?}");
    fs::rename(making.join("images/.cache"), &packages)?;
    fs::rename(&making, place)?;
    Ok(())
}

/// Copies; images as links where the file system can.
fn take(from: &Path, to: &Path) -> io::Result<()> {
    if from.is_dir() {
        fs::create_dir_all(to)?;
        for entry in fs::read_dir(from)? {
            let entry = entry?;
            take(&entry.path(), &to.join(entry.file_name()))?;
        }
        return Ok(());
    }
    if !from.exists() {
        return Ok(());
    }
    let image = from.parent().and_then(Path::parent).is_some_and(|above| above.ends_with("images"));
    if image && fs::hard_link(from, to).is_ok() {
        return Ok(());
    }
    fs::copy(from, to).map(drop)
}

/// Builds it ahead, so that nobody takes its minutes for those of a story.
#[tokio::test]
async fn it_is_built_once_and_kept() {
    if let Some(why) = missing() {
        eprintln!("SKIPPED: no Debian template: {why}");
        assert!(std::env::var_os("CI").is_none(), "in CI it must be built: {why}");
        return;
    }
    let folder = Folder::new().unwrap();
    let data = folder.path().join("data");
    data_directory(&data).await.unwrap();
    assert!(disk(&data).unwrap().metadata().unwrap().len() > 100 << 20);
}
