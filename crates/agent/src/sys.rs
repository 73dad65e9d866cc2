//! System calls that Rust's library does not offer, each behind a safe function. All `unsafe` code is here.
#![expect(unsafe_code, reason = "system calls; every block says why it is sound")]

use std::ffi::CString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicI32, Ordering};
use std::time::Duration;

/// `_IOW('R', 0x03, int[2])`: adds bytes to the random generator and credits them.
const RNDADDENTROPY: libc::c_ulong = 0x4008_5203;
/// `_IO('R', 0x07)`: makes the generator use them now.
const RNDRESEEDCRNG: libc::c_ulong = 0x5207;
/// `_IOW('f', 16, __u64)`: grows a mounted ext4.
const EXT4_IOC_RESIZE_FS: libc::c_ulong = 0x4008_6610;

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "text holds a zero byte"))
}

/// Sets the kernel's host name.
pub(crate) fn set_host_name(name: &str) -> io::Result<()> {
    // SAFETY: pointer and length describe one live slice, which the kernel only reads.
    check(unsafe { libc::sethostname(name.as_ptr().cast(), name.len()) })?;
    Ok(())
}

/// Sets the wall clock to nanoseconds since 1970.
pub(crate) fn set_clock(time_ns: u64) -> io::Result<()> {
    const SECOND: u64 = 1_000_000_000;
    let seconds = libc::time_t::try_from(time_ns / SECOND).map_err(io::Error::other)?;
    let nanoseconds = libc::c_long::try_from(time_ns % SECOND).map_err(io::Error::other)?;
    let time = libc::timespec { tv_sec: seconds, tv_nsec: nanoseconds };
    // SAFETY: the structure is initialised and lives longer than the call.
    check(unsafe { libc::clock_settime(libc::CLOCK_REALTIME, &raw const time) })?;
    Ok(())
}

/// Mixes 32 bytes into the kernel's generator, credits them, and makes them count before the next read.
pub(crate) fn add_entropy(bytes: [u8; 32]) -> io::Result<()> {
    #[repr(C)]
    struct Pool {
        bits: libc::c_int,
        length: libc::c_int,
        bytes: [u8; 32],
    }
    let device = File::options().read(true).write(true).open("/dev/urandom")?;
    let pool = Pool { bits: 256, length: 32, bytes };
    // SAFETY: `pool` has the layout of `struct rand_pool_info` followed by its 32 bytes; the kernel only reads it.
    check(unsafe { libc::ioctl(device.as_raw_fd(), RNDADDENTROPY as _, &raw const pool) })?;
    // SAFETY: this request takes no argument.
    check(unsafe { libc::ioctl(device.as_raw_fd(), RNDRESEEDCRNG as _) })?;
    Ok(())
}

/// Writes everything in memory to disks.
pub(crate) fn sync() {
    // SAFETY: takes nothing, always succeeds.
    unsafe { libc::sync() }
}

/// How the kernel is told to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Power goes off.
    PowerOff,
    /// The machine starts again.
    Reboot,
}

/// Ends the kernel at once. Only for the first process, after everything is stopped and synced.
pub(crate) fn end_kernel(how: Ending) -> io::Result<()> {
    let how = match how {
        Ending::PowerOff => libc::RB_POWER_OFF,
        Ending::Reboot => libc::RB_AUTOBOOT,
    };
    // SAFETY: takes a number.
    check(unsafe { libc::reboot(how) })?;
    Ok(())
}

/// Mounts a file system.
pub(crate) fn mount(
    source: &str,
    target: &str,
    kind: &str,
    data: &str,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let (source, target, kind, data) =
        (c_string(source)?, c_string(target)?, c_string(kind)?, c_string(data)?);
    // SAFETY: four live C strings, which the kernel only reads.
    check(unsafe {
        libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast())
    })?;
    Ok(())
}

/// Loads a kernel module from an open file.
pub(crate) fn load_module(file: &File) -> io::Result<()> {
    // SAFETY: a descriptor, a live C string and a number, as finit_module(2) wants them.
    let result = unsafe { libc::syscall(libc::SYS_finit_module, file.as_raw_fd(), c"".as_ptr(), 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Grows a mounted ext4 to this many blocks of its own.
pub(crate) fn grow_ext4(directory: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads eight bytes from a live variable.
    check(unsafe { libc::ioctl(directory.as_raw_fd(), EXT4_IOC_RESIZE_FS as _, &raw const blocks) })?;
    Ok(())
}

/// Block size and number of blocks of the file system mounted there.
pub(crate) fn file_system_size(path: &str) -> io::Result<(u64, u64)> {
    let path = c_string(path)?;
    let mut facts = std::mem::MaybeUninit::<libc::statvfs>::zeroed();
    // SAFETY: the kernel fills a structure that lives here.
    check(unsafe { libc::statvfs(path.as_ptr(), facts.as_mut_ptr()) })?;
    // SAFETY: zeroed is a valid value of this plain structure, and the call succeeded.
    let facts = unsafe { facts.assume_init() };
    Ok((facts.f_frsize, facts.f_blocks))
}

/// Sends a signal to a process, or with a negative number to a process group (-1: everybody but the first).
pub(crate) fn signal(process: i32, number: i32) -> io::Result<()> {
    // SAFETY: takes numbers.
    check(unsafe { libc::kill(process, number) })?;
    Ok(())
}

/// Takes one ended child off the kernel's list, if there is one, and says which. Only for the first process, which
/// waits for nobody by other means.
pub(crate) fn reap() -> Option<i32> {
    // SAFETY: the status may be null.
    let process = unsafe { libc::waitpid(-1, std::ptr::null_mut(), libc::WNOHANG) };
    (process > 0).then_some(process)
}

/// First real-time signal; systemd counts its commands from there.
pub(crate) fn first_real_time_signal() -> i32 {
    libc::SIGRTMIN()
}

static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

extern "C" fn note_signal(number: libc::c_int) {
    let byte = u8::try_from(number).unwrap_or(0);
    // SAFETY: write(2) may be called in a signal handler; one byte of a live variable. A full pipe is no loss, its
    // reader is about to look anyway. errno is put back for the code that was interrupted.
    unsafe {
        let errno = *libc::__errno_location();
        libc::write(SIGNAL_PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1);
        *libc::__errno_location() = errno;
    }
}

/// From now on these signals arrive as bytes (their numbers) in the returned file. Handlers, unlike masks, do not
/// pass to programs that are started later.
pub(crate) fn signals_as_bytes(numbers: &[i32]) -> io::Result<File> {
    let mut ends = [0; 2];
    // SAFETY: the kernel fills an array of two.
    check(unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) })?;
    // SAFETY: a fresh descriptor that nobody else owns; the other end stays open for the life of the process.
    let reader = unsafe { File::from_raw_fd(ends[0]) };
    // SAFETY: takes numbers.
    check(unsafe { libc::fcntl(ends[1], libc::F_SETFL, libc::O_NONBLOCK) })?;
    SIGNAL_PIPE.store(ends[1], Ordering::Relaxed);
    for &number in numbers {
        let mut action = std::mem::MaybeUninit::<libc::sigaction>::zeroed();
        // SAFETY: zeroed is a valid value of this plain structure: empty mask, default action.
        let action = unsafe { action.assume_init_mut() };
        action.sa_sigaction = note_signal as extern "C" fn(libc::c_int) as usize;
        action.sa_flags = libc::SA_RESTART;
        // SAFETY: the structure is filled in, and the handler does only what a handler may.
        check(unsafe { libc::sigaction(number, action, std::ptr::null_mut()) })?;
    }
    Ok(reader)
}

/// A netlink socket for links, addresses and routes; read and write work on it as on a file.
pub(crate) fn netlink_socket() -> io::Result<File> {
    // SAFETY: takes numbers.
    let fd = check(unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) })?;
    // SAFETY: a fresh descriptor that nobody else owns.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Makes a socket send and receive on one network card only.
pub(crate) fn bind_to_device(socket: &impl AsFd, card: &str) -> io::Result<()> {
    let length = libc::socklen_t::try_from(card.len()).map_err(io::Error::other)?;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: pointer and length describe one live slice, which the kernel only reads.
    check(unsafe {
        libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_BINDTODEVICE, card.as_ptr().cast(), length)
    })?;
    Ok(())
}

/// Waits for changes of one descriptor, edge-triggered: a condition that stays (a port whose other end is not
/// connected says "hung up" all the time) is told once and then only when something happens.
#[derive(Debug)]
pub(crate) struct Watch(OwnedFd);

impl Watch {
    /// Watches this descriptor for input and hang-up.
    pub(crate) fn new(watched: &impl AsFd) -> io::Result<Self> {
        // SAFETY: takes a number.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: a fresh descriptor that nobody else owns.
        let watch = Self(unsafe { OwnedFd::from_raw_fd(fd) });
        let events = (libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET).cast_unsigned();
        let mut event = libc::epoll_event { events, u64: 0 };
        let watched = watched.as_fd().as_raw_fd();
        // SAFETY: two live descriptors and an initialised structure.
        check(unsafe { libc::epoll_ctl(watch.0.as_raw_fd(), libc::EPOLL_CTL_ADD, watched, &raw mut event) })?;
        Ok(watch)
    }

    /// Sleeps until something happens. Returns early when a signal came.
    pub(crate) fn wait(&self) -> io::Result<()> {
        let mut event = libc::epoll_event { events: 0, u64: 0 };
        // SAFETY: room for one event, as said.
        match check(unsafe { libc::epoll_wait(self.0.as_raw_fd(), &raw mut event, 1, -1) }) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            _ => Ok(()),
        }
    }
}

/// Waits until a descriptor can be written to. False when the other end is gone or the time is over.
pub(crate) fn wait_writable(fd: &impl AsFd, patience: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd: fd.as_fd().as_raw_fd(), events: libc::POLLOUT, revents: 0 };
    let patience = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
    // SAFETY: one initialised entry, as said.
    check(unsafe { libc::poll(&raw mut entry, 1, patience) })?;
    Ok(entry.revents & libc::POLLOUT != 0 && entry.revents & libc::POLLHUP == 0)
}
