//! The empty disk that each machine gets a copy-on-write overlay of.

use super::command::{Command, run};
use super::failed;
use hostler_core::ports::DriverError;
use std::path::Path;

/// Makes a qcow2 file with one empty ext4 on all of it.
pub(super) async fn make(path: &Path, work: &Path, size_mib: u64) -> Result<(), DriverError> {
    let raw = work.join("disk.raw");
    let made = std::fs::File::create(&raw).and_then(|file| file.set_len(size_mib << 20));
    made.map_err(|error| failed(&raw, &error))?;
    // Tables are written now and once, or else every machine would do it in the background after its first mount.
    // The journal is small: it is overlay that every machine pays for.
    let format = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext4", "-L", "data", "-m", "0", "-J", "size=8"])
        .args(["-E", "lazy_itable_init=0,lazy_journal_init=0"])
        .arg(&raw);
    run(format).await?;
    let convert = Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(path);
    run(convert).await?;
    std::fs::remove_file(&raw).map_err(|error| failed(&raw, &error))
}
