//! VMware's format, as far as it is one file: `monolithicSparse` and `streamOptimized` ("Virtual Disk Format 5.0").
//!
//! Such a file carries a description in text, which QEMU reads, too: one that names a parent or further files would make
//! it open them.

use super::{Header, Image, SECTOR, refuse};
use hostler_core::ports::DriverError;
use std::io::{Read, Seek};

const MAGIC: &[u8] = b"KDMV";
/// Sectors that a description may take, and that QEMU looks through for a parent whatever the header says.
const DESCRIPTION_SECTORS: u64 = 20;
/// The directory's place when it is said at the end of the file.
const AT_END: u64 = u64::MAX;
const MOST_GRAIN: u64 = 0x20_0000;
const MOST_DIRECTORY: u64 = 4 << 20;

pub(super) fn virtual_size<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<u64, DriverError> {
    let head = image.piece(0, SECTOR as usize)?;
    if !head.starts_with(MAGIC) {
        return refuse("declared as vmdk, but the file does not begin like one");
    }
    let first = Geometry::read(&head)?;
    if first.description_at != 1 || !(1..=DESCRIPTION_SECTORS).contains(&first.description_sectors) {
        return refuse("the image's description is not where it belongs");
    }
    let text = image.piece(SECTOR, (DESCRIPTION_SECTORS * SECTOR) as usize)?;
    description(&text)?;
    if first.directory_at == AT_END {
        footer(image, &first)?;
    }
    // Without a size here, the description would say which files the disk consists of: no size is refused for all formats.
    first.capacity.checked_mul(SECTOR).map_or_else(|| refuse("the image's size is impossible"), Ok)
}

/// What the header says of sizes and places, in sectors.
#[derive(Debug)]
struct Geometry {
    capacity: u64,
    description_at: u64,
    description_sectors: u64,
    directory_at: u64,
}

impl Geometry {
    fn read(bytes: &[u8]) -> Result<Self, DriverError> {
        let header = Header(bytes);
        if !(1..=3).contains(&header.u32(4)?) {
            return refuse("only versions 1 to 3 of vmdk are known");
        }
        let (capacity, grain, entries) = (header.u64(12)?, header.u64(20)?, u64::from(header.u32(44)?));
        if !grain.is_power_of_two() || grain > MOST_GRAIN || !(1..=512).contains(&entries) {
            return refuse("the image has tables of an impossible size");
        }
        if capacity.div_ceil(grain * entries) > MOST_DIRECTORY {
            return refuse("the image's size is impossible");
        }
        Ok(Self {
            capacity,
            description_at: header.u64(28)?,
            description_sectors: header.u64(36)?,
            directory_at: header.u64(56)?,
        })
    }
}

/// A stream ends with a second header, which then counts: it must not say anything else.
fn footer<R: Read + Seek>(image: &mut Image<'_, R>, first: &Geometry) -> Result<(), DriverError> {
    let last = image.piece(image.length.saturating_sub(2 * SECTOR), SECTOR as usize)?;
    if !last.starts_with(MAGIC) {
        return refuse("the image is cut off: its end is missing");
    }
    let last = Geometry::read(&last)?;
    if last.capacity != first.capacity || last.description_at > 1 || last.directory_at == AT_END {
        return refuse("the image's end contradicts its beginning");
    }
    Ok(())
}

/// Lines of text: a type, no parent, and one extent, which is this very file.
fn description(bytes: &[u8]) -> Result<(), DriverError> {
    let lower = bytes.to_ascii_lowercase();
    if lower.windows(18).any(|piece| piece == b"parentfilenamehint") {
        return refuse("the image has a parent in another file");
    }
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else {
        return refuse("the image's description is not text");
    };
    let (mut kinds, mut extents) = (Vec::new(), Vec::new());
    for line in text.lines().map(str::trim) {
        match line.split_once('=') {
            Some((key, value)) if key.trim().eq_ignore_ascii_case("createType") => {
                kinds.push(value.trim().trim_matches('"').to_ascii_lowercase());
            }
            Some((key, value)) if key.trim().eq_ignore_ascii_case("parentCID") => {
                if !value.trim().eq_ignore_ascii_case("ffffffff") {
                    return refuse("the image has a parent in another file");
                }
            }
            _ => extents.extend(extent(line)),
        }
    }
    match kinds.as_slice() {
        [kind] if kind == "monolithicsparse" || kind == "streamoptimized" => {}
        [kind] => {
            let shown: String = kind.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
            return refuse(format!("vmdk images of type `{shown}` are not one file that holds the disk"));
        }
        _ => return refuse("the image's description does not say of which type it is"),
    }
    match extents.as_slice() {
        [Extent { sparse: true, plain: true }] => Ok(()),
        [Extent { sparse: true, .. }] => refuse("the image names a file elsewhere"),
        _ => refuse("the image consists of other files than itself"),
    }
}

struct Extent {
    sparse: bool,
    /// The file's name leads nowhere.
    plain: bool,
}

/// `RW 4192256 SPARSE "disk.vmdk"`.
fn extent(line: &str) -> Option<Extent> {
    let mut words = line.split_whitespace();
    let access = words.next()?;
    if !["RW", "RDONLY", "NOACCESS"].iter().any(|word| access.eq_ignore_ascii_case(word)) {
        return None;
    }
    let sparse = words.nth(1).is_some_and(|kind| kind.eq_ignore_ascii_case("SPARSE"));
    Some(Extent { sparse, plain: !line.contains(['/', '\\']) })
}
