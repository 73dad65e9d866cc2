//! Snapshots: the state of a machine at one moment, kept inside its volumes.
//!
//! A snapshot has the disks of its machine and, when that was asked for, the memory: then going back means running on
//! from that moment. It lies inside the volumes' own files under its id, so it moves, grows and goes with them; a
//! volume that is part of one cannot be taken from the machine. [`rules`] says what may be taken and gone back to.
//!
//! ```text
//!   creating ──► present ──► deleting ──► (no record)
//!       └───────(undone)──────────────────────┘
//! ```
//!
//! Its task holds the snapshot and the machine, so a machine is saved, taken back or changed, never two at once.

mod commands;
mod model;
mod remove;
mod revert;
mod rules;
mod take;
mod world;

pub use commands::SnapshotAsk;
pub use model::{Snapshot, SnapshotState, SnapshotVolume};
pub(crate) use remove::Remove;
pub(crate) use revert::Revert;
pub(crate) use rules::in_no_snapshot;
pub(crate) use take::Take;
pub(crate) use world::erase_from;
