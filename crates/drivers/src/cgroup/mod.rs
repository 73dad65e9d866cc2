//! Control groups: how much memory, processor time and how many threads a machine or a tool may take.
//!
//! Each has a group of its own below a parent of ours, named after it, so that the next server finds it where it is.
//! A child enters before it becomes its program ([`crate::spawn::Confinement::groups`]); the group goes when its
//! processes have ended. Version 2 of the kernel's interface is used where it has the controllers, else version 1,
//! else none, and `doctor` says so.

mod hierarchy;

use hierarchy::{CPU, Hierarchy, MEMORY, PIDS};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::OnceLock;

/// The kernel shares processor time out in pieces of this length.
const PERIOD_US: u64 = 100_000;

/// How much a group may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Memory with the page cache it uses, bytes.
    pub(crate) memory_bytes: u64,
    /// Processor time, hundredths of one processor.
    pub(crate) cpu_percent: u64,
    /// Processes and threads.
    pub(crate) tasks: u64,
}

/// The groups of this host.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    /// Looked for when the first group is made: a server that only looks leaves no trace.
    found: OnceLock<Result<Hierarchy, String>>,
}

impl Groups {
    /// Those below a hierarchy that was found elsewhere.
    #[cfg(test)]
    fn below(hierarchy: Hierarchy) -> Self {
        Self { found: OnceLock::from(Ok(hierarchy)) }
    }

    /// Why nothing can be limited, or what cannot; none when all is well.
    pub(crate) fn problem(&self) -> Option<String> {
        match self.hierarchy() {
            Err(why) => Some(format!("machines have no limits but their own memory: {why}.")),
            Ok(hierarchy) => {
                let missing: Vec<&str> =
                    [MEMORY, CPU, PIDS].into_iter().filter(|name| !hierarchy.has(name)).collect();
                (!missing.is_empty()).then(|| {
                    format!("machines have no limits of {}: no such control groups here.", missing.join(", "))
                })
            }
        }
    }

    /// Makes the group, or changes its bounds, and opens what a child writes itself to. Empty where there are none.
    pub(crate) fn make(&self, name: &str, bounds: Bounds) -> io::Result<Vec<OwnedFd>> {
        let Ok(hierarchy) = self.hierarchy() else { return Ok(Vec::new()) };
        let mut entrances = Vec::new();
        for directory in hierarchy.directories() {
            let group = directory.join(name);
            match std::fs::create_dir(&group) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
                _ => {}
            }
        }
        for (directory, file, text) in hierarchy.settings(bounds) {
            set(&directory.join(name).join(file), &text)?;
        }
        for directory in hierarchy.directories() {
            let entrance = directory.join(name).join("cgroup.procs");
            entrances.push(File::options().write(true).open(entrance)?.into());
        }
        Ok(entrances)
    }

    /// Removes the group. Success when there is none; one whose processes live stays.
    pub(crate) fn remove(&self, name: &str) {
        let Ok(hierarchy) = self.hierarchy() else { return };
        for directory in hierarchy.directories() {
            match std::fs::remove_dir(directory.join(name)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    tracing::debug!(group = name, %error, "a control group stays");
                }
                _ => {}
            }
        }
    }

    fn hierarchy(&self) -> Result<&Hierarchy, &str> {
        self.found.get_or_init(Hierarchy::find).as_ref().map_err(String::as_str)
    }
}

fn set(file: &Path, text: &str) -> io::Result<()> {
    std::fs::write(file, text).map_err(|error| {
        io::Error::new(error.kind(), format!("cannot write {text} to {}: {error}", file.display()))
    })
}

#[cfg(test)]
mod tests;
