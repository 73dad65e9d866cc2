//! Nothing that a test started may outlive it, not even when the test fails.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// A temporary directory that is removed when it is dropped, after everything that works in it was ended.
#[derive(Debug)]
pub struct Folder {
    // Dropped in this order.
    _guard: Guard,
    folder: TempDir,
}

impl Folder {
    pub fn new() -> std::io::Result<Self> {
        let folder = tempfile::tempdir()?;
        Ok(Self { _guard: Guard::of(folder.path())?, folder })
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Ends, when it is dropped, all processes that work in a directory or were given its name: servers, their machines,
/// and whatever else they started.
#[derive(Debug)]
pub struct Guard(PathBuf);

impl Guard {
    /// The directory must exist, and its name be one that nothing else has.
    pub fn of(folder: &Path) -> std::io::Result<Self> {
        Ok(Self(folder.canonicalize()?))
    }

    fn processes(&self) -> Vec<Pid> {
        let name = self.0.as_os_str().as_bytes();
        let ours = |process: &Path| {
            let at_work = std::fs::read_link(process.join("cwd")).is_ok_and(|cwd| cwd.starts_with(&self.0));
            let given = |file| {
                let given = std::fs::read(process.join(file)).unwrap_or_default();
                given.windows(name.len()).any(|part| part == name)
            };
            // A server knows its data directory from its environment; one that has died, a zombie, has neither.
            at_work || given("cmdline") || given("environ")
        };
        let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
        let found = entries.filter_map(|entry| {
            let pid: i32 = entry.file_name().to_str()?.parse().ok()?;
            let other = u32::try_from(pid).is_ok_and(|pid| pid != std::process::id());
            (other && ours(&entry.path())).then(|| Pid::from_raw(pid)).flatten()
        });
        found.collect()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Again, because what one of them has just started was not seen yet; not for ever, because what waits for the
        // kernel does not end.
        for _ in 0..10 {
            let found = self.processes();
            if found.is_empty() {
                return;
            }
            for pid in found {
                // Errors mean that it has ended meanwhile, which is all that is wanted.
                let Ok(process) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
                let _ = kill_process(pid, Signal::KILL);
                let patience = Timespec { tv_sec: 10, tv_nsec: 0 };
                let _ = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience));
            }
        }
    }
}

#[tokio::test]
async fn what_works_in_a_folder_ends_with_it() {
    let folder = Folder::new().unwrap();
    let other = tempfile::tempdir().unwrap();
    let sleep = |at: &Path| {
        let mut command = tokio::process::Command::new("sleep");
        command.arg("1000").current_dir(at).stdin(Stdio::null()).stdout(Stdio::null()).kill_on_drop(true);
        command.spawn().unwrap()
    };
    let (mut at_work, mut stranger) = (sleep(folder.path()), sleep(other.path()));
    let mut follow = tokio::process::Command::new("tail");
    follow.arg("-F").arg(folder.path().join("data")).current_dir(other.path()).kill_on_drop(true);
    let mut named = follow.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let path = folder.path().to_owned();
    drop(folder);
    for child in [&mut at_work, &mut named] {
        tokio::time::timeout(Duration::from_secs(60), child.wait()).await.unwrap().unwrap();
    }
    assert!(stranger.try_wait().unwrap().is_none(), "it is none of ours");
    assert!(!path.exists());
}
