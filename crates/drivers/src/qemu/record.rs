//! What lies in a machine's directory: enough to find the machine again after a restart, and nothing more.
//!
//! `spec.json` is written and synced before the process is started, `pid` right after. So whatever moment the server
//! dies in, a later one finds either a pid, or a specification whose process it must look for, or nothing.

use super::command_line::{
    AGENT_SOCKET, CONSOLE_LOG, GUEST_AGENT_SOCKET, QMP_SOCKET, SEED_IMAGE, SERIAL_SOCKET, VNC_SOCKET,
};
use super::process::{self, Process};
use crate::directory::{Directory, Entry, PRIVATE_FILE};
use crate::durable::{io_failed, sync_directory};
use hostler_core::ids::MachineId;
use hostler_core::ports::{DriverError, Endpoint, Link, MachineSpec};
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

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

/// A machine's directory. Where we are root it belongs to the machine's own user, so whatever lies in it may have been
/// put there by a QEMU that its guest has taken over: everything is reached by descriptor, no link is followed, and
/// what we wrote counts only while it is still ours.
#[derive(Clone, Debug)]
pub(super) struct Home {
    machines: PathBuf,
    name: String,
}

impl Home {
    pub(super) fn new(machines: PathBuf, machine: MachineId) -> Self {
        Self { machines, name: machine.to_string() }
    }

    /// Whether anything is left of the machine.
    pub(super) fn exists(&self) -> bool {
        self.machines.join(&self.name).symlink_metadata().is_ok()
    }

    /// The directory, held.
    pub(super) fn directory(&self) -> io::Result<Directory> {
        Directory::open(&self.machines)?.directory(&self.name)
    }

    pub(super) fn write_start(&self, record: &StartRecord) -> Result<(), DriverError> {
        let bytes = serde_json::to_vec_pretty(record)
            .map_err(|error| DriverError::internal(format!("spec.json: {error}")))?;
        self.directory()
            .and_then(|directory| directory.write(SPEC, ".spec.json", &bytes))
            .and_then(|()| sync_directory(&self.machines))
            .map_err(|error| io_failed("cannot write spec.json", &error))
    }

    /// The last start; none when there was none or its record is unreadable.
    pub(super) fn start(&self) -> Option<StartRecord> {
        let bytes = self.read_ours(SPEC).ok()?;
        match serde_json::from_slice(&bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                tracing::warn!(machine.id = self.name, file = SPEC, %error, "unreadable");
                None
            }
        }
    }

    /// Not synced: when the host dies, so does the process.
    pub(super) fn write_pid(&self, process: &Process) -> Result<(), DriverError> {
        let write = || {
            let (directory, temporary) = (self.directory()?, ".pid");
            directory.remove_file(temporary)?;
            let mut file = directory.create(temporary, PRIVATE_FILE)?;
            io::Write::write_all(&mut file, format!("{} {}\n", process.pid, process.started).as_bytes())?;
            directory.rename(temporary, PID)
        };
        write().map_err(|error| io_failed("cannot write the pid file", &error))
    }

    /// Whether a process was started here whose end nobody has seen to.
    pub(super) fn has_pid(&self) -> bool {
        self.directory().is_ok_and(|directory| directory.metadata(PID).is_ok())
    }

    /// Pid and start time as written down.
    pub(super) fn recorded_pid(&self) -> Option<(u32, u64)> {
        let bytes = self.read_ours(PID).ok()?;
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
        let found = process::scan(&self.machines).into_iter().find(|(owner, _)| *owner == machine);
        let Some((_, pid)) = found else { return Ok(None) };
        Ok(Process::hold(pid)?.filter(|held| held.is_alive() && held.names(machine)))
    }

    /// Removes what only a living process needs, so that its end counts as seen to.
    pub(super) fn tidy(&self) -> io::Result<()> {
        let directory = match self.directory() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        let sockets = [QMP_SOCKET, AGENT_SOCKET, GUEST_AGENT_SOCKET, SERIAL_SOCKET, VNC_SOCKET];
        sockets.into_iter().chain([PID]).try_for_each(|name| directory.remove(name))
    }

    /// Makes the directory ready for another start: no sockets, seed or log of the last one. It must be there.
    pub(super) fn prepare(&self) -> io::Result<Directory> {
        let directory = self.directory()?;
        self.tidy()?;
        [SEED_IMAGE, QEMU_LOG].into_iter().try_for_each(|name| directory.remove(name))?;
        Ok(directory)
    }

    /// Removes the directory with all that is in it.
    pub(super) fn remove(&self) -> io::Result<()> {
        let machines = Directory::open(&self.machines)?;
        machines.remove(&self.name)?;
        machines.sync()
    }

    /// The last lines that QEMU itself wrote, for a reason; none when it wrote nothing.
    pub(super) fn last_words(&self) -> Option<String> {
        let bytes = self.read_tail(QEMU_LOG, 4096).ok()?;
        let text = String::from_utf8_lossy(&bytes);
        let mut lines: Vec<&str> =
            text.lines().rev().filter(|line| !line.trim().is_empty()).take(5).collect();
        lines.reverse();
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// The last bytes of the console's log; nothing when there is no log yet.
    pub(super) fn console_tail(&self, bytes: u64) -> io::Result<Vec<u8>> {
        match self.read_tail(CONSOLE_LOG, bytes) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            other => other,
        }
    }

    /// Cuts a log that has grown beyond `most` down to its last half. QEMU appends, so it goes on writing at the new
    /// end; what it writes between our reading and our cutting is lost.
    pub(super) fn cap_log(&self, name: &str, most: u64) -> io::Result<()> {
        let directory = self.directory()?;
        let mut file = match only_name(&directory, name, OFlags::RDWR | OFlags::APPEND) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        if file.metadata()?.len() <= most {
            return Ok(());
        }
        let tail = tail(&mut file, most / 2)?;
        file.set_len(0)?;
        io::Write::write_all(&mut file, &tail)
    }

    /// A socket in this directory, by a path that is short enough for `connect`. Keep it until connected.
    pub(super) fn socket(&self, name: &str) -> io::Result<SocketPath> {
        let entry = self.directory()?.socket(name)?;
        Ok(SocketPath { path: entry.path(), _entry: entry })
    }

    /// A file that we wrote. One that somebody else put in its place is none.
    fn read_ours(&self, name: &str) -> io::Result<Vec<u8>> {
        let file = self.directory()?.read(name)?;
        if file.metadata()?.uid() != rustix::process::geteuid().as_raw() {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "not written by us"));
        }
        let mut bytes = Vec::new();
        file.take(READ_LIMIT).read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn read_tail(&self, name: &str, most: u64) -> io::Result<Vec<u8>> {
        tail(&mut only_name(&self.directory()?, name, OFlags::RDONLY)?, most)
    }
}

/// A socket's path, valid as long as this lives, which stands for this very socket.
#[derive(Debug)]
pub(super) struct SocketPath {
    pub(super) path: PathBuf,
    _entry: Entry,
}

/// A file without a second name: that could be somebody else's file.
fn only_name(directory: &Directory, name: &str, flags: OFlags) -> io::Result<File> {
    let file = directory.file(name, flags)?;
    if file.metadata()?.nlink() != 1 {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a file with another name elsewhere"));
    }
    Ok(file)
}

fn tail(file: &mut File, most: u64) -> io::Result<Vec<u8>> {
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine's directory and a neighbour that nothing in it may lead to.
    fn home() -> (tempfile::TempDir, Home) {
        let directory = tempfile::tempdir().unwrap();
        let home = Home::new(directory.path().join("machines"), MachineId(uuid::Uuid::from_u128(1)));
        std::fs::create_dir_all(path(&home)).unwrap();
        std::fs::write(directory.path().join("secret"), "secret").unwrap();
        (directory, home)
    }

    fn path(home: &Home) -> PathBuf {
        home.machines.join(&home.name)
    }

    #[test]
    fn a_log_beyond_its_bound_keeps_its_tail_and_its_writer_goes_on() {
        let (_directory, home) = home();
        let mut writer =
            File::options().create(true).append(true).open(path(&home).join(CONSOLE_LOG)).unwrap();
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
    fn nothing_planted_in_a_machines_directory_is_followed() {
        let (world, home) = home();
        let secret = world.path().join("secret");
        let planted = [CONSOLE_LOG, QEMU_LOG, SEED_IMAGE, SPEC, PID, ".spec.json", ".pid", QMP_SOCKET];
        for name in planted {
            std::os::unix::fs::symlink(&secret, path(&home).join(name)).unwrap();
        }
        assert!(home.console_tail(10).is_err());
        assert!(home.cap_log(CONSOLE_LOG, 1).is_err());
        assert_eq!(home.last_words(), None);
        assert!(home.start().is_none());
        assert_eq!(home.recorded_pid(), None);
        assert!(home.socket(QMP_SOCKET).is_err());
        let directory = home.prepare().unwrap();
        super::super::seed::write_seed(&directory, None, &seed()).unwrap();
        assert!(directory.metadata(SEED_IMAGE).unwrap().is_file());
        std::fs::remove_file(path(&home).join(CONSOLE_LOG)).unwrap();
        std::fs::hard_link(&secret, path(&home).join(CONSOLE_LOG)).unwrap();
        assert!(home.console_tail(10).is_err());
        assert!(home.cap_log(CONSOLE_LOG, 1).is_err());
        home.remove().unwrap();
        assert!(!home.exists());
        assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    }

    #[test]
    fn a_link_in_place_of_a_machines_directory_is_not_followed() {
        let (world, home) = home();
        std::fs::remove_dir(path(&home)).unwrap();
        std::fs::create_dir(world.path().join("other")).unwrap();
        std::fs::write(world.path().join("other").join(CONSOLE_LOG), "secret").unwrap();
        std::os::unix::fs::symlink(world.path().join("other"), path(&home)).unwrap();
        assert!(home.console_tail(10).is_err());
        assert!(home.prepare().is_err());
        home.remove().unwrap();
        assert!(!home.exists());
        assert_eq!(std::fs::read(world.path().join("other").join(CONSOLE_LOG)).unwrap(), b"secret");
    }

    #[test]
    fn what_others_wrote_in_place_of_our_records_does_not_count() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("SKIPPED: only root can give files away");
            return;
        }
        let (_directory, home) = home();
        std::fs::write(path(&home).join(PID), "1 2\n").unwrap();
        assert_eq!(home.recorded_pid(), Some((1, 2)));
        std::os::unix::fs::chown(path(&home).join(PID), Some(1_900_000_001), None).unwrap();
        assert_eq!(home.recorded_pid(), None);
    }

    fn seed() -> hostler_core::ports::Seed {
        let (user_data, meta_data) = ("#cloud-config\n".into(), "instance-id: 1\n".into());
        hostler_core::ports::Seed { user_data, meta_data, network_config: None }
    }

    #[test]
    fn last_words_are_few_lines() {
        let (_directory, home) = home();
        assert_eq!(home.last_words(), None);
        std::fs::write(path(&home).join(QEMU_LOG), "1\n2\n3\n\n4\n5\n6\n").unwrap();
        assert_eq!(home.last_words().unwrap(), "2; 3; 4; 5; 6");
    }

    #[test]
    fn sockets_of_long_directories_can_be_connected_to() {
        let directory = tempfile::tempdir().unwrap();
        let machines = directory.path().join("x".repeat(120));
        let home = Home::new(machines, MachineId(uuid::Uuid::from_u128(1)));
        std::fs::create_dir_all(path(&home)).unwrap();
        assert_eq!(home.socket(QMP_SOCKET).unwrap_err().kind(), io::ErrorKind::NotFound);
        let held = home.directory().unwrap();
        let _listener = std::os::unix::net::UnixListener::bind(held.path().join(QMP_SOCKET)).unwrap();
        let socket = home.socket(QMP_SOCKET).unwrap();
        std::os::unix::net::UnixStream::connect(&socket.path).unwrap();
    }
}
