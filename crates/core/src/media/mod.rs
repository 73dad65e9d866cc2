//! Media: ISO images that can be inserted into machines.
//!
//! ```text
//!   creating ──► ready ──► deleting ──► (no record)
//!       └──────► failed ──────┘
//! ```
//!
//! A medium is in use while a machine has it in its drive. As with templates, deleting first marks it, which keeps new
//! machines away, and only then counts its uses.

mod commands;
mod model;
pub(crate) mod tasks;

pub use commands::MediumAsk;
pub use model::{Medium, MediumState};
