//! The builder of Debian templates: a whole distribution from its packages, without a loop device, as root or not.
//!
//! 1. [`bootstrap`] lets `mmdebstrap` install the packages and `setup.sh` make a guest of them; the outcome is an archive.
//! 2. [`disk`] unpacks it and makes one ext4 of it, without partitions, as a qcow2 image.
//! 3. [`initrd`] puts the agent and a handful of modules into an initial RAM file system that only has to find that disk.
//!
//! Machines boot the kernel directly, unpacked: under emulation a boot loader and a generic initial RAM file system
//! would cost more than all the rest until the agent answers.

mod bootstrap;
mod disk;
mod initrd;
mod sources;

use crate::durable::blocking;
use crate::micro::{failed, first_existing, kernel, modules, read, static_program, write};
use hostler_core::ports::{DriverError, DriverErrorKind, Progress};
use hostler_core::templates::{Image, ImageDisk, ImageFormat};
use std::path::{Path, PathBuf};

/// Recipes of this builder with the suites they are made from.
const RECIPES: [(&str, &str); 1] = [("debian-12", "bookworm")];

const KERNEL: &str = "vmlinux";
const INITRD: &str = "initrd";
const DISK: &str = "disk.qcow2";
/// What the disk has at first; machines may have larger ones.
const DISK_MIB: u64 = 2048;
/// Archive, tree, file system, image and packages, all at the same time.
const NEEDED_MIB: u64 = 3072;

/// As micro's: quiet, and without checks of what an emulator does not have. No name for the card but the kernel's own.
const COMMAND_LINE: &str = "console=ttyS0 quiet panic=5 net.ifnames=0 random.trust_cpu=on no_timer_check nokaslr \
                            mitigations=off cryptomgr.notests root=/dev/vda rw rdinit=/init";

/// Names of the recipes.
pub fn recipes() -> impl Iterator<Item = &'static str> {
    RECIPES.iter().map(|(name, _)| *name)
}

/// What a build needs to know.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order<'a> {
    /// Which recipe.
    pub(crate) recipe: &'a str,
    /// Where packages come from; none for where this host gets its own.
    pub(crate) mirror: Option<&'a str>,
    /// The static agent.
    pub(crate) agent: &'a Path,
}

/// Builds the image into `directory`. What is unpacked lies in `work`; packages are kept in `.cache` beside it, so that
/// the next build fetches only what is new.
pub(crate) async fn build(
    directory: &Path,
    order: Order<'_>,
    work: &Path,
    progress: &Progress,
) -> Result<Image, DriverError> {
    let suite = RECIPES.iter().find(|(name, _)| *name == order.recipe).map(|(_, suite)| *suite);
    let suite = suite.ok_or_else(|| DriverError::unsupported("there is no such recipe"))?;
    progress.report(0.0, "looking at tools and disk");
    bootstrap::examine()?;
    let (path, place) = (order.agent.to_owned(), work.to_owned());
    let agent = blocking(move || enough_room(&place).and_then(|()| static_program(&path))).await?;
    let archive = work.join("root.tar");
    let bootstrap = bootstrap::Bootstrap { suite, agent: order.agent, archive: &archive, work };
    bootstrap.run(&sources::choose(order.mirror, suite).await?, progress).await?;
    progress.report(0.8, "making the file system");
    let tree = work.join("root");
    disk::make(&archive, &tree, &directory.join(DISK), DISK_MIB).await?;
    progress.report(0.95, "putting kernel and agent together");
    let target = directory.to_owned();
    let boot = blocking({
        let tree = tree.clone();
        move || find_kernel(&tree)
    })
    .await?;
    let needed = modules::choose(&initrd::WANTED, &boot.modules, &boot.release).await?;
    blocking(move || {
        write(&target.join(KERNEL), &kernel::bootable(read(&boot.kernel)?))?;
        write(&target.join(INITRD), &initrd::assemble(&agent, &needed))
    })
    .await?;
    progress.report(1.0, "done");
    Ok(Image {
        kernel: Some(KERNEL.into()),
        initrd: Some(INITRD.into()),
        command_line: COMMAND_LINE.into(),
        disk: Some(ImageDisk { file: DISK.into(), format: ImageFormat::Qcow2, size_mib: DISK_MIB }),
        agent: true,
        cloud_init: true,
        ..Image::default()
    })
}

/// A build that ends for want of room after minutes has told its user too late.
fn enough_room(place: &Path) -> Result<(), DriverError> {
    let system = rustix::fs::statvfs(place).map_err(|error| failed(place, &error.into()))?;
    let free_mib = (u128::from(system.f_bavail) * u128::from(system.f_frsize)) >> 20;
    if free_mib >= u128::from(NEEDED_MIB) {
        return Ok(());
    }
    let detail = format!("the build needs {NEEDED_MIB} MiB, and the storage has {free_mib} MiB free");
    Err(DriverError::new(DriverErrorKind::Exhausted, detail))
}

/// The kernel that was installed, with its modules.
#[derive(Debug)]
struct Installed {
    kernel: PathBuf,
    modules: PathBuf,
    release: String,
}

fn find_kernel(tree: &Path) -> Result<Installed, DriverError> {
    let boot = tree.join("boot");
    let entries = std::fs::read_dir(&boot).map_err(|error| failed(&boot, &error))?;
    let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    let release = names.find_map(|name| Some(name.strip_prefix("vmlinuz-")?.to_owned()));
    let release = release.ok_or_else(|| DriverError::refused("the packages brought no kernel"))?;
    let places = [format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")];
    let modules = first_existing(tree, &places.each_ref().map(String::as_str));
    let modules = modules.ok_or_else(|| DriverError::refused("the kernel has no modules"))?;
    Ok(Installed { kernel: boot.join(format!("vmlinuz-{release}")), modules, release })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_found_with_its_modules() {
        let tree = tempfile::tempdir().unwrap();
        let release = "6.1.0-9-cloud-amd64";
        std::fs::create_dir_all(tree.path().join("boot")).unwrap();
        assert!(find_kernel(tree.path()).is_err());
        std::fs::write(tree.path().join("boot/vmlinuz-6.1.0-9-cloud-amd64"), "").unwrap();
        assert!(find_kernel(tree.path()).is_err(), "it has no modules");
        std::fs::create_dir_all(tree.path().join("usr/lib/modules").join(release)).unwrap();
        assert_eq!(find_kernel(tree.path()).unwrap().release, release);
    }

    #[test]
    fn room_is_looked_for_before_anything_is_fetched() {
        // /proc has none whatever this computer has.
        let error = enough_room(Path::new("/proc")).unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Exhausted);
        assert!(error.detail.contains("0 MiB free"), "{error}");
    }
}
