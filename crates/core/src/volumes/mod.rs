//! Volumes (virtual disks) and the storages they live in.

mod model;

pub use model::{StoragePlace, Volume, VolumeState};
