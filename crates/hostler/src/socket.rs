//! The path of the unix socket, on both ends: a data directory may lie deeper than a socket's address is long.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

/// Bytes of a path that fit into a socket's address, with the zero at its end left out.
const LONGEST: usize = 107;

/// The socket of a data directory, under a path that fits into an address.
#[derive(Debug)]
pub(crate) struct SocketPath {
    real: PathBuf,
    short: PathBuf,
    /// Keeps the short path alive.
    _directory: Option<File>,
}

impl SocketPath {
    /// The socket of this data directory. A long path is reached through the open directory instead.
    pub(crate) fn of(data_dir: &Path) -> io::Result<Self> {
        let real = data_dir.join("hostler.sock");
        if real.as_os_str().len() <= LONGEST {
            return Ok(Self { short: real.clone(), real, _directory: None });
        }
        let directory = File::open(data_dir)?;
        let short = PathBuf::from(format!("/proc/self/fd/{}/hostler.sock", directory.as_raw_fd()));
        Ok(Self { real, short, _directory: Some(directory) })
    }

    /// Its path in the file system, for people and for removing it.
    pub(crate) fn real(&self) -> &Path {
        &self.real
    }

    /// A path that can be bound and connected to.
    pub(crate) fn short(&self) -> &Path {
        &self.short
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::{UnixListener, UnixStream};

    #[test]
    fn a_deep_directory_has_a_socket_too() {
        let parent = tempfile::tempdir().unwrap();
        let deep = parent.path().join("d".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let path = SocketPath::of(&deep).unwrap();
        let _listener = UnixListener::bind(path.short()).unwrap();
        assert!(path.real().exists());
        UnixStream::connect(SocketPath::of(&deep).unwrap().short()).unwrap();
    }
}
