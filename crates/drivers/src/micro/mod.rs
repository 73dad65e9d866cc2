//! The builder of the micro template. Placeholder until its own change lands.

use hostler_core::ports::{DriverError, Progress};
use hostler_core::templates::Image;
use std::path::Path;

/// Writes kernel, initial RAM file system and disk into `directory`.
pub async fn build(
    _directory: &Path,
    _agent: &Path,
    _work: &Path,
    _progress: &Progress,
) -> Result<Image, DriverError> {
    Err(DriverError::unsupported("the micro template is not built in"))
}
