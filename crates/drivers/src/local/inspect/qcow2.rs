//! qcow2, versions 2 and 3 (QEMU's `docs/interop/qcow2.txt`).

use super::{Header, Image, MIB, refuse};
use hostler_core::ports::DriverError;
use std::io::{Read, Seek};

/// All of a header's extensions lie in the first cluster.
const HEAD: usize = 64 << 10;
const MAGIC: &[u8] = b"QFI\xfb";
/// Incompatible features that we know. Harmless are: not closed properly, compression type, extended L2 entries.
const DIRTY: u64 = 1 << 0;
pub(super) const CORRUPT: u64 = 1 << 1;
pub(super) const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
pub(super) const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_CRYPTO: u32 = 0x0537_be77;
pub(super) const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;
/// QEMU's own bounds of the tables that it reads into memory.
const MOST_L1_BYTES: u64 = 32 * MIB;
const MOST_REFCOUNT_BYTES: u64 = 8 * MIB;
const MOST_SNAPSHOTS: u32 = 65_536;

pub(super) fn virtual_size<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<u64, DriverError> {
    let head = image.piece(0, HEAD)?;
    if !head.starts_with(MAGIC) {
        return refuse("declared as qcow2, but the file does not begin like one");
    }
    let header = Header(&head);
    let version = header.big_u32(4)?;
    if version != 2 && version != 3 {
        return refuse("only versions 2 and 3 of qcow2 are known");
    }
    if header.big_u64(8)? != 0 || header.big_u32(16)? != 0 {
        return refuse("the image has a backing file");
    }
    let cluster_bits = header.big_u32(20)?;
    if !(9..=21).contains(&cluster_bits) {
        return refuse("the image has clusters of an impossible size");
    }
    if header.big_u32(32)? != 0 {
        return refuse("the image is encrypted");
    }
    let (mut header_length, mut incompatible) = (72, 0);
    if version == 3 {
        incompatible = header.big_u64(72)?;
        features(incompatible)?;
        if header.big_u32(96)? > 6 {
            return refuse("the image has reference counts of an impossible size");
        }
        header_length = header.big_u32(100)? as usize;
        if header_length < 104 || !header_length.is_multiple_of(8) {
            return refuse("the image's header has an impossible length");
        }
    }
    extensions(&header, header_length)?;
    let Some(size) = header.big_u64(24)?.checked_next_multiple_of(512) else {
        return refuse("the image's size is impossible");
    };
    tables(image, &header, 1 << cluster_bits, incompatible, size)?;
    Ok(size)
}

fn features(incompatible: u64) -> Result<(), DriverError> {
    if incompatible & DATA_FILE != 0 {
        return refuse("the image keeps its data in another file");
    }
    if incompatible & CORRUPT != 0 {
        return refuse("the image is marked as damaged");
    }
    if incompatible & !(DIRTY | COMPRESSION | EXTENDED_L2) != 0 {
        return refuse("the image needs features that we do not know");
    }
    Ok(())
}

/// Walks the extensions up to their end. Unknown ones are allowed: that is what they are for.
fn extensions(header: &Header<'_>, mut at: usize) -> Result<(), DriverError> {
    loop {
        let (kind, length) = (header.big_u32(at)?, header.big_u32(at.saturating_add(4))? as usize);
        match kind {
            0 => return Ok(()),
            EXTENSION_DATA_FILE => return refuse("the image keeps its data in another file"),
            EXTENSION_CRYPTO => return refuse("the image is encrypted"),
            EXTENSION_BACKING_FORMAT => return refuse("the image has a backing file"),
            _ => {}
        }
        let padded = length.checked_next_multiple_of(8);
        at = padded
            .and_then(|padded| at.checked_add(8)?.checked_add(padded))
            .ok_or_else(|| DriverError::refused("the image's header makes no sense"))?;
    }
}

/// The tables that a reader loads whole must lie in the file, and be as large as the disk needs and no larger than
/// QEMU takes.
fn tables<R: Read + Seek>(
    image: &Image<'_, R>,
    header: &Header<'_>,
    cluster: u64,
    incompatible: u64,
    size: u64,
) -> Result<(), DriverError> {
    let entry = if incompatible & EXTENDED_L2 != 0 { 16 } else { 8 };
    let (l1_entries, l1_at) = (u64::from(header.big_u32(36)?), header.big_u64(40)?);
    let needed = size.div_ceil(cluster / entry * cluster);
    let l1_bytes = l1_entries * 8;
    if l1_bytes > MOST_L1_BYTES || l1_entries < needed {
        return refuse("the image's first table does not fit its size");
    }
    let (refcounts_at, refcount_clusters) = (header.big_u64(48)?, header.big_u32(56)?);
    let refcount_bytes = u64::from(refcount_clusters) * cluster;
    if refcount_bytes > MOST_REFCOUNT_BYTES {
        return refuse("the image's table of reference counts is too large");
    }
    let (snapshots, snapshots_at) = (header.big_u32(60)?, header.big_u64(64)?);
    if snapshots > MOST_SNAPSHOTS {
        return refuse("the image has too many snapshots");
    }
    // Each has 40 bytes at least.
    let tables =
        [(l1_at, l1_bytes), (refcounts_at, refcount_bytes), (snapshots_at, u64::from(snapshots) * 40)];
    for (at, bytes) in tables.into_iter().filter(|(_, bytes)| *bytes > 0) {
        if at == 0 || !at.is_multiple_of(cluster) || !image.holds(at, bytes) {
            return refuse("a table of the image lies outside of it");
        }
    }
    Ok(())
}
