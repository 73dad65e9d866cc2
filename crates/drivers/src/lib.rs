//! Drivers: they act on the world for core and decide nothing.
#![warn(missing_docs)]

pub mod guest;
pub mod micro;
