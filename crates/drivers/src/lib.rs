//! Drivers: they act on the world for core and decide nothing.
//!
//! [`qemu`] runs virtual machines as QEMU processes of this host behind [`hostler_core::ports::Hypervisor`].
//! [`local`] keeps images and volumes in directories of this host behind [`hostler_core::ports::Storage`].
//! [`fetch`] brings files from addresses, [`guest`] talks to our agent inside a guest, [`micro`] builds the smallest
//! template there is, [`debian`] whole distributions.
#![warn(missing_docs)]

mod cgroup;
pub mod debian;
mod directory;
mod durable;
pub mod fetch;
#[doc(hidden)]
pub mod fuzz;
pub mod guest;
pub mod identity;
mod isolation;
mod layout;
mod lines;
pub mod local;
pub mod micro;
pub mod network;
pub mod qemu;
mod spawn;
