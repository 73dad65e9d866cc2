//! A QEMU process: started detached, recognised without doubt, watched and ended through a pidfd.
//!
//! A pid alone proves nothing, it may have been given to another process. A process is ours when its start time is
//! the one written down (or, without a record, when it runs in the machine's directory) and its arguments name the
//! machine's UUID. The pidfd is opened first and the checks are made after, so that a signal cannot hit a stranger.

use crate::directory::{Directory, PRIVATE_FILE};
use crate::durable::io_failed;
use crate::spawn::{Confinement, User, confined};
use hostler_core::ids::MachineId;
use hostler_core::ports::DriverError;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::OFlags;
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A process that was alive when we looked, held by a pidfd.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) pid: u32,
    /// Start time in clock ticks since the host started: field 22 of `/proc/PID/stat`.
    pub(crate) started: u64,
    fd: AsyncFd<OwnedFd>,
}

impl Process {
    /// Takes hold of a process, which may be a zombie of ours; none when there is no such process.
    pub(crate) fn hold(pid: u32) -> io::Result<Option<Self>> {
        let Some(raw) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
            return Ok(None);
        };
        let fd = match rustix::process::pidfd_open(raw, PidfdFlags::NONBLOCK) {
            Ok(fd) => fd,
            Err(rustix::io::Errno::SRCH | rustix::io::Errno::INVAL) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let Some(started) = start_time(pid) else {
            return Ok(None);
        };
        Ok(Some(Self { pid, started, fd: watchable(fd)? }))
    }

    /// Whether the arguments of the process name this machine.
    pub(crate) fn names(&self, machine: MachineId) -> bool {
        arguments(self.pid).is_some_and(|arguments| machine_of(&arguments) == Some(machine))
    }

    pub(crate) fn is_alive(&self) -> bool {
        let mut fds = [PollFd::new(self.fd.get_ref(), PollFlags::IN)];
        // A pidfd is readable once the process has ended.
        !matches!(rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(1..))
    }

    /// Returns when the process has ended, and takes it off the process table if it is our child.
    pub(crate) async fn ended(&self) {
        // The readiness is never cleared, so any number of tasks may wait.
        let _ = self.fd.readable().await;
        // Refused when it is not our child: then its parent, in the end init, does this.
        let _ = rustix::process::waitid(
            WaitId::PidFd(self.fd.get_ref().as_fd()),
            WaitIdOptions::EXITED | WaitIdOptions::NOHANG,
        );
    }

    /// Sends a signal; nothing happens when the process has ended.
    pub(crate) fn signal(&self, signal: Signal) {
        let _ = rustix::process::pidfd_send_signal(self.fd.get_ref(), signal);
    }
}

/// The pidfd as something a task can wait for.
fn watchable(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    #[expect(unsafe_code, reason = "tokio's safe constructor is deprecated")]
    // SAFETY: an `OwnedFd` owns its descriptor, names the same one always, and lives in the `AsyncFd` from here on.
    let registered = unsafe { AsyncFd::register_with_interest(fd, Interest::READABLE) };
    Ok(registered?)
}

/// Starts a program in a session of its own with the machine's directory as its working directory, as the machine's
/// user, its output going to `log`, which must not be there yet. Returns its pid; the caller takes hold of it with
/// [`Process::hold`] at once.
pub(super) fn spawn(
    binary: &Path,
    arguments: &[String],
    home: &Directory,
    log: &str,
    confinement: Confinement,
) -> Result<u32, DriverError> {
    let output = open_log(home, log, confinement.user.as_ref());
    let (output, errors) = output
        .and_then(|output| Ok((output.try_clone()?, output)))
        .map_err(|error| io_failed("cannot open qemu.log", &error))?;
    let mut command =
        confined(binary, confinement).map_err(|error| io_failed("cannot confine QEMU", &error))?;
    command.args(arguments).current_dir(home.path()).stdin(Stdio::null()).stdout(output).stderr(errors);
    let child =
        command.spawn().map_err(|error| io_failed(format!("cannot run {}", binary.display()), &error))?;
    Ok(child.id())
}

/// The log belongs to whoever writes it: what is ours in the directory is what we wrote.
fn open_log(home: &Directory, log: &str, user: Option<&User>) -> io::Result<File> {
    home.create(log, PRIVATE_FILE)?;
    let file = home.file(log, OFlags::WRONLY | OFlags::APPEND)?;
    if let Some(user) = user {
        home.give(log, Some(user.uid), Some(user.gid))?;
    }
    Ok(file)
}

/// Every process that runs in a machine's directory below `machines`, with that machine. This is how a process is
/// found whose pid was not written down before the server died.
pub(super) fn scan(machines: &Path) -> Vec<(MachineId, u32)> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let machines = machines.canonicalize().unwrap_or_else(|_| machines.to_owned());
    entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter_map(|pid| Some((machine_in(pid, &machines)?, pid)))
        .collect()
}

fn machine_in(pid: u32, machines: &Path) -> Option<MachineId> {
    let directory = std::fs::read_link(format!("/proc/{pid}/cwd")).ok()?;
    // The kernel marks the directory of a process whose directory was removed.
    let bytes = directory.as_os_str().as_bytes();
    let bytes = bytes.strip_suffix(b" (deleted)").unwrap_or(bytes);
    let directory = PathBuf::from(std::ffi::OsStr::from_bytes(bytes));
    if directory.parent()? != machines {
        return None;
    }
    let machine = directory.file_name()?.to_str()?.parse().ok()?;
    (machine_of(&arguments(pid)?) == Some(machine)).then_some(machine)
}

/// The machine that these arguments name: what follows `-uuid`.
fn machine_of(arguments: &[u8]) -> Option<MachineId> {
    let mut parts = arguments.split(|byte| *byte == 0);
    parts.find(|part| *part == b"-uuid")?;
    std::str::from_utf8(parts.next()?).ok()?.parse().ok()
}

fn arguments(pid: u32) -> Option<Vec<u8>> {
    std::fs::read(format!("/proc/{pid}/cmdline")).ok()
}

/// The name in field 2 may hold spaces and parentheses, so fields are counted from its last parenthesis.
fn start_time(pid: u32) -> Option<u64> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    start_time_in(&String::from_utf8_lossy(&stat))
}

fn start_time_in(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_is_found_behind_any_name() {
        let stat = "42 (a) b (c) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 4711 20 21";
        assert_eq!(start_time_in(stat), Some(4711));
        assert_eq!(start_time_in("42 (a"), None);
    }

    #[test]
    fn arguments_name_the_machine_after_uuid() {
        let id = uuid::Uuid::from_u128(7);
        let arguments = format!("qemu\0-name\0guest=x\0-uuid\0{id}\0-S\0");
        assert_eq!(machine_of(arguments.as_bytes()), Some(MachineId(id)));
        assert_eq!(machine_of(b"qemu\0-uuid"), None);
        assert_eq!(machine_of(b"vi\0-uuid\0nonsense\0"), None);
    }

    #[tokio::test]
    async fn a_child_is_held_ended_and_reaped() {
        let directory = tempfile::tempdir().unwrap();
        let arguments = ["60".to_owned()];
        let home = Directory::open(directory.path()).unwrap();
        let pid = spawn(Path::new("/bin/sleep"), &arguments, &home, "log", Confinement::default()).unwrap();
        let process = Process::hold(pid).unwrap().unwrap();
        assert!(process.is_alive());
        assert!(!process.names(MachineId(uuid::Uuid::nil())));
        process.signal(Signal::KILL);
        process.ended().await;
        assert!(!process.is_alive());
        assert!(Process::hold(pid).unwrap().is_none());
    }
}
