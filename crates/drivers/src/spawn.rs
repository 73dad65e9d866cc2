//! How children are started: nothing of ours leaks into them, and they get no more rights than they need.

use rustix::process::{Resource, Rlimit, Signal};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// Upper bounds for a child that handles untrusted data.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Largest file it may write, bytes.
    pub(crate) file_bytes: u64,
    /// Address space, bytes.
    pub(crate) memory_bytes: u64,
    /// Processor time, seconds.
    pub(crate) cpu_s: u64,
}

/// A command with an empty environment and nothing else set.
#[expect(clippy::disallowed_methods, reason = "this is the drivers' own spawning")]
pub(crate) fn bare_command(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// The child will live in a session of its own and survive us.
pub(crate) fn detach(command: &mut Command) {
    before_exec(command, || {
        rustix::process::setsid()?;
        close_on_exec();
        Ok(rustix::thread::set_no_new_privs(true)?)
    });
}

/// The child gets this signal when we are gone, however we went.
pub(crate) fn end_with_us(command: &mut Command, signal: Signal) {
    before_exec(command, move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        close_on_exec();
        Ok(())
    });
}

/// The child gets these descriptors under the numbers that they have here. Comes after [`detach`], which closes all.
pub(crate) fn inherit(command: &mut Command, descriptors: Arc<Vec<OwnedFd>>) {
    before_exec(command, move || {
        for descriptor in descriptors.iter() {
            rustix::io::fcntl_setfd(descriptor, rustix::io::FdFlags::empty())?;
        }
        Ok(())
    });
}

/// The child sees this directory as `/run`, and nobody else does: it reads there whatever the modes of the directories
/// above, also once it is another user, and cannot see what really lies in `/run`. Takes the right to mount.
pub(crate) fn see_as_run(command: &mut Command, directory: &Path) -> io::Result<()> {
    use std::os::unix::ffi::OsStrExt;
    let directory = std::ffi::CString::new(directory.as_os_str().as_bytes())?;
    before_exec(command, move || {
        let steps = [
            (c"none".as_ptr(), c"/".as_ptr(), libc::MS_REC | libc::MS_PRIVATE),
            (directory.as_ptr(), c"/run".as_ptr(), libc::MS_BIND),
        ];
        #[expect(unsafe_code, reason = "mounting in a child is beyond std")]
        // SAFETY: system calls with strings that live until exec.
        let done = unsafe {
            libc::unshare(libc::CLONE_NEWNS) == 0
                && steps.iter().all(|(from, to, flags)| {
                    libc::mount(*from, *to, std::ptr::null(), *flags, std::ptr::null()) == 0
                })
        };
        if done { Ok(()) } else { Err(io::Error::last_os_error()) }
    });
    Ok(())
}

/// The child works within these limits and gains no rights.
pub(crate) fn confine(command: &mut Command, limits: Limits) {
    before_exec(command, move || {
        let bounds = [
            (Resource::Fsize, limits.file_bytes),
            (Resource::As, limits.memory_bytes),
            (Resource::Cpu, limits.cpu_s),
            (Resource::Core, 0),
        ];
        for (resource, most) in bounds {
            rustix::process::setrlimit(resource, Rlimit { current: Some(most), maximum: Some(most) })?;
        }
        close_on_exec();
        Ok(rustix::thread::set_no_new_privs(true)?)
    });
}

/// Descriptors that we inherited ourselves without the close-on-exec flag go no further. Ours all have it, so a kernel
/// older than 5.11, which refuses, loses little.
fn close_on_exec() {
    #[expect(unsafe_code, reason = "neither std nor rustix offers close_range; it touches no memory")]
    // SAFETY: a system call with three integers.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

fn before_exec(command: &mut Command, steps: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    #[expect(unsafe_code, reason = "std cannot start a session or set limits in a child")]
    // SAFETY: between fork and exec the steps above make plain system calls only; they neither allocate nor lock.
    unsafe {
        command.pre_exec(steps);
    }
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
