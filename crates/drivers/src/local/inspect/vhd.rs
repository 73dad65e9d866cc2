//! Hyper-V's former format ("Virtual Hard Disk Image Format Specification"): fixed, a raw disk with a footer, or dynamic.

use super::{Header, Image, SECTOR, refuse};
use hostler_core::ports::DriverError;
use std::io::{Read, Seek};

const MAGIC: &[u8] = b"conectix";
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;
const MOST_GEOMETRY: u64 = 65_535 * 16 * 255;

/// A fixed disk shows only at its end.
pub(super) fn ends_like_one<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<bool, DriverError> {
    Ok(last_sector(image)?.starts_with(MAGIC))
}

fn last_sector<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<Vec<u8>, DriverError> {
    image.piece(image.length.saturating_sub(SECTOR), SECTOR as usize)
}

pub(super) fn virtual_size<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<u64, DriverError> {
    let mut footer = image.piece(0, SECTOR as usize)?;
    let dynamic = footer.starts_with(MAGIC);
    if !dynamic {
        footer = last_sector(image)?;
    }
    if !footer.starts_with(MAGIC) {
        return refuse("declared as vhd, but the file neither begins nor ends like one");
    }
    // A growing disk has two headers, of three sectors, before its data and the first of them once more at its end.
    let whole = !dynamic || image.holds(0, 4 * SECTOR) && ends_like_one(image)?;
    if footer.len() as u64 != SECTOR || !whole {
        return refuse("the image is cut off: its end is missing");
    }
    let header = Header(&footer);
    match header.big_u32(60)? {
        FIXED if !dynamic => {}
        DYNAMIC if dynamic => {}
        DIFFERENCING => return refuse("the image has a parent in another file"),
        _ => return refuse("the image's header makes no sense"),
    }
    // Readers differ in which of the two they believe, but for the largest geometry, which says nothing.
    let [cylinders_high, cylinders_low, heads, sectors] = header.bytes(56)?;
    let cylinders = u64::from(u16::from_be_bytes([cylinders_high, cylinders_low]));
    let geometry = cylinders * u64::from(heads) * u64::from(sectors);
    let size = header.big_u64(48)?;
    Ok(if geometry == MOST_GEOMETRY { size } else { size.max(geometry * SECTOR) })
}
