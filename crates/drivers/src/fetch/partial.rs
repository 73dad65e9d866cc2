//! What was fetched so far: a file, and beside it a note of where it comes from and how much of it can be relied on.

use crate::durable::{absent_is_fine, create_private, io_failed, make_private_directory, write_durably};
use hostler_core::ports::DriverError;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// Where a file is fetched to. Survives the process.
#[derive(Debug)]
pub(crate) struct Partial {
    path: PathBuf,
    source: String,
    note: Note,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// SHA-256 of the address, which may hold a secret.
    source: String,
    /// What the server calls this version of the file: its ETag or date.
    validator: Option<String>,
    /// Bytes that are on disk.
    kept: u64,
    /// Whether that is all of it.
    whole: bool,
}

impl Partial {
    /// What an earlier try left, if it was of the same address; else nothing yet.
    pub(crate) fn open(path: &Path, url: &str) -> Result<Self, DriverError> {
        let source = hex::encode(Sha256::digest(url));
        let known = std::fs::read(note_path(path)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let length = path.symlink_metadata().map_or(0, |about| if about.is_file() { about.len() } else { 0 });
        let note = known.filter(|note: &Note| note.source == source && note.kept <= length);
        let note = note.unwrap_or_else(|| Note { source: source.clone(), ..Note::default() });
        Ok(Self { path: path.to_owned(), source, note })
    }

    /// Where to go on, and which version that must be of.
    pub(super) fn resumes_at(&self) -> Option<(u64, &str)> {
        self.note
            .validator
            .as_deref()
            .filter(|_| self.note.kept > 0)
            .map(|validator| (self.note.kept, validator))
    }

    pub(super) fn is_whole(&self) -> bool {
        self.note.whole
    }

    pub(super) fn kept(&self) -> u64 {
        self.note.kept
    }

    /// Begins anew with another version of the file.
    pub(super) fn begin(&mut self, validator: Option<String>) -> Result<(), DriverError> {
        self.note = Note { source: self.source.clone(), validator, ..Note::default() };
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        make_private_directory(directory)
            .and_then(|()| absent_is_fine(std::fs::remove_file(&self.path)))
            .and_then(|()| create_private(&self.path).map(drop))
            .map_err(|error| cannot_keep(&error))?;
        self.write_note()
    }

    /// A descriptor to write by. What lies behind the last note is not relied on.
    pub(super) fn writer(&self) -> Result<File, DriverError> {
        let file = OpenOptions::new().write(true).open(&self.path).map_err(|error| cannot_keep(&error))?;
        file.set_len(self.note.kept).map_err(|error| cannot_keep(&error))?;
        Ok(file)
    }

    /// Notes that the file is on disk up to here.
    pub(super) fn keep(&mut self, file: &File, bytes: u64, whole: bool) -> Result<(), DriverError> {
        file.sync_data().map_err(|error| cannot_keep(&error))?;
        (self.note.kept, self.note.whole) = (bytes, whole);
        self.write_note()
    }

    fn write_note(&self) -> Result<(), DriverError> {
        let bytes =
            serde_json::to_vec(&self.note).map_err(|error| DriverError::internal(error.to_string()))?;
        let temporary = beside(&self.path, ".note");
        write_durably(&note_path(&self.path), &temporary, &bytes).map_err(|error| cannot_keep(&error))
    }

    /// The whole file, to be read.
    pub(super) fn read(&self) -> Result<File, DriverError> {
        crate::local::inspect::open_regular(&self.path)
    }
}

/// Writes at a place of the file; for the blocking pool.
pub(super) fn write_at(file: &File, bytes: &[u8], at: u64) -> Result<(), DriverError> {
    file.write_all_at(bytes, at).map_err(|error| cannot_keep(&error))
}

/// Removes what was fetched. Success when there is nothing.
pub(crate) fn forget(path: &Path) -> io::Result<()> {
    for path in [path.to_owned(), note_path(path), beside(path, ".note")] {
        absent_is_fine(std::fs::remove_file(path))?;
    }
    Ok(())
}

fn note_path(path: &Path) -> PathBuf {
    beside(path, ".json")
}

fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

fn cannot_keep(error: &io::Error) -> DriverError {
    io_failed("cannot keep what was fetched", error)
}
