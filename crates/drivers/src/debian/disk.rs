//! From an archive of a system to a disk image with one ext4 on all of it.

use crate::micro::command::{Command, run};
use crate::micro::failed;
use hostler_core::ports::DriverError;
use std::path::Path;

/// Unpacks the archive into `tree` and makes the image. Who is not root pretends to be, so that files keep their owners.
pub(super) async fn make(
    archive: &Path,
    tree: &Path,
    image: &Path,
    size_mib: u64,
) -> Result<(), DriverError> {
    let raw = tree.with_extension("raw");
    let prepared = std::fs::create_dir_all(tree)
        .and_then(|()| std::fs::File::create(&raw))
        .and_then(|file| file.set_len(size_mib << 20));
    prepared.map_err(|error| failed(&raw, &error))?;
    // Tables are written now and once, or else every machine would do it in the background after its first mount. The
    // journal is small: it is overlay that every machine pays for. One shell, because the pretence ends with it.
    let script = "tar --xattrs --xattrs-include='*' --exclude='./dev/*' -C \"$2\" -xf \"$1\" && \
                  exec mke2fs -q -F -t ext4 -L root -m 1 -J size=16 \
                  -E lazy_itable_init=0,lazy_journal_init=0 -d \"$2\" \"$3\"";
    let make = if rustix::process::geteuid().is_root() {
        Command::new("sh")
    } else {
        Command::new("fakeroot").args(["--", "sh"])
    };
    run(make.args(["-c", script, "sh"]).arg(archive).arg(tree).arg(&raw)).await?;
    let convert = Command::new("qemu-img").args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&raw).arg(image);
    run(convert).await?;
    std::fs::remove_file(&raw).map_err(|error| failed(&raw, &error))
}
