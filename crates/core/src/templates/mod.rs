//! Templates: what machines are made from. A template is a name with versions; each version is a record with an
//! image of its own, so that building a new one never changes what a running machine stands on.

mod model;

pub use model::{Firmware, Image, ImageDisk, ImageFormat, Template, TemplateState};
