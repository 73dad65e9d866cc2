//! From what was given to the one file that holds a disk: unpacked once at most, taken out of its archive, its format
//! told by its first bytes and compared with what was said of it.

use super::inspect::{self, Compression, Found};
use super::ova;
use super::sparse::{self, Bounds, Stopped};
use crate::durable::io_failed;
use hostler_core::ports::DriverError;
use hostler_core::templates::{Checksum, SourceFormat};
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};
use sha2::{Digest, Sha256, Sha512};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom, Take};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

const MIB: u64 = 1 << 20;
/// What is stored may be so many times as large as what was given. Operating systems shrink to a third; zeros, which
/// shrink without bound, become holes and are not counted.
const RATIO: u64 = 200;
const SLACK: u64 = 64 * MIB;
/// Memory that a packed file may make a decoder take.
const DECODER_KIB: u32 = 128 << 10;

/// Files that are written on the way, in the directory that was given for that.
pub(super) const WRITTEN: [&str; 2] = [UNPACKED, MEMBER];
const UNPACKED: &str = "unpacked";
const MEMBER: &str = "member";

/// A file with one disk in it.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) file: File,
    pub(super) format: SourceFormat,
    pub(super) vcpus: Option<u32>,
    pub(super) memory_mib: Option<u64>,
}

/// What was given and what was said of it.
#[derive(Clone, Debug)]
pub(super) struct Given {
    /// Its name without the way to it, for what the end of the name says.
    pub(super) name: String,
    pub(super) format: Option<SourceFormat>,
    pub(super) checksum: Option<Checksum>,
    /// Largest size of the disk, MiB.
    pub(super) max_mib: u64,
}

/// The most bytes that a file for a disk of this size may have: tables add less than an eighth.
pub(super) fn most_bytes(max_mib: u64) -> u64 {
    max_mib.saturating_mul(MIB + MIB / 8).saturating_add(SLACK)
}

/// The disk in what was given. Files that had to be written lie in `directory`.
pub(super) fn disk(
    mut file: File,
    given: &Given,
    directory: &Path,
    stopped: &Stopped,
) -> Result<Disk, DriverError> {
    check(&mut file, given, stopped)?;
    let mut name = given.name.as_str();
    let mut found = inspect::identify(&mut file)?;
    let mut packed = false;
    if let Found::Packed(compression) = found {
        file = unpacked(file, compression, &directory.join(UNPACKED), given.max_mib, stopped)?;
        found = inspect::identify(&mut file)?;
        name = without_packing(name);
        packed = true;
    }
    let format = decide(given.format, found, name)?;
    if format != SourceFormat::Ova {
        return Ok(Disk { file, format, vcpus: None, memory_mib: None });
    }
    let appliance = ova::read(&mut file)?;
    let mut file = taken_out(file, appliance.place, &directory.join(MEMBER), given.max_mib, stopped)?;
    let mut found = inspect::identify(&mut file)?;
    if let (Found::Packed(compression), false) = (found, packed) {
        file = unpacked(file, compression, &directory.join(UNPACKED), given.max_mib, stopped)?;
        found = inspect::identify(&mut file)?;
    }
    let format = decide(None, found, without_packing(&appliance.disk))?;
    if format == SourceFormat::Ova {
        return Err(DriverError::refused("the archive holds an archive"));
    }
    Ok(Disk { file, format, vcpus: appliance.vcpus, memory_mib: appliance.memory_mib })
}

/// The ISO image in what was given.
pub(super) fn medium(
    mut file: File,
    given: &Given,
    directory: &Path,
    stopped: &Stopped,
) -> Result<File, DriverError> {
    check(&mut file, given, stopped)?;
    if let Found::Packed(compression) = inspect::identify(&mut file)? {
        file = unpacked(file, compression, &directory.join(UNPACKED), given.max_mib, stopped)?;
    }
    let length = inspect::inspect_medium(&mut file)?;
    if length.div_ceil(MIB) > given.max_mib {
        let text =
            format!("the medium has {} MiB, at most {} are allowed", length.div_ceil(MIB), given.max_mib);
        return Err(DriverError::refused(text));
    }
    Ok(file)
}

/// Which format it is; what was said of it must hold.
fn decide(said: Option<SourceFormat>, found: Found, name: &str) -> Result<SourceFormat, DriverError> {
    let refuse = |why: String| Err(DriverError::refused(why));
    match (said, found) {
        (_, Found::Packed(_)) => refuse("the file is packed more than once".to_owned()),
        (Some(said), Found::Format(found)) if said == found => Ok(said),
        (Some(SourceFormat::Raw), Found::Nothing) => Ok(SourceFormat::Raw),
        (Some(said), Found::Nothing) => {
            refuse(format!("declared as {0}, but the file does not begin like one", said.word()))
        }
        (Some(said), found) => {
            refuse(format!("declared as {}, but the file begins like a {} image", said.word(), found.word()))
        }
        (None, Found::Foreign(name)) => {
            refuse(format!("images of format {name} cannot be brought in: convert it first"))
        }
        (None, found) => match (by_name(name), found) {
            (Some(named), Found::Format(found)) if named != found => refuse(format!(
                "its name says {}, but the file begins like a {} image; say which with the format",
                named.word(),
                found.word()
            )),
            (_, Found::Format(found)) => Ok(found),
            (Some(SourceFormat::Raw), _) => Ok(SourceFormat::Raw),
            (Some(named), _) => {
                refuse(format!("its name says {}, but the file does not begin like one", named.word()))
            }
            (None, _) if ends(name, "img") => Ok(SourceFormat::Raw),
            (None, _) => {
                refuse("its format cannot be told; if it is a raw disk, say so with the format".to_owned())
            }
        },
    }
}

/// What the end of a name promises. `.img` promises nothing: it may be any format.
fn by_name(name: &str) -> Option<SourceFormat> {
    SourceFormat::ALL.into_iter().find(|format| ends(name, format.word()))
}

fn ends(name: &str, end: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, last)| last.eq_ignore_ascii_case(end))
}

fn without_packing(name: &str) -> &str {
    match name.rsplit_once('.') {
        Some((rest, _)) if ["gz", "xz", "zst", "bz2"].iter().any(|end| ends(name, end)) => rest,
        _ => name,
    }
}

fn check(file: &mut File, given: &Given, stopped: &Stopped) -> Result<(), DriverError> {
    let length = length_of(file)?;
    if length > most_bytes(given.max_mib) {
        let text = format!(
            "the file has {} MiB, too many for a disk of at most {} MiB",
            length / MIB,
            given.max_mib
        );
        return Err(DriverError::refused(text));
    }
    let Some(checksum) = &given.checksum else { return Ok(()) };
    let (expected, actual) = match checksum {
        Checksum::Sha256(expected) => (expected, hashed::<Sha256>(file, stopped)?),
        Checksum::Sha512(expected) => (expected, hashed::<Sha512>(file, stopped)?),
    };
    if *expected == actual {
        return Ok(());
    }
    Err(DriverError::refused(format!(
        "its checksum is {actual}, not {expected}: it is damaged, or another file"
    )))
}

fn hashed<D: Digest>(file: &mut File, stopped: &Stopped) -> Result<String, DriverError> {
    rewind(file)?;
    let (mut digest, mut buffer) = (D::new(), vec![0; MIB as usize]);
    loop {
        stopped.check()?;
        match file.read(&mut buffer).map_err(|error| io_failed("cannot read the image", &error))? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    rewind(file)?;
    Ok(hex::encode(digest.finalize()))
}

fn unpacked(
    mut file: File,
    compression: Compression,
    to: &Path,
    max_mib: u64,
    stopped: &Stopped,
) -> Result<File, DriverError> {
    let length = length_of(&file)?;
    rewind(&mut file)?;
    let packed = BufReader::with_capacity(MIB as usize, file);
    let damaged =
        |error: &dyn std::fmt::Display| DriverError::refused(format!("the file is damaged: {error}"));
    let mut decoder: Box<dyn Read> = match compression {
        Compression::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(packed)),
        Compression::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(packed)),
        Compression::Xz => Box::new(lzma_rust2::XzReader::new_mem_limit(packed, true, DECODER_KIB)),
        Compression::Zstd => Box::new(Frames::new(packed).map_err(|error| damaged(&error))?),
    };
    let bounds =
        Bounds { bytes: most_bytes(max_mib), stored: length.saturating_mul(RATIO).saturating_add(SLACK) };
    written(&mut decoder, to, bounds, stopped)
}

/// All frames of a Zstandard file, one after the other, each compared with its checksum if it has one.
struct Frames(Option<StreamingDecoder<BufReader<File>, FrameDecoder>>);

impl Frames {
    fn new(packed: BufReader<File>) -> io::Result<Self> {
        StreamingDecoder::new(packed).map(|decoder| Self(Some(decoder))).map_err(io::Error::other)
    }
}

impl Read for Frames {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while let Some(decoder) = &mut self.0 {
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let frame = &decoder.decoder;
            let said = frame.get_checksum_from_data();
            if said.is_some() && said != frame.get_calculated_checksum() {
                return Err(io::Error::other("its checksum does not match"));
            }
            let Some(mut rest) = self.0.take().map(StreamingDecoder::into_inner) else { break };
            if !rest.fill_buf()?.is_empty() {
                *self = Self::new(rest)?;
            }
        }
        Ok(0)
    }
}

fn taken_out(
    mut archive: File,
    (at, length): (u64, u64),
    to: &Path,
    max_mib: u64,
    stopped: &Stopped,
) -> Result<File, DriverError> {
    archive.seek(SeekFrom::Start(at)).map_err(|error| io_failed("cannot read the image", &error))?;
    let mut member: Take<File> = archive.take(length);
    let bounds = Bounds { bytes: most_bytes(max_mib), stored: u64::MAX };
    written(&mut member, to, bounds, stopped)
}

fn written(from: &mut dyn Read, to: &Path, bounds: Bounds, stopped: &Stopped) -> Result<File, DriverError> {
    let mut options = OpenOptions::new();
    let mut file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|error| io_failed("cannot unpack the image", &error))?;
    sparse::copy(from, &file, bounds, stopped, |_| {})?;
    rewind(&mut file)?;
    Ok(file)
}

fn length_of(file: &File) -> Result<u64, DriverError> {
    Ok(file.metadata().map_err(|error| io_failed("cannot read the image", &error))?.len())
}

fn rewind(file: &mut File) -> Result<(), DriverError> {
    file.rewind().map_err(|error| io_failed("cannot read the image", &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::overlay::empty_image;
    use crate::local::sparse::Waiting;
    use std::io::Write;

    fn given(name: &str) -> Given {
        Given { name: name.to_owned(), format: None, checksum: None, max_mib: 64 }
    }

    fn file(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn found(bytes: &[u8], given: &Given) -> Result<Disk, DriverError> {
        let directory = tempfile::tempdir().unwrap();
        disk(file(bytes), given, directory.path(), &Waiting::default().stopped())
    }

    fn refused(bytes: &[u8], given: &Given) -> String {
        found(bytes, given).unwrap_err().detail
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn qcow2() -> Vec<u8> {
        empty_image(1 << 20, None).unwrap()
    }

    fn content(mut disk: Disk) -> Vec<u8> {
        let mut bytes = Vec::new();
        disk.file.read_to_end(&mut bytes).unwrap();
        bytes
    }

    /// What the usual programs make of these bytes.
    fn packed(program: &str, bytes: &[u8]) -> Option<Vec<u8>> {
        let found = crate::spawn::resolve_binary(Path::new(program));
        if !found.is_absolute() {
            eprintln!("SKIPPED: {program} is not installed");
            return None;
        }
        let mut command = crate::spawn::unconfined(&found);
        let output = command.args(["-c", "-q"]).stdin(file_at_start(bytes)).output().unwrap();
        assert!(output.status.success(), "{program}");
        Some(output.stdout)
    }

    fn file_at_start(bytes: &[u8]) -> File {
        let mut file = file(bytes);
        file.rewind().unwrap();
        file
    }

    #[test]
    fn every_packing_is_undone_once() {
        let image = qcow2();
        for (program, end) in [("gzip", "gz"), ("xz", "xz"), ("zstd", "zst"), ("bzip2", "bz2")] {
            let Some(packed) = packed(program, &image) else { continue };
            let disk = found(&packed, &given(&format!("a.qcow2.{end}"))).unwrap();
            assert_eq!(disk.format, SourceFormat::Qcow2);
            assert!(content(disk) == image, "{program}");
            let cut = &packed[..packed.len() / 2];
            assert!(found(cut, &given("a.qcow2")).is_err(), "{program}: half of it");
            let (first, second) = image.split_at(image.len() / 3);
            let parts = [first, second].map(|part| self::packed(program, part).unwrap()).concat();
            assert!(content(found(&parts, &given("a.qcow2")).unwrap()) == image, "{program}: in two parts");
            assert!(refused(&gzip(&packed), &given("a")).contains("more than once"), "{program}");
        }
    }

    #[test]
    fn what_unpacks_to_far_too_much_is_refused() {
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        let piece = vec![0x41; 1 << 20];
        (0..130).for_each(|_| bomb.write_all(&piece).unwrap());
        let bomb = bomb.finish().unwrap();
        let text = refused(&bomb, &Given { max_mib: 1024, ..given("a.raw.gz") });
        assert!(text.contains("grows far beyond"), "{text}");
        let zeros = gzip(&vec![0; 80 << 20]);
        let text = refused(&zeros, &Given { max_mib: 1, ..given("a.raw.gz") });
        assert!(text.contains("more than the"), "{text}");
        assert!(found(&zeros, &Given { max_mib: 80, ..given("a.raw.gz") }).is_ok());
    }

    #[test]
    fn names_and_words_must_agree_with_the_first_bytes() {
        let said = |format| Given { format: Some(format), ..given("a") };
        assert_eq!(found(&qcow2(), &given("a.img")).unwrap().format, SourceFormat::Qcow2);
        assert_eq!(found(&qcow2(), &given("whatever")).unwrap().format, SourceFormat::Qcow2);
        assert_eq!(found(&[0; 512], &given("a.img")).unwrap().format, SourceFormat::Raw);
        assert_eq!(found(&[0; 512], &given("A.RAW")).unwrap().format, SourceFormat::Raw);
        assert_eq!(found(&[0; 512], &said(SourceFormat::Raw)).unwrap().format, SourceFormat::Raw);
        assert!(refused(&qcow2(), &given("a.raw")).contains("its name says raw"));
        assert!(refused(&qcow2(), &given("a.vmdk")).contains("its name says vmdk"));
        assert!(refused(&[0; 512], &given("a.qcow2")).contains("does not begin like one"));
        assert!(refused(&[0; 512], &given("a")).contains("cannot be told"));
        assert!(refused(&qcow2(), &said(SourceFormat::Raw)).contains("begins like a qcow2 image"));
        assert!(refused(&[0; 512], &said(SourceFormat::Vhdx)).contains("does not begin like one"));
        assert!(refused(b"# Disk DescriptorFile\n", &given("a.vmdk")).contains("cannot be brought in"));
        assert!(refused(b"# Disk DescriptorFile\n", &said(SourceFormat::Vmdk)).contains("begins like"));
    }

    #[test]
    fn an_appliance_gives_its_disk() {
        let description = ova::tests::DESCRIPTION.replace("disk.vmdk", "disk.qcow2");
        let packing = |disk: &[u8]| {
            let mut archive = ova::tests::archive(&[("a.ovf", description.as_bytes()), ("disk.qcow2", disk)]);
            let mut bytes = Vec::new();
            archive.rewind().unwrap();
            archive.read_to_end(&mut bytes).unwrap();
            bytes
        };
        let disk = found(&packing(&qcow2()), &given("a.ova")).unwrap();
        assert_eq!((disk.vcpus, disk.memory_mib), (Some(3), Some(2048)));
        assert!(content(disk) == qcow2());
        assert!(found(&gzip(&packing(&qcow2())), &given("a.ova.gz")).is_ok());
        assert!(found(&packing(&gzip(&qcow2())), &given("a.ova")).is_ok());
        let twice = gzip(&packing(&gzip(&qcow2())));
        assert!(refused(&twice, &given("a.ova.gz")).contains("more than once"));
        assert!(refused(&packing(&[0; 512]), &given("a.ova")).contains("its name says qcow2"));
    }

    #[test]
    fn checksums_are_of_the_file_as_given() {
        let image = gzip(&qcow2());
        let with = |text: String| Given { checksum: Some(text.parse().unwrap()), ..given("a.qcow2.gz") };
        let good = with(format!("sha256:{}", hex::encode(Sha256::digest(&image))));
        assert!(found(&image, &good).is_ok());
        let good = with(format!("sha512:{}", hex::encode(Sha512::digest(&image))));
        assert!(found(&image, &good).is_ok());
        let bad = with(format!("sha256:{}", hex::encode(Sha256::digest(qcow2()))));
        assert!(refused(&image, &bad).contains("damaged, or another file"));
    }

    #[test]
    fn media_are_taken_packed_or_not() {
        let mut iso = vec![0; 40 << 10];
        iso[0x8001..0x8006].copy_from_slice(b"CD001");
        let directory = tempfile::tempdir().unwrap();
        let waiting = Waiting::default();
        let stopped = waiting.stopped();
        let taken = |bytes: &[u8], max_mib| {
            let given = Given { max_mib, ..given("a.iso") };
            let _ = std::fs::remove_file(directory.path().join("unpacked"));
            medium(file(bytes), &given, directory.path(), &stopped)
        };
        assert!(taken(&iso, 1).is_ok());
        assert!(taken(&gzip(&iso), 1).is_ok());
        assert!(taken(&qcow2(), 1).unwrap_err().detail.contains("not an ISO"));
        iso.resize(3 << 20, 1);
        assert!(taken(&iso, 1).unwrap_err().detail.contains("at most 1"));
    }
}
