//! Nothing that a test started may outlive it, not even when the test fails.

use super::found::processes;
use rustix::process::{Pid, Signal, kill_process};
use std::path::PathBuf;

/// Ends the machines of a data directory when it is dropped, by the process ids that work in it.
#[derive(Debug)]
pub(crate) struct Guard(pub PathBuf);

impl Drop for Guard {
    fn drop(&mut self) {
        for (pid, _) in processes(&self.0).unwrap_or_default() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                // It may have ended meanwhile, which is all that is wanted.
                let _ = kill_process(pid, Signal::KILL);
            }
        }
    }
}
