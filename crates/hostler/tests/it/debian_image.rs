//! Disks as distributions ship them, made of the Debian template without a loop device.

use anyhow::{Result, ensure};
use std::path::Path;
use tokio::process::Command;

const SCRIPT: &str = include_str!("debian_image.sh");

/// A whole system without anything of ours, that boots by Debian's signed boot loaders.
pub async fn cloud(template: &Path, folder: &Path, image: &Path) -> Result<()> {
    make(template, folder, image, "cloud").await
}

/// The same boot loaders with a kernel whose signature no longer fits.
pub async fn unsigned(template: &Path, folder: &Path, image: &Path) -> Result<()> {
    make(template, folder, image, "unsigned").await
}

async fn make(template: &Path, folder: &Path, image: &Path, kind: &str) -> Result<()> {
    let mut script = Command::new("sh");
    script.args(["-c", SCRIPT, "sh"]).arg(template).arg(folder).arg(image).arg(kind);
    script.env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").kill_on_drop(true);
    let output = script.output().await?;
    let told = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "the {kind} disk: {}", String::from_utf8_lossy(&told));
    Ok(())
}
