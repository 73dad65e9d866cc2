//! Takes the kernel out of its compressed image.
//!
//! Debian's `vmlinuz` holds an ELF kernel packed by LZ4 in its old framing. An emulated CPU takes longer to unpack it
//! than to boot it, and QEMU starts an ELF kernel with a PVH note directly.

use super::elf;

/// Magic number of LZ4's old framing.
const LZ4_OLD: u32 = 0x184C_2102;
/// Uncompressed size of each of its blocks but the last.
const BLOCK: usize = 8 << 20;
/// No kernel is larger.
const LIMIT: usize = 512 << 20;

/// The unpacked kernel if that boots directly, or else the image as it was.
pub(crate) fn bootable(image: Vec<u8>) -> Vec<u8> {
    match unpack(&image).filter(|kernel| elf::has_pvh_entry(kernel)) {
        Some(kernel) => kernel,
        None => {
            tracing::warn!("the kernel's image cannot be unpacked here; machines will do it at each boot");
            image
        }
    }
}

/// The payload of an image, per the kernel's boot protocol (2.08 or later).
fn unpack(image: &[u8]) -> Option<Vec<u8>> {
    if image.get(0x202..0x206)? != b"HdrS" {
        return None;
    }
    // Zero stands for four, for the sake of very old boot loaders.
    let setup_sectors = match *image.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let start = (setup_sectors + 1) * 512 + word(image, 0x248)?;
    let payload = image.get(start..)?.get(..word(image, 0x24c)?)?;
    // The uncompressed size stands behind the compressed bytes.
    let (packed, size) = payload.split_last_chunk::<4>()?;
    let size = usize::try_from(u32::from_le_bytes(*size)).ok().filter(|&size| size <= LIMIT)?;
    unpack_lz4(packed, size)
}

fn unpack_lz4(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    if word(packed, 0)? != LZ4_OLD as usize {
        return None;
    }
    let mut kernel = vec![0; size];
    let (mut from, mut to) = (4, 0);
    while to < size {
        let length = word(packed, from)?;
        let block = packed.get(from + 4..)?.get(..length)?;
        let room = size.min(to + BLOCK);
        to += lz4_flex::block::decompress_into(block, &mut kernel[to..room]).ok()?;
        from += 4 + length;
    }
    Some(kernel)
}

fn word(bytes: &[u8], at: usize) -> Option<usize> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

#[cfg(test)]
mod tests {
    use super::{BLOCK, LZ4_OLD, bootable, unpack};
    use proptest::prelude::*;

    /// An image around these bytes, as the kernel's build makes it.
    fn image(kernel: &[u8]) -> Vec<u8> {
        let mut payload = LZ4_OLD.to_le_bytes().to_vec();
        for block in kernel.chunks(BLOCK) {
            let packed = lz4_flex::block::compress(block);
            payload.extend((packed.len() as u32).to_le_bytes());
            payload.extend(packed);
        }
        payload.extend((kernel.len() as u32).to_le_bytes());
        let mut image = vec![0; 5 * 512];
        image[0x202..0x206].copy_from_slice(b"HdrS");
        image[0x24c..0x250].copy_from_slice(&(payload.len() as u32).to_le_bytes());
        image.extend(payload);
        image
    }

    #[test]
    fn a_kernel_of_several_blocks_is_unpacked() {
        let kernel: Vec<u8> = (0..BLOCK + 1000).map(|at| (at / 7) as u8).collect();
        assert!(unpack(&image(&kernel)).is_some_and(|unpacked| unpacked == kernel));
    }

    #[test]
    fn what_is_no_kernel_stays_as_it_was() {
        for other in [vec![], b"MZ".to_vec(), image(b"no ELF file")] {
            assert_eq!(bootable(other.clone()), other);
        }
    }

    proptest! {
        #[test]
        fn no_image_makes_it_panic(at in 0x1f0usize..2700, byte: u8, cut in 0usize..2700) {
            let mut image = image(&[7; 100]);
            if let Some(place) = image.get_mut(at) {
                *place = byte;
            }
            let _ = unpack(&image);
            let _ = unpack(&image[..cut.min(image.len())]);
        }
    }
}
