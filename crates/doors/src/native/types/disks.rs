//! Templates, volumes and storages on the wire.

use super::{Firmware, ImageFormat, SourceFormat, TemplateState, VolumeState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// One version of what machines are made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Template {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Its name; the highest ready version of a name is what the bare name means.
    pub name: String,
    /// Counts the builds under this name.
    pub version: u32,
    /// Words of the owner.
    pub description: String,
    /// The account whose it is.
    pub owner: Uuid,
    /// Where its image lies.
    pub storage: Uuid,
    /// Where its image came from; shown to administrators only, because it names files of the host.
    pub source: Option<ImageSource>,
    /// Default virtual CPUs; 0 until the image is ready when nobody said how many.
    pub vcpus: u32,
    /// Default memory in MiB; 0 until the image is ready when nobody said how much.
    pub memory_mib: u64,
    /// Default disk in MiB; 0 for the image's own size.
    pub disk_mib: u64,
    /// Firmware that boots the disk of its machines, where the image has no kernel of its own.
    pub firmware: Firmware,
    /// Whether its machines may be forked from a golden one.
    pub fork: bool,
    /// Where it is in its life.
    pub state: TemplateState,
    /// Its image, once ready.
    pub image: Option<Image>,
    /// Why it failed.
    pub reason: Option<String>,
    /// The task that holds it.
    pub task: Option<Uuid>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// What an image consists of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Image {
    /// Whether the hypervisor loads a kernel from it; otherwise firmware boots its disk.
    pub kernel: bool,
    /// Virtual size of its disk in MiB; null when it has none.
    pub disk_mib: Option<u64>,
    /// Whether guests run our agent.
    pub agent: bool,
    /// Whether guests run cloud-init.
    pub cloud_init: bool,
    /// Bytes on disk.
    pub bytes: u64,
    /// SHA-256 over its files, hexadecimal.
    pub digest: String,
}

/// Where an image comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "from", rename_all = "snake_case", deny_unknown_fields)]
pub enum ImageSource {
    /// Built on the host from its distribution's packages.
    Recipe {
        /// Name of the recipe, e.g. `micro`.
        recipe: String,
        /// Address that its packages come from; null or left out for where the host gets its own.
        #[serde(default)]
        mirror: Option<String>,
    },
    /// A regular file on the host.
    File {
        /// Absolute path.
        path: String,
        /// Format that the file must have, once unpacked; told by its first bytes when left out. A raw image must be
        /// declared or have a name that ends in `.raw` or `.img`.
        #[serde(default)]
        format: Option<SourceFormat>,
        /// What the file must add up to as it is given, packed or not: `sha256:` or `sha512:` and hexadecimal digits.
        #[serde(default)]
        checksum: Option<String>,
        /// Largest virtual size accepted, MiB.
        #[serde(default = "default_max_mib")]
        max_mib: u64,
    },
    /// Fetched from elsewhere. Private addresses are refused unless the configuration allows them.
    Url {
        /// An address that begins with `http://` or `https://` and carries no name and password.
        url: String,
        /// Format that the file must have, once unpacked; told by its first bytes when left out. A raw image must be
        /// declared or have a name that ends in `.raw` or `.img`.
        #[serde(default)]
        format: Option<SourceFormat>,
        /// What the file must add up to as it is given, packed or not: `sha256:` or `sha512:` and hexadecimal digits.
        #[serde(default)]
        checksum: Option<String>,
        /// Largest virtual size accepted, MiB.
        #[serde(default = "default_max_mib")]
        max_mib: u64,
    },
}

/// 64 GiB.
fn default_max_mib() -> u64 {
    64 * 1024
}

fn bios() -> Firmware {
    Firmware::Bios
}

/// A template to be made; a further version when the name exists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TemplateCreate {
    /// Its name.
    #[schema(pattern = "^[a-zA-Z0-9._-]{1,100}$")]
    pub name: String,
    /// Where its image comes from.
    pub source: ImageSource,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
    /// Default virtual CPUs; 0 or left out for what the image asks for (an appliance may), else 1.
    #[serde(default)]
    pub vcpus: u32,
    /// Default memory in MiB; 0 or left out for what the image asks for (an appliance may), else 512.
    #[serde(default)]
    pub memory_mib: u64,
    /// Default disk in MiB; 0 or left out for the image's own size.
    #[serde(default)]
    pub disk_mib: u64,
    /// Firmware that boots the disk of its machines; `bios` when left out.
    #[serde(default = "bios")]
    pub firmware: Firmware,
    /// Whether machines of pools may be forked from a golden one. Not for guests that keep what only one machine may
    /// have where nobody can change it.
    #[serde(default = "super::machines::yes")]
    pub fork: bool,
    /// Where its image shall lie, and so where its machines run: a storage by id, number or name; that of the host
    /// that answers when left out.
    #[serde(default)]
    pub storage: Option<String>,
}

/// A virtual disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Volume {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Name for people; not unique.
    pub name: String,
    /// The account whose it is.
    pub owner: Uuid,
    /// Where it lies.
    pub storage: Uuid,
    /// Virtual size in MiB.
    pub size_mib: u64,
    /// Format of its file.
    pub format: ImageFormat,
    /// The template whose disk it stands on.
    pub template: Option<Uuid>,
    /// The machine that has it.
    pub machine: Option<Uuid>,
    /// Place among that machine's disks; 0 is the one it boots from.
    pub position: u32,
    /// How much it may do each second.
    pub limits: VolumeLimits,
    /// Whether it goes when its machine goes.
    pub with_machine: bool,
    /// Where it is in its life.
    pub state: VolumeState,
    /// Why it is not as it should be.
    pub reason: Option<String>,
    /// The task that holds it.
    pub task: Option<Uuid>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// An empty volume to be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeCreate {
    /// Name for people.
    #[schema(min_length = 1, max_length = 128)]
    pub name: String,
    /// Virtual size in MiB.
    #[schema(minimum = 1, maximum = 67108864)]
    pub size_mib: u64,
    /// Where it shall lie: a storage by id, number or name; that of the host that answers when left out.
    #[serde(default)]
    pub storage: Option<String>,
}

/// Which machine gets a volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeAttach {
    /// The machine, by id, number or name; on or off.
    pub machine: String,
}

/// The new size of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeGrow {
    /// Virtual size in MiB; at least the present one.
    #[schema(minimum = 1, maximum = 67108864)]
    pub size_mib: u64,
}

/// How much a volume may do each second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VolumeLimits {
    /// Reads and writes together; null or left out is without limit.
    #[serde(default)]
    pub iops: Option<u64>,
    /// Bytes read and written together, at least 4096; null or left out is without limit.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// A place where images and volumes lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Storage {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique name.
    pub name: String,
    /// The host that it belongs to.
    pub host: Uuid,
    /// Where it is on that host; shown to administrators only.
    pub path: Option<String>,
    /// Size in MiB; null when this process cannot tell.
    pub total_mib: Option<u64>,
    /// Free in MiB; null when this process cannot tell.
    pub free_mib: Option<u64>,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}
