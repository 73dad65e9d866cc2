//! Writing a backup: at once or not at all.

use super::{End, FORMAT, File, Header, Last, Line};
use crate::failure::Failure;
use hostler_core::time::Timestamp;
use hostler_store::state::{Item, newest_schema};
use sha2::{Digest, Sha256};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// A backup that is being written, beside where it will be. Dropped before [`Writer::finish`] it leaves nothing.
#[derive(Debug)]
pub(crate) struct Writer {
    path: PathBuf,
    /// Readable by its owner only, as all of these are made.
    file: BufWriter<NamedTempFile>,
    digest: Sha256,
    lines: u64,
}

impl Writer {
    /// Begins with what it is and the files of the data directory.
    pub(crate) fn new(path: &Path, now: Timestamp, files: Vec<File>) -> Result<Self, Failure> {
        let directory =
            path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let file = tempfile::Builder::new().prefix(".hostler-backup-").tempfile_in(directory);
        let file = file.map_err(|error| failed(path, &error))?;
        let digest = Sha256::new();
        let mut writer = Self { path: path.to_owned(), file: BufWriter::new(file), digest, lines: 0 };
        writer.line(&Line::Header(Header {
            hostler_backup: FORMAT,
            schema: newest_schema(),
            program: env!("CARGO_PKG_VERSION").to_owned(),
            made_at: now.to_string(),
        }))?;
        for file in files {
            writer.line(&Line::File(file))?;
        }
        Ok(writer)
    }

    /// Adds an item.
    pub(crate) fn put(&mut self, item: Item) -> Result<(), Failure> {
        self.line(&Line::Item(Box::new(item)))
    }

    /// Makes it durable and gives it its name, in the place of an older one.
    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let sha256 = hex::encode(self.digest.clone().finalize());
        self.line(&Line::Last(Last { end: End { lines: self.lines, sha256 } }))?;
        let path = self.path;
        let write = || -> std::io::Result<()> {
            let file = self.file.into_inner().map_err(std::io::IntoInnerError::into_error)?;
            file.as_file().sync_all()?;
            let directory = file.path().parent().unwrap_or(Path::new(".")).to_owned();
            file.persist(&path)?;
            std::fs::File::open(directory)?.sync_all()
        };
        write().map_err(|error| failed(&path, &error))
    }

    fn line(&mut self, line: &Line) -> Result<(), Failure> {
        let mut text = serde_json::to_string(line).map_err(|error| failed(&self.path, &error))?;
        text.push('\n');
        self.digest.update(&text);
        self.lines += 1;
        self.file.write_all(text.as_bytes()).map_err(|error| failed(&self.path, &error))
    }
}

fn failed(path: &Path, error: &(dyn std::error::Error + 'static)) -> Failure {
    Failure::because(format!("cannot write {}", path.display()), error)
}
