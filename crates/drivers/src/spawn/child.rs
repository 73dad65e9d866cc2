//! Between fork and exec: plain system calls in an order that matters, nothing that allocates or locks.

use super::{Confinement, User};
use rustix::fs::Mode;
use rustix::io::{Errno, FdFlags};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid};
use rustix::thread::CapabilitySet;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

/// A command with an empty environment and nothing else set: for programs of the host that touch nothing foreign.
#[expect(clippy::disallowed_methods, reason = "this is the drivers' own spawning")]
pub(crate) fn unconfined(binary: &Path) -> Command {
    let mut command = Command::new(binary);
    command.env_clear().env("LC_ALL", "C").env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    command
}

/// The child gets this signal when we are gone, however we went, and none of our descriptors but the first three.
pub(crate) fn end_with_us(command: &mut Command, signal: Signal) {
    before_exec(command, move || {
        rustix::process::set_parent_process_death_signal(Some(signal))?;
        close_on_exec();
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

/// Lets the child of this command begin in this confinement. `rules` are Landlock's, if it has any.
pub(super) fn confine(command: &mut Command, confinement: Confinement, rules: Option<OwnedFd>) {
    let limits = confinement.limits;
    let bounds = [
        (Resource::Fsize, limits.file_bytes),
        (Resource::As, limits.memory_bytes),
        (Resource::Cpu, limits.cpu_s),
        (Resource::Nofile, limits.files),
        (Resource::Core, Some(0)),
    ];
    let identity = confinement.user.as_ref().map(Identity::of);
    let Confinement { session, inherited, groups, .. } = confinement;
    before_exec(command, move || {
        if session {
            rustix::process::setsid()?;
        }
        // First of all, so that whatever it takes is counted already. The kernel takes 0 for the writer.
        for group in &groups {
            rustix::io::write(group, b"0")?;
        }
        for (resource, most) in bounds {
            if most.is_some() {
                rustix::process::setrlimit(resource, Rlimit { current: most, maximum: most })?;
            }
        }
        close_on_exec();
        for fd in &inherited {
            rustix::io::fcntl_setfd(fd, FdFlags::empty())?;
        }
        // What it makes is its own, in a directory that others may not enter.
        rustix::process::umask(Mode::from_raw_mode(0o077));
        if let Some(identity) = &identity {
            identity.take()?;
        }
        rustix::thread::set_no_new_privs(true)?;
        rules.as_ref().map_or(Ok(()), restrict)
    });
}

/// A user as system calls take it.
struct Identity {
    uid: Uid,
    gid: Gid,
    groups: Vec<Gid>,
}

impl Identity {
    fn of(user: &User) -> Self {
        let groups = user.groups.iter().map(|group| Gid::from_raw(*group)).collect();
        Self { uid: Uid::from_raw(user.uid), gid: Gid::from_raw(user.gid), groups }
    }

    /// For good: the kernel drops every capability with the last user id that was root's.
    fn take(&self) -> io::Result<()> {
        for capability in CapabilitySet::all().iter() {
            match rustix::thread::remove_capability_from_bounding_set(capability) {
                // Newer than the kernel, or we may not: without new privileges it could not be gained anyway.
                Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
                Err(error) => return Err(error.into()),
            }
        }
        rustix::thread::set_thread_groups(&self.groups)?;
        rustix::thread::set_thread_res_gid(self.gid, self.gid, self.gid)?;
        Ok(rustix::thread::set_thread_res_uid(self.uid, self.uid, self.uid)?)
    }
}

/// Descriptors that we inherited ourselves without the close-on-exec flag go no further. Ours all have it, so a kernel
/// older than 5.11, which refuses, loses little.
fn close_on_exec() {
    #[expect(unsafe_code, reason = "neither std nor rustix offers close_range; it touches no memory")]
    // SAFETY: a system call with three integers.
    let _ = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
}

/// What the landlock crate would do, without its looking at the kernel again.
fn restrict(rules: &OwnedFd) -> io::Result<()> {
    #[expect(unsafe_code, reason = "the landlock crate's own call is not made for the time after a fork")]
    // SAFETY: a system call with two integers.
    let outcome = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The version of the kernel's Landlock.
pub(super) fn landlock_version() -> io::Result<i64> {
    const VERSION: u32 = 1;
    #[expect(unsafe_code, reason = "the landlock crate does not tell without restricting the caller")]
    // SAFETY: asked for its version, the call reads no memory, and takes a null pointer and no length for it.
    let version =
        unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, std::ptr::null::<u8>(), 0_usize, VERSION) };
    if version > 0 { Ok(version) } else { Err(io::Error::last_os_error()) }
}

fn before_exec(command: &mut Command, steps: impl FnMut() -> io::Result<()> + Send + Sync + 'static) {
    #[expect(unsafe_code, reason = "std cannot confine a child")]
    // SAFETY: between fork and exec the steps above make plain system calls only; they neither allocate nor lock.
    unsafe {
        command.pre_exec(steps);
    }
}
