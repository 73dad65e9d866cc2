//! Where the kernel shows its control groups, and which files say what.
//!
//! Our parent lies at the top of the hierarchy, beside the units of the service manager and not below our own: a
//! service whose processes outlive it cannot be started again in a group that has groups below it. The exception is a
//! service manager that puts us into a group `server` within the one it delegates (`DelegateSubgroup=`): then the
//! machines' groups lie beside that.

use super::{Bounds, PERIOD_US};
use std::io;
use std::path::{Path, PathBuf};

pub(super) const MEMORY: &str = "memory";
pub(super) const CPU: &str = "cpu";
pub(super) const PIDS: &str = "pids";
/// Our parent group.
const PARENT: &str = "hostler";
/// The group that our unit asks the service manager for.
const SUBGROUP: &str = "server";

/// Our parent in each hierarchy, with the controllers there.
#[derive(Debug)]
pub(super) struct Hierarchy {
    unified: bool,
    parents: Vec<(PathBuf, Vec<&'static str>)>,
}

impl Hierarchy {
    /// Looks for one that limits something and makes our parent in it.
    pub(super) fn find() -> Result<Self, String> {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        Self::among(&read("/proc/self/mounts"), &read("/proc/self/cgroup"))
    }

    pub(super) fn among(mounts: &str, own: &str) -> Result<Self, String> {
        let mut why = "the kernel shows no control groups".to_owned();
        for top in tops(mounts, own) {
            match Self::unified(&top) {
                Ok(found) => return Ok(found),
                Err(error) => why = format!("{}: {error}", top.display()),
            }
        }
        let mut parents = Vec::new();
        for controller in [MEMORY, CPU, PIDS] {
            let Some(top) = split_top(mounts, controller) else { continue };
            match make(&top.join(PARENT)) {
                Ok(parent) => parents.push((parent, vec![controller])),
                Err(error) => why = format!("{}: {error}", top.display()),
            }
        }
        if parents.is_empty() { Err(why) } else { Ok(Self { unified: false, parents }) }
    }

    /// Version 2: hands the controllers down to our parent, and from there to the groups in it.
    pub(super) fn unified(top: &Path) -> io::Result<Self> {
        let offered = std::fs::read_to_string(top.join("cgroup.controllers"))?;
        let wanted =
            [MEMORY, CPU, PIDS].into_iter().filter(|name| offered.split_whitespace().any(|one| one == *name));
        let wanted: Vec<&'static str> = wanted.collect();
        if wanted.is_empty() {
            return Err(io::Error::other("no controller of version 2 is free"));
        }
        let parent = make(&top.join(PARENT))?;
        // A controller that is busy elsewhere is done without.
        let hand_down = |directory: &Path, name: &str| {
            std::fs::write(directory.join("cgroup.subtree_control"), format!("+{name}"))
        };
        let (mut handed, mut last) = (Vec::new(), None);
        for name in wanted {
            match hand_down(top, name).and_then(|()| hand_down(&parent, name)) {
                Ok(()) => handed.push(name),
                Err(error) => last = Some(error),
            }
        }
        if let Some(error) = last.filter(|_| handed.is_empty()) {
            return Err(error);
        }
        Ok(Self { unified: true, parents: vec![(parent, handed)] })
    }

    pub(super) fn has(&self, controller: &str) -> bool {
        self.parents.iter().any(|(_, controllers)| controllers.contains(&controller))
    }

    pub(super) fn directories(&self) -> impl Iterator<Item = &Path> {
        self.parents.iter().map(|(parent, _)| parent.as_path())
    }

    /// Parent, file and text for each bound that can be set here.
    pub(super) fn settings(&self, bounds: Bounds) -> Vec<(&Path, &'static str, String)> {
        let quota = bounds.cpu_percent * PERIOD_US / 100;
        let mut settings = Vec::new();
        for (parent, controllers) in &self.parents {
            for controller in controllers {
                let files = match (*controller, self.unified) {
                    (MEMORY, true) => vec![("memory.max", bounds.memory_bytes.to_string())],
                    (MEMORY, false) => vec![("memory.limit_in_bytes", bounds.memory_bytes.to_string())],
                    (CPU, true) => vec![("cpu.max", format!("{quota} {PERIOD_US}"))],
                    (CPU, false) => {
                        vec![
                            ("cpu.cfs_period_us", PERIOD_US.to_string()),
                            ("cpu.cfs_quota_us", quota.to_string()),
                        ]
                    }
                    _ => vec![("pids.max", bounds.tasks.to_string())],
                };
                settings.extend(files.into_iter().map(|(file, text)| (parent.as_path(), file, text)));
            }
        }
        settings
    }
}

/// Version 2's tops that our parent may lie in, best first.
fn tops(mounts: &str, own: &str) -> Vec<PathBuf> {
    let Some(mount) = mounts.lines().find_map(|line| mounted(line, "cgroup2", "")) else { return Vec::new() };
    let ours = own.lines().find_map(|line| line.strip_prefix("0::/"));
    let delegated =
        ours.and_then(|ours| Path::new(ours).parent().filter(|_| ours.ends_with(&format!("/{SUBGROUP}"))));
    delegated.map(|beside| mount.join(beside)).into_iter().chain([mount]).collect()
}

/// Where version 1 shows a controller.
fn split_top(mounts: &str, controller: &str) -> Option<PathBuf> {
    mounts.lines().find_map(|line| mounted(line, "cgroup", controller))
}

/// The directory of a line of `/proc/mounts` with this kind of file system and this option.
fn mounted(line: &str, kind: &str, option: &str) -> Option<PathBuf> {
    let mut fields = line.split(' ').skip(1);
    let (directory, found, options) = (fields.next()?, fields.next()?, fields.next()?);
    let fits = found == kind && (option.is_empty() || options.split(',').any(|one| one == option));
    fits.then(|| PathBuf::from(directory))
}

fn make(directory: &Path) -> io::Result<PathBuf> {
    match std::fs::create_dir(directory) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(directory.to_owned()),
    }
}
