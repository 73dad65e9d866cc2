//! What templates and media are made from: a file of the host, or one that is fetched first.

use super::LocalStorage;
use super::inspect;
use super::unpack::{self, Given};
use crate::durable::blocking;
use crate::fetch;
use crate::layout::FETCHING;
use hostler_core::ports::{DriverError, ImageSource, Progress};
use std::fs::File;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// Part of the whole that fetching is.
const FETCH: f64 = 0.5;

impl LocalStorage {
    /// The open file and what was said of it. What is fetched lies in `directory` under the key of what it is for.
    pub(super) async fn given(
        &self,
        source: &ImageSource,
        directory: &Path,
        key: Uuid,
        progress: &Progress,
    ) -> Result<(File, Given), DriverError> {
        match source {
            ImageSource::Recipe { recipe, .. } => {
                Err(DriverError::refused(format!("`{recipe}` is a recipe, not a file or an address")))
            }
            ImageSource::File { path, format, checksum, max_mib } => {
                if !path.is_absolute() {
                    return Err(DriverError::refused(format!("{} is not an absolute path", path.display())));
                }
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                let given = Given { name, format: *format, checksum: checksum.clone(), max_mib: *max_mib };
                let path = path.clone();
                Ok((blocking(move || inspect::open_regular(&path)).await?, given))
            }
            ImageSource::Url { url, format, checksum, max_mib } => {
                let given = Given {
                    name: last_part(url).to_owned(),
                    format: *format,
                    checksum: checksum.clone(),
                    max_mib: *max_mib,
                };
                let whole = progress.clone();
                let progress = Progress::new(move |part, message| whole.report(FETCH * part, message));
                let most = unpack::most_bytes(*max_mib);
                let file = self.fetcher.fetch(url, &fetched(directory, key), most, &progress).await?;
                Ok((file, given))
            }
        }
    }

    /// Removes what was fetched for this key: it was made use of.
    pub(super) async fn forget_fetched(&self, directory: &Path, key: Uuid) {
        let path = fetched(directory, key);
        let forgotten = blocking(move || {
            fetch::forget(&path)
                .map_err(|error| crate::durable::io_failed("cannot remove what was fetched", &error))
        });
        if let Err(error) = forgotten.await {
            tracing::warn!(%error, "something is left of a fetched file; it goes with the next start");
        }
    }
}

/// Where a file is fetched to.
pub(super) fn fetched(directory: &Path, key: Uuid) -> PathBuf {
    directory.join(format!("{FETCHING}{key}"))
}

/// What of the progress is left once the file is there.
pub(super) fn rest_of(progress: &Progress, source: &ImageSource) -> Progress {
    if !matches!(source, ImageSource::Url { .. }) {
        return progress.clone();
    }
    let whole = progress.clone();
    Progress::new(move |part, message| whole.report(FETCH + (1.0 - FETCH) * part, message))
}

/// The file's name in an address.
fn last_part(url: &str) -> &str {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}
