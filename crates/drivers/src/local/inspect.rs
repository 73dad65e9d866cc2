//! Looking at an image before any tool does.
//!
//! An image's header can name other files of the host: a backing file, an external data file, extents. Whoever opens
//! such an image for a tenant hands him those files. So images from outside are looked at here first, by code that
//! reads a few KiB and follows nothing, and everything is refused that a self-contained disk does not need.

use crate::durable::io_failed;
use hostler_core::ports::DriverError;
use hostler_core::templates::ImageFormat;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// As much of the file as is looked at. All of a qcow2 header's extensions lie in the first cluster.
const HEAD: u64 = 64 << 10;
const MIB: u64 = 1 << 20;
const QCOW_MAGIC: &[u8] = b"QFI\xfb";
/// Incompatible features that we know to be harmless: dirty, corrupt is not, extended L2 entries, compression type.
const DIRTY: u64 = 1 << 0;
const CORRUPT: u64 = 1 << 1;
const DATA_FILE: u64 = 1 << 2;
const COMPRESSION: u64 = 1 << 3;
const EXTENDED_L2: u64 = 1 << 4;
const EXTENSION_DATA_FILE: u32 = 0x4441_5441;
const EXTENSION_CRYPTO: u32 = 0x0537_be77;
const EXTENSION_BACKING_FORMAT: u32 = 0xE279_2ACA;

/// What a file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Inspected {
    /// Size of the disk that a guest would see, bytes.
    pub(super) virtual_bytes: u64,
}

impl Inspected {
    /// In MiB, rounded up.
    pub(super) fn virtual_mib(self) -> u64 {
        self.virtual_bytes.div_ceil(MIB)
    }
}

/// Opens a regular file for reading; links, devices, pipes and directories are refused.
pub(super) fn open_regular(path: &Path) -> Result<File, DriverError> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = match rustix::fs::open(path, flags, Mode::empty()) {
        Ok(fd) => File::from(fd),
        Err(rustix::io::Errno::LOOP) => {
            return Err(DriverError::refused(format!("{} is a symbolic link", path.display())));
        }
        Err(error) => return Err(io_failed(format!("cannot open {}", path.display()), &error.into())),
    };
    let metadata =
        file.metadata().map_err(|error| io_failed(format!("cannot look at {}", path.display()), &error))?;
    if metadata.is_file() {
        Ok(file)
    } else {
        Err(DriverError::refused(format!("{} is not a regular file", path.display())))
    }
}

/// Looks at an open image. It must have the declared format and a virtual size of `max_mib` at most.
pub(super) fn inspect(file: &mut File, format: ImageFormat, max_mib: u64) -> Result<Inspected, DriverError> {
    let failed = |error: io::Error| io_failed("cannot read the image", &error);
    let length = file.metadata().map_err(failed)?.len();
    let mut head = Vec::new();
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    file.take(HEAD).read_to_end(&mut head).map_err(failed)?;
    file.seek(SeekFrom::Start(0)).map_err(failed)?;
    look(&head, length, format, max_mib)
}

/// The same for bytes in memory.
#[cfg(test)]
pub(super) fn inspect_bytes(
    bytes: &[u8],
    format: ImageFormat,
    max_mib: u64,
) -> Result<Inspected, DriverError> {
    let head = &bytes[..bytes.len().min(HEAD as usize)];
    look(head, bytes.len() as u64, format, max_mib)
}

fn look(head: &[u8], length: u64, format: ImageFormat, max_mib: u64) -> Result<Inspected, DriverError> {
    let virtual_bytes = match format {
        ImageFormat::Raw => raw_size(head, length)?,
        ImageFormat::Qcow2 => qcow2_size(head)?,
    };
    if virtual_bytes == 0 {
        return Err(DriverError::refused("the image is empty"));
    }
    if virtual_bytes.div_ceil(MIB) > max_mib {
        return Err(DriverError::refused(format!(
            "the image's disk has {} MiB, at most {max_mib} are allowed",
            virtual_bytes.div_ceil(MIB)
        )));
    }
    Ok(Inspected { virtual_bytes })
}

/// A raw disk may hold anything, but one that begins like another format is a mistake or a trap.
fn raw_size(head: &[u8], length: u64) -> Result<u64, DriverError> {
    const OTHERS: [(&[u8], &str); 12] = [
        (QCOW_MAGIC, "qcow2"),
        (b"KDMV", "vmdk"),
        (b"COWD", "vmdk"),
        (b"# Disk DescriptorFile", "vmdk"),
        (b"# Disk Descriptor", "vmdk"),
        (b"vhdxfile", "vhdx"),
        (b"conectix", "vhd"),
        (b"<<< ", "vdi"),
        (b"QED\0", "qed"),
        (b"LUKS\xba\xbe", "luks"),
        (b"WithoutFreeSpace", "parallels"),
        (b"WithouFreSpacExt", "parallels"),
    ];
    match OTHERS.iter().find(|(magic, _)| head.starts_with(magic)) {
        Some((_, name)) => {
            Err(DriverError::refused(format!("declared as raw, but the file begins like a {name} image")))
        }
        None => Ok(length),
    }
}

/// Big-endian numbers at fixed places; an end of the file where one should be is an error.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], DriverError> {
        let end = at.checked_add(N);
        let piece = end.and_then(|end| self.0.get(at..end)).and_then(|piece| piece.try_into().ok());
        piece.ok_or_else(|| DriverError::refused("the image's header is cut off"))
    }

    fn u32(&self, at: usize) -> Result<u32, DriverError> {
        self.bytes(at).map(u32::from_be_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64, DriverError> {
        self.bytes(at).map(u64::from_be_bytes)
    }
}

fn qcow2_size(head: &[u8]) -> Result<u64, DriverError> {
    let refuse = |why: &str| Err(DriverError::refused(why.to_owned()));
    if !head.starts_with(QCOW_MAGIC) {
        return refuse("declared as qcow2, but the file does not begin like one");
    }
    let header = Header(head);
    let version = header.u32(4)?;
    if version != 2 && version != 3 {
        return refuse("only versions 2 and 3 of qcow2 are known");
    }
    if header.u64(8)? != 0 || header.u32(16)? != 0 {
        return refuse("the image has a backing file");
    }
    if !(9..=21).contains(&header.u32(20)?) {
        return refuse("the image has clusters of an impossible size");
    }
    if header.u32(32)? != 0 {
        return refuse("the image is encrypted");
    }
    let mut header_length = 72;
    if version == 3 {
        features(header.u64(72)?)?;
        header_length = header.u32(100)? as usize;
        if header_length < 104 || !header_length.is_multiple_of(8) {
            return refuse("the image's header has an impossible length");
        }
    }
    extensions(&header, header_length)?;
    header.u64(24)?.checked_next_multiple_of(512).map_or_else(|| refuse("the image's size is impossible"), Ok)
}

fn features(incompatible: u64) -> Result<(), DriverError> {
    if incompatible & DATA_FILE != 0 {
        return Err(DriverError::refused("the image keeps its data in another file"));
    }
    if incompatible & CORRUPT != 0 {
        return Err(DriverError::refused("the image is marked as damaged"));
    }
    if incompatible & !(DIRTY | COMPRESSION | EXTENDED_L2) != 0 {
        return Err(DriverError::refused("the image needs features that we do not know"));
    }
    Ok(())
}

/// Walks the extensions up to their end. Unknown ones are allowed: that is what they are for.
fn extensions(header: &Header<'_>, mut at: usize) -> Result<(), DriverError> {
    loop {
        let (kind, length) = (header.u32(at)?, header.u32(at.saturating_add(4))? as usize);
        match kind {
            0 => return Ok(()),
            EXTENSION_DATA_FILE => {
                return Err(DriverError::refused("the image keeps its data in another file"));
            }
            EXTENSION_CRYPTO => return Err(DriverError::refused("the image is encrypted")),
            EXTENSION_BACKING_FORMAT => return Err(DriverError::refused("the image has a backing file")),
            _ => {}
        }
        let padded = length.checked_next_multiple_of(8);
        at = padded
            .and_then(|padded| at.checked_add(8)?.checked_add(padded))
            .ok_or_else(|| DriverError::refused("the image's header makes no sense"))?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::overlay::empty_image;
    use proptest::prelude::*;

    fn good() -> Vec<u8> {
        empty_image(1 << 30, None).unwrap()
    }

    fn refused(bytes: &[u8], format: ImageFormat) -> String {
        inspect_bytes(bytes, format, 1024).unwrap_err().detail
    }

    fn with(at: usize, bytes: &[u8]) -> String {
        let mut image = good();
        image[at..at + bytes.len()].copy_from_slice(bytes);
        refused(&image, ImageFormat::Qcow2)
    }

    #[test]
    fn a_plain_image_passes() {
        assert_eq!(inspect_bytes(&good(), ImageFormat::Qcow2, 1024).unwrap().virtual_mib(), 1024);
        assert_eq!(inspect_bytes(&[0; 1025], ImageFormat::Raw, 1).unwrap().virtual_mib(), 1);
    }

    #[test]
    fn what_names_other_files_is_refused() {
        assert!(with(8, &200_u64.to_be_bytes()).contains("backing file"));
        assert!(with(16, &5_u32.to_be_bytes()).contains("backing file"));
        assert!(with(72, &DATA_FILE.to_be_bytes()).contains("another file"));
        assert!(with(104, &EXTENSION_DATA_FILE.to_be_bytes()).contains("another file"));
        assert!(with(104, &EXTENSION_BACKING_FORMAT.to_be_bytes()).contains("backing file"));
    }

    #[test]
    fn what_is_odd_is_refused() {
        assert!(with(4, &4_u32.to_be_bytes()).contains("versions"));
        assert!(with(20, &63_u32.to_be_bytes()).contains("clusters"));
        assert!(with(24, &u64::MAX.to_be_bytes()).contains("impossible"));
        assert!(with(24, &(1_u64 << 40).to_be_bytes()).contains("at most 1024"));
        assert!(with(32, &2_u32.to_be_bytes()).contains("encrypted"));
        assert!(with(72, &(1_u64 << 40).to_be_bytes()).contains("do not know"));
        assert!(with(72, &CORRUPT.to_be_bytes()).contains("damaged"));
        assert!(with(100, &8_u32.to_be_bytes()).contains("length"));
        assert!(with(104, &[1, 1, 1, 1, 255, 255, 255, 255]).contains("cut off"));
        assert!(refused(b"", ImageFormat::Raw).contains("empty"));
        assert!(refused(&good()[..90], ImageFormat::Qcow2).contains("cut off"));
        assert!(refused(b"QFI\xfb", ImageFormat::Qcow2).contains("cut off"));
        assert!(refused(b"hello", ImageFormat::Qcow2).contains("declared as qcow2"));
    }

    #[test]
    fn raw_images_that_begin_like_others_are_refused() {
        for magic in [QCOW_MAGIC, b"KDMV", b"# Disk DescriptorFile\nversion=1", b"vhdxfile", b"conectix"] {
            assert!(refused(&[magic, &[0; 600]].concat(), ImageFormat::Raw).contains("declared as raw"));
        }
    }

    #[test]
    fn only_regular_files_are_opened() {
        let directory = tempfile::tempdir().unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink("/etc/passwd", &link).unwrap();
        assert!(open_regular(&link).unwrap_err().detail.contains("symbolic link"));
        assert!(open_regular(directory.path()).unwrap_err().detail.contains("regular"));
        assert!(open_regular(Path::new("/dev/zero")).unwrap_err().detail.contains("regular"));
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        assert!(open_regular(&pipe).unwrap_err().detail.contains("regular"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = inspect_bytes(&bytes, ImageFormat::Raw, 1024);
            let _ = inspect_bytes(&bytes, ImageFormat::Qcow2, 1024);
            let _ = inspect_bytes(&[QCOW_MAGIC, &[0, 0, 0, 3], &bytes].concat(), ImageFormat::Qcow2, 1024);
        }

        #[test]
        fn a_damaged_header_never_panics_nor_names_a_file(at in 0_usize..112, byte: u8) {
            let mut image = good();
            image[at] = byte;
            if inspect_bytes(&image, ImageFormat::Qcow2, 1024).is_ok() {
                prop_assert_eq!(&image[8..20], &[0; 12]);
                prop_assert_eq!(image[79] & 4, 0);
            }
        }
    }
}
