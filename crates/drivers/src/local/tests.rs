//! The storage as its callers see it, with a real `qemu-img`.

use super::overlay::Lower;
use super::test_world::{qemu_img, storage};
use super::*;
use hostler_core::ports::DriverErrorKind;
use hostler_core::templates::SourceFormat;
use std::sync::{Arc, Mutex};
use uuid::Uuid;

const TEMPLATE: TemplateId = TemplateId(Uuid::from_u128(1));
const VOLUME: VolumeId = VolumeId(Uuid::from_u128(2));

fn raw_file(directory: &Path, mib: usize) -> ImageSource {
    let path = directory.join("given.raw");
    std::fs::write(&path, vec![9; mib << 20]).unwrap();
    ImageSource::File { path, format: Some(SourceFormat::Raw), checksum: None, max_mib: 64 }
}

#[tokio::test]
async fn an_image_is_imported_once_and_volumes_lie_on_it() {
    if qemu_img().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(&directory.path().join("data"));
    let source = raw_file(directory.path(), 8);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let listener = heard.clone();
    let progress = Progress::new(move |fraction, _| listener.lock().unwrap().push(fraction));
    let image = storage.image_make(TEMPLATE, &source, &progress).await.unwrap();
    assert_eq!(image.disk.as_ref().unwrap().size_mib, 8);
    assert_eq!(image.digest.len(), 64);
    assert!(heard.lock().unwrap().is_sorted() && *heard.lock().unwrap().last().unwrap() == 1.0);
    assert_eq!(storage.image_make(TEMPLATE, &source, &Progress::ignored()).await.unwrap(), image);

    let spec = VolumeSpec {
        id: VOLUME,
        size_mib: 16,
        backing: Some(Backing::Template { template: TEMPLATE, image: image.clone() }),
    };
    storage.volume_make(&spec).await.unwrap();
    storage.volume_make(&spec).await.unwrap();
    assert!(storage.volume_usage(VOLUME).await.unwrap() < 1 << 20);
    assert_eq!(storage.items().await.unwrap(), [StorageItem::Image(TEMPLATE), StorageItem::Volume(VOLUME)]);

    storage.volume_grow(VOLUME, 32).await.unwrap();
    storage.volume_grow(VOLUME, 32).await.unwrap();
    let error = storage.volume_grow(VOLUME, 31).await.unwrap_err();
    assert!(error.detail.contains("shrink"), "{error}");
    let checked = crate::spawn::unconfined(Path::new("qemu-img"))
        .args(["check", "-q", "-f", "qcow2"])
        .arg(storage.volume(VOLUME))
        .status();
    assert!(checked.unwrap().success());

    let too_small = VolumeSpec { id: VolumeId(Uuid::from_u128(3)), size_mib: 4, ..spec };
    assert_eq!(storage.volume_make(&too_small).await.unwrap_err().kind, DriverErrorKind::Refused);
    storage.volume_remove(VOLUME).await.unwrap();
    storage.volume_remove(VOLUME).await.unwrap();
    storage.image_remove(TEMPLATE).await.unwrap();
    storage.image_remove(TEMPLATE).await.unwrap();
    assert!(storage.items().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_is_refused_leaves_nothing_behind() {
    if qemu_img().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(&directory.path().join("data"));
    let make = async |source: ImageSource| storage.image_make(TEMPLATE, &source, &Progress::ignored()).await;
    let backing = Lower { path: "/etc/passwd".into(), format: ImageFormat::Raw };
    let path = directory.path().join("evil.qcow2");
    std::fs::write(&path, overlay::empty_image(1 << 20, Some(&backing)).unwrap()).unwrap();
    let evil =
        |format| ImageSource::File { path: path.clone(), format: Some(format), checksum: None, max_mib: 64 };
    assert!(make(evil(SourceFormat::Qcow2)).await.unwrap_err().detail.contains("backing file"));
    assert!(make(evil(SourceFormat::Raw)).await.unwrap_err().detail.contains("declared as raw"));
    let mut large = raw_file(directory.path(), 8);
    if let ImageSource::File { max_mib, .. } = &mut large {
        *max_mib = 7;
    }
    assert!(make(large).await.unwrap_err().detail.contains("at most 7"));
    // A header that passes, with tables that lie outside of the file.
    let mut damaged = overlay::empty_image(1 << 30, None).unwrap();
    damaged[40..48].copy_from_slice(&(1_u64 << 40).to_be_bytes());
    std::fs::write(&path, damaged).unwrap();
    assert_eq!(make(evil(SourceFormat::Qcow2)).await.unwrap_err().kind, DriverErrorKind::Refused);
    let recipe = ImageSource::Recipe { recipe: "micro".into(), mirror: None };
    assert!(make(recipe).await.unwrap_err().detail.contains("agent"));
    assert!(storage.items().await.unwrap().is_empty());
}

/// CVE-2026-24708: what a guest wrote onto its disk must never be taken for the disk's header.
#[tokio::test]
async fn a_header_that_a_guest_writes_onto_its_disk_is_only_bytes() {
    if qemu_img().is_none() {
        return;
    }
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(&directory.path().join("data"));
    let secret = directory.path().join("secret");
    std::fs::write(&secret, vec![0x5e; 1 << 20]).unwrap();
    let backing = Lower { path: secret.to_str().unwrap().into(), format: ImageFormat::Raw };
    let evil = directory.path().join("evil.raw");
    std::fs::write(&evil, overlay::empty_image(1 << 20, Some(&backing)).unwrap()).unwrap();
    let spec = VolumeSpec { id: VOLUME, size_mib: 16, backing: None };
    storage.volume_make(&spec).await.unwrap();
    // The guest writes through QEMU into its disk, whose format is ours: here qemu-img stands for it.
    let run = |arguments: &[&std::ffi::OsStr]| {
        let output = crate::spawn::unconfined(Path::new("qemu-img")).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    };
    let volume = storage.volume(VOLUME);
    let words = ["convert", "-n", "-f", "raw", "-O", "qcow2"].map(std::ffi::OsStr::new);
    run(&[&words[..], &[evil.as_os_str(), volume.as_os_str()]].concat());
    storage.volume_grow(VOLUME, 32).await.unwrap();
    let seen = directory.path().join("seen.raw");
    let words = ["convert", "-f", "qcow2", "-O", "raw"].map(std::ffi::OsStr::new);
    run(&[&words[..], &[volume.as_os_str(), seen.as_os_str()]].concat());
    let seen = std::fs::read(seen).unwrap();
    assert_eq!(seen.len(), 32 << 20);
    assert!(seen.starts_with(&std::fs::read(&evil).unwrap()));
    assert!(!seen.windows(64).step_by(64).any(|piece| piece == [0x5e; 64]), "the host's file was read");
}

/// What takes the place of a directory of ours leads nowhere: neither new files nor removals follow it.
#[tokio::test]
async fn a_link_in_place_of_a_directory_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let (data, elsewhere) = (directory.path().join("data"), directory.path().join("elsewhere"));
    std::fs::create_dir_all(&data).unwrap();
    std::fs::create_dir(&elsewhere).unwrap();
    let precious = elsewhere.join(format!("{MAKING}{VOLUME}"));
    std::fs::write(&precious, "precious").unwrap();
    std::fs::write(elsewhere.join(format!("{VOLUME}.qcow2")), "precious").unwrap();
    for name in ["images", "volumes", "media"] {
        std::os::unix::fs::symlink(&elsewhere, data.join(name)).unwrap();
    }
    let storage = storage(&data);
    let spec = VolumeSpec { id: VolumeId(Uuid::from_u128(9)), size_mib: 16, backing: None };
    let source = raw_file(directory.path(), 1);
    let progress = Progress::ignored();
    let medium = MediumId(VOLUME.0);
    let refusals = [
        storage.volume_make(&spec).await.unwrap_err(),
        storage.volume_grow(VOLUME, 16).await.unwrap_err(),
        storage.volume_remove(VOLUME).await.unwrap_err(),
        storage.image_make(TEMPLATE, &source, &progress).await.unwrap_err(),
        storage.image_remove(TEMPLATE).await.unwrap_err(),
        storage.medium_make(medium, &source, &progress).await.unwrap_err(),
        storage.medium_remove(medium).await.unwrap_err(),
        storage.items().await.unwrap_err(),
    ];
    for error in refusals {
        assert!(error.detail.contains("something in its place"), "{error}");
    }
    assert_eq!(elsewhere.read_dir().unwrap().count(), 2);
    assert_eq!(std::fs::read(&precious).unwrap(), b"precious");
}

#[tokio::test]
async fn a_medium_is_looked_at_kept_whole_and_removed() {
    let directory = tempfile::tempdir().unwrap();
    let storage = storage(&directory.path().join("data"));
    let medium = MediumId(Uuid::from_u128(5));
    let (good, bad) = (directory.path().join("good.iso"), directory.path().join("bad.iso"));
    let mut iso = vec![0; 1 << 20];
    iso[0x8001..0x8006].copy_from_slice(b"CD001");
    std::fs::write(&good, &iso).unwrap();
    std::fs::write(&bad, "no ISO").unwrap();
    let make = async |path: &Path| {
        let source = ImageSource::File { path: path.to_owned(), format: None, checksum: None, max_mib: 1 };
        storage.medium_make(medium, &source, &Progress::ignored()).await
    };
    assert!(make(&bad).await.unwrap_err().detail.contains("not an ISO image"));
    assert!(make(Path::new("/dev/zero")).await.unwrap_err().detail.contains("not a regular file"));
    assert!(storage.items().await.unwrap().is_empty());
    let facts = make(&good).await.unwrap();
    assert_eq!(facts, make(&good).await.unwrap());
    assert_eq!(
        (facts.bytes, facts.digest),
        (1 << 20, hex::encode(<sha2::Sha256 as sha2::Digest>::digest(&iso)))
    );
    assert_eq!(storage.items().await.unwrap(), [StorageItem::Medium(medium)]);
    storage.medium_remove(medium).await.unwrap();
    storage.medium_remove(medium).await.unwrap();
    assert!(storage.items().await.unwrap().is_empty());
}

#[tokio::test]
async fn what_a_dead_process_left_unfinished_is_listed_and_removed_at_the_next_start() {
    let directory = tempfile::tempdir().unwrap();
    let first = storage(directory.path());
    let unfinished = first.layout.images().join(format!("{MAKING}{TEMPLATE}"));
    std::fs::create_dir_all(&unfinished).unwrap();
    std::fs::write(unfinished.join("disk.qcow2"), "half").unwrap();
    make_private_directory(&first.layout.volumes()).unwrap();
    std::fs::write(first.layout.volumes().join(format!("{MAKING}{VOLUME}")), "half").unwrap();
    assert_eq!(first.items().await.unwrap().len(), 2);
    assert!(storage(directory.path()).items().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_missing_program_is_told() {
    let directory = tempfile::tempdir().unwrap();
    let storage = LocalStorage::new(LocalStorageConfig {
        id: StorageId(Uuid::nil()),
        data_dir: directory.path().join("data"),
        qemu_img: "/nowhere/qemu-img".into(),
        fetch: FetchRules::default(),
        agent: None,
    });
    let source = raw_file(directory.path(), 1);
    let error = storage.image_make(TEMPLATE, &source, &Progress::ignored()).await.unwrap_err();
    assert!(error.detail.contains("/nowhere/qemu-img"), "{error}");
    assert!(storage.items().await.unwrap().is_empty());
}

#[tokio::test]
async fn facts_are_plausible() {
    let directory = tempfile::tempdir().unwrap();
    let facts = storage(directory.path()).facts().await.unwrap();
    assert!(facts.total_mib >= facts.free_mib && facts.free_mib > 0);
    assert_eq!(directory.path().read_dir().unwrap().count(), 0);
}
