//! Writing qcow2 images ourselves.
//!
//! An image without data is a header and three small tables. Writing them takes a third of a millisecond where
//! `qemu-img create` takes twelve, and every machine needs one.
//!
//! Layout, in clusters of 64 KiB: header with extensions and the backing file's name; reference count table; one
//! reference count block; L1 table, all zero, which means "ask the backing file, or zeros".

use crate::durable::io_failed;
use hostler_core::ports::DriverError;
use hostler_core::templates::ImageFormat;
use std::fs::File;
use std::io::Read;

const CLUSTER_BITS: u32 = 16;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one L1 entry covers: an L2 table of 8192 clusters.
const L1_REACH: u64 = CLUSTER / 8 * CLUSTER;
const HEADER_LENGTH: u32 = 104;
const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;
/// QEMU's own bound.
const LONGEST_NAME: usize = 1023;
/// 64 TiB: keeps the L1 table within a MiB, and the counts of all tables within one block.
const LARGEST: u64 = 64 << 40;

/// The file that an overlay lies on.
#[derive(Clone, Debug)]
pub(super) struct Lower {
    /// Path, absolute or relative to the overlay.
    pub(super) path: String,
    /// Its format, written into the overlay so that nobody ever probes for it.
    pub(super) format: ImageFormat,
}

/// The bytes of an image without data. `size` is the virtual size in bytes, a multiple of 512.
pub(super) fn empty_image(size: u64, backing: Option<&Lower>) -> Result<Vec<u8>, DriverError> {
    if size == 0 || size > LARGEST || !size.is_multiple_of(512) {
        return Err(DriverError::refused(format!("a volume cannot have {size} bytes")));
    }
    let name = backing.map(|backing| backing.path.as_bytes()).unwrap_or_default();
    if name.len() > LONGEST_NAME {
        return Err(DriverError::refused("the path of the image is too long for an overlay"));
    }
    let l1_entries = size.div_ceil(L1_REACH);
    let l1_bytes = l1_entries * 8;
    let (table_at, block_at, l1_at) = (CLUSTER, 2 * CLUSTER, 3 * CLUSTER);
    let clusters = 3 + l1_bytes.div_ceil(CLUSTER);

    let mut extensions = Vec::new();
    if let Some(backing) = backing {
        extension(&mut extensions, EXTENSION_BACKING_FORMAT, backing.format.word().as_bytes());
    }
    extension(&mut extensions, 0, &[]);
    let name_at = u64::from(HEADER_LENGTH) + extensions.len() as u64;

    let mut image = Vec::new();
    image.extend(b"QFI\xfb");
    image.extend(3_u32.to_be_bytes());
    image.extend(if backing.is_some() { name_at } else { 0 }.to_be_bytes());
    image.extend(length_of(name).to_be_bytes());
    image.extend(CLUSTER_BITS.to_be_bytes());
    image.extend(size.to_be_bytes());
    image.extend(0_u32.to_be_bytes()); // not encrypted
    image.extend(u32::try_from(l1_entries).unwrap_or(u32::MAX).to_be_bytes());
    image.extend(l1_at.to_be_bytes());
    image.extend(table_at.to_be_bytes());
    image.extend(1_u32.to_be_bytes()); // clusters of the reference count table
    image.extend(0_u32.to_be_bytes()); // no snapshots
    image.extend(0_u64.to_be_bytes());
    image.extend([0; 24]); // features: incompatible, compatible, auto-clear
    image.extend(4_u32.to_be_bytes()); // reference counts of 16 bits
    image.extend(HEADER_LENGTH.to_be_bytes());
    image.extend(extensions);
    image.extend(name);

    image.resize(at(table_at), 0);
    image.extend(block_at.to_be_bytes());
    image.resize(at(block_at), 0);
    (0..clusters).for_each(|_| image.extend(1_u16.to_be_bytes()));
    image.resize(at(l1_at + l1_bytes), 0);
    Ok(image)
}

/// The virtual size of an image of ours, in bytes.
pub(super) fn virtual_bytes(file: &mut File) -> Result<u64, DriverError> {
    let mut head = [0; 32];
    file.read_exact(&mut head).map_err(|error| io_failed("cannot read the volume", &error))?;
    match head {
        [b'Q', b'F', b'I', 0xfb, .., a, b, c, d, e, f, g, h] => {
            Ok(u64::from_be_bytes([a, b, c, d, e, f, g, h]))
        }
        _ => Err(DriverError::refused("the volume is not a qcow2 image")),
    }
}

/// Kind, length, data padded to eight bytes.
fn extension(to: &mut Vec<u8>, kind: u32, data: &[u8]) {
    to.extend(kind.to_be_bytes());
    to.extend(length_of(data).to_be_bytes());
    to.extend(data);
    to.resize(to.len().next_multiple_of(8), 0);
}

/// Never cut: what is written here is bounded far below.
fn length_of(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

/// Never cut: offsets are at most a few MiB.
fn at(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::inspect::inspect;
    use crate::local::test_world::qemu_img;
    use crate::spawn::unconfined;
    use hostler_core::templates::SourceFormat;
    use std::io::Cursor;

    #[test]
    fn small_images_have_the_size_that_qemu_img_gives_them() {
        assert_eq!(empty_image(2 << 30, None).unwrap().len(), 196_640);
        assert!(empty_image(0, None).is_err());
        assert!(empty_image(1000, None).is_err());
        assert!(empty_image(!511, None).is_err());
    }

    #[test]
    fn qemu_img_finds_nothing_wrong_and_reads_the_backing_file() {
        let Some(qemu_img) = qemu_img() else { return };
        let directory = tempfile::tempdir().unwrap();
        let run = |arguments: &[&str]| {
            let output =
                unconfined(&qemu_img).args(arguments).current_dir(directory.path()).output().unwrap();
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success(), "{arguments:?}: {told}");
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        std::fs::write(directory.path().join("base.raw"), vec![7; 1 << 20]).unwrap();
        let backing = Lower { path: "base.raw".into(), format: ImageFormat::Raw };
        for size in [1 << 20, 10 << 30, 3 << 40, LARGEST] {
            for backing in [None, Some(&backing)] {
                let image = empty_image(size, backing).unwrap();
                std::fs::write(directory.path().join("v.qcow2"), image).unwrap();
                run(&["check", "-f", "qcow2", "v.qcow2"]);
                let info = run(&["info", "--output=json", "-f", "qcow2", "v.qcow2"]);
                let info: serde_json::Value = serde_json::from_str(&info).unwrap();
                assert_eq!(info["virtual-size"], size);
                assert_eq!(info["backing-filename-format"].as_str(), backing.map(|_| "raw"));
            }
        }
        std::fs::write(directory.path().join("v.qcow2"), empty_image(1 << 20, Some(&backing)).unwrap())
            .unwrap();
        run(&["compare", "-f", "qcow2", "-F", "raw", "v.qcow2", "base.raw"]);
    }

    #[test]
    fn our_own_inspector_reads_what_we_write() {
        let looked = |image: &[u8]| inspect(&mut Cursor::new(image), SourceFormat::Qcow2, 4096);
        let inspected = looked(&empty_image(1 << 30, None).unwrap()).unwrap();
        assert_eq!(inspected.virtual_bytes, 1 << 30);
        let backing = Lower { path: "/etc/passwd".into(), format: ImageFormat::Raw };
        let overlay = empty_image(1 << 30, Some(&backing)).unwrap();
        let error = looked(&overlay).unwrap_err();
        assert!(error.detail.contains("backing file"));
    }
}
