//! What machines take of the host, read from the kernel.

use anyhow::{Context, Result};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Memory in KiB that the process of this machine takes, what it shares counted in part.
pub fn memory_kib(data: &Path, machine: &str) -> Result<u64> {
    let home = data.join("machines").join(machine).canonicalize()?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == home) {
            let rollup = std::fs::read_to_string(entry.path().join("smaps_rollup"))?;
            let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:")).context("its memory")?;
            return Ok(line.trim().trim_end_matches("kB").trim().parse()?);
        }
    }
    anyhow::bail!("machine {machine} has no process")
}

/// Bytes that a file takes on the disk.
pub fn disk_bytes(path: &Path) -> Result<u64> {
    Ok(path.metadata()?.blocks() * 512)
}
