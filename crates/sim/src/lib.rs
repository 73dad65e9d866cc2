//! Simulators: everything hostler needs from the outside world, without the outside world.
//!
//! [`memory`] holds drivers that keep their machines, images and volumes in memory and behave like careful real
//! ones: verbs are idempotent, guests take time to boot, consoles speak. [`SimConfig`] says how long things take;
//! [`Faults`] makes them fail, stall or lie, from the configuration or from a running test. What a simulated host
//! runs survives the end of the process, as real machines do (see [`SimConfig::persist`]).
//!
//! No code of the product depends on this crate.

mod chance;
mod config;
mod faults;
pub mod memory;
pub mod postgres;
mod world;

pub use config::{FaultConfig, FaultKind, SimConfig};
pub use faults::{Faults, Verb};
pub use world::{Mode, World};
