//! Snapshots: the state of a machine at one moment, kept inside its volumes.

mod model;

pub use model::{Snapshot, SnapshotState, SnapshotVolume};
