//! The file `host` of a data directory: which host it is. Written before the host's record is made, so that a crash in
//! between makes no second host.

use super::data_dir::write_private;
use crate::failure::Failure;
use hostler_core::ids::{HostId, StorageId};
use hostler_core::ports::Ids;
use serde::{Deserialize, Serialize};
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct File {
    host: HostId,
    storage: StorageId,
    place: String,
}

/// Which host a data directory is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OwnHost {
    pub(super) host: HostId,
    pub(super) storage: StorageId,
    /// Whether this is the very directory that served it last, and not a copy, nor another boot of the computer. Its
    /// lock then tells that nobody else serves it.
    pub(super) same_place: bool,
}

/// Reads which host it is; decides it when that is not known yet. `before` is the host of a data directory from before
/// there was such a file.
pub(super) fn read(
    data_dir: &Path,
    before: Option<(HostId, StorageId)>,
    ids: &dyn Ids,
) -> Result<OwnHost, Failure> {
    let path = data_dir.join("host");
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            let (host, storage) = before.unwrap_or_else(|| (HostId(ids.uuid()), StorageId(ids.uuid())));
            let own = OwnHost { host, storage, same_place: true };
            write(data_dir, &own)?;
            return Ok(own);
        }
        Err(error) => return Err(Failure::because(format!("cannot read {}", path.display()), &error)),
    };
    let file: File = serde_json::from_str(&text).map_err(|error| {
        Failure::because(format!("{} is damaged", path.display()), &error)
            .hint("it holds the ids of this host and its storage: restore it from a backup, or write them there again")
    })?;
    let place = place(data_dir);
    let same_place = place.is_some_and(|place| place == file.place);
    Ok(OwnHost { host: file.host, storage: file.storage, same_place })
}

/// Notes that this directory serves the host now.
pub(super) fn write(data_dir: &Path, own: &OwnHost) -> Result<(), Failure> {
    let file = File { host: own.host, storage: own.storage, place: place(data_dir).unwrap_or_default() };
    let text = serde_json::to_string(&file).map_err(|error| Failure::because("cannot write JSON", &error))?;
    write_private(&data_dir.join("host"), &format!("{text}\n"))
}

/// Names a directory on a computer since its last boot; no copy has the same.
fn place(data_dir: &Path) -> Option<String> {
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let meta = std::fs::metadata(data_dir).ok()?;
    Some(format!("{} {} {}", boot.trim(), meta.dev(), meta.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::SystemIds;

    #[test]
    fn a_directory_stays_the_same_host_and_a_copy_is_told() {
        let directory = tempfile::tempdir().unwrap();
        let own = read(directory.path(), None, &SystemIds).unwrap();
        assert_eq!(read(directory.path(), None, &SystemIds).unwrap(), own);
        let copy = tempfile::tempdir().unwrap();
        std::fs::copy(directory.path().join("host"), copy.path().join("host")).unwrap();
        let copied = read(copy.path(), None, &SystemIds).unwrap();
        assert_eq!(copied, OwnHost { same_place: false, ..own });
        write(copy.path(), &copied).unwrap();
        assert!(read(copy.path(), None, &SystemIds).unwrap().same_place);
    }

    #[test]
    fn a_directory_from_before_keeps_its_host() {
        let directory = tempfile::tempdir().unwrap();
        let before = (HostId(SystemIds.uuid()), StorageId(SystemIds.uuid()));
        let own = read(directory.path(), Some(before), &SystemIds).unwrap();
        assert_eq!((own.host, own.storage), before);
    }

    #[test]
    fn a_damaged_file_is_not_taken_for_a_new_host() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("host"), "{").unwrap();
        assert!(read(directory.path(), None, &SystemIds).unwrap_err().text.ends_with("is damaged"));
    }
}
