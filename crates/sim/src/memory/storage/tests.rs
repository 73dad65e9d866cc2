use super::{MIB, SimStorage};
use crate::config::SimConfig;
use crate::faults::{Faults, Verb};
use hostler_core::ids::{StorageId, TemplateId, VolumeId};
use hostler_core::ports::{
    Backing, DriverError, DriverErrorKind, ImageSource, Progress, Storage, StorageItem, VolumeSpec,
};
use hostler_core::templates::{Image, ImageFormat, SourceFormat};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use uuid::Uuid;

const ID: StorageId = StorageId(Uuid::from_u128(1));
const TEMPLATE: TemplateId = TemplateId(Uuid::from_u128(2));
const VOLUME: VolumeId = VolumeId(Uuid::from_u128(3));

fn instant() -> SimStorage {
    SimStorage::in_memory(ID, &SimConfig::instant(), Faults::none())
}

fn micro() -> ImageSource {
    ImageSource::Recipe { recipe: "micro".to_owned(), mirror: None }
}

async fn make(storage: &SimStorage, source: &ImageSource) -> Result<Image, DriverError> {
    storage.image_make(TEMPLATE, source, &Progress::ignored()).await
}

fn overlay(image: Image, size_mib: u64) -> VolumeSpec {
    VolumeSpec { id: VOLUME, size_mib, backing: Some(Backing::Template { template: TEMPLATE, image }) }
}

fn refused<T>(result: Result<T, DriverError>) -> bool {
    result.err().is_some_and(|error| error.kind == DriverErrorKind::Refused)
}

#[tokio::test]
async fn every_verb_asked_twice_succeeds_twice() -> anyhow::Result<()> {
    let storage = instant();
    let image = make(&storage, &micro()).await?;
    assert!(image.agent && image.digest.len() == 64);
    assert_eq!(make(&storage, &micro()).await?, image);
    let spec = overlay(image, 100);
    for _ in 0..2 {
        storage.volume_make(&spec).await?;
    }
    for _ in 0..2 {
        storage.volume_grow(VOLUME, 200).await?;
    }
    assert_eq!(storage.volume(VOLUME).map(|volume| volume.size_mib), Some(200));
    assert!(storage.volume_usage(VOLUME).await? > 0);
    assert_eq!(storage.items().await?, [StorageItem::Image(TEMPLATE), StorageItem::Volume(VOLUME)]);
    for _ in 0..2 {
        storage.volume_remove(VOLUME).await?;
    }
    for _ in 0..2 {
        storage.image_remove(TEMPLATE).await?;
    }
    assert!(storage.items().await?.is_empty());
    let facts = storage.facts().await?;
    assert_eq!(facts.free_mib, facts.total_mib);
    Ok(())
}

#[tokio::test]
async fn what_makes_no_sense_is_refused() -> anyhow::Result<()> {
    let storage = instant();
    assert!(refused(make(&storage, &ImageSource::Recipe { recipe: "macro".to_owned(), mirror: None }).await));
    assert!(refused(storage.volume_make(&overlay(Image::default(), 100)).await), "no such image");
    let image = make(&storage, &micro()).await?;
    assert!(refused(storage.volume_make(&overlay(image.clone(), 63)).await), "less than the image");
    assert!(refused(storage.volume_make(&VolumeSpec { backing: None, ..overlay(image.clone(), 0) }).await));
    storage.volume_make(&overlay(image, 64)).await?;
    assert!(refused(storage.volume_grow(VOLUME, 63).await));
    assert!(refused(storage.image_remove(TEMPLATE).await), "a volume stands on it");
    storage.volume_remove(VOLUME).await?;
    for gone in [storage.volume_grow(VOLUME, 1).await.err(), storage.volume_usage(VOLUME).await.err()] {
        assert_eq!(gone.map(|error| error.kind), Some(DriverErrorKind::Gone));
    }
    Ok(())
}

#[tokio::test]
async fn files_are_looked_at() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map(|()| path)
    };
    let source = |path: &Path, format| ImageSource::File {
        path: path.to_owned(),
        format: Some(format),
        checksum: None,
        max_mib: 10,
    };
    let header = |backing: u64, size: u64| {
        [b"QFI\xfb\0\0\0\x03".as_slice(), &backing.to_be_bytes(), &[0; 8], &size.to_be_bytes()].concat()
    };
    let (raw, qcow2) = (SourceFormat::Raw, SourceFormat::Qcow2);
    let good = file("good", &header(0, 9 * MIB + 1))?;
    for (path, format) in [
        (folder.path().join("missing"), raw),
        (folder.path().to_owned(), raw),
        ("relative".into(), raw),
        (file("empty", b"")?, raw),
        (good.clone(), raw),
        (file("text", b"not qcow2 at all")?, qcow2),
        (file("short", b"QFI\xfb\0\0\0\x03")?, qcow2),
        (file("overlay", &header(72, MIB))?, qcow2),
        (file("large", &header(0, 11 * MIB))?, qcow2),
    ] {
        let answer = make(&instant(), &source(&path, format)).await;
        assert!(refused(answer), "{}", path.display());
    }
    let disk = make(&instant(), &source(&good, qcow2)).await?.disk;
    assert_eq!(disk.map(|disk| (disk.format, disk.size_mib)), Some((ImageFormat::Qcow2, 10)));
    let disk = make(&instant(), &source(&file("raw", b"x")?, raw)).await?.disk;
    assert_eq!(disk.map(|disk| (disk.format, disk.size_mib)), Some((ImageFormat::Qcow2, 1)));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn progress_goes_forward_and_a_dropped_image_leaves_nothing() -> anyhow::Result<()> {
    let config = SimConfig { image_ms: 10_000, ..SimConfig::instant() };
    let storage = SimStorage::in_memory(ID, &config, Faults::none());
    let (source, ignored) = (micro(), Progress::ignored());
    let whole = storage.image_make(TEMPLATE, &source, &ignored);
    assert!(tokio::time::timeout(Duration::from_secs(5), whole).await.is_err());
    assert!(storage.items().await?.is_empty());

    let seen = Arc::new(Mutex::new(Vec::new()));
    let progress = {
        let seen = seen.clone();
        Progress::new(move |fraction, _| crate::memory::lock(&seen).push(fraction))
    };
    let began = tokio::time::Instant::now();
    storage.image_make(TEMPLATE, &micro(), &progress).await?;
    assert_eq!(began.elapsed(), Duration::from_secs(10));
    let seen = crate::memory::lock(&seen);
    assert!(seen.is_sorted() && seen.first() == Some(&0.0) && seen.last() == Some(&1.0), "{seen:?}");
    Ok(())
}

#[tokio::test]
async fn entries_outlive_the_process() -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let config = SimConfig { persist: true, ..SimConfig::instant() };
    let open = || SimStorage::open(ID, folder.path(), &config, Faults::none());
    let storage = open()?;
    let image = make(&storage, &micro()).await?;
    storage.volume_make(&overlay(image.clone(), 64)).await?;
    storage.volume_grow(VOLUME, 65).await?;
    drop(storage);
    let storage = open()?;
    assert_eq!(storage.volume(VOLUME), Some(overlay(image.clone(), 65)));
    assert_eq!(make(&storage, &micro()).await?, image);
    storage.volume_remove(VOLUME).await?;
    assert_eq!(open()?.items().await?, [StorageItem::Image(TEMPLATE)]);
    Ok(())
}

#[tokio::test]
async fn faults_strike_here_too() -> anyhow::Result<()> {
    let storage = instant();
    let spec = VolumeSpec { id: VOLUME, size_mib: 1, backing: None };
    storage.faults().fail(Verb::VolumeMake, 1, DriverErrorKind::Exhausted);
    storage.faults().fail_after(Verb::VolumeMake, 1, DriverErrorKind::Timeout);
    for (expected, volumes) in
        [(Some(DriverErrorKind::Exhausted), 0), (Some(DriverErrorKind::Timeout), 1), (None, 1)]
    {
        assert_eq!(storage.volume_make(&spec).await.err().map(|error| error.kind), expected);
        assert_eq!(storage.items().await?.len(), volumes);
    }
    Ok(())
}
