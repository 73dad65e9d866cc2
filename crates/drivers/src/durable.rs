//! Files that survive a power cut: written whole under another name, synced, renamed, the directory synced.

use hostler_core::fail::fail_point;
use hostler_core::ports::{DriverError, DriverErrorKind};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

/// A failure of the file system in the driver's words; `doing` says what was tried, e.g. `cannot write spec.json`.
pub(crate) fn io_failed(doing: impl std::fmt::Display, error: &io::Error) -> DriverError {
    let kind = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::OutOfMemory => {
            DriverErrorKind::Exhausted
        }
        io::ErrorKind::NotFound => DriverErrorKind::Gone,
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::ReadOnlyFilesystem
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::FileTooLarge => DriverErrorKind::Refused,
        io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            DriverErrorKind::Unreachable
        }
        io::ErrorKind::TimedOut => DriverErrorKind::Timeout,
        _ if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE | libc::EAGAIN)) => {
            DriverErrorKind::Exhausted
        }
        _ => DriverErrorKind::Internal,
    };
    DriverError::new(kind, format!("{doing}: {error}"))
}

/// Runs file work on a thread where it may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, DriverError> + Send + 'static,
) -> Result<T, DriverError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(DriverError::internal(format!("file work did not end: {error}"))),
    }
}

/// Writes the file whole or not at all, mode 0600. `temporary` is a name in the same directory.
pub(crate) fn write_durably(path: &Path, temporary: &Path, bytes: &[u8]) -> io::Result<()> {
    let written = write_synced(temporary, bytes).and_then(|()| {
        fail_point("file.written");
        std::fs::rename(temporary, path)
    });
    if written.is_err() {
        let _ = std::fs::remove_file(temporary);
    }
    written?;
    sync_parent(path)
}

fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = create_private(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Creates or empties a file that only we may read.
pub(crate) fn create_private(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}

/// Makes renames and removals in a directory durable.
pub(crate) fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// Makes the name of this file durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

/// Makes a directory that only we may enter, and its parents. Success when it is there.
pub(crate) fn make_private_directory(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Success when the thing to be removed was not there.
pub(crate) fn absent_is_fine(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
