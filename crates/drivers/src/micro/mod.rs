//! The builder of the micro template: the smallest Linux that is a whole machine, made in seconds and without root.
//!
//! Debian's cloud kernel and its virtio modules, busybox, dropbear and our agent, which also is its first process.
//! Everything lives in an initial RAM file system; the only disk is an empty one that each machine finds at `/data`.
//!
//! 1. [`packages`] fetches and unpacks Debian's packages, or finds the same programs on this host.
//! 2. [`kernel`] unpacks the kernel's image, so that no emulated CPU has to do it at each boot.
//! 3. [`modules`] finds which modules are needed and in which order they load.
//! 4. [`ramdisk`] puts the files together ([`elf`] says which libraries a program needs), [`cpio`] writes them.
//! 5. [`disk`] makes the empty disk.

pub(crate) mod command;
pub(crate) mod cpio;
mod disk;
pub(crate) mod elf;
pub(crate) mod kernel;
pub(crate) mod modules;
mod packages;
mod ramdisk;

#[cfg(test)]
mod tests;

use hostler_core::ports::{DriverError, DriverErrorKind, Progress};
use hostler_core::templates::{Image, ImageDisk, ImageFormat};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const KERNEL: &str = "vmlinux";
const INITRD: &str = "initrd";
const DISK: &str = "disk.qcow2";
const DISK_MIB: u64 = 1024;

/// Quiet, because each letter on the serial line costs an emulated machine time; without tests and checks of timers
/// that do not exist there; with trust in the host's randomness, which the agent's identity renews. Memory that is added
/// is used at once, and none is set aside for devices that reach only the first 4 GiB. Nothing here is wrong on a host
/// with KVM.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=5 net.ifnames=0 random.trust_cpu=on no_timer_check nokaslr \
                            mitigations=off cryptomgr.notests memhp_default_state=online swiotlb=noforce \
                            rdinit=/init";

/// What micro cannot do without, in the order of loading: the channel to us first.
const WANTED: [&str; 12] = [
    "virtio_pci",
    "virtio_console",
    "virtio_rng",
    "virtio_net",
    "virtio_blk",
    "virtio_scsi",
    "sd_mod",
    "sr_mod",
    "isofs",
    "virtio_balloon",
    "button",
    "evdev",
];

/// Builds the template's image into `directory`, which is made if need be.
///
/// `agent` is the static agent, `work` a directory for what is unpacked and may be removed afterwards. Packages are
/// kept in `.cache` beside `work`, so that the next build needs no network.
pub async fn build(
    directory: &Path,
    agent: &Path,
    work: &Path,
    progress: &Progress,
) -> Result<Image, DriverError> {
    let path = agent.to_owned();
    let agent = blocking(move || static_program(&path)).await?;
    let cache = work.parent().unwrap_or(work).join(".cache");
    for needed in [directory, work, &cache] {
        tokio::fs::create_dir_all(needed).await.map_err(|error| failed(needed, &error))?;
    }
    let parts = packages::obtain(&cache, work, progress).await?;
    progress.report(0.7, "putting kernel and programs together");
    let links = command::run(command::Command::new(&parts.busybox).arg("--list-full")).await?;
    let target = directory.to_owned();
    let needed = modules::choose(&WANTED, &parts.modules, &parts.release).await?;
    blocking(move || {
        write(&target.join(KERNEL), &kernel::bootable(read(&parts.kernel)?))?;
        let initrd = ramdisk::assemble(&parts, &agent, &needed, &String::from_utf8_lossy(&links))?;
        write(&target.join(INITRD), &initrd)
    })
    .await?;
    progress.report(0.85, "making the disk");
    disk::make(&directory.join(DISK), work, DISK_MIB).await?;
    progress.report(0.95, "reading it all once more");
    let target = directory.to_owned();
    let (bytes, digest) = blocking(move || measure(&target)).await?;
    progress.report(1.0, "done");
    Ok(Image {
        kernel: Some(KERNEL.into()),
        initrd: Some(INITRD.into()),
        command_line: COMMAND_LINE.into(),
        disk: Some(ImageDisk { file: DISK.into(), format: ImageFormat::Qcow2, size_mib: DISK_MIB }),
        agent: true,
        bytes,
        digest,
        ..Image::default()
    })
}

/// The agent is micro's first process: one that wants a loader would only make every guest's kernel panic.
pub(crate) fn static_program(path: &Path) -> Result<Vec<u8>, DriverError> {
    let program = read(path)?;
    match elf::needs(&program) {
        Some(needs) if needs.loader.is_none() => Ok(program),
        _ => Err(DriverError::refused(format!(
            "the guest agent {} is not a static program; scripts/build-agent makes one",
            path.display()
        ))),
    }
}

/// Work for the CPU or the disk, away from the threads that serve others.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(DriverError::internal(format!("the builder stopped: {error}"))))
}

pub(crate) fn failed(path: &Path, error: &io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => DriverErrorKind::Exhausted,
        io::ErrorKind::NotFound => DriverErrorKind::Gone,
        _ => DriverErrorKind::Refused,
    };
    DriverError::new(kind, format!("{}: {error}", path.display()))
}

pub(crate) fn read(path: &Path) -> Result<Vec<u8>, DriverError> {
    std::fs::read(path).map_err(|error| failed(path, &error))
}

/// Writes a file durably.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<(), DriverError> {
    let written = std::fs::write(path, bytes).and_then(|()| File::open(path)?.sync_all());
    written.map_err(|error| failed(path, &error))
}

/// Bytes that the image takes, and the digest over its files.
fn measure(directory: &Path) -> Result<(u64, String), DriverError> {
    let mut bytes = 0;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    for name in [KERNEL, INITRD, DISK] {
        let path = directory.join(name);
        let mut add = || -> io::Result<()> {
            let mut file = File::open(&path)?;
            let facts = file.metadata()?;
            bytes += facts.blocks() * 512;
            digest.update(format!("{name}\0{}\0", facts.len()));
            loop {
                match file.read(&mut buffer)? {
                    0 => return file.sync_all(),
                    length => digest.update(&buffer[..length]),
                }
            }
        };
        add().map_err(|error| failed(&path, &error))?;
    }
    let synced = File::open(directory).and_then(|directory| directory.sync_all());
    synced.map_err(|error| failed(directory, &error))?;
    Ok((bytes, hex::encode(digest.finalize())))
}

/// The first of these that exists below a directory.
pub(crate) fn first_existing(root: &Path, names: &[&str]) -> Option<PathBuf> {
    names.iter().map(|name| root.join(name)).find(|path| path.exists())
}
