//! The native REST API.

pub mod types;
