//! hostler as a program: configuration, the server, the command line.
//!
//! [`main_with`] is the whole program with a choice of drivers: `hostler` brings real ones ([`RealDrivers`]),
//! `hostler-sim` simulated ones. [`serve`] wires core, store, drivers and doors together; [`cli`] talks to a running
//! server like any other client does, through the native HTTP API.
#![warn(missing_docs)]

mod backup;
pub mod cli;
pub mod config;
pub mod failure;
mod import;
mod output;
pub mod serve;
mod socket;

pub use cli::main_with;
pub use serve::{DriverFactory, RealDrivers};
