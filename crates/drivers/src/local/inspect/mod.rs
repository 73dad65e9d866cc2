//! Looking at an image before any tool does.
//!
//! An image's header can name other files of the host: a backing file, an external data file, a parent, extents.
//! Whoever opens such an image for a tenant hands him those files. So images from outside are looked at here first, by
//! code that reads a few hundred KiB at most and follows nothing, and everything is refused that a disk in one file
//! does not need. The functions take anything that can be read and sought in, and never panic, whatever they read.

mod identify;
mod qcow2;
#[cfg(test)]
mod tests;
mod vhd;
mod vhdx;
mod vmdk;

pub use identify::{Compression, Found, identify};

use crate::durable::io_failed;
use hostler_core::ports::DriverError;
use hostler_core::templates::SourceFormat;
use rustix::fs::{Mode, OFlags};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

const MIB: u64 = 1 << 20;
const SECTOR: u64 = 512;
/// Where the description of an ISO 9660 file system begins, and what stands there.
const ISO_DESCRIPTOR: u64 = 0x8000;
const ISO_MAGIC: &[u8] = b"CD001";

/// What a file says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// Size of the disk that a guest would see, bytes.
    pub virtual_bytes: u64,
}

impl Inspected {
    /// In MiB, rounded up.
    pub fn virtual_mib(self) -> u64 {
        self.virtual_bytes.div_ceil(MIB)
    }
}

/// Opens a regular file for reading; links, devices, pipes and directories are refused.
pub(crate) fn open_regular(path: &Path) -> Result<File, DriverError> {
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

/// Looks at an image of one disk, which must have this format and a virtual size of `max_mib` at most.
///
/// # Errors
/// What is wrong with it. An archive ([`SourceFormat::Ova`]) is no disk and is refused.
pub fn inspect<R: Read + Seek>(
    image: &mut R,
    format: SourceFormat,
    max_mib: u64,
) -> Result<Inspected, DriverError> {
    let mut image = Image::new(image)?;
    let virtual_bytes = match format {
        SourceFormat::Raw => raw(&mut image)?,
        SourceFormat::Qcow2 => qcow2::virtual_size(&mut image)?,
        SourceFormat::Vmdk => vmdk::virtual_size(&mut image)?,
        SourceFormat::Vhdx => vhdx::virtual_size(&mut image)?,
        SourceFormat::Vhd => vhd::virtual_size(&mut image)?,
        SourceFormat::Ova => return refuse("an archive is no disk"),
    };
    image.rewind()?;
    if virtual_bytes == 0 {
        return refuse("the image is empty");
    }
    if virtual_bytes.div_ceil(MIB) > max_mib {
        return refuse(format!(
            "the image's disk has {} MiB, at most {max_mib} are allowed",
            virtual_bytes.div_ceil(MIB)
        ));
    }
    Ok(Inspected { virtual_bytes })
}

/// Looks at what should be an ISO 9660 image; answers its length in bytes.
///
/// # Errors
/// It is none.
pub fn inspect_medium<R: Read + Seek>(image: &mut R) -> Result<u64, DriverError> {
    let mut image = Image::new(image)?;
    let found = image.piece(ISO_DESCRIPTOR + 1, ISO_MAGIC.len())?;
    image.rewind()?;
    if found == ISO_MAGIC { Ok(image.length) } else { refuse("the file is not an ISO image") }
}

/// A raw disk may hold anything, but one that begins like another format is a mistake or a trap.
fn raw<R: Read + Seek>(image: &mut Image<'_, R>) -> Result<u64, DriverError> {
    match identify::by_first_bytes(&image.piece(0, identify::HEAD)?) {
        Found::Nothing => Ok(image.length),
        other => refuse(format!("declared as raw, but the file begins like a {} image", other.word())),
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, DriverError> {
    Err(DriverError::refused(why))
}

/// A file of known length from which pieces are read.
struct Image<'a, R> {
    from: &'a mut R,
    length: u64,
}

impl<'a, R: Read + Seek> Image<'a, R> {
    fn new(from: &'a mut R) -> Result<Self, DriverError> {
        let length = from.seek(SeekFrom::End(0)).map_err(|error| unreadable(&error))?;
        Ok(Self { from, length })
    }

    fn rewind(&mut self) -> Result<(), DriverError> {
        self.from.rewind().map_err(|error| unreadable(&error))
    }

    /// Up to `most` bytes from there on; fewer at the end of the file.
    fn piece(&mut self, at: u64, most: usize) -> Result<Vec<u8>, DriverError> {
        let mut piece = Vec::new();
        if at < self.length {
            self.from.seek(SeekFrom::Start(at)).map_err(|error| unreadable(&error))?;
            self.from
                .by_ref()
                .take(most as u64)
                .read_to_end(&mut piece)
                .map_err(|error| unreadable(&error))?;
        }
        Ok(piece)
    }

    /// Whether the file has these bytes; a sum that is too large for a number lies outside, too.
    fn holds(&self, at: u64, bytes: u64) -> bool {
        at.checked_add(bytes).is_some_and(|end| end <= self.length)
    }
}

fn unreadable(error: &io::Error) -> DriverError {
    io_failed("cannot read the image", error)
}

/// Numbers at fixed places of a header; an end of the bytes where one should be is an error.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    fn bytes<const N: usize>(&self, at: usize) -> Result<[u8; N], DriverError> {
        let end = at.checked_add(N);
        let piece = end.and_then(|end| self.0.get(at..end)).and_then(|piece| piece.try_into().ok());
        piece.ok_or_else(|| DriverError::refused("the image's header is cut off"))
    }

    fn big_u32(&self, at: usize) -> Result<u32, DriverError> {
        self.bytes(at).map(u32::from_be_bytes)
    }

    fn big_u64(&self, at: usize) -> Result<u64, DriverError> {
        self.bytes(at).map(u64::from_be_bytes)
    }

    fn u16(&self, at: usize) -> Result<u16, DriverError> {
        self.bytes(at).map(u16::from_le_bytes)
    }

    fn u32(&self, at: usize) -> Result<u32, DriverError> {
        self.bytes(at).map(u32::from_le_bytes)
    }

    fn u64(&self, at: usize) -> Result<u64, DriverError> {
        self.bytes(at).map(u64::from_le_bytes)
    }
}
