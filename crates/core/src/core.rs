//! The facade.
/// Core.
#[derive(Debug)]
pub struct Core;
