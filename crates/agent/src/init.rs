//! The first process of the micro template.
//!
//! Mounts what Linux programs expect, loads the modules that the template lists, mounts the machine's disk at
//! `/data`, starts the agent as a child, and then does what only the first process can: takes ended processes off the
//! kernel's list, and ends the machine. It must never end itself, so it does nothing that might fail for good; where
//! something cannot be done it says so on the console and goes on.

use crate::power::{POWER_OFF_SIGNAL, REBOOT_SIGNAL};
use crate::sys::{self, Ending};
use crate::{NAME, VERSION, complain, files, netlink, power, root, say};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// Names of module files, one a line, in the order of loading.
const MODULES: &str = "/etc/modules.hostler";
/// The machine's own disk.
const DISK: &str = "/dev/vda";
/// Where it is mounted.
const DATA: &str = "/data";
/// The serial console.
const CONSOLE: &str = "/dev/ttyS0";
const SHELL: [&str; 5] = ["/bin/busybox", "setsid", "-c", "/bin/sh", "-l"];
/// Search path of everything that is started here.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// How long programs get to end by themselves before the machine does.
const GRACE: Duration = Duration::from_millis(1500);

/// Boots and serves; returns only when the very first steps fail, which the kernel answers with a panic.
pub(crate) fn run() -> io::Result<()> {
    if root::is_on_disk() {
        return root::enter();
    }
    let numbers = [libc::SIGCHLD, libc::SIGINT, libc::SIGUSR1, POWER_OFF_SIGNAL, REBOOT_SIGNAL];
    let mut signals = sys::signals_as_bytes(&numbers)?;
    mount_all();
    load_modules();
    mount_data();
    // Until the machine gets a name of its own, it has the template's.
    if let Err(error) = sys::set_host_name(&files::text("/etc/hostname")) {
        complain(&format!("{NAME}: host name: {error}\n"));
    }
    if let Err(error) = loopback_up() {
        complain(&format!("{NAME}: loopback: {error}\n"));
    }
    let mut agent = start_agent();
    let terminal = Arc::new(Terminal::default());
    background("button", power::watch_button);
    let watched = Arc::clone(&terminal);
    background("terminal", move || watched.serve());
    say(&format!("\n{NAME} {VERSION}\nREADY {}\n", files::text("/proc/sys/kernel/hostname")));
    loop {
        let mut number = [0];
        if signals.read(&mut number).unwrap_or(0) == 0 {
            std::thread::sleep(Duration::from_millis(100));
        }
        match i32::from(number[0]) {
            POWER_OFF_SIGNAL | libc::SIGUSR1 => end(Ending::PowerOff),
            REBOOT_SIGNAL | libc::SIGINT => end(Ending::Reboot),
            _ => {}
        }
        while let Some(process) = sys::reap() {
            terminal.ended(process);
            if Some(process) == agent {
                complain(&format!("{NAME}: the agent ended and is started again\n"));
                std::thread::sleep(Duration::from_secs(1));
                agent = start_agent();
            }
        }
    }
}

fn background(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = std::thread::Builder::new().name(name.into()).spawn(work) {
        complain(&format!("{NAME}: {name}: {error}\n"));
    }
}

fn mount_all() {
    let plain = libc::MS_NOSUID | libc::MS_NODEV;
    let mounts = [
        ("proc", "/proc", "proc", "", plain | libc::MS_NOEXEC),
        ("sysfs", "/sys", "sysfs", "", plain | libc::MS_NOEXEC),
        ("devtmpfs", "/dev", "devtmpfs", "mode=0755", libc::MS_NOSUID),
        ("devpts", "/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666", libc::MS_NOSUID | libc::MS_NOEXEC),
        ("tmpfs", "/run", "tmpfs", "mode=0755", plain),
        ("tmpfs", "/tmp", "tmpfs", "mode=1777", plain),
    ];
    for (source, target, kind, data, flags) in mounts {
        let mounted = fs::create_dir_all(target).and_then(|()| sys::mount(source, target, kind, data, flags));
        if let Err(error) = mounted {
            complain(&format!("{NAME}: {target}: {error}\n"));
        }
    }
    for (target, link) in [
        ("/proc/self/fd", "/dev/fd"),
        ("fd/0", "/dev/stdin"),
        ("fd/1", "/dev/stdout"),
        ("fd/2", "/dev/stderr"),
    ] {
        // What is there already is as good.
        let _ = symlink(target, link);
    }
}

/// Loads the modules that the template lists. One that cannot be loaded is said so, and may not be missed.
pub(crate) fn load_modules() {
    for name in files::text(MODULES).lines() {
        let loaded =
            File::open(Path::new("/lib/modules").join(name)).and_then(|file| sys::load_module(&file));
        if let Err(error) = loaded {
            complain(&format!("{NAME}: module {name}: {error}\n"));
        }
    }
}

/// Mounts the machine's disk, and grows its file system when the disk is larger than the template's.
fn mount_data() {
    if !Path::new(DISK).exists() {
        return;
    }
    let mounted = fs::create_dir_all(DATA)
        .and_then(|()| sys::mount(DISK, DATA, "ext4", "", libc::MS_NOSUID | libc::MS_NODEV))
        .and_then(|()| root::grow("vda", DATA));
    if let Err(error) = mounted {
        complain(&format!("{NAME}: {DATA}: {error}\n"));
    }
}

fn loopback_up() -> io::Result<()> {
    let index = files::text("/sys/class/net/lo/ifindex").parse().map_err(io::Error::other)?;
    netlink::Netlink::open()?.link_set_up(index, true)
}

fn start_agent() -> Option<i32> {
    let started = Command::new("/proc/self/exe")
        .arg("micro")
        .env("PATH", PATH)
        .env("HOME", "/root")
        .stdin(Stdio::null())
        .spawn();
    match started {
        Ok(child) => i32::try_from(child.id()).ok(),
        Err(error) => {
            complain(&format!("{NAME}: the agent cannot be started: {error}\n"));
            None
        }
    }
}

/// A shell on the serial console for whoever asks for it by a line; the console is the machine's owner's.
#[derive(Debug, Default)]
struct Terminal {
    shell: Mutex<Option<i32>>,
    changed: Condvar,
}

impl Terminal {
    fn serve(&self) {
        loop {
            if let Err(error) = self.session() {
                complain(&format!("{NAME}: {CONSOLE}: {error}\n"));
                std::thread::sleep(Duration::from_secs(60));
            }
        }
    }

    fn session(&self) -> io::Result<()> {
        let mut line = File::open(CONSOLE)?;
        let mut byte = [0];
        while byte != *b"\n" {
            line.read_exact(&mut byte)?;
        }
        let open = || File::options().read(true).write(true).open(CONSOLE);
        let (program, arguments) = (SHELL[0], &SHELL[1..]);
        // Held while starting, so that the shell's end cannot be seen before its number is known.
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        let child = Command::new(program)
            .args(arguments)
            .env("PATH", PATH)
            .env("HOME", "/root")
            .env("TERM", "vt102")
            .current_dir("/root")
            .stdin(open()?)
            .stdout(open()?)
            .stderr(open()?)
            .spawn()?;
        *shell = i32::try_from(child.id()).ok();
        while shell.is_some() {
            shell = self.changed.wait(shell).unwrap_or_else(PoisonError::into_inner);
        }
        Ok(())
    }

    /// A process ended; perhaps it was the shell.
    fn ended(&self, process: i32) {
        let mut shell = self.shell.lock().unwrap_or_else(PoisonError::into_inner);
        if *shell == Some(process) {
            *shell = None;
            self.changed.notify_all();
        }
    }
}

/// Ends all programs, then file systems, then the machine.
fn end(how: Ending) {
    say(&format!("{NAME}: {}\n", if how == Ending::PowerOff { "power off" } else { "reboot" }));
    let _ = sys::signal(-1, libc::SIGTERM);
    let _ = sys::signal(-1, libc::SIGCONT);
    let until = std::time::Instant::now() + GRACE;
    // The kernel has threads of its own without a command line; whoever else is left gets the grace time.
    while others_run() && std::time::Instant::now() < until {
        while sys::reap().is_some() {}
        std::thread::sleep(Duration::from_millis(10));
    }
    let _ = sys::signal(-1, libc::SIGKILL);
    sys::sync();
    let read_only = libc::MS_REMOUNT | libc::MS_RDONLY;
    if Path::new(DISK).exists() && sys::mount(DISK, DATA, "ext4", "", read_only).is_err() {
        sys::sync();
    }
    if let Err(error) = sys::end_kernel(how) {
        complain(&format!("{NAME}: {error}\n"));
    }
}

fn others_run() -> bool {
    let Ok(entries) = fs::read_dir("/proc") else { return false };
    entries.flatten().any(|entry| {
        let number = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
        number.is_some_and(|number| number > 1)
            && fs::read(entry.path().join("cmdline")).is_ok_and(|line| !line.is_empty())
    })
}
