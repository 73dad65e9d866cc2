//! Hosts (computers that run virtual machines) and clusters of them.

mod model;

pub use model::{Cluster, Host};
