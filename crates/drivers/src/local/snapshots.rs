//! Snapshots inside volumes that no process has open.
//!
//! A snapshot's name inside a volume is its id, so nothing else can have it. `qemu-img` would make a second one of the
//! same name without a word; so what is there is read first, from the image's own table (QEMU's
//! `docs/interop/qcow2.txt`, "Snapshots"), with bounds: 64 is all that a machine can have.

use super::convert::{Child, MEMORY, run};
use crate::durable::io_failed;
use crate::spawn::Limits;
use hostler_core::ids::SnapshotId;
use hostler_core::ports::{DriverError, DriverErrorKind};
use serde_json::json;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

/// More snapshots than this are nobody's wish.
const MOST: u32 = 4096;
const ENTRY_BYTES: usize = 40;

/// Takes a snapshot. Success when it is there already.
pub(super) async fn take(qemu_img: &Path, volume: &Path, snapshot: SnapshotId) -> Result<(), DriverError> {
    if has(volume, snapshot).await? {
        return Ok(());
    }
    ask(qemu_img, "-c", volume, snapshot).await
}

/// Takes the volume back, its size too.
pub(super) async fn revert(qemu_img: &Path, volume: &Path, snapshot: SnapshotId) -> Result<(), DriverError> {
    if has(volume, snapshot).await? {
        return ask(qemu_img, "-a", volume, snapshot).await;
    }
    Err(DriverError::refused(format!("the volume has no snapshot {snapshot}")))
}

/// Removes a snapshot. Success when it is not there.
pub(super) async fn remove(qemu_img: &Path, volume: &Path, snapshot: SnapshotId) -> Result<(), DriverError> {
    match has(volume, snapshot).await {
        Ok(true) => ask(qemu_img, "-d", volume, snapshot).await,
        Err(error) if error.kind != DriverErrorKind::Gone => Err(error),
        Ok(false) | Err(_) => Ok(()),
    }
}

async fn has(volume: &Path, snapshot: SnapshotId) -> Result<bool, DriverError> {
    let path = volume.to_owned();
    let names = crate::durable::blocking(move || {
        let mut file = super::open_volume(&path)?;
        names(&mut file)
    });
    Ok(names.await?.contains(&snapshot.to_string()))
}

async fn ask(qemu_img: &Path, verb: &str, volume: &Path, snapshot: SnapshotId) -> Result<(), DriverError> {
    let path = volume.to_str().ok_or_else(|| DriverError::refused("the data directory is not UTF-8"))?;
    // This command knows no `-f`; the format is said in the name.
    let file = json!({ "driver": "qcow2", "file": { "driver": "file", "filename": path } });
    let (file, snapshot) = (format!("json:{file}"), snapshot.to_string());
    let arguments = ["snapshot", "-q", verb, &snapshot, &file].map(OsStr::new);
    let limits = Limits { memory_bytes: Some(MEMORY), cpu_s: Some(600), ..Limits::default() };
    run(qemu_img, &arguments, Child::on(volume, limits), |_| {}).await
}

/// Names of the snapshots in a qcow2 image.
pub(super) fn names(file: &mut File) -> Result<Vec<String>, DriverError> {
    let failed = |error: std::io::Error| io_failed("cannot read the volume's snapshots", &error);
    let nonsense = || DriverError::refused("the volume's table of snapshots makes no sense");
    let mut head = [0; 72];
    file.read_exact(&mut head).map_err(failed)?;
    if !head.starts_with(b"QFI\xfb") {
        return Err(DriverError::refused("the volume is not a qcow2 image"));
    }
    let (count, table) = (number(&head[60..64]), number(&head[64..72]));
    if count > u64::from(MOST) {
        return Err(nonsense());
    }
    file.seek(SeekFrom::Start(table)).map_err(failed)?;
    let mut reader = BufReader::new(file);
    let mut names = Vec::new();
    for _ in 0..count {
        let mut entry = [0; ENTRY_BYTES];
        reader.read_exact(&mut entry).map_err(failed)?;
        let (id, name, extra) = (number(&entry[12..14]), number(&entry[14..16]), number(&entry[36..40]));
        if extra > 1024 {
            return Err(nonsense());
        }
        // Padded to eight bytes.
        let rest = (extra + id + name).next_multiple_of(8);
        let mut bytes = Vec::new();
        (&mut reader).take(rest).read_to_end(&mut bytes).map_err(failed)?;
        let from = usize::try_from(extra + id).unwrap_or(usize::MAX);
        let name = bytes.get(from..).and_then(|bytes| bytes.get(..usize::try_from(name).ok()?));
        names.push(String::from_utf8_lossy(name.ok_or_else(nonsense)?).into_owned());
    }
    Ok(names)
}

/// Big-endian, eight bytes at most.
fn number(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::overlay::empty_image;
    use crate::local::test_world::qemu_img;
    use std::io::Write;
    use uuid::Uuid;

    fn id(number: u128) -> SnapshotId {
        SnapshotId(Uuid::from_u128(number))
    }

    fn kept(path: &Path) -> Vec<String> {
        names(&mut File::open(path).unwrap()).unwrap()
    }

    #[tokio::test]
    async fn snapshots_are_taken_once_gone_back_to_with_their_size_and_removed() {
        let Some(qemu_img) = qemu_img() else { return };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a,b.qcow2");
        std::fs::write(&path, empty_image(8 << 20, None).unwrap()).unwrap();
        assert!(kept(&path).is_empty());
        for _ in 0..2 {
            take(&qemu_img, &path, id(1)).await.unwrap();
        }
        assert_eq!(kept(&path), [id(1).to_string()]);
        super::super::convert::resize(&qemu_img, &path, 16 << 20).await.unwrap();
        take(&qemu_img, &path, id(2)).await.unwrap();
        assert_eq!(kept(&path), [id(1).to_string(), id(2).to_string()]);
        let size = || super::super::overlay::virtual_bytes(&mut File::open(&path).unwrap()).unwrap();
        for (snapshot, bytes) in [(1, 8 << 20), (2, 16 << 20), (1, 8 << 20)] {
            revert(&qemu_img, &path, id(snapshot)).await.unwrap();
            assert_eq!(size(), bytes);
        }
        assert!(revert(&qemu_img, &path, id(3)).await.unwrap_err().detail.contains("no snapshot"));
        for _ in 0..2 {
            remove(&qemu_img, &path, id(1)).await.unwrap();
        }
        assert_eq!(kept(&path), [id(2).to_string()]);
        remove(&qemu_img, &directory.path().join("lost.qcow2"), id(1)).await.unwrap();
    }

    #[test]
    fn a_table_of_nonsense_is_refused() {
        let mut image = empty_image(1 << 20, None).unwrap();
        let mut look = |at: usize, bytes: &[u8]| {
            image[at..at + bytes.len()].copy_from_slice(bytes);
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(&image).unwrap();
            file.seek(SeekFrom::Start(0)).unwrap();
            names(&mut file)
        };
        // One snapshot, in a table that lies beyond the end, then in one that is all ones.
        assert!(look(60, &[0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0]).is_err());
        look(4096, &[0xff; 4096]).unwrap_err();
        assert!(look(60, &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 16, 0]).is_err());
        assert!(look(60, &[0xff; 4]).is_err());
    }
}
