//! Hosts (computers that run virtual machines) and clusters of them.
//!
//! Each data directory is one host with one storage, whose ids it keeps. The first process on an empty database makes
//! the installation ([`arrive`]); further ones join it, each with its own host. While a process lives it says so
//! ([`Presence`]): the others know by that which hosts are there. What only the process of a host can do at once is
//! refused elsewhere with the way to it (`reach.rs`); tasks need no such care, as the worker of the host takes them.

mod bootstrap;
mod commands;
mod join;
mod model;
mod presence;
mod reach;

pub use bootstrap::FirstStart;
pub use join::{Arrival, Installation, Key, arrive, fingerprint, is_installed, only_host};
pub use model::{Cluster, Host};
pub use presence::{HOST_LEASE, Presence};
pub(crate) use reach::Absences;
