//! Media: ISO images that can be inserted into machines.

mod model;

pub use model::{Medium, MediumState};
