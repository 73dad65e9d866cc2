//! Hosts (computers that run virtual machines) and clusters of them, and what a fresh installation begins with.

mod bootstrap;
mod commands;
mod model;

pub use bootstrap::{FirstStart, Installation, bootstrap};
pub use model::{Cluster, Host};
