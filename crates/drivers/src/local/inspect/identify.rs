//! Telling a file's format by what it begins with.

use super::{Image, vhd};
use hostler_core::ports::DriverError;
use hostler_core::templates::SourceFormat;
use std::io::{Read, Seek};

/// As much as is needed to tell formats apart.
pub(super) const HEAD: usize = 512;

/// How a file is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// gzip.
    Gzip,
    /// xz.
    Xz,
    /// Zstandard.
    Zstd,
    /// bzip2.
    Bzip2,
}

/// What a file begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// A format that can be brought in.
    Format(SourceFormat),
    /// Something packed.
    Packed(Compression),
    /// A known format that cannot be brought in.
    Foreign(&'static str),
    /// Nothing known: a raw disk, if anything.
    Nothing,
}

impl Found {
    /// Its name, for people.
    pub fn word(self) -> &'static str {
        match self {
            Self::Format(format) => format.word(),
            Self::Packed(Compression::Gzip) => "gzip",
            Self::Packed(Compression::Xz) => "xz",
            Self::Packed(Compression::Zstd) => "zstd",
            Self::Packed(Compression::Bzip2) => "bzip2",
            Self::Foreign(name) => name,
            Self::Nothing => "raw",
        }
    }
}

const BEGINNINGS: [(&[u8], Found); 16] = [
    (b"QFI\xfb", Found::Format(SourceFormat::Qcow2)),
    (b"KDMV", Found::Format(SourceFormat::Vmdk)),
    (b"vhdxfile", Found::Format(SourceFormat::Vhdx)),
    (b"conectix", Found::Format(SourceFormat::Vhd)),
    (b"\x1f\x8b\x08", Found::Packed(Compression::Gzip)),
    (b"\xfd7zXZ\0", Found::Packed(Compression::Xz)),
    (b"\x28\xb5\x2f\xfd", Found::Packed(Compression::Zstd)),
    (b"BZh", Found::Packed(Compression::Bzip2)),
    (b"COWD", Found::Foreign("vmdk (of an ESX host)")),
    (b"# Disk DescriptorFile", Found::Foreign("vmdk (a description without the disk)")),
    (b"# Disk Descriptor", Found::Foreign("vmdk (a description without the disk)")),
    (b"<<< ", Found::Foreign("vdi")),
    (b"QED\0", Found::Foreign("qed")),
    (b"LUKS\xba\xbe", Found::Foreign("luks")),
    (b"WithoutFreeSpace", Found::Foreign("parallels")),
    (b"WithouFreSpacExt", Found::Foreign("parallels")),
];
/// Where a tar archive says so.
const TAR_MAGIC_AT: usize = 257;

/// What the file is, by its first bytes and, for one old format, its last.
///
/// # Errors
/// When it cannot be read.
pub fn identify<R: Read + Seek>(image: &mut R) -> Result<Found, DriverError> {
    let mut image = Image::new(image)?;
    let mut found = by_first_bytes(&image.piece(0, HEAD)?);
    if found == Found::Nothing && vhd::ends_like_one(&mut image)? {
        found = Found::Format(SourceFormat::Vhd);
    }
    image.rewind()?;
    Ok(found)
}

pub(super) fn by_first_bytes(head: &[u8]) -> Found {
    if head.get(TAR_MAGIC_AT..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return Found::Format(SourceFormat::Ova);
    }
    let known = BEGINNINGS.iter().find(|(magic, _)| head.starts_with(magic));
    known.map_or(Found::Nothing, |(_, found)| *found)
}
