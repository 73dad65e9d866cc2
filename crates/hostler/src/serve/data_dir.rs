//! The data directory: made private, locked against a second server, with the key that guests' host keys derive from.

use crate::failure::Failure;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::time::Timespec;
use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a lock that is held is asked for again, and the pause in between.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_PAUSE_NS: i64 = 10_000_000;

/// The data directory of this process, held until it is dropped.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    /// The lock goes with the open file, so it cannot outlive the process.
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be and takes it for this process.
    pub(crate) fn take(path: &Path) -> Result<Self, Failure> {
        make(path)?;
        let lock = lock(path)?;
        let taken = Self { path: path.to_owned(), _lock: lock };
        taken.close_database()?;
        Ok(taken)
    }

    /// Machines may pass through this directory: a database that was restored with rights for all must not be readable.
    fn close_database(&self) -> Result<(), Failure> {
        for ending in ["", "-wal", "-shm"] {
            let path = self.path.join(format!("hostler.db{ending}"));
            match std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    return Err(Failure::because(format!("cannot make {} private", path.display()), &error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.path.join("hostler.db")
    }

    /// The 256 bits kept beside the data, and whether they were made in place of lost ones. Made when there is no
    /// installation yet, or when the key's file is empty.
    pub(super) fn key(&self, installed: bool) -> Result<([u8; 32], bool), Failure> {
        let path = self.path.join("key");
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text.trim().to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                if installed {
                    return Err(missing(&path));
                }
                return Ok((new_key(&path)?, false));
            }
            Err(error) => return Err(Failure::because(format!("cannot read {}", path.display()), &error)),
        };
        if text.is_empty() {
            return Ok((new_key(&path)?, true));
        }
        let loose = std::fs::metadata(&path).is_ok_and(|meta| meta.mode() & 0o077 != 0);
        if loose {
            return Err(Failure::new(format!("others may read {}", path.display()))
                .hint(format!("if nobody has: `chmod 600 {}`", path.display())));
        }
        Ok((digits(&path, &text)?, false))
    }
}

/// The key that the service manager keeps for us, if it does: its credential `hostler-key`.
pub(super) fn kept_key(credentials: &Path) -> Result<Option<[u8; 32]>, Failure> {
    let path = credentials.join("hostler-key");
    match std::fs::read_to_string(&path) {
        Ok(text) => digits(&path, text.trim()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::because(format!("cannot read {}", path.display()), &error)),
    }
}

fn digits(path: &Path, text: &str) -> Result<[u8; 32], Failure> {
    let mut key = [0; 32];
    hex::decode_to_slice(text, &mut key).map_err(|_| {
        Failure::new(format!("{} is damaged: it must hold 64 hexadecimal digits", path.display()))
            .hint("restore it from a backup")
    })?;
    Ok(key)
}

fn missing(path: &Path) -> Failure {
    let hint = format!(
        "restore it from a backup, or copy it from the data directory of another host of this installation; or have \
         a new one made, which changes them, with `touch {}`",
        path.display()
    );
    Failure::new(format!("there is a database, but no key {}", path.display()))
        .cause("guests' host keys and stored secrets derive from it")
        .hint(hint)
}

fn new_key(path: &Path) -> Result<[u8; 32], Failure> {
    let mut key = [0; 32];
    getrandom::fill(&mut key)
        .map_err(|error| Failure::because("the system gives no random bytes", &error))?;
    write_private(path, &format!("{}\n", hex::encode(key)))?;
    Ok(key)
}

/// Writes a file that only we may read, at once and for good: a crash leaves the old one or the new one.
pub(crate) fn write_private(path: &Path, text: &str) -> Result<(), Failure> {
    let write = || -> std::io::Result<()> {
        let new = path.with_extension("new");
        if let Err(error) = std::fs::remove_file(&new)
            && error.kind() != ErrorKind::NotFound
        {
            return Err(error);
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&new, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|error| Failure::because(format!("cannot write {}", path.display()), &error))
}

fn make(path: &Path) -> Result<(), Failure> {
    let shown = path.display();
    let elsewhere = "name another directory with --data-dir or HOSTLER_DATA_DIR";
    match std::fs::metadata(path) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => {
            return Err(
                Failure::new(format!("the data directory {shown} is not a directory")).hint(elsewhere)
            );
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {}
        Err(error) => {
            return Err(
                Failure::because(format!("cannot use the data directory {shown}"), &error).hint(elsewhere)
            );
        }
    }
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(|error| {
        Failure::because(format!("cannot make the data directory {shown}"), &error).hint(elsewhere)
    })
}

fn lock(directory: &Path) -> Result<File, Failure> {
    let path = directory.join("lock");
    let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path);
    let mut file = open.map_err(|error| {
        let user = rustix::process::geteuid();
        Failure::because(format!("cannot write to the data directory {}", directory.display()), &error).hint(
            format!(
                "give user {user} the directory, or name another one with --data-dir or HOSTLER_DATA_DIR"
            ),
        )
    })?;
    match lock_soon(&file) {
        Ok(()) => {}
        Err(Errno::WOULDBLOCK) => {
            let mut holder = String::new();
            // The number is for people only; without it the text still says what matters.
            let _ = file.read_to_string(&mut holder);
            let process = match holder.trim() {
                "" => "another process".to_owned(),
                pid => format!("process {pid}"),
            };
            return Err(Failure::new(format!(
                "{process} serves the data directory {} already",
                directory.display()
            ))
            .hint("stop it first, or name another directory with --data-dir"));
        }
        Err(error) => return Err(Failure::because(format!("cannot lock {}", path.display()), &error)),
    }
    let written = file.set_len(0).and_then(|()| write!(file, "{}", std::process::id()));
    written.map_err(|error| Failure::because(format!("cannot write {}", path.display()), &error))?;
    Ok(file)
}

/// A child that was about to become another program when its server was killed holds the lock for some milliseconds
/// more: a restart right after kill -9 must not be refused for that.
fn lock_soon(file: &File) -> Result<(), Errno> {
    let patience = Instant::now() + LOCK_PATIENCE;
    loop {
        match flock(file, FlockOperation::NonBlockingLockExclusive) {
            Err(Errno::WOULDBLOCK) if Instant::now() < patience => {
                let pause = Timespec { tv_sec: 0, tv_nsec: LOCK_PAUSE_NS };
                // Woken early by a signal, we only look once more.
                let _ = rustix::thread::nanosleep(&pause);
            }
            other => return other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_server_is_told_which_process_has_the_directory() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("a/data");
        let first = DataDir::take(&path).unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o700);
        let refused = DataDir::take(&path).unwrap_err();
        assert!(refused.text.starts_with(&format!("process {} serves", std::process::id())), "{refused}");
        drop(first);
        DataDir::take(&path).unwrap();
    }

    #[test]
    fn a_database_restored_with_rights_for_all_becomes_private() {
        let directory = tempfile::tempdir().unwrap();
        let database = directory.path().join("hostler.db");
        std::fs::write(&database, "").unwrap();
        std::fs::set_permissions(&database, std::fs::Permissions::from_mode(0o644)).unwrap();
        DataDir::take(directory.path()).unwrap();
        assert_eq!(std::fs::metadata(&database).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_file_is_no_data_directory() {
        let file = tempfile::NamedTempFile::new().unwrap();
        assert!(DataDir::take(file.path()).unwrap_err().text.ends_with("is not a directory"));
        let below = DataDir::take(&file.path().join("below")).unwrap_err();
        assert!(below.text.starts_with("cannot use the data directory"), "{below}");
    }

    #[test]
    fn the_key_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::take(directory.path()).unwrap();
        let key = data.key(false).unwrap();
        assert_eq!(data.key(true).unwrap(), key);
        let path = directory.path().join("key");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
        assert!(data.key(true).unwrap_err().text.starts_with("others may read"));
    }

    #[test]
    fn a_service_manager_may_keep_the_key() {
        let credentials = tempfile::tempdir().unwrap();
        assert_eq!(kept_key(credentials.path()).unwrap(), None);
        std::fs::write(credentials.path().join("hostler-key"), format!("{}\n", "07".repeat(32))).unwrap();
        assert_eq!(kept_key(credentials.path()).unwrap(), Some([7; 32]));
        std::fs::write(credentials.path().join("hostler-key"), "zz").unwrap();
        assert!(kept_key(credentials.path()).unwrap_err().text.contains("is damaged"));
    }

    #[test]
    fn a_key_is_not_made_anew_beside_old_data_unless_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let data = DataDir::take(directory.path()).unwrap();
        assert!(data.key(true).unwrap_err().text.starts_with("there is a database, but no key"));
        std::fs::write(directory.path().join("key"), "").unwrap();
        assert!(data.key(true).unwrap().1, "it was made in place of a lost one");
        std::fs::write(directory.path().join("key"), "zz").unwrap();
        assert!(data.key(true).unwrap_err().text.contains("is damaged"));
    }
}
