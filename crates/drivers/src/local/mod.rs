//! Images and volumes in directories of this host.
//!
//! `images/<template>/` holds a template's files and `image.json`, which says what they are; `volumes/<volume>.qcow2`
//! is a volume, most of them overlays on a template's disk; `media/<medium>.iso` is a medium. What is being made lies beside them under a name that
//! begins with `.making-` and gets its real name in one step, so a real name always means a whole thing.

mod convert;
mod given;
mod image;
pub mod inspect;
mod medium;
mod ova;
mod overlay;
mod snapshots;
mod sparse;
#[cfg(test)]
pub(crate) mod test_world;
#[cfg(test)]
mod tests;
mod unpack;

use crate::directory::Directory;
use crate::durable::{
    absent_is_fine, blocking, io_failed, make_private_directory, sync_parent, write_durably,
};
use crate::fetch;
use crate::fetch::{FetchRules, Fetcher};
use crate::layout::{FETCHING, GOLDEN_DISK, Layout, MAKING, plain_file_name};
use crate::spawn::resolve_binary;
use hostler_core::fail::fail_point;
use hostler_core::ids::{GoldenId, MediumId, SnapshotId, StorageId, TemplateId, VolumeId};
use hostler_core::ports::{
    Backing, DriverError, ImageSource, MediumFacts, Progress, Storage, StorageFacts, StorageItem, VolumeSpec,
};
use hostler_core::templates::{Image, ImageDisk, ImageFormat};
use overlay::Lower;
use std::collections::BTreeSet;
use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use uuid::Uuid;

const MIB: u64 = 1 << 20;
/// What was fetched in part and not touched for so long is removed at the next start.
const KEEP_FETCHED: Duration = Duration::from_secs(24 * 3600);

/// What the driver needs to know.
#[derive(Clone, Debug)]
pub struct LocalStorageConfig {
    /// Which storage this is.
    pub id: StorageId,
    /// Where images and volumes lie.
    pub data_dir: PathBuf,
    /// The program; a bare name is looked for in `PATH`.
    pub qemu_img: PathBuf,
    /// What may be fetched from elsewhere.
    pub fetch: FetchRules,
    /// Our guest agent as a static program, to be put into templates; without it none can be built.
    pub agent: Option<PathBuf>,
}

/// Keeps images and volumes in the data directory.
#[derive(Debug)]
pub struct LocalStorage {
    id: StorageId,
    layout: Layout,
    qemu_img: PathBuf,
    agent: Option<PathBuf>,
    fetcher: Fetcher,
    /// One conversion or build at a time: each takes a whole disk and a whole processor.
    making: tokio::sync::Mutex<()>,
}

impl LocalStorage {
    /// Removes what an earlier process left unfinished. Only one process may use a data directory.
    pub fn new(config: LocalStorageConfig) -> Self {
        let layout = Layout::new(&config.data_dir);
        for directory in [layout.images(), layout.volumes(), layout.media()] {
            let removed = own(&layout, &directory).and_then(|()| {
                remove_unfinished(&directory).map_err(|error| io_failed("cannot remove it", &error))
            });
            if let Err(error) = removed {
                tracing::warn!(directory = %directory.display(), %error, "cannot remove what is unfinished");
            }
        }
        Self {
            id: config.id,
            layout,
            qemu_img: resolve_binary(&config.qemu_img),
            agent: config.agent,
            fetcher: Fetcher::new(config.fetch),
            making: tokio::sync::Mutex::default(),
        }
    }

    fn volume(&self, id: VolumeId) -> PathBuf {
        self.layout.volume(id, ImageFormat::Qcow2)
    }

    async fn own(&self, directory: PathBuf) -> Result<(), DriverError> {
        let layout = self.layout.clone();
        blocking(move || own(&layout, &directory)).await
    }
}

#[async_trait::async_trait]
impl Storage for LocalStorage {
    fn id(&self) -> StorageId {
        self.id
    }

    async fn facts(&self) -> Result<StorageFacts, DriverError> {
        let root = self.layout.root().to_owned();
        blocking(move || facts(&root).map_err(|error| io_failed("cannot look at the storage", &error))).await
    }

    fn recipes(&self) -> Vec<String> {
        std::iter::once(image::MICRO).chain(crate::debian::recipes()).map(str::to_owned).collect()
    }

    async fn image_make(
        &self,
        template: TemplateId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<Image, DriverError> {
        self.own(self.layout.images()).await?;
        self.make_image(template, source, progress).await
    }

    async fn image_remove(&self, template: TemplateId) -> Result<(), DriverError> {
        self.own(self.layout.images()).await?;
        let layout = self.layout.clone();
        blocking(move || {
            let unfinished = layout.images().join(format!("{MAKING}{template}"));
            image::discard(&unfinished)
                .and_then(|()| fetch::forget(&given::fetched(&layout.images(), template.0)))
                .and_then(|()| image::discard(&layout.image(template)))
                .map_err(|error| io_failed("cannot remove the image", &error))
        })
        .await
    }

    async fn volume_make(&self, spec: &VolumeSpec) -> Result<(), DriverError> {
        self.own(self.layout.volumes()).await?;
        self.own(self.layout.images()).await?;
        let (layout, spec, path) = (self.layout.clone(), spec.clone(), self.volume(spec.id));
        blocking(move || make_volume(&layout, &spec, &path)).await
    }

    async fn volume_grow(&self, id: VolumeId, size_mib: u64) -> Result<(), DriverError> {
        self.own(self.layout.volumes()).await?;
        let path = self.volume(id);
        let known = path.clone();
        let bytes = size_mib.checked_mul(MIB).ok_or_else(|| DriverError::refused("no disk is so large"))?;
        let now = blocking(move || overlay::virtual_bytes(&mut open_volume(&known)?)).await?;
        if bytes < now {
            return Err(DriverError::refused(format!(
                "the volume has {} MiB and cannot shrink to {size_mib} MiB",
                now.div_ceil(MIB)
            )));
        }
        if bytes == now {
            return Ok(());
        }
        convert::resize(&self.qemu_img, &path, bytes).await
    }

    async fn volume_remove(&self, id: VolumeId) -> Result<(), DriverError> {
        self.own(self.layout.volumes()).await?;
        let path = self.volume(id);
        blocking(move || {
            fail_point("local.removing");
            absent_is_fine(std::fs::remove_file(&path))
                .and_then(|()| absent_is_fine(sync_parent(&path)))
                .map_err(|error| io_failed("cannot remove the volume", &error))
        })
        .await
    }

    async fn volume_snapshot(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.own(self.layout.volumes()).await?;
        snapshots::take(&self.qemu_img, &self.volume(id), snapshot).await
    }

    async fn volume_revert(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.own(self.layout.volumes()).await?;
        snapshots::revert(&self.qemu_img, &self.volume(id), snapshot).await
    }

    async fn volume_snapshot_remove(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.own(self.layout.volumes()).await?;
        snapshots::remove(&self.qemu_img, &self.volume(id), snapshot).await
    }

    async fn medium_make(
        &self,
        id: MediumId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<MediumFacts, DriverError> {
        self.own(self.layout.media()).await?;
        self.make_medium(id, source, progress).await
    }

    async fn medium_remove(&self, id: MediumId) -> Result<(), DriverError> {
        self.own(self.layout.media()).await?;
        let layout = self.layout.clone();
        blocking(move || {
            image::discard(&layout.media().join(format!("{MAKING}{id}")))
                .and_then(|()| fetch::forget(&given::fetched(&layout.media(), id.0)))
                .and_then(|()| image::discard(&layout.medium(id)))
                .map_err(|error| io_failed("cannot remove the medium", &error))
        })
        .await
    }

    async fn items(&self) -> Result<Vec<StorageItem>, DriverError> {
        let layout = self.layout.clone();
        blocking(move || {
            for directory in [layout.images(), layout.volumes(), layout.media()] {
                own(&layout, &directory)?;
            }
            let mut items = BTreeSet::new();
            items.extend(keys(&layout.images())?.map(|key| StorageItem::Image(TemplateId(key))));
            items.extend(keys(&layout.volumes())?.map(|key| StorageItem::Volume(VolumeId(key))));
            items.extend(keys(&layout.media())?.map(|key| StorageItem::Medium(MediumId(key))));
            Ok(items.into_iter().collect())
        })
        .await
    }

    async fn volume_usage(&self, id: VolumeId) -> Result<u64, DriverError> {
        let path = self.volume(id);
        blocking(move || {
            let metadata = path.symlink_metadata().map_err(|error| io_failed("the volume", &error))?;
            Ok(metadata.blocks() * 512)
        })
        .await
    }
}

/// Refuses a link in place of a directory of ours: nothing is written, read or removed by way of it.
fn own(layout: &Layout, directory: &Path) -> Result<(), DriverError> {
    let name = directory.strip_prefix(layout.root()).unwrap_or(directory);
    let opened = Directory::open(layout.root()).and_then(|root| root.directory(name));
    match opened {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DriverError::refused(format!(
            "{} is not a directory of ours but something in its place: {error}",
            directory.display()
        ))),
        _ => Ok(()),
    }
}

/// Makes a volume at this path, which is in the layout's directory of volumes.
pub(crate) fn make_volume(layout: &Layout, spec: &VolumeSpec, path: &Path) -> Result<(), DriverError> {
    let failed = |error: io::Error| io_failed("cannot make the volume", &error);
    if path.try_exists().map_err(failed)? {
        return Ok(());
    }
    let backing = match &spec.backing {
        Some(Backing::Template { template, image }) => {
            let disk = image.disk.as_ref();
            disk.map(|disk| on_template(layout, *template, disk, spec.size_mib)).transpose()?
        }
        Some(Backing::Golden { golden }) => Some(on_golden(layout, *golden, spec.size_mib)?),
        None => None,
    };
    let bytes = spec.size_mib.checked_mul(MIB).ok_or_else(|| DriverError::refused("no disk is so large"))?;
    let image = overlay::empty_image(bytes, backing.as_ref())?;
    let directory = layout.volumes();
    make_private_directory(&directory).map_err(failed)?;
    write_durably(path, &directory.join(format!("{MAKING}{}", spec.id)), &image).map_err(failed)
}

/// The path in an overlay is relative, so that the data directory as a whole can be moved.
fn on_template(
    layout: &Layout,
    template: TemplateId,
    disk: &ImageDisk,
    size_mib: u64,
) -> Result<Lower, DriverError> {
    let file = plain_file_name(&disk.file)?;
    if size_mib < disk.size_mib {
        return Err(DriverError::refused(format!(
            "a volume of {size_mib} MiB cannot hold the template's disk of {} MiB",
            disk.size_mib
        )));
    }
    if !layout.image(template).join(file).is_file() {
        return Err(DriverError::gone("the template's disk is not there"));
    }
    Ok(Lower { path: format!("../images/{template}/{file}"), format: disk.format })
}

fn on_golden(layout: &Layout, golden: GoldenId, size_mib: u64) -> Result<Lower, DriverError> {
    let disk = layout.golden(golden, GOLDEN_DISK);
    let found = disk.symlink_metadata().is_ok_and(|found| found.is_file());
    if !found {
        return Err(DriverError::gone("the golden machine's disk is not there"));
    }
    let bytes = overlay::virtual_bytes(&mut open_volume(&disk)?)?;
    if size_mib.saturating_mul(MIB) < bytes {
        return Err(DriverError::refused(format!(
            "a volume of {size_mib} MiB cannot hold the golden machine's disk of {} MiB",
            bytes / MIB
        )));
    }
    Ok(Lower { path: format!("../goldens/{golden}.{GOLDEN_DISK}"), format: ImageFormat::Qcow2 })
}

fn open_volume(path: &Path) -> Result<File, DriverError> {
    inspect::open_regular(path)
}

/// Keys of what lies in a directory, whole or not: something and its unfinished successor have the same.
fn keys(directory: &Path) -> Result<impl Iterator<Item = Uuid>, DriverError> {
    let key = |name: String| {
        let name = [MAKING, FETCHING].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(&name);
        name.split('.').next()?.parse().ok()
    };
    Ok(names(directory)?.into_iter().filter_map(key))
}

/// Names in a directory; none when there is no such directory yet.
fn names(directory: &Path) -> Result<Vec<String>, DriverError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(|error| io_failed("cannot list the storage", &error))?,
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}

fn remove_unfinished(directory: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let begins = |prefix: &str| name.to_str().is_some_and(|name| name.starts_with(prefix));
        // Half a file is worth going on with, but not for ever.
        let old =
            |about: Metadata| about.modified().ok().and_then(|time| time.elapsed().ok()) > Some(KEEP_FETCHED);
        if begins(MAKING) || begins(FETCHING) && entry.metadata().is_ok_and(old) {
            image::discard(&entry.path())?;
        }
    }
    Ok(())
}

fn facts(root: &Path) -> io::Result<StorageFacts> {
    make_private_directory(root)?;
    let system = rustix::fs::statvfs(root)?;
    let mib = |blocks: u64| {
        u64::try_from((u128::from(blocks) * u128::from(system.f_frsize)) >> 20).unwrap_or(u64::MAX)
    };
    Ok(StorageFacts {
        path: root.to_owned(),
        total_mib: mib(system.f_blocks),
        free_mib: mib(system.f_bavail),
        fsync_us: fsync_time(root)?,
    })
}

/// The median of a few small durable writes.
fn fsync_time(root: &Path) -> io::Result<u64> {
    let mut file = tempfile::tempfile_in(root)?;
    let mut times = Vec::new();
    for _ in 0..5 {
        let begun = Instant::now();
        io::Write::write_all(&mut file, &[0; 512])?;
        file.sync_all()?;
        times.push(begun.elapsed());
    }
    times.sort();
    Ok(u64::try_from(times[times.len() / 2].as_micros()).unwrap_or(u64::MAX))
}

/// What is read of whole files: an appliance, the snapshots of a volume.
pub(crate) fn fuzz(file: &mut File) {
    let _ = ova::read(file);
    if io::Seek::rewind(file).is_ok() {
        let _ = snapshots::names(file);
    }
}
