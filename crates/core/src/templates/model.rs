//! The template's record and what an image consists of.

use crate::ids::{AccountId, StorageId, TaskId, TemplateId};
use crate::ports::ImageSource;
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Formats of disk images that we write and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ImageFormat {
    /// Bytes as they are.
    Raw,
    /// QEMU's copy-on-write format, version 2 or 3.
    Qcow2,
}

impl ImageFormat {
    /// Its word on the wire, and for `qemu-img -f`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
        }
    }
}

/// Firmware that boots from a disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Firmware {
    /// SeaBIOS.
    #[default]
    Bios,
    /// UEFI. Its variables are a machine's own and kept as long as the machine is.
    Uefi,
    /// The same with Secure Boot: only what is signed by Microsoft's keys boots.
    UefiSecure,
}

/// The disk of an image.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageDisk {
    /// File name within the template's image directory.
    pub file: String,
    /// Format of that file.
    pub format: ImageFormat,
    /// Virtual size in MiB, rounded up.
    pub size_mib: u64,
}

/// Templates made before there were forks.
fn may_fork() -> bool {
    true
}

/// What a template's image consists of. File names are relative to the template's image directory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// Kernel for direct boot; without it firmware boots the disk.
    pub kernel: Option<String>,
    /// Initial RAM file system.
    pub initrd: Option<String>,
    /// Kernel command line.
    #[serde(default)]
    pub command_line: String,
    /// The disk that each machine gets a copy-on-write overlay of.
    pub disk: Option<ImageDisk>,
    /// Whether the guest runs our agent, so that "ready" means that it answered.
    #[serde(default)]
    pub agent: bool,
    /// Whether the guest runs cloud-init, so that machines get a seed disk.
    #[serde(default)]
    pub cloud_init: bool,
    /// Virtual CPUs that whoever made it meant its machines to have; none when it does not say.
    #[serde(default)]
    pub vcpus: Option<u32>,
    /// Memory in MiB that whoever made it meant its machines to have; none when it does not say.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Bytes on disk.
    pub bytes: u64,
    /// SHA-256 over its files, hexadecimal.
    pub digest: String,
}

/// Where a template is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TemplateState {
    /// Its image is being made.
    Building,
    /// Machines can be made from it.
    Ready,
    /// Its image is being removed.
    Deleting,
    /// Its image could not be made; `reason` says why.
    Failed,
}

impl TemplateState {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Building => "building",
            Self::Ready => "ready",
            Self::Deleting => "deleting",
            Self::Failed => "failed",
        }
    }
}

/// One version of what machines are made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Template {
    /// The key.
    pub id: TemplateId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Its name; the highest ready version of a name is what "template NAME" means.
    pub name: String,
    /// Counts the builds under this name.
    pub version: u32,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
    /// Whose it is.
    pub owner: AccountId,
    /// Where its image lies.
    pub storage: StorageId,
    /// Where its image came from.
    pub source: ImageSource,
    /// Default virtual CPUs; 0 until its image is ready when nobody said how many.
    pub vcpus: u32,
    /// Default memory in MiB; 0 until its image is ready when nobody said how much.
    pub memory_mib: u64,
    /// Default disk in MiB; 0 for the image's own size.
    #[serde(default)]
    pub disk_mib: u64,
    /// Firmware that boots the disk of its machines, where the image has no kernel of its own.
    #[serde(default)]
    pub firmware: Firmware,
    /// Whether its machines may be forked from a golden one. Not when its guests keep what only one machine may have
    /// where nobody can change it.
    #[serde(default = "may_fork")]
    pub fork: bool,
    /// Where it is in its life.
    pub state: TemplateState,
    /// Its image, once ready.
    pub image: Option<Image>,
    /// Why it failed.
    #[serde(default)]
    pub reason: Option<String>,
    /// The task that holds it.
    #[serde(default)]
    pub task: Option<TaskId>,
    /// When it was asked for.
    pub created_at: Timestamp,
}

impl Record for Template {
    const KIND: Kind = Kind::Template;

    stamped!();

    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", self.name.as_str().into()),
            ("version", i64::from(self.version).into()),
            ("state", self.state.word().into()),
            ("owner", self.owner.0.into()),
            ("storage", self.storage.0.into()),
            ("task", self.task.map(|task| task.0).into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "id": self.id, "name": self.name, "version": self.version, "state": self.state,
            "reason": self.reason, "task": self.task,
        }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.owner)
    }
}
