//! Images and volumes that only take up names.

use super::journal::Journal;
use super::{lock, pass};
use crate::chance::Chance;
use crate::config::SimConfig;
use crate::faults::{Faults, Verb};
use hostler_core::ids::{MediumId, SnapshotId, StorageId, TemplateId, VolumeId};
use hostler_core::ports::{
    Backing, DriverError, ImageSource, MediumFacts, Progress, Storage, StorageFacts, StorageItem, VolumeSpec,
};
use hostler_core::templates::{Image, ImageDisk, ImageFormat, SourceFormat};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What the storage claims to hold at most: room for any test.
const TOTAL_MIB: u64 = 1024 * 1024 * 1024;

/// Bytes that an untouched volume takes, as an empty qcow2 file does.
const VOLUME_BYTES: u64 = 196_608;

const RECIPE: &str = "micro";
const MIB: u64 = 1024 * 1024;

/// A storage that writes no image and no volume. Clones are the same storage.
#[derive(Clone)]
pub struct SimStorage(Arc<Inner>);

struct Inner {
    id: StorageId,
    path: PathBuf,
    volume: Duration,
    image: Duration,
    faults: Faults,
    images: Journal,
    volumes: Journal,
    snapshots: Journal,
    media: Journal,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    images: HashMap<TemplateId, Image>,
    volumes: HashMap<VolumeId, VolumeSpec>,
    media: HashMap<MediumId, MediumFacts>,
    snapshots: HashMap<VolumeId, Snapshots>,
}

/// The snapshots in a volume, each with the size that the volume had.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Snapshots {
    volume: VolumeId,
    taken: BTreeMap<SnapshotId, u64>,
}

#[derive(Serialize, Deserialize)]
struct ImageEntry {
    template: TemplateId,
    image: Image,
}

#[derive(Serialize, Deserialize)]
struct MediumEntry {
    medium: MediumId,
    facts: MediumFacts,
}

impl SimStorage {
    /// A storage that keeps its entries under `sim/images/`, `sim/volumes/` and `sim/media/` of the data directory, unless the
    /// configuration says that nothing shall be kept. What an earlier process made is there at once.
    pub fn open(
        id: StorageId,
        data_dir: &Path,
        config: &SimConfig,
        faults: Faults,
    ) -> Result<Self, DriverError> {
        let path = data_dir.join("sim");
        if !config.persist {
            return Ok(Self::with(id, path, config, faults, nowhere()));
        }
        let journals = [
            Journal::open(path.join("images"))?,
            Journal::open(path.join("volumes"))?,
            Journal::open(path.join("snapshots"))?,
            Journal::open(path.join("media"))?,
        ];
        let storage = Self::with(id, path, config, faults, journals);
        {
            let mut kept = lock(&storage.0.kept);
            let images = storage.0.images.entries::<ImageEntry>()?;
            kept.images = images.into_iter().map(|entry| (entry.template, entry.image)).collect();
            let volumes = storage.0.volumes.entries::<VolumeSpec>()?;
            kept.volumes = volumes.into_iter().map(|spec| (spec.id, spec)).collect();
            let snapshots = storage.0.snapshots.entries::<Snapshots>()?;
            kept.snapshots = snapshots.into_iter().map(|of| (of.volume, of)).collect();
            let media = storage.0.media.entries::<MediumEntry>()?;
            kept.media = media.into_iter().map(|entry| (entry.medium, entry.facts)).collect();
        }
        Ok(storage)
    }

    /// A storage that forgets everything, whatever the configuration says of that.
    pub fn in_memory(id: StorageId, config: &SimConfig, faults: Faults) -> Self {
        Self::with(id, PathBuf::from("/sim"), config, faults, nowhere())
    }

    fn with(
        id: StorageId,
        path: PathBuf,
        config: &SimConfig,
        faults: Faults,
        [images, volumes, snapshots, media]: [Journal; 4],
    ) -> Self {
        Self(Arc::new(Inner {
            id,
            path,
            volume: Duration::from_millis(config.volume_ms),
            image: Duration::from_millis(config.image_ms),
            faults,
            images,
            volumes,
            snapshots,
            media,
            kept: Mutex::default(),
        }))
    }

    /// What goes wrong here.
    pub fn faults(&self) -> &Faults {
        &self.0.faults
    }

    /// The volume as it was made and grown.
    pub fn volume(&self, id: VolumeId) -> Option<VolumeSpec> {
        lock(&self.0.kept).volumes.get(&id).cloned()
    }

    /// The snapshots in a volume.
    pub fn snapshots(&self, id: VolumeId) -> BTreeSet<SnapshotId> {
        let kept = lock(&self.0.kept);
        kept.snapshots.get(&id).map(|of| of.taken.keys().copied().collect()).unwrap_or_default()
    }

    /// Takes a snapshot of a volume, whoever has it open. The first of a name stays.
    pub(super) fn take(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        let mut kept = lock(&self.0.kept);
        let size_mib = kept.volumes.get(&id).ok_or_else(|| gone(id))?.size_mib;
        let mut of = kept.snapshots.get(&id).cloned().unwrap_or_else(|| Snapshots::none(id));
        of.taken.entry(snapshot).or_insert(size_mib);
        self.0.snapshots.keep(id.0, &of)?;
        kept.snapshots.insert(id, of);
        Ok(())
    }

    /// Whether this volume is here.
    pub(super) fn has(&self, id: VolumeId) -> bool {
        lock(&self.0.kept).volumes.contains_key(&id)
    }

    /// Grows a volume, whoever has it open.
    pub(super) fn grow(&self, id: VolumeId, size_mib: u64) -> Result<(), DriverError> {
        let mut kept = lock(&self.0.kept);
        let mut spec = kept.volumes.get(&id).cloned().ok_or_else(|| gone(id))?;
        if size_mib < spec.size_mib {
            return Err(DriverError::refused(format!(
                "volume {id} has {} MiB and cannot shrink to {size_mib} MiB",
                spec.size_mib
            )));
        }
        spec.size_mib = size_mib;
        self.0.volumes.keep(id.0, &spec)?;
        kept.volumes.insert(id, spec);
        Ok(())
    }

    /// Takes a volume back, whoever has it open.
    pub(super) fn take_back(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        let mut kept = lock(&self.0.kept);
        let mut spec = kept.volumes.get(&id).cloned().ok_or_else(|| gone(id))?;
        let taken = kept.snapshots.get(&id).and_then(|of| of.taken.get(&snapshot));
        spec.size_mib =
            *taken.ok_or_else(|| DriverError::refused(format!("volume {id} has no snapshot {snapshot}")))?;
        self.0.volumes.keep(id.0, &spec)?;
        kept.volumes.insert(id, spec);
        Ok(())
    }

    /// Removes a snapshot from a volume, whoever has it open.
    pub(super) fn forget(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        let mut kept = lock(&self.0.kept);
        let Some(mut of) = kept.snapshots.get(&id).cloned() else { return Ok(()) };
        of.taken.remove(&snapshot);
        self.0.snapshots.keep(id.0, &of)?;
        kept.snapshots.insert(id, of);
        Ok(())
    }
}

impl Snapshots {
    fn none(volume: VolumeId) -> Self {
        Self { volume, taken: BTreeMap::new() }
    }
}

fn nowhere() -> [Journal; 4] {
    std::array::from_fn(|_| Journal::nowhere())
}

impl fmt::Debug for SimStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimStorage({})", self.0.id)
    }
}

#[async_trait::async_trait]
impl Storage for SimStorage {
    fn id(&self) -> StorageId {
        self.0.id
    }

    async fn facts(&self) -> Result<StorageFacts, DriverError> {
        self.0.faults.before(Verb::StorageFacts).await?;
        let used = {
            let kept = lock(&self.0.kept);
            let volumes = VOLUME_BYTES * u64::try_from(kept.volumes.len()).unwrap_or_default();
            volumes + kept.images.values().map(|image| image.bytes).sum::<u64>()
        };
        Ok(StorageFacts {
            path: self.0.path.clone(),
            total_mib: TOTAL_MIB,
            free_mib: TOTAL_MIB.saturating_sub(used.div_ceil(MIB)),
            fsync_us: 0,
        })
    }

    fn recipes(&self) -> Vec<String> {
        vec![RECIPE.to_owned()]
    }

    async fn image_make(
        &self,
        template: TemplateId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<Image, DriverError> {
        self.0.faults.before(Verb::ImageMake).await?;
        let made = lock(&self.0.kept).images.get(&template).cloned();
        if let Some(image) = made {
            progress.report(1.0, "there already");
            self.0.faults.after(Verb::ImageMake)?;
            return Ok(image);
        }
        let image = match source {
            ImageSource::Recipe { recipe, .. } if recipe == RECIPE => micro(),
            ImageSource::Recipe { recipe, .. } => {
                return Err(DriverError::refused(format!("there is no recipe `{recipe}`, only `{RECIPE}`")));
            }
            ImageSource::File { path, format, max_mib, .. } => inspected(path, *format, *max_mib)?,
            ImageSource::Url { max_mib, .. } => fetched(*max_mib),
        };
        for step in 0..10_u8 {
            progress.report(f64::from(step) / 10.0, "pretending to copy");
            pass(self.0.image / 10).await;
        }
        self.0.images.keep(template.0, &ImageEntry { template, image: image.clone() })?;
        lock(&self.0.kept).images.insert(template, image.clone());
        progress.report(1.0, "made");
        self.0.faults.after(Verb::ImageMake)?;
        Ok(image)
    }

    async fn image_remove(&self, template: TemplateId) -> Result<(), DriverError> {
        self.0.faults.before(Verb::ImageRemove).await?;
        {
            let mut kept = lock(&self.0.kept);
            let stands_on_it = |spec: &&VolumeSpec| matches!(&spec.backing, Some(Backing::Template { template: on, .. }) if *on == template);
            if let Some(volume) = kept.volumes.values().find(stands_on_it) {
                return Err(DriverError::refused(format!(
                    "volume {} stands on the image of template {template}",
                    volume.id
                )));
            }
            self.0.images.forget(template.0)?;
            kept.images.remove(&template);
        }
        self.0.faults.after(Verb::ImageRemove)
    }

    async fn volume_make(&self, spec: &VolumeSpec) -> Result<(), DriverError> {
        self.0.faults.before(Verb::VolumeMake).await?;
        if self.volume(spec.id).is_none() {
            pass(self.0.volume).await;
            let mut kept = lock(&self.0.kept);
            makeable(spec, &kept.images)?;
            self.0.volumes.keep(spec.id.0, spec)?;
            kept.volumes.insert(spec.id, spec.clone());
        }
        self.0.faults.after(Verb::VolumeMake)
    }

    async fn volume_grow(&self, id: VolumeId, size_mib: u64) -> Result<(), DriverError> {
        self.0.faults.before(Verb::VolumeGrow).await?;
        let mut spec = self.volume(id).ok_or_else(|| gone(id))?;
        if size_mib < spec.size_mib {
            return Err(DriverError::refused(format!(
                "volume {id} has {} MiB and cannot shrink to {size_mib} MiB",
                spec.size_mib
            )));
        }
        if size_mib > spec.size_mib {
            pass(self.0.volume).await;
            spec.size_mib = size_mib;
            let mut kept = lock(&self.0.kept);
            if !kept.volumes.contains_key(&id) {
                return Err(gone(id));
            }
            self.0.volumes.keep(id.0, &spec)?;
            kept.volumes.insert(id, spec);
        }
        self.0.faults.after(Verb::VolumeGrow)
    }

    async fn volume_remove(&self, id: VolumeId) -> Result<(), DriverError> {
        self.0.faults.before(Verb::VolumeRemove).await?;
        if self.volume(id).is_some() {
            pass(self.0.volume).await;
            self.0.snapshots.forget(id.0)?;
            self.0.volumes.forget(id.0)?;
            let mut kept = lock(&self.0.kept);
            kept.snapshots.remove(&id);
            kept.volumes.remove(&id);
        }
        self.0.faults.after(Verb::VolumeRemove)
    }

    async fn volume_snapshot(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.0.faults.before(Verb::VolumeSnapshot).await?;
        pass(self.0.volume).await;
        self.take(id, snapshot)?;
        self.0.faults.after(Verb::VolumeSnapshot)
    }

    async fn volume_revert(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.0.faults.before(Verb::VolumeRevert).await?;
        pass(self.0.volume).await;
        self.take_back(id, snapshot)?;
        self.0.faults.after(Verb::VolumeRevert)
    }

    async fn volume_snapshot_remove(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError> {
        self.0.faults.before(Verb::VolumeSnapshotRemove).await?;
        pass(self.0.volume).await;
        self.forget(id, snapshot)?;
        self.0.faults.after(Verb::VolumeSnapshotRemove)
    }

    async fn medium_make(
        &self,
        id: MediumId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<MediumFacts, DriverError> {
        self.0.faults.before(Verb::MediumMake).await?;
        let made = lock(&self.0.kept).media.get(&id).cloned();
        let facts = match (made, source) {
            (Some(facts), _) => facts,
            (None, ImageSource::Recipe { .. }) => {
                return Err(DriverError::refused("no recipe makes a medium"));
            }
            (None, ImageSource::File { path, .. }) if !path.is_file() => {
                return Err(DriverError::refused(format!("{} is not a regular file", path.display())));
            }
            (None, _) => {
                progress.report(0.5, "pretending to copy");
                pass(self.0.image).await;
                let facts = MediumFacts { bytes: MIB, digest: digest(1) };
                self.0.media.keep(id.0, &MediumEntry { medium: id, facts: facts.clone() })?;
                lock(&self.0.kept).media.insert(id, facts.clone());
                facts
            }
        };
        progress.report(1.0, "made");
        self.0.faults.after(Verb::MediumMake)?;
        Ok(facts)
    }

    async fn medium_remove(&self, id: MediumId) -> Result<(), DriverError> {
        self.0.faults.before(Verb::MediumRemove).await?;
        self.0.media.forget(id.0)?;
        lock(&self.0.kept).media.remove(&id);
        self.0.faults.after(Verb::MediumRemove)
    }

    async fn items(&self) -> Result<Vec<StorageItem>, DriverError> {
        self.0.faults.before(Verb::Items).await?;
        let mut items: Vec<_> = {
            let kept = lock(&self.0.kept);
            let images = kept.images.keys().copied().map(StorageItem::Image);
            let volumes = kept.volumes.keys().copied().map(StorageItem::Volume);
            images.chain(volumes).chain(kept.media.keys().copied().map(StorageItem::Medium)).collect()
        };
        items.sort();
        Ok(items)
    }

    async fn volume_usage(&self, id: VolumeId) -> Result<u64, DriverError> {
        self.0.faults.before(Verb::VolumeUsage).await?;
        self.volume(id).map(|_| VOLUME_BYTES).ok_or_else(|| gone(id))
    }
}

fn gone(id: VolumeId) -> DriverError {
    DriverError::gone(format!("volume {id} is not in this storage"))
}

fn makeable(spec: &VolumeSpec, images: &HashMap<TemplateId, Image>) -> Result<(), DriverError> {
    let refuse = |why: String| Err(DriverError::refused(format!("volume {} cannot be made: {why}", spec.id)));
    if spec.size_mib == 0 {
        return refuse("it has no size".to_owned());
    }
    // Golden machines are the hypervisor's affair.
    let Some(Backing::Template { template, .. }) = &spec.backing else { return Ok(()) };
    match images.get(template).map(|image| &image.disk) {
        None => refuse(format!("the image of template {template} is not here")),
        Some(None) => refuse(format!("the image of template {template} has no disk")),
        Some(Some(disk)) if disk.size_mib > spec.size_mib => {
            refuse(format!("{} MiB are less than the image's {} MiB", spec.size_mib, disk.size_mib))
        }
        Some(Some(_)) => Ok(()),
    }
}

/// The image that the built-in recipe would make.
fn micro() -> Image {
    Image {
        kernel: Some("vmlinuz".to_owned()),
        initrd: Some("initrd".to_owned()),
        command_line: "console=ttyS0".to_owned(),
        disk: Some(ImageDisk { file: "disk.raw".to_owned(), format: ImageFormat::Raw, size_mib: 64 }),
        agent: true,
        bytes: 12 * MIB,
        digest: digest(12),
        ..Image::default()
    }
}

/// Looks at the file as the real storage does, as far as a simulator needs: it is a regular file of the declared
/// format, stands on no other file, and is not too large.
fn inspected(path: &Path, format: Option<SourceFormat>, max_mib: u64) -> Result<Image, DriverError> {
    let refuse = |why: &str| DriverError::refused(format!("{}: {why}", path.display()));
    if !path.is_absolute() {
        return Err(refuse("is not an absolute path"));
    }
    // Before opening: to open a pipe would wait for a writer.
    let about = path.metadata().map_err(|cause| refuse(&cause.to_string()))?;
    if !about.is_file() {
        return Err(refuse("is not a regular file"));
    }
    let mut head = Vec::new();
    File::open(path)
        .and_then(|file| file.take(32).read_to_end(&mut head))
        .map_err(|cause| refuse(&cause.to_string()))?;
    let bytes = match (format, head.starts_with(b"QFI\xfb")) {
        (Some(SourceFormat::Raw) | None, false) => about.len(),
        (Some(SourceFormat::Raw), true) => return Err(refuse("is qcow2, not raw")),
        (Some(SourceFormat::Qcow2), false) => return Err(refuse("is not qcow2")),
        (Some(other), _) if other != SourceFormat::Qcow2 => {
            return Err(refuse(&format!("{} is more than a simulator reads", other.word())));
        }
        (_, _) => {
            let field = |at: usize| head.get(at..at + 8).and_then(|bytes| bytes.try_into().ok());
            let (Some(backing), Some(size)) = (field(8), field(24)) else {
                return Err(refuse("ends within its header"));
            };
            if u64::from_be_bytes(backing) != 0 {
                return Err(refuse("stands on another file"));
            }
            u64::from_be_bytes(size)
        }
    };
    let size_mib = bytes.div_ceil(MIB);
    if size_mib == 0 {
        return Err(refuse("is empty"));
    }
    if size_mib > max_mib {
        return Err(refuse(&format!("has {size_mib} MiB, more than {max_mib} MiB")));
    }
    let disk = ImageDisk { file: "disk.qcow2".to_owned(), format: ImageFormat::Qcow2, size_mib };
    Ok(Image {
        disk: Some(disk),
        agent: true,
        cloud_init: true,
        bytes: about.len(),
        digest: digest(about.len()),
        ..Image::default()
    })
}

/// What a simulator says of an image that it never fetches.
fn fetched(max_mib: u64) -> Image {
    let size_mib = max_mib.min(64);
    let disk = ImageDisk { file: "disk.qcow2".to_owned(), format: ImageFormat::Qcow2, size_mib };
    Image { disk: Some(disk), cloud_init: true, bytes: MIB, digest: digest(size_mib), ..Image::default() }
}

/// Looks like a digest; says no more than the size does.
fn digest(seed: u64) -> String {
    Chance::new(seed).bytes::<32>().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests;
