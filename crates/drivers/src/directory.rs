//! Files by a directory's descriptor: what a tenant, or a process that a tenant has taken over, puts in the way of a
//! name is refused and never followed.
//!
//! The kernel resolves every name beneath the directory and through no link of any kind. A path that was checked and
//! is then used may have changed in between; a descriptor cannot.

use crate::durable::absent_is_fine;
use hostler_core::fail::fail_point;
use rustix::fs::{AtFlags, Dir, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use std::ffi::OsString;
use std::fs::{File, Metadata};
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// Rights of a file that only its owner may read and write.
pub(crate) const PRIVATE_FILE: u32 = 0o600;
/// Rights of a directory that only its owner may enter.
pub(crate) const PRIVATE_DIRECTORY: u32 = 0o700;

/// A directory that is held open. Names are relative to it and may have several parts, but never lead out of it.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
}

impl Directory {
    /// By a path that nobody but the host's administrator can change; links in it are followed.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self { fd: rustix::fs::open(path, flags, Mode::empty())? })
    }

    /// One beneath this one.
    pub(crate) fn directory(&self, name: impl AsRef<Path>) -> io::Result<Self> {
        let fd = self.beneath(name.as_ref(), OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        Ok(Self { fd })
    }

    /// Opens a regular file, and nothing else: neither a device nor a pipe that would block us.
    pub(crate) fn file(&self, name: impl AsRef<Path>, flags: OFlags) -> io::Result<File> {
        let file = File::from(self.beneath(name.as_ref(), flags | OFlags::NONBLOCK | OFlags::NOCTTY, 0)?);
        if file.metadata()?.is_file() { Ok(file) } else { Err(not_a("regular file")) }
    }

    /// Opens a regular file for reading.
    pub(crate) fn read(&self, name: impl AsRef<Path>) -> io::Result<File> {
        self.file(name, OFlags::RDONLY)
    }

    /// Creates a file for reading and writing. Something there by that name is an error, even a link to nothing.
    pub(crate) fn create(&self, name: impl AsRef<Path>, mode: u32) -> io::Result<File> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL;
        Ok(self.beneath(name.as_ref(), flags, mode)?.into())
    }

    /// Writes a file whole or not at all, for our eyes only. `temporary` is a name beside it; whatever has it goes.
    pub(crate) fn write(&self, name: &str, temporary: &str, bytes: &[u8]) -> io::Result<()> {
        self.remove_file(temporary)?;
        let written = self.create(temporary, PRIVATE_FILE).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()?;
            fail_point("file.written");
            self.rename(temporary, name)
        });
        if written.is_err() {
            let _ = self.remove_file(temporary);
        }
        written?;
        self.sync()
    }

    /// Makes a directory. Success when there is one; its rights stay as they are.
    pub(crate) fn make_directory(&self, name: &str, mode: u32) -> io::Result<Self> {
        match rustix::fs::mkdirat(&self.fd, plain(name)?, Mode::from_raw_mode(mode)) {
            Ok(()) | Err(Errno::EXIST) => self.directory(name),
            Err(error) => Err(error.into()),
        }
    }

    /// Renames within this directory; what has the new name is replaced.
    pub(crate) fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        Ok(rustix::fs::renameat(&self.fd, plain(from)?, &self.fd, plain(to)?)?)
    }

    /// Removes a file, or a link itself. Success when it is not there.
    pub(crate) fn remove_file(&self, name: &str) -> io::Result<()> {
        let removed = rustix::fs::unlinkat(&self.fd, plain(name)?, AtFlags::empty());
        absent_is_fine(removed.map_err(io::Error::from))
    }

    /// Removes whatever has this name, with all that is in it; of a link, the link. Success when it is not there.
    pub(crate) fn remove(&self, name: &str) -> io::Result<()> {
        let is_directory = match self.metadata(name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?.is_dir(),
        };
        if !is_directory {
            return self.remove_file(name);
        }
        // std goes down by descriptors, too, and follows no link on its way.
        absent_is_fine(std::fs::remove_dir_all(self.path().join(plain(name)?)))
    }

    /// What has this name, itself: a link is a link.
    pub(crate) fn metadata(&self, name: impl AsRef<Path>) -> io::Result<Metadata> {
        File::from(self.beneath(name.as_ref(), OFlags::PATH | OFlags::NOFOLLOW, 0)?).metadata()
    }

    /// The names in it.
    pub(crate) fn names(&self) -> io::Result<Vec<OsString>> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&self.fd)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(OsString::from_vec(name));
            }
        }
        Ok(names)
    }

    /// A socket to connect to by [`Entry::path`]: it stays this very one, whatever its name stands for by then.
    pub(crate) fn socket(&self, name: &str) -> io::Result<Entry> {
        let entry = Entry { fd: self.beneath(Path::new(name), OFlags::PATH | OFlags::NOFOLLOW, 0)? };
        let kind = File::from(entry.fd.try_clone()?).metadata()?.file_type();
        if kind.is_socket() { Ok(entry) } else { Err(not_a("socket")) }
    }

    /// Gives something beneath to a user and a group; a link itself, not what it names.
    pub(crate) fn give(&self, name: &str, uid: Option<u32>, gid: Option<u32>) -> io::Result<()> {
        let (uid, gid) = (uid.map(Uid::from_raw), gid.map(Gid::from_raw));
        Ok(rustix::fs::chownat(&self.fd, plain(name)?, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Makes names in it durable.
    pub(crate) fn sync(&self) -> io::Result<()> {
        Ok(rustix::fs::fsync(&self.fd)?)
    }

    /// A path to it as long as this lives, for what takes no descriptors. It is good in this process only.
    pub(crate) fn path(&self) -> PathBuf {
        descriptor_path(self.fd.as_fd())
    }

    fn beneath(&self, name: &Path, flags: OFlags, mode: u32) -> io::Result<OwnedFd> {
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        let (flags, mode) = (flags | OFlags::CLOEXEC, Mode::from_raw_mode(mode));
        loop {
            match rustix::fs::openat2(&self.fd, name, flags, mode, resolve) {
                // Something was renamed while the kernel looked.
                Err(Errno::AGAIN | Errno::INTR) => {}
                other => return Ok(other?),
            }
        }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Something in a directory, held, but neither read nor written.
#[derive(Debug)]
pub(crate) struct Entry {
    fd: OwnedFd,
}

impl Entry {
    /// A path to it as long as this lives, in this process only.
    pub(crate) fn path(&self) -> PathBuf {
        descriptor_path(self.fd.as_fd())
    }
}

fn descriptor_path(fd: BorrowedFd<'_>) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()))
}

/// The calls below the kernel's newest take no rule for resolving: they get a single name, which leads nowhere.
fn plain(name: &str) -> io::Result<&str> {
    crate::layout::plain_file_name(name)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error.detail))
}

fn not_a(kind: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("not a {kind}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::os::unix::fs::symlink;

    /// A directory `inside` with a neighbour that nothing may reach from it.
    fn world() -> (tempfile::TempDir, Directory) {
        let world = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(world.path().join("inside/deep")).unwrap();
        std::fs::create_dir(world.path().join("outside")).unwrap();
        std::fs::write(world.path().join("outside/secret"), "secret").unwrap();
        std::fs::write(world.path().join("inside/deep/file"), "text").unwrap();
        let inside = Directory::open(&world.path().join("inside")).unwrap();
        (world, inside)
    }

    #[test]
    fn what_lies_beneath_is_read_and_written() {
        let (_world, inside) = world();
        let mut text = String::new();
        inside.read("deep/file").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        inside.write("new", ".new", b"whole").unwrap();
        assert_eq!(std::fs::read(inside.path().join("new")).unwrap(), b"whole");
        inside.make_directory("made", PRIVATE_DIRECTORY).unwrap();
        let mut names = inside.names().unwrap();
        names.sort();
        assert_eq!(names, ["deep", "made", "new"]);
        inside.remove("deep").unwrap();
        inside.remove("new").unwrap();
        inside.remove("absent").unwrap();
        assert_eq!(inside.names().unwrap(), ["made"]);
    }

    #[test]
    fn no_link_and_no_way_out_is_followed() {
        let (world, inside) = world();
        let outside = world.path().join("outside");
        let secret = outside.join("secret");
        symlink(&secret, inside.path().join("file")).unwrap();
        symlink(&outside, inside.path().join("directory")).unwrap();
        symlink(&secret, inside.path().join(".temporary")).unwrap();
        let magic = format!("/proc/self/fd/{}", inside.fd.as_raw_fd());
        for way in ["file", "directory/secret", "../outside/secret", "deep/../../outside/secret", &magic] {
            assert!(inside.read(way).is_err(), "{way}");
            assert!(inside.file(way, OFlags::WRONLY | OFlags::TRUNC).is_err(), "{way}");
        }
        assert!(inside.read(&secret).is_err());
        assert!(inside.directory("directory").is_err());
        assert!(inside.create("file", PRIVATE_FILE).is_err());
        assert!(inside.make_directory("directory", PRIVATE_DIRECTORY).is_err());
        assert!(inside.rename("../outside/secret", "mine").is_err());
        assert!(inside.remove_file("../outside/secret").is_err());
        inside.write("whole", ".temporary", b"ours").unwrap();
        inside.remove("directory").unwrap();
        inside.remove("file").unwrap();
        assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    }

    #[test]
    fn only_regular_files_are_files_and_only_sockets_are_sockets() {
        let (_world, inside) = world();
        let pipe = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(&inside, "pipe", pipe, Mode::from_raw_mode(0o600), 0).unwrap();
        assert!(inside.read("pipe").is_err());
        assert!(inside.read("deep").is_err());
        assert!(inside.socket("deep/file").is_err());
        let listener = std::os::unix::net::UnixListener::bind(inside.path().join("socket")).unwrap();
        assert!(inside.read("socket").is_err());
        let socket = inside.socket("socket").unwrap();
        std::os::unix::net::UnixStream::connect(socket.path()).unwrap();
        symlink("socket", inside.path().join("link")).unwrap();
        assert!(inside.socket("link").is_err());
        drop(listener);
    }
}
