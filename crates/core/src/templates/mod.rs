//! Templates: what machines are made from. A template is a name with versions; each version is a record with an
//! image of its own, so that building a new one never changes what a running machine stands on.
//!
//! ```text
//!   building ──► ready ──► deleting ──► (no record)
//!       └──────► failed ──────┘
//! ```
//!
//! A version is in use while a volume stands on it or a machine was made from it. Deleting first marks it, which
//! keeps new machines away, and only then counts its uses, so that nothing in use is ever removed.

mod commands;
mod model;
mod source;
pub(crate) mod tasks;

pub use commands::TemplateAsk;
pub(crate) use commands::check_outside;
pub use model::{Firmware, Image, ImageDisk, ImageFormat, Template, TemplateState};
pub(crate) use source::check_url;
pub use source::{Checksum, SourceFormat};
