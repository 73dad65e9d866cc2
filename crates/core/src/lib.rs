//! The domain of hostler: machines, what they are made from, who may use them, and the work done on them.
//!
//! Core decides; it knows no HTTP, no SQL and no processes. Doors translate requests into commands on
//! [`Core`](crate::core::Core), each command is one commit through the [`ports::Store`], and the worker in
//! [`tasks`] carries out the slow part through the driver ports ([`ports::Hypervisor`], [`ports::Storage`]).
#![warn(missing_docs)]

pub mod access;
pub mod core;
pub mod doctor;
pub mod error;
pub mod events;
pub mod fail;
pub mod goldens;
pub mod hosts;
pub mod ids;
pub mod machines;
pub mod maintenance;
pub mod media;
pub mod networks;
pub mod pools;
pub mod ports;
pub mod query;
pub mod reconcile;
pub mod record;
pub mod secret;
pub mod settings;
pub mod snapshots;
pub mod tasks;
pub mod templates;
pub mod time;
pub mod volumes;

pub use crate::core::Core;
pub use crate::error::{Error, ErrorKind, Result};
