//! Hyper-V's present format ("[MS-VHDX]"): the parts that say how large the disk is and whether it stands on another.

use super::{Header, Image, refuse};
use hostler_core::ports::DriverError;
use std::io::{Read, Seek};

const MAGIC: &[u8] = b"vhdxfile";
const REGIONS_AT: u64 = 192 << 10;
const TABLE: usize = 64 << 10;
const MOST_ENTRIES: usize = 2047;
const ENTRY: usize = 32;

const REGION_BLOCKS: u128 = 0x2DC2_7766_F623_4200_9D64_115E_9BFD_4A08;
const REGION_METADATA: u128 = 0x8B7C_A206_4790_4B9A_B8FE_575F_050F_886E;
const FILE_PARAMETERS: u128 = 0xCAA1_6737_FA36_4D43_B3B6_33F0_AA44_E76B;
const DISK_SIZE: u128 = 0x2FA5_4224_CD1B_4876_B211_5DBE_D83B_F4B8;
const DISK_ID: u128 = 0xBECA_12AB_B2E6_4523_93EF_C309_E000_C746;
const LOGICAL_SECTOR: u128 = 0x8141_BF1D_A96F_4709_BA47_F233_A8FA_AB5F;
const PHYSICAL_SECTOR: u128 = 0xCDA3_48C7_445D_4471_9CC9_E988_5251_C556;
const PARENT_LOCATOR: u128 = 0xA8D3_5F2D_B30B_454D_ABF7_D3D8_4834_AB0C;
const HAS_PARENT: u32 = 1 << 1;

pub(super) fn virtual_size<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<u64, DriverError> {
    if image.piece(0, MAGIC.len())? != MAGIC {
        return refuse("declared as vhdx, but the file does not begin like one");
    }
    let at = metadata_at(image)?;
    let table = image.piece(at, TABLE)?;
    if !table.starts_with(b"metadata") {
        return refuse("the image's header makes no sense");
    }
    let count = usize::from(Header(&table).u16(10)?);
    let (mut size, mut parameters) = (None, false);
    for entry in entries(&table, ENTRY, count)? {
        let item = at.saturating_add(u64::from(entry.u32(16)?));
        match guid(entry.bytes(0)?) {
            PARENT_LOCATOR => return refuse("the image has a parent in another file"),
            FILE_PARAMETERS => {
                if Header(&image.piece(item, 8)?).u32(4)? & HAS_PARENT != 0 {
                    return refuse("the image has a parent in another file");
                }
                parameters = true;
            }
            DISK_SIZE => size = Some(Header(&image.piece(item, 8)?).u64(0)?),
            DISK_ID | LOGICAL_SECTOR | PHYSICAL_SECTOR => {}
            _ => return refuse("the image needs features that we do not know"),
        }
    }
    match size {
        Some(size) if parameters => Ok(size),
        _ => refuse("the image does not say how large it is"),
    }
}

fn metadata_at<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<u64, DriverError> {
    let table = image.piece(REGIONS_AT, TABLE)?;
    if !table.starts_with(b"regi") {
        return refuse("the image's header makes no sense");
    }
    let count = Header(&table).u32(8)? as usize;
    let mut found = None;
    for entry in entries(&table, 16, count)? {
        match guid(entry.bytes(0)?) {
            REGION_METADATA => found = Some(entry.u64(16)?),
            REGION_BLOCKS => {}
            _ => return refuse("the image needs features that we do not know"),
        }
    }
    found.map_or_else(|| refuse("the image's header makes no sense"), Ok)
}

fn entries(table: &[u8], from: usize, count: usize) -> Result<Vec<Header<'_>>, DriverError> {
    let bytes = count.min(MOST_ENTRIES) * ENTRY;
    match table.get(from..from + bytes) {
        Some(found) if count <= MOST_ENTRIES => Ok(found.chunks_exact(ENTRY).map(Header).collect()),
        _ => refuse("the image's header is cut off"),
    }
}

/// The first three parts have their bytes turned around.
fn guid([a, b, c, d, e, f, g, h, rest @ ..]: [u8; 16]) -> u128 {
    let [i, j, k, l, m, n, o, p] = rest;
    u128::from_be_bytes([d, c, b, a, f, e, h, g, i, j, k, l, m, n, o, p])
}
