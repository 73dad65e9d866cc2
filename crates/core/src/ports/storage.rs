//! The seam to where images and volumes are kept on a host.
//!
//! Verbs are idempotent and leave nothing half-made: what is unfinished lies under another name until it is whole.

use super::driver::{DriverError, Progress};
use crate::ids::{GoldenId, MediumId, SnapshotId, StorageId, TemplateId, VolumeId};
use crate::templates::{Checksum, Image, SourceFormat};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum ImageSource {
    /// Built here from the distribution's packages.
    Recipe {
        /// Name of the recipe, e.g. `micro`.
        recipe: String,
        /// Where its packages come from; none for where the host gets its own.
        #[serde(default)]
        mirror: Option<String>,
    },
    /// A regular file on the host.
    File {
        /// Absolute path.
        path: PathBuf,
        /// Format that the file must have; none to tell it by its first bytes.
        #[serde(default)]
        format: Option<SourceFormat>,
        /// What the file must add up to.
        #[serde(default)]
        checksum: Option<Checksum>,
        /// Largest virtual size accepted, MiB.
        max_mib: u64,
    },
    /// Fetched from elsewhere, by http or https.
    Url {
        /// The address; without a name or password.
        url: String,
        /// Format that the file must have; none to tell it by its first bytes.
        #[serde(default)]
        format: Option<SourceFormat>,
        /// What the file must add up to.
        #[serde(default)]
        checksum: Option<Checksum>,
        /// Largest virtual size accepted, MiB.
        max_mib: u64,
    },
}

/// A volume to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeSpec {
    /// The key; file names derive from it.
    pub id: VolumeId,
    /// Virtual size in MiB; at least the backing image's.
    pub size_mib: u64,
    /// Copy-on-write on this; none makes an empty volume.
    pub backing: Option<Backing>,
}

/// What a new volume is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "on", rename_all = "snake_case")]
pub enum Backing {
    /// A template's disk.
    Template {
        /// Which template.
        template: TemplateId,
        /// Its image.
        image: Image,
    },
    /// The disk that a golden machine had when it was saved.
    Golden {
        /// Which golden machine.
        golden: GoldenId,
    },
}

/// How full a storage is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageFacts {
    /// Where it is.
    pub path: PathBuf,
    /// Size in MiB.
    pub total_mib: u64,
    /// Free for us in MiB.
    pub free_mib: u64,
    /// Median of a few small durable writes, microseconds.
    pub fsync_us: u64,
}

/// Something found in a storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum StorageItem {
    /// The image of a template.
    Image(TemplateId),
    /// A volume.
    Volume(VolumeId),
    /// A medium.
    Medium(MediumId),
}

/// A medium that was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MediumFacts {
    /// Size of its file.
    pub bytes: u64,
    /// SHA-256 of its file, hexadecimal.
    pub digest: String,
}

/// Keeps images and volumes on one host.
#[async_trait::async_trait]
pub trait Storage: Send + Sync {
    /// Which storage it is.
    fn id(&self) -> StorageId;

    /// How full it is.
    async fn facts(&self) -> Result<StorageFacts, DriverError>;

    /// Names of recipes that [`ImageSource::Recipe`] accepts.
    fn recipes(&self) -> Vec<String>;

    /// Makes the image of a template. Refuses what is not safe: backing files, data files, unknown features,
    /// sizes beyond the limit, formats other than declared.
    async fn image_make(
        &self,
        template: TemplateId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<Image, DriverError>;

    /// Removes an image. Success when it is not there.
    async fn image_remove(&self, template: TemplateId) -> Result<(), DriverError>;

    /// Makes a volume durably. Success when it is there already.
    async fn volume_make(&self, spec: &VolumeSpec) -> Result<(), DriverError>;

    /// Grows a volume that no running machine has. Shrinking is refused.
    async fn volume_grow(&self, id: VolumeId, size_mib: u64) -> Result<(), DriverError>;

    /// Removes a volume. Success when it is not there.
    async fn volume_remove(&self, id: VolumeId) -> Result<(), DriverError>;

    /// Takes a snapshot of a volume that no process has open. Success when it is there already.
    async fn volume_snapshot(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError>;

    /// Takes a volume that no process has open back to a snapshot, its size too.
    async fn volume_revert(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError>;

    /// Removes a snapshot from a volume that no process has open. Success when it is not there.
    async fn volume_snapshot_remove(&self, id: VolumeId, snapshot: SnapshotId) -> Result<(), DriverError>;

    /// Makes a medium durably. Refuses what is no ISO image. Success when it is there already.
    async fn medium_make(
        &self,
        id: MediumId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<MediumFacts, DriverError>;

    /// Removes a medium. Success when it is not there.
    async fn medium_remove(&self, id: MediumId) -> Result<(), DriverError>;

    /// Everything of ours that lies there, for comparing records with reality; unfinished leftovers included.
    async fn items(&self) -> Result<Vec<StorageItem>, DriverError>;

    /// Bytes that a volume really takes on the host.
    async fn volume_usage(&self, id: VolumeId) -> Result<u64, DriverError>;
}
