//! A user of its own for each machine, where we are root.
//!
//! The numbers come from a configured range that nothing else on the host uses. The owner of `machines/<uuid>/` is the
//! record of who has which: nothing else remembers it, and it goes with the directory. All machines share one group,
//! the range's first number, which opens what they share and no more: directories on the way may be entered but not
//! listed, images and media may be read. Everything else of the data directory stays ours alone.

use crate::directory::{Directory, PRIVATE_DIRECTORY};
use crate::durable::make_private_directory;
use crate::layout::Layout;
use crate::spawn::User;
use hostler_core::ids::{MachineId, VolumeId};
use hostler_core::ports::DiskSpec;
use hostler_core::templates::ImageFormat;
use rustix::thread::CapabilitySet;
use std::collections::BTreeSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// User and group ids below are of people, services and the system.
const LOWEST: u32 = 1 << 16;
/// The last two mean "nobody in particular" to system calls.
const HIGHEST: u32 = u32::MAX - 2;

/// User ids for machines, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UidRange {
    first: u32,
    last: u32,
}

impl UidRange {
    /// Beyond what people, services, containers and subordinate users are given on Linux.
    pub const USUAL: Self = Self { first: 1_900_000_000, last: 1_900_065_535 };

    /// From text like `1900000000-1900065535`.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        let ends = text.split_once('-').and_then(|(first, last)| {
            Some((first.trim().parse::<u32>().ok()?, last.trim().parse::<u32>().ok()?))
        });
        let Some((first, last)) = ends else {
            return Err(format!("`{text}` is no range of user ids: write FIRST-LAST"));
        };
        if first > last {
            return Err(format!("`{text}` ends before it begins"));
        }
        if first < LOWEST || last > HIGHEST {
            return Err(format!(
                "`{text}` has numbers outside of {LOWEST}-{HIGHEST}, which belong to people and the system"
            ));
        }
        Ok(Self { first, last })
    }

    /// The text that [`Self::parse`] reads.
    pub fn text(self) -> String {
        format!("{}-{}", self.first, self.last)
    }

    /// Whether it has this user.
    pub fn contains(self, uid: u32) -> bool {
        (self.first..=self.last).contains(&uid)
    }

    /// The first name in lines of `/etc/passwd` or `/etc/group` whose number is in the range.
    pub fn taken_by(self, lines: &str) -> Option<String> {
        lines.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            self.contains(fields.nth(1)?.parse().ok()?).then(|| name.to_owned())
        })
    }

    fn len(self) -> u32 {
        self.last - self.first + 1
    }

    /// The numbers, beginning somewhere that depends on the machine: two servers that share a range by mistake
    /// seldom meet.
    fn beginning_at_place_of(self, id: MachineId) -> impl Iterator<Item = u32> {
        let (_, low) = id.0.as_u64_pair();
        let start = u32::try_from(low % u64::from(self.len())).unwrap_or_default();
        (0..self.len()).map(move |step| {
            let place = (u64::from(start) + u64::from(step)) % u64::from(self.len());
            self.first + u32::try_from(place).unwrap_or_default()
        })
    }
}

/// Who machines run as.
#[derive(Debug)]
pub(crate) struct Isolation {
    range: Option<UidRange>,
    problem: Option<String>,
    /// Two machines that start at once do not find the same number free.
    assigning: Mutex<()>,
}

impl Isolation {
    /// Looks at what this process may do. Without a range, or without the rights, machines run as we do.
    pub(crate) fn new(wanted: Option<UidRange>) -> Self {
        let problem = match wanted {
            None => Some("no range of user ids is given".to_owned()),
            Some(range) => obstacle(range),
        };
        let problem = problem.map(|why| {
            format!("QEMU runs under this server's own user, so all machines of this host are one trust domain: {why}.")
        });
        Self { range: wanted.filter(|_| problem.is_none()), problem, assigning: Mutex::default() }
    }

    /// Why machines have no users of their own; none when they have.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// Whom this machine's process runs as, with everything it needs given to it; none: as we do. `kvm`: whether it
    /// needs the kernel's device. To be called in the machine's turn while it is off.
    pub(crate) fn settle(
        &self,
        layout: &Layout,
        id: MachineId,
        disks: &[DiskSpec],
        kvm: bool,
    ) -> io::Result<Option<User>> {
        make_private_directory(&layout.machines())?;
        let machines = Directory::open(&layout.machines())?;
        let Some(range) = self.range else {
            machines.make_directory(&id.to_string(), PRIVATE_DIRECTORY)?;
            return Ok(None);
        };
        let uid = self.assign(range, layout, &machines, id)?;
        open_ways(layout, range.first)?;
        for disk in disks {
            give_volume(layout, disk, uid, range.first)?;
        }
        let groups = if kvm { kvm_group() } else { None };
        Ok(Some(User { uid, gid: range.first, groups: groups.into_iter().collect() }))
    }

    /// The machine's number: the one it has, else a free one.
    fn assign(
        &self,
        range: UidRange,
        layout: &Layout,
        machines: &Directory,
        id: MachineId,
    ) -> io::Result<u32> {
        let _assigning = self.assigning.lock().unwrap_or_else(PoisonError::into_inner);
        let name = id.to_string();
        let home = machines.make_directory(&name, PRIVATE_DIRECTORY)?;
        let owner = machines.metadata(&name)?.uid();
        if range.contains(owner) {
            return Ok(owner);
        }
        let mut taken = BTreeSet::new();
        for homes in [layout.machines(), layout.goldens()] {
            let Ok(homes) = Directory::open(&homes) else { continue };
            for other in homes.names()? {
                // One that was removed meanwhile has no number any more.
                taken.extend(homes.metadata(&other).map(|found| found.uid()));
            }
        }
        taken.extend(users_of_processes()?);
        let free = range.beginning_at_place_of(id).find(|uid| !taken.contains(uid));
        let uid = free.ok_or_else(|| {
            io::Error::new(io::ErrorKind::QuotaExceeded, "every user id of [isolation] uids is taken")
        })?;
        // What a former life of the machine left, and QEMU goes on with.
        for left in home.names()? {
            if left.to_str().is_some_and(|left| left.ends_with(".log")) {
                home.give(&left.to_string_lossy(), Some(uid), Some(range.first))?;
            }
        }
        // The directory last: it is the record.
        machines.give(&name, Some(uid), Some(range.first))?;
        machines.sync()?;
        Ok(uid)
    }

    /// Gives a volume to a machine that runs, if that has a user of its own.
    pub(crate) fn lend(&self, layout: &Layout, id: MachineId, disk: &DiskSpec) -> io::Result<()> {
        let Some(range) = self.range else { return Ok(()) };
        let owner = Directory::open(&layout.machines())?.metadata(id.to_string())?.uid();
        if range.contains(owner) { give_volume(layout, disk, owner, range.first) } else { Ok(()) }
    }

    /// Lets all machines read what has come to images and media since they were started.
    pub(crate) fn share(&self, layout: &Layout) -> io::Result<()> {
        self.range.map_or(Ok(()), |range| open_ways(layout, range.first))
    }

    /// Lets all machines read this file, which lies in a directory that they may pass.
    pub(crate) fn share_file(&self, layout: &Layout, path: &Path) -> io::Result<()> {
        let Some(range) = self.range else { return Ok(()) };
        share(&layout.goldens(), range.first, 0o010)?;
        share(path, range.first, 0o040)
    }

    /// Takes a volume back from the machine that had it.
    pub(crate) fn recall(&self, layout: &Layout, volume: VolumeId) -> io::Result<()> {
        if self.range.is_none() {
            return Ok(());
        }
        let volumes = Directory::open(&layout.volumes())?;
        for format in [ImageFormat::Qcow2, ImageFormat::Raw] {
            let path = layout.volume(volume, format);
            if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                take_back(&volumes, name)?;
            }
        }
        Ok(())
    }

    /// Takes back every volume that a machine still owns. To be called before its directory goes.
    pub(crate) fn reclaim(&self, layout: &Layout, id: MachineId) -> io::Result<()> {
        let Some(range) = self.range else { return Ok(()) };
        let owner = match layout.machine(id).symlink_metadata() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?.uid(),
        };
        if !range.contains(owner) {
            return Ok(());
        }
        let volumes = match Directory::open(&layout.volumes()) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        };
        for name in volumes.names()? {
            let Some(name) = name.to_str() else { continue };
            if volumes.metadata(name).is_ok_and(|found| found.uid() == owner) {
                take_back(&volumes, name)?;
            }
        }
        Ok(())
    }
}

/// Gives a volume to a machine's user. Nothing happens when it is not there; QEMU has the better words for that.
fn give_volume(layout: &Layout, disk: &DiskSpec, uid: u32, gid: u32) -> io::Result<()> {
    let path = layout.volume(disk.volume, disk.format);
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(());
    };
    let given = Directory::open(directory).and_then(|volumes| volumes.give(name, Some(uid), Some(gid)));
    crate::durable::absent_is_fine(given)
}

fn take_back(volumes: &Directory, name: &str) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    crate::durable::absent_is_fine(volumes.give(name, Some(uid), Some(gid)))
}

/// Lets the group of all machines pass where it must, and read what is shared.
fn open_ways(layout: &Layout, gid: u32) -> io::Result<()> {
    for directory in [layout.root().to_owned(), layout.machines(), layout.volumes()] {
        share(&directory, gid, 0o010)?;
    }
    for shared in [layout.images(), layout.root().join("media")] {
        share(&shared, gid, 0o010)?;
        share_beneath(&shared, gid)?;
    }
    Ok(())
}

/// Finished images and media; what is being made begins with a dot.
fn share_beneath(shared: &Path, gid: u32) -> io::Result<()> {
    let directory = match Directory::open(shared) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for name in directory.names()?.iter().filter(|name| !name.as_encoded_bytes().starts_with(b".")) {
        let path = shared.join(name);
        let is_directory = directory.metadata(name).is_ok_and(|found| found.is_dir());
        if !is_directory {
            share(&path, gid, 0o040)?;
            continue;
        }
        share(&path, gid, 0o010)?;
        for file in Directory::open(&path)?.names()? {
            share(&path.join(file), gid, 0o040)?;
        }
    }
    Ok(())
}

/// Gives the group these rights, unless others have them already.
fn share(path: &Path, gid: u32, rights: u32) -> io::Result<()> {
    let found = match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    let (mode, for_others) = (found.mode() & 0o7777, rights >> 3);
    let is_shared = found.gid() == gid && mode & rights == rights;
    if found.is_symlink() || is_shared || mode & for_others == for_others {
        return Ok(());
    }
    if mode & 0o070 & !rights != 0 && found.gid() != gid && found.is_dir() {
        // A group that the administrator chose keeps its rights.
        return std::fs::set_permissions(path, Permissions::from_mode(mode | for_others));
    }
    std::os::unix::fs::chown(path, None, Some(gid))?;
    std::fs::set_permissions(path, Permissions::from_mode(mode & !0o070 | rights))
}

/// The group that may use KVM, where others may not.
fn kvm_group() -> Option<u32> {
    let device = std::fs::metadata("/dev/kvm").ok()?;
    (device.mode() & 0o006 != 0o006 && device.mode() & 0o060 == 0o060).then(|| device.gid())
}

/// Another server may use the same range: whoever lives has its number.
fn users_of_processes() -> io::Result<BTreeSet<u32>> {
    let mut users = BTreeSet::new();
    for entry in std::fs::read_dir("/proc")?.flatten() {
        if entry.file_name().as_encoded_bytes().iter().all(u8::is_ascii_digit) {
            users.extend(entry.metadata().map(|process| process.uid()));
        }
    }
    Ok(users)
}

/// What keeps us from using this range, if anything does.
fn obstacle(range: UidRange) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("this server is not root, and only root can give each machine a user of its own".into());
    }
    let needed = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::KILL
        | CapabilitySet::SETUID
        | CapabilitySet::SETGID;
    match rustix::thread::capabilities(None) {
        Ok(ours) if ours.effective.contains(needed) => {}
        _ => {
            return Some(
                "this server is root without the rights to give files and processes to others".into(),
            );
        }
    }
    for map in ["/proc/self/uid_map", "/proc/self/gid_map"] {
        let lines = std::fs::read_to_string(map).unwrap_or_default();
        if !maps(&lines, range) {
            return Some(format!(
                "the container this server runs in has no users {}-{}",
                range.first, range.last
            ));
        }
    }
    None
}

/// Whether one line of a map (`inside outside count`) has the whole range.
fn maps(lines: &str, range: UidRange) -> bool {
    lines.lines().any(|line| {
        let mut fields = line.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(inside)), _, Some(Ok(count))) = (fields.next(), fields.next(), fields.next()) else {
            return false;
        };
        inside <= u64::from(range.first) && u64::from(range.last) < inside + count
    })
}

#[cfg(test)]
mod tests;
