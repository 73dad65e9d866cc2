//! How children are started: nothing of ours leaks into them, and they get no more rights than they need.
//!
//! A [`Confinement`] says what a child may be and do. It is made ready before the fork ([`rules`]), because between
//! fork and exec nothing may allocate or lock, and takes effect there ([`child`], the one place with unsafe code).

mod child;
mod rules;

pub(crate) use child::{end_with_us, see_as_run, unconfined};
pub(crate) use rules::landlock_problem;

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Upper bounds for a child; what is left out stays as it is for us.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Limits {
    /// Largest file it may write, bytes.
    pub(crate) file_bytes: Option<u64>,
    /// Address space, bytes.
    pub(crate) memory_bytes: Option<u64>,
    /// Processor time, seconds.
    pub(crate) cpu_s: Option<u64>,
    /// Open files.
    pub(crate) files: Option<u64>,
}

/// A user that is nobody else.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct User {
    /// Its number.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
    /// Its other groups.
    pub(crate) groups: Vec<u32>,
}

/// What a child may reach in the file system, where the kernel has Landlock.
#[derive(Clone, Debug, Default)]
pub(crate) struct Reach {
    /// Files, and directories with all that is in them, that it may read. The program's own files are added.
    pub(crate) readable: Vec<PathBuf>,
    /// The same for reading and writing.
    pub(crate) writable: Vec<PathBuf>,
}

/// What a child may be and do. The default: our own user and files, no TCP, no core dumps, no rights to gain, no
/// descriptors but the first three.
#[derive(Debug, Default)]
pub(crate) struct Confinement {
    /// Whom it runs as; only root can choose. None: as we do.
    pub(crate) user: Option<User>,
    /// What it may reach; none: whatever its user may.
    pub(crate) reach: Option<Reach>,
    /// Whether it may use TCP. Denied by Landlock, so it is a second fence and no more.
    pub(crate) network: bool,
    /// Its bounds.
    pub(crate) limits: Limits,
    /// Whether it lives in a session of its own and survives us.
    pub(crate) session: bool,
    /// Descriptors that it gets under the numbers they have here.
    pub(crate) inherited: Vec<OwnedFd>,
    /// Files that it writes its pid to, so that it belongs to their control groups before it runs.
    pub(crate) groups: Vec<OwnedFd>,
}

/// A command with an empty environment that will be confined so.
///
/// # Errors
/// When a path of the confinement cannot be opened, or the kernel refuses the rules.
pub(crate) fn confined(binary: &Path, confinement: Confinement) -> io::Result<Command> {
    let rules = rules::rules(binary, &confinement)?;
    let mut command = unconfined(binary);
    child::confine(&mut command, confinement, rules);
    Ok(command)
}

/// The absolute path of an administrator's program; none when it is not installed. Their directories are often missing
/// in `PATH`.
pub(crate) fn find_system_program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from));
    places.map(|directory| directory.join(name)).find(|file| file.is_absolute() && file.is_file())
}

/// The absolute path of a program, looked for in our own `PATH` when it is a bare name. Falls back to the name.
pub(crate) fn resolve_binary(binary: &Path) -> PathBuf {
    if binary.components().count() > 1 {
        return std::path::absolute(binary).unwrap_or_else(|_| binary.to_owned());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .map(|directory| directory.join(binary))
        .find(|candidate| candidate.is_absolute() && candidate.is_file())
        .unwrap_or_else(|| binary.to_owned())
}

#[cfg(test)]
mod tests;
