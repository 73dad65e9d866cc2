//! The files of a golden machine: memory, devices, disk, and last of all the page that says they are whole.

use super::{damaged, failed, milliseconds};
use crate::durable::{absent_is_fine, sync_directory, write_durably};
use crate::layout::{GOLDEN_DISK, Layout, MAKING};
use hostler_core::fail::fail_point;
use hostler_core::ids::GoldenId;
use hostler_core::ports::{DriverError, GoldenFacts};
use rustix::fs::SeekFrom;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::Path;
use std::time::Instant;

pub(super) const MEMORY: &str = "memory";
pub(super) const STATE: &str = "state";
const PAGE: &str = "json";
/// Memory is looked at in pieces of this size; pieces of zeros are left out.
const PIECE: usize = 64 << 10;
const MIB: u64 = 1 << 20;
/// The page is a few hundred bytes.
const PAGE_MOST: u64 = 64 << 10;

/// What is written down about a golden machine that was saved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Saved {
    /// What it is, for core.
    pub(super) facts: GoldenFacts,
    /// Size of its memory in bytes.
    pub(super) memory: u64,
    /// Whether it has a disk.
    pub(super) disk: bool,
}

impl Saved {
    /// The page, if all of the golden machine is there.
    pub(super) fn read(layout: &Layout, id: GoldenId) -> Option<Self> {
        let mut text = Vec::new();
        let page = File::open(layout.golden(id, PAGE)).ok()?;
        page.take(PAGE_MOST).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }
}

/// The file that the state of the devices is written to.
pub(super) fn state_file(layout: &Layout, id: GoldenId) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(making(layout, id, STATE))
}

/// Makes files of it, durably; the page comes last.
pub(super) fn save(
    layout: &Layout,
    id: GoldenId,
    memory: &impl AsFd,
    state: &File,
    mut facts: GoldenFacts,
    begun: Instant,
) -> Result<GoldenFacts, DriverError> {
    let failed = |error: io::Error| failed(&error);
    let size = rustix::fs::fstat(memory).map_err(|error| failed(error.into()))?.st_size.unsigned_abs();
    let mut digest = Sha256::new();
    let path = making(layout, id, MEMORY);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o400).open(&path);
    let file = file.map_err(failed)?;
    file.set_len(size).map_err(failed)?;
    each_piece(memory, size, &mut digest, |at, piece| file.write_all_at(piece, at)).map_err(failed)?;
    file.sync_all().and_then(|()| state.sync_all()).map_err(failed)?;
    fail_point("golden.written");
    let disk = layout.golden(id, GOLDEN_DISK);
    facts.memory_bytes = file.metadata().map_err(failed)?.blocks() * 512;
    let reader = File::open(making(layout, id, STATE)).map_err(failed)?;
    facts.state_bytes = reader.metadata().map_err(failed)?.len();
    add(&mut digest, reader).map_err(failed)?;
    let has_disk = disk.is_file();
    if has_disk {
        let reader = File::open(&disk).map_err(failed)?;
        reader.sync_all().map_err(failed)?;
        facts.disk_bytes = reader.metadata().map_err(failed)?.blocks() * 512;
        add(&mut digest, reader).map_err(failed)?;
        std::fs::set_permissions(&disk, Permissions::from_mode(0o400)).map_err(failed)?;
    }
    for what in [MEMORY, STATE] {
        std::fs::rename(making(layout, id, what), layout.golden(id, what)).map_err(failed)?;
    }
    sync_directory(&layout.goldens()).map_err(failed)?;
    fail_point("golden.named");
    facts.digest = hex::encode(digest.finalize());
    facts.save_ms = milliseconds(begun);
    let saved = Saved { facts, memory: size, disk: has_disk };
    let page = serde_json::to_vec_pretty(&saved).map_err(|error| DriverError::internal(error.to_string()))?;
    write_durably(&layout.golden(id, PAGE), &making(layout, id, PAGE), &page).map_err(failed)?;
    Ok(saved.facts)
}

/// Reads memory and state into these places and checks all against the digest.
pub(super) fn load(
    layout: &Layout,
    id: GoldenId,
    saved: &Saved,
    memory: &File,
    state: &mut File,
) -> Result<(), DriverError> {
    let failed = |error: io::Error| failed(&error);
    let mut digest = Sha256::new();
    let file = File::open(layout.golden(id, MEMORY)).map_err(failed)?;
    if file.metadata().map_err(failed)?.len() != saved.memory {
        return Err(damaged("its memory has another size"));
    }
    each_piece(&file, saved.memory, &mut digest, |at, piece| memory.write_all_at(piece, at))
        .map_err(failed)?;
    let mut bytes = Vec::new();
    let reader = File::open(layout.golden(id, STATE)).map_err(failed)?;
    reader.take(saved.facts.state_bytes + 1).read_to_end(&mut bytes).map_err(failed)?;
    digest.update(&bytes);
    io::Write::write_all(state, &bytes).map_err(failed)?;
    if saved.disk {
        add(&mut digest, File::open(layout.golden(id, GOLDEN_DISK)).map_err(failed)?).map_err(failed)?;
    }
    if hex::encode(digest.finalize()) != saved.facts.digest {
        return Err(damaged("its files are not what was saved"));
    }
    Ok(())
}

/// Removes every file of it; the page first, so that nobody takes the rest for whole.
pub(super) fn remove(layout: &Layout, id: GoldenId) -> io::Result<()> {
    absent_is_fine(std::fs::remove_file(layout.golden(id, PAGE)))?;
    for what in [MEMORY, STATE, GOLDEN_DISK] {
        absent_is_fine(std::fs::remove_file(layout.golden(id, what)))?;
        absent_is_fine(std::fs::remove_file(making(layout, id, what)))?;
    }
    absent_is_fine(sync_directory(&layout.goldens()))
}

fn making(layout: &Layout, id: GoldenId, what: &str) -> std::path::PathBuf {
    layout.goldens().join(format!("{MAKING}{id}.{what}"))
}

/// Every piece of memory that is not zero, in order; its place and bytes go into the digest.
fn each_piece(
    memory: &impl AsFd,
    size: u64,
    digest: &mut Sha256,
    mut take: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut buffer = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        // What was never written is skipped without looking.
        match rustix::fs::seek(memory, SeekFrom::Data(at)) {
            Ok(data) => at = data / PIECE as u64 * PIECE as u64,
            Err(rustix::io::Errno::NXIO) => break,
            Err(error) => return Err(error.into()),
        }
        let wanted = usize::try_from((size - at).min(PIECE as u64)).unwrap_or(PIECE);
        let piece = &mut buffer[..wanted];
        read_at(memory, piece, at)?;
        if piece.iter().any(|byte| *byte != 0) {
            digest.update(at.to_le_bytes());
            digest.update(&*piece);
            take(at, piece)?;
        }
        at += wanted as u64;
    }
    Ok(())
}

fn read_at(from: &impl AsFd, mut piece: &mut [u8], mut at: u64) -> io::Result<()> {
    while !piece.is_empty() {
        let read = rustix::io::pread(from, &mut *piece, at)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += read as u64;
        piece = &mut piece[read..];
    }
    Ok(())
}

fn add(digest: &mut Sha256, mut from: File) -> io::Result<()> {
    let mut buffer = vec![0; MIB as usize];
    loop {
        match from.read(&mut buffer)? {
            0 => return Ok(()),
            read => digest.update(&buffer[..read]),
        }
    }
}

/// What tells whether files were changed since: number, size and times of each.
pub(super) fn stamp(layout: &Layout, id: GoldenId, disk: bool) -> io::Result<Vec<[i64; 4]>> {
    let of = |path: &Path| {
        let found = path.symlink_metadata()?;
        let number = |value: u64| i64::from_ne_bytes(value.to_ne_bytes());
        Ok([number(found.ino()), number(found.size()), found.ctime(), found.ctime_nsec()])
    };
    let with_disk: &[&str] = &[MEMORY, STATE, GOLDEN_DISK];
    with_disk[..if disk { 3 } else { 2 }].iter().map(|what| of(&layout.golden(id, what))).collect()
}
