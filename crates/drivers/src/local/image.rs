//! Making the image of a template: inspected, converted or built beside its place, then moved there in one step.

use super::given::rest_of;
use super::sparse::Waiting;
use super::unpack::{self, Disk, Given};
use super::{LocalStorage, convert, inspect};
use crate::durable::{
    absent_is_fine, blocking, io_failed, make_private_directory, sync_directory, sync_parent, write_durably,
};
use crate::layout::MAKING;
use crate::{debian, micro};
use hostler_core::fail::fail_point;
use hostler_core::ids::TemplateId;
use hostler_core::ports::{DriverError, DriverErrorKind, ImageSource, Progress, Storage};
use hostler_core::templates::{Image, ImageDisk, ImageFormat, SourceFormat};
use sha2::{Digest, Sha256};
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// What the files of an image are; written last.
const DESCRIPTION: &str = "image.json";
const DISK: &str = "disk.qcow2";
/// The recipe that is no distribution.
pub(super) const MICRO: &str = "micro";

impl LocalStorage {
    /// See [`Storage::image_make`](hostler_core::ports::Storage::image_make).
    pub(super) async fn make_image(
        &self,
        template: TemplateId,
        source: &ImageSource,
        progress: &Progress,
    ) -> Result<Image, DriverError> {
        let place = self.layout.image(template);
        let finished = place.clone();
        if let Some(image) = blocking(move || described(&finished)).await? {
            return Ok(image);
        }
        let images = self.layout.images();
        let (given, progress) = match source {
            ImageSource::Recipe { .. } => (None, progress.clone()),
            // Before the lock, because a server may take its time.
            outside => {
                (Some(self.given(outside, &images, template.0, progress).await?), rest_of(progress, outside))
            }
        };
        let progress = &progress;
        let _making = self.making.lock().await;
        let unfinished = Unfinished::make(images.join(format!("{MAKING}{template}"))).await?;
        let directory = unfinished.path.clone();
        let image = match (source, given) {
            (ImageSource::Recipe { recipe, mirror }, _) => {
                self.build(recipe, mirror.as_deref(), &directory, progress).await?
            }
            (_, Some((file, given))) => self.import(file, given, &directory, progress).await?,
            (_, None) => return Err(DriverError::internal("nothing was given")),
        };
        progress.report(0.95, "making it durable");
        let image = blocking(move || settle(&directory, &place, image)).await?;
        unfinished.became_whole();
        self.forget_fetched(&images, template.0).await;
        progress.report(1.0, "done");
        Ok(image)
    }

    async fn build(
        &self,
        recipe: &str,
        mirror: Option<&str>,
        directory: &Path,
        progress: &Progress,
    ) -> Result<Image, DriverError> {
        let known = self.recipes();
        if !known.iter().any(|known| known == recipe) {
            let known = known.join(", ");
            return Err(DriverError::unsupported(format!("there is no recipe {recipe:?}; known: {known}")));
        }
        if recipe == MICRO && mirror.is_some() {
            return Err(DriverError::unsupported(
                "micro is made from the packages that apt knows; it takes no mirror",
            ));
        }
        let Some(agent) = self.agent.as_ref().filter(|agent| agent.is_file()) else {
            let wanted =
                self.agent.as_ref().map_or(String::new(), |agent| format!(" at {}", agent.display()));
            return Err(DriverError::unsupported(format!(
                "the {recipe} template needs the static guest agent, which is not installed{wanted}; \
                 build it with scripts/build-agent or set its path in the configuration"
            )));
        };
        let images = self.layout.images();
        let failed = |error: &io::Error| io_failed("cannot make a scratch directory", error);
        let work = blocking(move || {
            tempfile::Builder::new()
                .prefix(&format!("{MAKING}work-"))
                .tempdir_in(images)
                .map_err(|e| failed(&e))
        })
        .await?;
        // Making it durable comes after, so the recipe's end is not ours.
        let ours = progress.clone();
        let progress = Progress::new(move |fraction, message| ours.report(0.9 * fraction, message));
        let image = if recipe == MICRO {
            micro::build(directory, agent, work.path(), &progress).await
        } else {
            debian::build(directory, debian::Order { recipe, mirror, agent }, work.path(), &progress).await
        };
        blocking(move || work.close().map_err(|error| failed(&error))).await?;
        image
    }

    /// Finds the disk in what was given, looks at it, converts it through a descriptor (so that what was looked at is
    /// what is read), and looks at what came out, and once more at what went in: its owner may have changed it meanwhile.
    async fn import(
        &self,
        file: File,
        given: Given,
        directory: &Path,
        progress: &Progress,
    ) -> Result<Image, DriverError> {
        let (max_mib, waiting) = (given.max_mib, Waiting::default());
        let (place, stopped) = (directory.to_owned(), waiting.stopped());
        progress.report(0.0, "looking at the image");
        let disk = blocking(move || {
            let mut disk = unpack::disk(file, &given, &place, &stopped)?;
            inspect::inspect(&mut disk.file, disk.format, max_mib)?;
            enough_space(&disk.file, &place)?;
            Ok(disk)
        })
        .await?;
        let read = disk.file.try_clone().map_err(|error| io_failed("cannot open the image", &error))?;
        let made = directory.join(DISK);
        convert::convert(&self.qemu_img, read, disk.format, &made, max_mib, progress).await?;
        let place = directory.to_owned();
        blocking(move || {
            let Disk { mut file, format, vcpus, memory_mib } = disk;
            inspect::inspect(&mut file, format, max_mib)?;
            let made = inspect::inspect(&mut inspect::open_regular(&made)?, SourceFormat::Qcow2, max_mib)?;
            for left in unpack::WRITTEN {
                absent_is_fine(std::fs::remove_file(place.join(left)))
                    .map_err(|error| io_failed("cannot remove what was unpacked", &error))?;
            }
            fail_point("image.converted");
            let disk =
                ImageDisk { file: DISK.to_owned(), format: ImageFormat::Qcow2, size_mib: made.virtual_mib() };
            // Whether it runs cloud-init cannot be seen from outside; a seed disk does no harm where it does not.
            Ok(Image { disk: Some(disk), cloud_init: true, vcpus, memory_mib, ..Image::default() })
        })
        .await
    }
}

/// Refuses what cannot fit: the copy will take about as much as the file does now.
fn enough_space(file: &File, directory: &Path) -> Result<(), DriverError> {
    let failed = |error: io::Error| io_failed("cannot look at the storage", &error);
    let needed = file.metadata().map_err(failed)?.blocks().saturating_mul(512);
    let system = rustix::fs::statvfs(directory).map_err(|error| failed(error.into()))?;
    let free = system.f_bavail.saturating_mul(system.f_frsize);
    if needed <= free {
        return Ok(());
    }
    let text = format!("the storage is full: {} MiB are needed, {} MiB are free", needed >> 20, free >> 20);
    Err(DriverError::new(DriverErrorKind::Exhausted, text))
}

/// A directory that vanishes unless it became whole, also when the caller gives up.
#[derive(Debug)]
pub(super) struct Unfinished {
    path: PathBuf,
    whole: bool,
}

impl Unfinished {
    /// Begins anew: what an earlier try left is removed.
    pub(super) async fn make(path: PathBuf) -> Result<Self, DriverError> {
        blocking(move || {
            discard(&path)
                .and_then(|()| make_private_directory(&path))
                .map_err(|error| io_failed("cannot make the image's directory", &error))?;
            Ok(Self { path, whole: false })
        })
        .await
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    fn became_whole(mut self) {
        self.whole = true;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.whole
            && let Err(error) = discard(&self.path)
        {
            tracing::warn!(directory = %self.path.display(), %error, "cannot remove what is unfinished");
        }
    }
}

/// Removes a file or a directory with all that is in it. Success when it is not there.
pub(super) fn discard(path: &Path) -> io::Result<()> {
    match path.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(metadata) if metadata.is_dir() => absent_is_fine(std::fs::remove_dir_all(path))?,
        Ok(_) => absent_is_fine(std::fs::remove_file(path))?,
    }
    absent_is_fine(sync_parent(path))
}

/// The image that lies there already, if it is whole.
fn described(place: &Path) -> Result<Option<Image>, DriverError> {
    match std::fs::read(place.join(DESCRIPTION)) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|error| DriverError::internal(format!("{}/{DESCRIPTION}: {error}", place.display()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io_failed("cannot read the image's description", &error)),
    }
}

/// Measures the files, makes them read-only and durable, and gives the directory its real name.
fn settle(directory: &Path, place: &Path, image: Image) -> Result<Image, DriverError> {
    let failed = |error: io::Error| io_failed("cannot keep the image", &error);
    let (bytes, digest) = measure(directory).map_err(failed)?;
    let image = Image { bytes, digest, ..image };
    let description =
        serde_json::to_vec_pretty(&image).map_err(|error| DriverError::internal(error.to_string()))?;
    write_durably(&directory.join(DESCRIPTION), &directory.join(".image.json"), &description)
        .map_err(failed)?;
    std::fs::rename(directory, place).and_then(|()| sync_parent(place)).map_err(failed)?;
    Ok(image)
}

/// Bytes and SHA-256 of all files, in order of their names: name, length, content.
fn measure(directory: &Path) -> io::Result<(u64, String)> {
    let mut names: Vec<_> = std::fs::read_dir(directory)?
        .map(|entry| entry.map(|entry| entry.file_name()))
        .collect::<io::Result<_>>()?;
    names.sort();
    let (mut total, mut digest) = (0, Sha256::new());
    for name in names {
        let mut file = File::open(directory.join(&name))?;
        let length = file.metadata()?.len();
        digest.update(name.as_encoded_bytes());
        digest.update([0]);
        digest.update(length.to_be_bytes());
        let mut buffer = vec![0; 1 << 20];
        loop {
            match file.read(&mut buffer)? {
                0 => break,
                read => digest.update(&buffer[..read]),
            }
        }
        // Templates are only ever read; every machine writes to an overlay of its own.
        file.set_permissions(Permissions::from_mode(0o440))?;
        file.sync_all()?;
        total += length;
    }
    sync_directory(directory)?;
    Ok((total, hex::encode(digest.finalize())))
}
