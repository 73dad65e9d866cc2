//! Volumes (virtual disks) and the storages they live in.
//!
//! A volume is made and removed by tasks. A machine's first volume comes and goes with it; others are made on their
//! own, come and leave while the machine is off or on, and stay when it goes.

pub(crate) mod add;
pub(crate) mod alter;
mod commands;
mod model;
pub(crate) mod tasks;

pub use commands::VolumeAsk;
pub(crate) use commands::check_size;
pub use model::{StoragePlace, Volume, VolumeState};
