//! Landlock's rules for a child, made before the fork.
//!
//! A kernel may know none, some or all of them: what it knows holds, and `doctor` says when it knows none. So
//! Landlock is never the only fence; user and limits hold without it.

use super::{Confinement, Reach};
use landlock::{
    ABI, Access, AccessFs, AccessNet, PathBeneath, PathFd, Ruleset, RulesetAttr, RulesetCreatedAttr, Scope,
};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

/// The newest rules that we know of.
const KNOWN: ABI = ABI::V7;
/// What programs of the host need to run at all; what is not there is left out.
const PROGRAMS: [&str; 6] = ["/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/dev/urandom"];

/// Why children cannot be fenced in with Landlock; none when they can.
pub(crate) fn landlock_problem() -> Option<String> {
    let why = match super::child::landlock_version() {
        Ok(_) => return None,
        Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            "Landlock is not among the kernel's `lsm=`"
        }
        Err(_) => "the kernel has no Landlock",
    };
    Some(format!(
        "tools that read images cannot be fenced in: {why}; they run with limits and without rights, but \
         may read what their user may"
    ))
}

/// The rules of this confinement as the kernel holds them; none when there is nothing to deny, or no Landlock.
pub(super) fn rules(binary: &Path, confinement: &Confinement) -> io::Result<Option<OwnedFd>> {
    if confinement.network && confinement.reach.is_none() {
        return Ok(None);
    }
    if landlock_problem().is_some() {
        return Ok(None);
    }
    let mut rules = Ruleset::default();
    if !confinement.network {
        rules = rules.handle_access(AccessNet::from_all(KNOWN)).map_err(refused)?;
    }
    let Some(reach) = &confinement.reach else {
        return Ok(rules.create().map_err(refused)?.into());
    };
    let scoped =
        rules.handle_access(AccessFs::from_all(KNOWN)).and_then(|rules| rules.scope(Scope::from_all(KNOWN)));
    let mut made = scoped.and_then(Ruleset::create).map_err(refused)?;
    for (path, access) in allowed(binary, reach) {
        let place = PathFd::new(&path).map_err(|error| {
            io::Error::new(io::ErrorKind::NotFound, format!("{}: {error}", path.display()))
        })?;
        made = made.add_rule(PathBeneath::new(place, access)).map_err(refused)?;
    }
    Ok(made.into())
}

type Rights = landlock::BitFlags<AccessFs>;

/// Every path with what may be done beneath it.
fn allowed(binary: &Path, reach: &Reach) -> Vec<(PathBuf, Rights)> {
    let (read, run) = (AccessFs::ReadFile | AccessFs::ReadDir, AccessFs::from_read(KNOWN));
    // A program outside of the usual places brings its libraries along beside its own directory.
    let prefix = binary.parent().and_then(Path::parent).filter(|prefix| prefix.parent().is_some());
    let programs = PROGRAMS.iter().map(Path::new).chain(prefix).filter(|path| path.exists());
    let devices = ["/dev/null", "/dev/zero"].map(|path| (path.into(), read | AccessFs::WriteFile));
    let programs = programs.map(|path| (path.to_owned(), run));
    let readable = reach.readable.iter().map(|path| (path.clone(), read));
    let write = AccessFs::from_all(KNOWN) & !(AccessFs::Execute | AccessFs::MakeBlock | AccessFs::MakeChar);
    let writable = reach.writable.iter().map(|path| (path.clone(), write));
    let all = programs.chain(devices).chain(readable).chain(writable);
    all.map(|(path, access)| {
        let only_file = !path.is_dir();
        (path, if only_file { access & AccessFs::from_file(KNOWN) } else { access })
    })
    .collect()
}

fn refused(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(format!("the kernel refuses the fence around the child: {error}"))
}
