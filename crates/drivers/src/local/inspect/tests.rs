//! Images that are as they should be, and every way in which they may not be.

use super::qcow2::{CORRUPT, DATA_FILE, EXTENSION_BACKING_FORMAT, EXTENSION_DATA_FILE};
use super::*;
use crate::local::overlay::empty_image;
use crate::local::test_world::qemu_img;
use crate::spawn::unconfined;
use proptest::prelude::*;
use std::io::Cursor;

fn looked(bytes: &[u8], format: SourceFormat) -> Result<Inspected, DriverError> {
    inspect(&mut Cursor::new(bytes), format, 1024)
}

fn refused(bytes: &[u8], format: SourceFormat) -> String {
    looked(bytes, format).unwrap_err().detail
}

fn good() -> Vec<u8> {
    empty_image(1 << 30, None).unwrap()
}

fn with(at: usize, bytes: &[u8]) -> String {
    let mut image = good();
    image[at..at + bytes.len()].copy_from_slice(bytes);
    refused(&image, SourceFormat::Qcow2)
}

#[test]
fn a_plain_image_passes() {
    assert_eq!(looked(&good(), SourceFormat::Qcow2).unwrap().virtual_mib(), 1024);
    let small = inspect(&mut Cursor::new([0; 1025]), SourceFormat::Raw, 1).unwrap();
    assert_eq!(small.virtual_mib(), 1);
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
    assert!(with(24, &(2_u64 << 30).to_be_bytes()).contains("first table"));
    assert!(with(32, &2_u32.to_be_bytes()).contains("encrypted"));
    assert!(with(36, &u32::MAX.to_be_bytes()).contains("first table"));
    assert!(with(40, &(1_u64 << 40).to_be_bytes()).contains("outside"));
    assert!(with(40, &u64::MAX.to_be_bytes()).contains("outside"));
    assert!(with(48, &1_u64.to_be_bytes()).contains("outside"));
    assert!(with(56, &u32::MAX.to_be_bytes()).contains("too large"));
    assert!(with(60, &u32::MAX.to_be_bytes()).contains("snapshots"));
    assert!(with(60, &9_u32.to_be_bytes()).contains("outside"));
    assert!(with(72, &(1_u64 << 40).to_be_bytes()).contains("do not know"));
    assert!(with(72, &CORRUPT.to_be_bytes()).contains("damaged"));
    assert!(with(96, &7_u32.to_be_bytes()).contains("reference counts"));
    assert!(with(100, &8_u32.to_be_bytes()).contains("length"));
    assert!(with(104, &[1, 1, 1, 1, 255, 255, 255, 255]).contains("cut off"));
    assert!(refused(b"", SourceFormat::Raw).contains("empty"));
    assert!(refused(&good()[..90], SourceFormat::Qcow2).contains("cut off"));
    assert!(refused(b"QFI\xfb", SourceFormat::Qcow2).contains("cut off"));
    assert!(refused(b"hello", SourceFormat::Qcow2).contains("declared as qcow2"));
    let large = empty_image(1 << 40, None).unwrap();
    assert!(refused(&large, SourceFormat::Qcow2).contains("at most 1024"));
}

#[test]
fn raw_images_that_begin_like_others_are_refused() {
    for magic in [&b"QFI\xfb"[..], b"KDMV", b"# Disk DescriptorFile\nversion=1", b"vhdxfile", b"conectix"] {
        let bytes = [magic, &[0; 600]].concat();
        assert!(refused(&bytes, SourceFormat::Raw).contains("declared as raw"));
    }
}

/// What `qemu-img` makes of an empty disk of 64 MiB.
fn made(format: &str, options: &str) -> Option<Vec<u8>> {
    let qemu_img = qemu_img()?;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("disk");
    let mut command = unconfined(&qemu_img);
    command.args(["create", "-q", "-f", format]);
    if !options.is_empty() {
        command.args(["-o", options]);
    }
    if options.contains("streamOptimized") {
        // Cannot be created empty.
        std::fs::write(directory.path().join("raw"), vec![0; 64 << 20]).unwrap();
        command = unconfined(&qemu_img);
        command.args(["convert", "-f", "raw", "-O", format, "-o", options]).arg(directory.path().join("raw"));
        command.arg(&path);
    } else {
        command.arg(&path).arg("64M");
    }
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(std::fs::read(path).unwrap())
}

#[test]
fn what_qemu_img_makes_passes_and_is_recognised() {
    let makes = [
        ("qcow2", "", SourceFormat::Qcow2),
        ("qcow2", "compat=0.10", SourceFormat::Qcow2),
        ("qcow2", "extended_l2=on,cluster_size=128k", SourceFormat::Qcow2),
        ("vmdk", "subformat=monolithicSparse", SourceFormat::Vmdk),
        ("vmdk", "subformat=streamOptimized", SourceFormat::Vmdk),
        ("vhdx", "", SourceFormat::Vhdx),
        ("vpc", "subformat=dynamic,force_size=on", SourceFormat::Vhd),
        ("vpc", "subformat=fixed,force_size=on", SourceFormat::Vhd),
    ];
    for (format, options, expected) in makes {
        let Some(bytes) = made(format, options) else { return };
        let found = identify(&mut Cursor::new(&bytes)).unwrap();
        assert_eq!(found, Found::Format(expected), "{format} {options}");
        assert_eq!(looked(&bytes, expected).unwrap().virtual_mib(), 64, "{format} {options}");
        let too_large = inspect(&mut Cursor::new(&bytes), expected, 63).unwrap_err();
        assert!(too_large.detail.contains("at most 63"), "{format}: {too_large}");
        for cut in [0, 8, 100, 512, 600] {
            assert!(looked(&bytes[..cut], expected).is_err(), "{format} {options}: {cut} bytes");
        }
    }
}

/// The image with a piece of its description replaced by something of the same length or shorter.
fn redescribed(vmdk: &[u8], from: &str, to: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(&vmdk[512..512 + 20 * 512]).into_owned();
    assert!(text.contains(from), "{text}");
    let mut described = text.replace(from, to).into_bytes();
    described.truncate(20 * 512);
    let mut image = vmdk.to_vec();
    image[512..512 + 20 * 512].fill(0);
    image[512..512 + described.len()].copy_from_slice(&described);
    image
}

#[test]
fn vmdk_images_that_reach_elsewhere_are_refused() {
    let Some(vmdk) = made("vmdk", "subformat=monolithicSparse") else { return };
    let redescribed = |from: &str, to: &str| refused(&redescribed(&vmdk, from, to), SourceFormat::Vmdk);
    assert!(redescribed("SPARSE \"disk\"", "FLAT \"/etc/passwd\" 0").contains("other files"));
    assert!(redescribed("SPARSE \"disk\"", "SPARSE \"/etc/passwd\"").contains("elsewhere"));
    assert!(redescribed("SPARSE \"disk\"", "SPARSE \"disk\"\nRW 8 FLAT \"x\" 0").contains("other files"));
    assert!(redescribed("\"monolithicSparse\"", "\"monolithicFlat\"").contains("monolithicflat"));
    assert!(redescribed("\"monolithicSparse\"", "\"fullDevice\"").contains("fulldevice"));
    assert!(redescribed("createType=", "made=").contains("of which type"));
    assert!(redescribed("parentCID=ffffffff", "parentCID=12345678").contains("parent"));
    assert!(redescribed("# Extent description", "ParentFileNameHint=\"/etc/passwd\"").contains("parent"));
    let mut patched = vmdk.clone();
    // Hidden behind the end of the text, where QEMU may still find it.
    patched[512 + 9000..512 + 9018].copy_from_slice(b"parentFileNameHint");
    assert!(refused(&patched, SourceFormat::Vmdk).contains("parent"));
    // Without a size in the header, the description would say what the disk consists of.
    let mut patched = vmdk.clone();
    patched[12..20].fill(0);
    assert!(refused(&patched, SourceFormat::Vmdk).contains("empty"));
    let mut patched = vmdk.clone();
    patched[28..36].copy_from_slice(&9_u64.to_le_bytes());
    assert!(refused(&patched, SourceFormat::Vmdk).contains("not where it belongs"));
    let mut patched = vmdk;
    patched[12..20].copy_from_slice(&u64::MAX.to_le_bytes());
    assert!(refused(&patched, SourceFormat::Vmdk).contains("impossible"));
}

#[test]
fn the_end_of_a_stream_may_not_contradict_its_beginning() {
    let Some(mut vmdk) = made("vmdk", "subformat=streamOptimized") else { return };
    // As VMware writes it, in one go: the directory's place is known at the end only.
    let footer = vmdk.len();
    vmdk.extend_from_within(..512);
    vmdk.extend([0; 512]);
    vmdk[56..64].fill(0xff);
    assert_eq!(looked(&vmdk, SourceFormat::Vmdk).unwrap().virtual_mib(), 64);
    for (at, value) in [(12, 1 << 17 | 1), (12, 0), (28, 77), (56, u64::MAX)] {
        let mut patched = vmdk.clone();
        patched[footer + at..footer + at + 8].copy_from_slice(&u64::to_le_bytes(value));
        assert!(looked(&patched, SourceFormat::Vmdk).is_err(), "{at}: {value}");
    }
    assert!(refused(&vmdk[..footer], SourceFormat::Vmdk).contains("its end is missing"));
}

#[test]
fn disks_that_stand_on_others_are_refused_in_every_format() {
    let Some(mut vhd) = made("vpc", "subformat=dynamic,force_size=on") else { return };
    vhd[60..64].copy_from_slice(&4_u32.to_be_bytes());
    assert!(refused(&vhd, SourceFormat::Vhd).contains("parent"));
    let Some(vhdx) = made("vhdx", "") else { return };
    let locator =
        [0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c];
    let table = vhdx.windows(8).position(|piece| piece == b"metadata").unwrap();
    let mut patched = vhdx.clone();
    // In place of the disk's identifier.
    patched[table + 32 + 64..][..16].copy_from_slice(&locator);
    assert!(refused(&patched, SourceFormat::Vhdx).contains("parent"));
    let mut patched = vhdx;
    let parameters = [0x37, 0x67, 0xa1, 0xca];
    let entry = patched.windows(4).position(|piece| piece == parameters).unwrap();
    let at = table + u32::from_le_bytes(patched[entry + 16..entry + 20].try_into().unwrap()) as usize;
    patched[at + 4] |= 2;
    assert!(refused(&patched, SourceFormat::Vhdx).contains("parent"));
}

#[test]
fn packed_files_and_archives_are_told_apart() {
    let mut tar = vec![0; 1024];
    tar[257..262].copy_from_slice(b"ustar");
    let found = |bytes: &[u8]| identify(&mut Cursor::new(bytes)).unwrap();
    assert_eq!(found(&tar), Found::Format(SourceFormat::Ova));
    assert_eq!(found(b"\x1f\x8b\x08\0"), Found::Packed(Compression::Gzip));
    assert_eq!(found(b"\xfd7zXZ\0"), Found::Packed(Compression::Xz));
    assert_eq!(found(b"\x28\xb5\x2f\xfd"), Found::Packed(Compression::Zstd));
    assert_eq!(found(b"BZh9"), Found::Packed(Compression::Bzip2));
    assert_eq!(found(b"# Disk DescriptorFile\n").word(), "vmdk (a description without the disk)");
    assert_eq!(found(b""), Found::Nothing);
}

#[test]
fn media_are_known_by_their_descriptor() {
    let mut iso = vec![0; 40 << 10];
    assert!(inspect_medium(&mut Cursor::new(&iso)).unwrap_err().detail.contains("not an ISO"));
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    assert_eq!(inspect_medium(&mut Cursor::new(&iso)).unwrap(), 40 << 10);
    assert!(inspect_medium(&mut Cursor::new(b"")).is_err());
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
    let socket = directory.path().join("socket");
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    assert!(open_regular(&socket).is_err());
}

proptest! {
    #[test]
    fn garbage_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let beginnings: [&[u8]; 6] = [b"", b"QFI\xfb\0\0\0\x03", b"KDMV\x01\0\0\0", b"vhdxfile", b"conectix", b"regi"];
        for beginning in beginnings {
            let bytes = [beginning, &bytes].concat();
            let _ = identify(&mut Cursor::new(&bytes));
            let _ = inspect_medium(&mut Cursor::new(&bytes));
            for format in SourceFormat::ALL {
                let _ = looked(&bytes, format);
            }
        }
    }

    #[test]
    fn a_damaged_header_never_panics_nor_names_a_file(at in 0_usize..112, byte: u8) {
        let mut image = good();
        image[at] = byte;
        if looked(&image, SourceFormat::Qcow2).is_ok() {
            prop_assert_eq!(&image[8..20], &[0; 12]);
            prop_assert_eq!(image[79] & 4, 0);
        }
    }
}
