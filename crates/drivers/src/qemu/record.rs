//! What lies in a machine's directory: enough to find the machine again after a restart, and nothing more.
//!
//! `spec.json` is written and synced before the process is started, `pid` right after. So whatever moment the server
//! dies in, a later one finds either a pid, or a specification whose process it must look for, or nothing.

use super::command_line::{
    AGENT_SOCKET, CONSOLE_LOG, GUEST_AGENT_SOCKET, QMP_SOCKET, SEED_IMAGE, SERIAL_SOCKET, VNC_SOCKET,
};
use super::process::{self, Process};
use crate::durable::{self, absent_is_fine, io_failed, write_durably};
use hostler_core::ids::MachineId;
use hostler_core::ports::{DriverError, Endpoint, Link, MachineSpec};
use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

const SPEC: &str = "spec.json";
const PID: &str = "pid";
pub(super) const QEMU_LOG: &str = "qemu.log";

/// Where SSH listens in guests.
const SSH_PORT: u16 = 22;

/// Longest `spec.json` and the most of a log that is ever read into memory.
const READ_LIMIT: u64 = 1 << 20;

/// The last start of a machine.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct StartRecord {
    /// Which start.
    pub(super) generation: u64,
    /// Version of QEMU that was run.
    pub(super) qemu_version: String,
    /// Its arguments.
    pub(super) arguments: Vec<String>,
    /// Loopback port for each network card that forwards one.
    pub(super) forwards: Vec<Option<u16>>,
    /// What was asked for, without the seed, which holds what is not to be copied around.
    pub(super) spec: MachineSpec,
}

impl StartRecord {
    /// Where SSH is reached: at the first forwarded port, else at the first address that is known.
    pub(super) fn endpoint(&self) -> Option<Endpoint> {
        if let Some(port) = self.forwards.iter().flatten().next() {
            return Some(Endpoint { address: IpAddr::V4(Ipv4Addr::LOCALHOST), port: *port });
        }
        let known = self.spec.nics.iter().find_map(|nic| match nic.link {
            Link::Bridge { address, .. } => address,
            Link::User { .. } => None,
        });
        known.map(|address| Endpoint { address, port: SSH_PORT })
    }
}

/// A machine's directory.
#[derive(Clone, Debug)]
pub(super) struct Home {
    path: PathBuf,
}

impl Home {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Whether anything is left of the machine.
    pub(super) fn exists(&self) -> bool {
        self.path.symlink_metadata().is_ok()
    }

    pub(super) fn write_start(&self, record: &StartRecord) -> Result<(), DriverError> {
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|error| DriverError::internal(format!("spec.json: {error}")))?;
        write_durably(&self.file(SPEC), &self.file(".spec.json"), &bytes)
            .and_then(|()| durable::sync_parent(&self.path))
            .map_err(|error| io_failed("cannot write spec.json", &error))
    }

    /// The last start; none when there was none or its record is unreadable.
    pub(super) fn start(&self) -> Option<StartRecord> {
        let bytes = read_bounded(&self.file(SPEC)).ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(file = %self.file(SPEC).display(), %error, "unreadable");
                None
            }
        }
    }

    /// Not synced: when the host dies, so does the process.
    pub(super) fn write_pid(&self, process: &Process) -> Result<(), DriverError> {
        let temporary = self.file(".pid");
        std::fs::write(&temporary, format!("{} {}\n", process.pid, process.started))
            .and_then(|()| std::fs::rename(&temporary, self.file(PID)))
            .map_err(|error| io_failed("cannot write the pid file", &error))
    }

    /// Whether a process was started here whose end nobody has seen to.
    pub(super) fn has_pid(&self) -> bool {
        self.file(PID).exists()
    }

    /// Pid and start time as written down.
    pub(super) fn recorded_pid(&self) -> Option<(u32, u64)> {
        let bytes = read_bounded(&self.file(PID)).ok()?;
        let text = String::from_utf8(bytes).ok()?;
        let (pid, started) = text.trim().split_once(' ')?;
        Some((pid.parse().ok()?, started.parse().ok()?))
    }

    /// The recorded process, if it still is what was recorded and lives.
    pub(super) fn recorded_process(&self, machine: MachineId) -> io::Result<Option<Process>> {
        let Some((pid, started)) = self.recorded_pid() else { return Ok(None) };
        let held = Process::hold(pid)?.filter(|held| held.started == started && held.is_alive());
        Ok(held.filter(|held| held.names(machine)))
    }

    /// The living process of this machine: the recorded one, else, when the server died before it could record it,
    /// the one that runs in this directory under the machine's name.
    pub(super) fn process(&self, machine: MachineId) -> io::Result<Option<Process>> {
        if let Some(recorded) = self.recorded_process(machine)? {
            return Ok(Some(recorded));
        }
        let Some(machines) = self.path.parent() else { return Ok(None) };
        let found = process::scan(machines).into_iter().find(|(owner, _)| *owner == machine);
        let Some((_, pid)) = found else { return Ok(None) };
        Ok(Process::hold(pid)?.filter(|held| held.is_alive() && held.names(machine)))
    }

    /// Removes what only a living process needs, so that its end counts as seen to.
    pub(super) fn tidy(&self) -> io::Result<()> {
        for name in [QMP_SOCKET, AGENT_SOCKET, GUEST_AGENT_SOCKET, SERIAL_SOCKET, VNC_SOCKET, PID] {
            absent_is_fine(std::fs::remove_file(self.file(name)))?;
        }
        Ok(())
    }

    /// Makes the directory ready for another start: no sockets, seed or log of the last one.
    pub(super) fn prepare(&self) -> io::Result<()> {
        durable::make_private_directory(&self.path)?;
        self.tidy()?;
        for name in [SEED_IMAGE, QEMU_LOG] {
            absent_is_fine(std::fs::remove_file(self.file(name)))?;
        }
        Ok(())
    }

    /// The last lines that QEMU itself wrote, for a reason; none when it wrote nothing.
    pub(super) fn last_words(&self) -> Option<String> {
        let bytes = read_tail(&self.file(QEMU_LOG), 4096).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<&str> =
            text.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// The last bytes of the console's log; nothing when there is no log yet.
    pub(super) fn console_tail(&self, bytes: u64) -> io::Result<Vec<u8>> {
        match read_tail(&self.file(CONSOLE_LOG), bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// Cuts a log that has grown beyond `most` down to its last half. QEMU appends, so it goes on writing at the new
    /// end; what it writes between our reading and our cutting is lost.
    pub(super) fn cap_log(&self, name: &str, most: u64) -> io::Result<()> {
        let path = self.file(name);
        match path.metadata() {
            Ok(metadata) if metadata.len() > most => {}
            _ => return Ok(()),
        }
        let tail = read_tail(&path, most / 2)?;
        let mut file = open_regular(&path, OFlags::WRONLY | OFlags::APPEND)?;
        file.set_len(0)?;
        io::Write::write_all(&mut file, &tail)
    }

    /// A path to a socket in this directory that is short enough for `connect`. Keep it until connected.
    pub(super) fn socket(&self, name: &str) -> io::Result<SocketPath> {
        let whole = self.file(name);
        if whole.as_os_str().len() <= 107 {
            return Ok(SocketPath { path: whole, _directory: None });
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}/{name}", directory.as_raw_fd()));
        Ok(SocketPath { path, _directory: Some(directory) })
    }
}

/// A path that is valid as long as this lives.
#[derive(Debug)]
pub(super) struct SocketPath {
    pub(super) path: PathBuf,
    _directory: Option<OwnedFd>,
}

/// Never follows a link: what is written here is ours, but a guest's process may be able to write here too.
fn open_regular(path: &Path, flags: OFlags) -> io::Result<File> {
    let flags = flags | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
    }
    Ok(file)
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_regular(path, OFlags::RDONLY)?.take(READ_LIMIT).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_tail(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = open_regular(path, OFlags::RDONLY)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("m"));
        home.prepare().unwrap();
        (directory, home)
    }

    #[test]
    fn a_log_beyond_its_bound_keeps_its_tail_and_its_writer_goes_on() {
        let (_directory, home) = home();
        let mut writer = File::options().create(true).append(true).open(home.file(CONSOLE_LOG)).unwrap();
        io::Write::write_all(&mut writer, &[b'a'; 100]).unwrap();
        io::Write::write_all(&mut writer, b"tail").unwrap();
        home.cap_log(CONSOLE_LOG, 1000).unwrap();
        assert_eq!(home.console_tail(1000).unwrap().len(), 104);
        home.cap_log(CONSOLE_LOG, 20).unwrap();
        io::Write::write_all(&mut writer, b"more").unwrap();
        assert_eq!(home.console_tail(1000).unwrap(), b"aaaaaatailmore");
        assert_eq!(home.console_tail(6).unwrap(), b"ilmore");
    }

    #[test]
    fn a_link_in_place_of_a_log_is_not_followed() {
        let (_directory, home) = home();
        std::os::unix::fs::symlink("/etc/hostname", home.file(CONSOLE_LOG)).unwrap();
        assert!(home.console_tail(10).is_err());
    }

    #[test]
    fn last_words_are_few_lines() {
        let (_directory, home) = home();
        assert_eq!(home.last_words(), None);
        std::fs::write(home.file(QEMU_LOG), "1\n2\n3\n\n4\n5\n6\n").unwrap();
        assert_eq!(home.last_words().unwrap(), "2; 3; 4; 5; 6");
    }

    #[test]
    fn long_directories_have_short_socket_paths() {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("x".repeat(120)));
        home.prepare().unwrap();
        let _listener = {
            let short = home.socket(QMP_SOCKET).unwrap();
            assert!(short.path.as_os_str().len() <= 107);
            std::os::unix::net::UnixListener::bind(&short.path).unwrap()
        };
        let held = home.socket(QMP_SOCKET).unwrap();
        std::os::unix::net::UnixStream::connect(&held.path).unwrap();
    }
}
