//! Reading a backup. It is checked from the first to the last byte before anything is done with it, and again while
//! it is.

use super::{FILES, FORMAT, File, Header, Line};
use crate::failure::Failure;
use hostler_store::state::{Item, newest_schema};
use sha2::{Digest, Sha256};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

/// No record is larger; without a limit a file without ends of lines would fill the memory.
const LONGEST: u64 = 64 * 1024 * 1024;

/// What is known of a backup that is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) header: Header,
    pub(crate) files: Vec<File>,
    /// How many items are in it.
    pub(crate) items: u64,
    sha256: String,
}

/// Looks at all of it.
pub(crate) fn check(path: &Path) -> Result<Checked, Failure> {
    let mut lines = Lines::open(path)?;
    let Some(Line::Header(header)) = lines.next()? else {
        return Err(lines.refused("it is no backup of hostler"));
    };
    if header.hostler_backup != FORMAT || header.schema > newest_schema() {
        let newer = format!("hostler {} made it, which is newer than this one", header.program);
        return Err(lines.refused(&newer).hint("restore it with that version"));
    }
    let (mut files, mut items) = (Vec::new(), 0);
    loop {
        match lines.next()? {
            Some(Line::File(file)) if FILES.contains(&file.name.as_str()) => files.push(file),
            Some(Line::Item(_)) => items += 1,
            Some(Line::Last(_)) => break,
            Some(Line::Header(_) | Line::File(_)) => return Err(lines.damaged()),
            None => return Err(lines.refused("it is cut off: its end is missing")),
        }
    }
    Ok(Checked { header, files, items, sha256: lines.sha256 })
}

/// The items of a backup that was checked, one after the other.
pub(crate) fn items(
    path: &Path,
    checked: &Checked,
) -> Result<impl Iterator<Item = Result<Item, Failure>>, Failure> {
    let (mut lines, expected) = (Lines::open(path)?, checked.sha256.clone());
    Ok(std::iter::from_fn(move || {
        loop {
            match lines.next() {
                Ok(Some(Line::Item(item))) => return Some(Ok(*item)),
                Ok(Some(Line::Last(_))) if lines.sha256 == expected => return None,
                Ok(Some(Line::Last(_)) | None) => {
                    return Some(Err(lines.refused("it was changed meanwhile")));
                }
                Ok(Some(Line::Header(_) | Line::File(_))) => {}
                Err(failure) => return Some(Err(failure)),
            }
        }
    }))
}

struct Lines {
    path: PathBuf,
    file: BufReader<std::fs::File>,
    digest: Sha256,
    read: u64,
    /// Of all lines but the last, once that was read.
    sha256: String,
}

impl Lines {
    fn open(path: &Path) -> Result<Self, Failure> {
        let file = std::fs::File::open(path)
            .map_err(|error| Failure::because(format!("cannot read {}", path.display()), &error))?;
        let file = BufReader::with_capacity(256 * 1024, file);
        Ok(Self { path: path.to_owned(), file, digest: Sha256::new(), read: 0, sha256: String::new() })
    }

    /// The next line; none at the end of the file. The last one says whether those before are what was written.
    fn next(&mut self) -> Result<Option<Line>, Failure> {
        let mut bytes = Vec::new();
        let read = self.file.by_ref().take(LONGEST).read_until(b'\n', &mut bytes);
        read.map_err(|error| Failure::because(format!("cannot read {}", self.path.display()), &error))?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.last() != Some(&b'\n') && self.read > 0 {
            return Err(self.refused("it is cut off: its end is missing"));
        }
        let Ok(line) = serde_json::from_slice(&bytes) else {
            return Err(if self.read == 0 {
                self.refused("it is no backup of hostler")
            } else {
                self.damaged()
            });
        };
        if let Line::Last(last) = &line {
            self.sha256 = hex::encode(self.digest.clone().finalize());
            let more = self.file.fill_buf().is_ok_and(|more| !more.is_empty());
            if last.end.sha256 != self.sha256 || last.end.lines != self.read || more {
                return Err(self.refused("it is damaged: it is not what was written"));
            }
        }
        self.digest.update(&bytes);
        self.read += 1;
        Ok(Some(line))
    }

    fn damaged(&self) -> Failure {
        self.refused(&format!("it is damaged in line {}", self.read + 1))
    }

    fn refused(&self, why: &str) -> Failure {
        Failure::new(format!("{} cannot be restored", self.path.display())).cause(why)
    }
}
