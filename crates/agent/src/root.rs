//! From the initial RAM file system into a system that lies on the machine's disk.
//!
//! Templates with a distribution on their disk carry this program as their whole initial RAM file system: it loads the
//! few modules that reach the disk and the host, mounts the disk, grows its file system to the disk's size, and
//! becomes the distribution's first process. A generic one does the same by udev and a shell, which takes an emulated
//! machine many seconds at each boot.

use crate::{NAME, complain, files, init, sys};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::chroot;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Names the disk, e.g. `vda`. That it exists says that this is such a template.
const DISK: &str = "/etc/root.hostler";
const ROOT: &str = "/root";
const FIRST_PROCESS: &str = "/sbin/init";
/// A disk appears within milliseconds of its driver.
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);

/// Whether the system lies on a disk.
pub(crate) fn is_on_disk() -> bool {
    Path::new(DISK).exists()
}

/// Goes there. Returns only when that fails, which the kernel answers with a panic.
pub(crate) fn enter() -> io::Result<()> {
    let plain = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    sys::mount("proc", "/proc", "proc", "", plain)?;
    sys::mount("sysfs", "/sys", "sysfs", "", plain)?;
    sys::mount("devtmpfs", "/dev", "devtmpfs", "mode=0755", libc::MS_NOSUID)?;
    init::load_modules();
    let name = files::text(DISK);
    let device = format!("/dev/{name}");
    await_device(Path::new(&device))?;
    sys::mount(&device, ROOT, "ext4", "", 0)?;
    if let Err(error) = grow(&name, ROOT) {
        complain(&format!("{NAME}: the disk's file system cannot be grown: {error}\n"));
    }
    for place in ["/proc", "/sys", "/dev"] {
        sys::mount(place, &format!("{ROOT}{place}"), "", "", libc::MS_MOVE)?;
    }
    // Memory that nobody will ever see again otherwise. This program goes on without its file.
    for tree in ["/usr", "/lib", "/etc"] {
        let _ = fs::remove_dir_all(tree);
    }
    std::env::set_current_dir(ROOT)?;
    sys::mount(".", "/", "", "", libc::MS_MOVE)?;
    chroot(".")?;
    std::env::set_current_dir("/")?;
    Err(Command::new(FIRST_PROCESS).exec())
}

fn await_device(device: &Path) -> io::Result<()> {
    let begun = Instant::now();
    while !device.exists() {
        if begun.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("there is no {}", device.display())));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}

/// Grows the ext4 that is mounted there when its disk has become larger.
pub(crate) fn grow(disk: &str, mounted: &str) -> io::Result<()> {
    let sectors: u64 = files::text(format!("/sys/class/block/{disk}/size")).parse().unwrap_or(0);
    let (block, blocks) = sys::file_system_size(mounted)?;
    let possible = sectors * 512 / block.max(1);
    // The file system's own bookkeeping is not in its size: less than a sixteenth more is no larger disk.
    if possible > blocks + blocks / 16 {
        sys::grow_ext4(&File::open(mounted)?, possible)?;
    }
    Ok(())
}
