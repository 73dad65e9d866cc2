//! Making a medium: looked at, copied beside its place, then moved there in one step.

use super::LocalStorage;
use super::given::rest_of;
use super::image::Unfinished;
use super::sparse::{self, Bounds, Waiting};
use super::unpack;
use crate::durable::{blocking, io_failed, sync_parent};
use crate::layout::MAKING;
use hostler_core::fail::fail_point;
use hostler_core::ids::MediumId;
use hostler_core::ports::{DriverError, ImageSource, MediumFacts, Progress};
use sha2::{Digest, Sha256};
use std::fs::{File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

impl LocalStorage {
    /// See [`Storage::medium_make`](hostler_core::ports::Storage::medium_make).
    pub(super) async fn make_medium(
        &self,
        id: MediumId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<MediumFacts, DriverError> {
        let place = self.layout.medium(id);
        let finished = place.clone();
        if let Some(facts) = blocking(move || made_before(&finished)).await? {
            return Ok(facts);
        }
        let (file, given) = self.given(source, &self.layout.media(), id.0, progress).await?;
        let _making = self.making.lock().await;
        let unfinished = Unfinished::make(self.layout.media().join(format!("{MAKING}{id}"))).await?;
        let directory = unfinished.path().to_owned();
        let waiting = Waiting::default();
        let stopped = waiting.stopped();
        rest_of(progress, source).report(0.1, "copying the medium");
        let target = place.clone();
        let facts = blocking(move || {
            let mut from = unpack::medium(file, &given, &directory, &stopped)?;
            let copy = directory.join("medium.iso");
            let to = OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&copy)
                .map_err(|error| io_failed("cannot write the medium", &error))?;
            let bounds = Bounds { bytes: unpack::most_bytes(given.max_mib), stored: u64::MAX };
            let mut digest = Sha256::new();
            let bytes = sparse::copy(&mut from, &to, bounds, &stopped, |piece| digest.update(piece))?;
            settle(&to, &copy, &target).map_err(|error| io_failed("cannot keep the medium", &error))?;
            Ok(MediumFacts { bytes, digest: hex::encode(digest.finalize()) })
        })
        .await?;
        // Only the directory is left of it.
        drop(unfinished);
        self.forget_fetched(&self.layout.media(), id.0).await;
        progress.report(1.0, "done");
        Ok(facts)
    }
}

/// The medium that lies there already; a real name means a whole file.
fn made_before(place: &Path) -> Result<Option<MediumFacts>, DriverError> {
    let failed = |error: io::Error| io_failed("cannot read the medium", &error);
    let mut file = match File::open(place) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let (mut digest, mut bytes, mut buffer) = (Sha256::new(), 0, vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(failed)? {
            0 => return Ok(Some(MediumFacts { bytes, digest: hex::encode(digest.finalize()) })),
            read => {
                digest.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

/// Media are only ever read.
fn settle(file: &File, copy: &Path, place: &Path) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o440))?;
    file.sync_all()?;
    fail_point("medium.copied");
    std::fs::rename(copy, place)?;
    sync_parent(place)
}
