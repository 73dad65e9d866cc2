//! Small files that outlive the process, as real machines and disks do.
//!
//! One JSON file per entry, named by its UUID, written under another name and renamed: after a kill -9 at any moment
//! a file is the old one or the new one, never half of one. Nothing is synced: the kernel outlives the process, and
//! simulated machines need not outlive the kernel. The writes go to the page cache and take microseconds, so they
//! are made in place instead of on another thread.

use hostler_core::ports::{DriverError, DriverErrorKind};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::fs;
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Where entries of one sort are kept, or nowhere.
#[derive(Debug)]
pub(super) struct Journal(Option<PathBuf>);

impl Journal {
    /// Keeps entries in this directory, which is made when missing.
    pub(super) fn open(directory: PathBuf) -> Result<Self, DriverError> {
        fs::create_dir_all(&directory).map_err(|cause| failed("make", &directory, &cause))?;
        Ok(Self(Some(directory)))
    }

    /// Keeps nothing.
    pub(super) fn nowhere() -> Self {
        Self(None)
    }

    /// Writes the entry in place of the one before. Never called twice at once for one key.
    pub(super) fn keep(&self, key: Uuid, entry: &impl Serialize) -> Result<(), DriverError> {
        let Some(directory) = &self.0 else { return Ok(()) };
        let text =
            serde_json::to_vec(entry).map_err(|cause| DriverError::internal(format!("no JSON: {cause}")))?;
        let unfinished = directory.join(format!("{key}.new"));
        fs::write(&unfinished, text).map_err(|cause| failed("write", &unfinished, &cause))?;
        fs::rename(&unfinished, directory.join(key.to_string()))
            .map_err(|cause| failed("rename", &unfinished, &cause))
    }

    /// Removes the entry. Success when it is not there.
    pub(super) fn forget(&self, key: Uuid) -> Result<(), DriverError> {
        let Some(directory) = &self.0 else { return Ok(()) };
        let path = directory.join(key.to_string());
        match fs::remove_file(&path) {
            Err(cause) if cause.kind() != ErrorKind::NotFound => Err(failed("remove", &path, &cause)),
            _ => Ok(()),
        }
    }

    /// Everything that was kept. What cannot be read is lost, as a machine with a broken disk is.
    pub(super) fn entries<T: DeserializeOwned>(&self) -> Result<Vec<T>, DriverError> {
        let Some(directory) = &self.0 else { return Ok(Vec::new()) };
        let listing = fs::read_dir(directory).map_err(|cause| failed("list", directory, &cause))?;
        let mut entries = Vec::new();
        for file in listing {
            let path = file.map_err(|cause| failed("list", directory, &cause))?.path();
            let whole =
                path.file_name().and_then(|name| name.to_str()).and_then(|name| name.parse::<Uuid>().ok());
            if whole.is_none() {
                continue;
            }
            let text = fs::read(&path).map_err(|cause| failed("read", &path, &cause))?;
            match serde_json::from_slice(&text) {
                Ok(entry) => entries.push(entry),
                Err(cause) => {
                    tracing::warn!(path = %path.display(), %cause, "a simulated thing cannot be read, it is lost");
                }
            }
        }
        Ok(entries)
    }
}

fn failed(verb: &str, path: &Path, cause: &Error) -> DriverError {
    let kind = match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => DriverErrorKind::Exhausted,
        _ => DriverErrorKind::Internal,
    };
    DriverError::new(kind, format!("cannot {verb} {}: {cause}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::Journal;
    use uuid::Uuid;

    #[test]
    fn finds_whole_entries_again_and_nothing_else() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        let journal = Journal::open(folder.path().join("a/b"))?;
        let (one, two) = (Uuid::from_u128(1), Uuid::from_u128(2));
        journal.keep(one, &1)?;
        journal.keep(one, &11)?;
        journal.keep(two, &2)?;
        std::fs::write(folder.path().join("a/b").join(format!("{}.new", Uuid::from_u128(3))), "3")?;
        std::fs::write(folder.path().join("a/b").join(Uuid::from_u128(4).to_string()), "{")?;
        journal.forget(two)?;
        journal.forget(two)?;
        assert_eq!(Journal::open(folder.path().join("a/b"))?.entries::<u32>()?, [11]);
        Ok(())
    }

    #[test]
    fn nowhere_keeps_nothing() -> anyhow::Result<()> {
        let journal = Journal::nowhere();
        journal.keep(Uuid::nil(), &1)?;
        assert!(journal.entries::<u32>()?.is_empty());
        Ok(())
    }
}
