//! The HTTP doors of hostler.

pub mod native;
