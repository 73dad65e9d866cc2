//! Making the image of a template: inspected, converted or built beside its place, then moved there in one step.

use super::{LocalStorage, convert, inspect};
use crate::durable::{
    absent_is_fine, blocking, io_failed, make_private_directory, sync_directory, sync_parent, write_durably,
};
use crate::layout::MAKING;
use crate::{debian, micro};
use hostler_core::ids::TemplateId;
use hostler_core::ports::{DriverError, ImageSource, Progress, Storage};
use hostler_core::templates::{Image, ImageDisk, ImageFormat};
use sha2::{Digest, Sha256};
use std::fs::{File, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
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
        let _making = self.making.lock().await;
        let place = self.layout.image(template);
        let finished = place.clone();
        if let Some(image) = blocking(move || described(&finished)).await? {
            return Ok(image);
        }
        let unfinished = Unfinished::make(self.layout.images().join(format!("{MAKING}{template}"))).await?;
        let directory = unfinished.path.clone();
        let image = match source {
            ImageSource::Recipe { recipe, mirror } => {
                self.build(recipe, mirror.as_deref(), &directory, progress).await?
            }
            ImageSource::File { path, format, max_mib } => {
                self.import(path, *format, *max_mib, &directory, progress).await?
            }
        };
        progress.report(0.95, "making it durable");
        let image = blocking(move || settle(&directory, &place, image)).await?;
        unfinished.became_whole();
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

    /// Looks at the file, converts it through a descriptor (so that what was looked at is what is read), and looks at
    /// what came out, and once more at what went in: its owner may have changed it meanwhile.
    async fn import(
        &self,
        path: &Path,
        format: ImageFormat,
        max_mib: u64,
        directory: &Path,
        progress: &Progress,
    ) -> Result<Image, DriverError> {
        if !path.is_absolute() {
            return Err(DriverError::refused(format!("{} is not an absolute path", path.display())));
        }
        let path = path.to_owned();
        let source = blocking(move || {
            let mut file = inspect::open_regular(&path)?;
            inspect::inspect(&mut file, format, max_mib)?;
            Ok(file)
        })
        .await?;
        let read = source.try_clone().map_err(|error| io_failed("cannot open the image", &error))?;
        let disk = directory.join(DISK);
        convert::convert(&self.qemu_img, read, format, &disk, max_mib, progress).await?;
        blocking(move || {
            let mut source = source;
            inspect::inspect(&mut source, format, max_mib)?;
            let made = inspect::inspect(&mut inspect::open_regular(&disk)?, ImageFormat::Qcow2, max_mib)?;
            let disk =
                ImageDisk { file: DISK.to_owned(), format: ImageFormat::Qcow2, size_mib: made.virtual_mib() };
            // Whether it runs cloud-init cannot be seen from outside; a seed disk does no harm where it does not.
            Ok(Image { disk: Some(disk), cloud_init: true, ..Image::default() })
        })
        .await
    }
}

/// A directory that vanishes unless it became whole, also when the caller gives up.
#[derive(Debug)]
struct Unfinished {
    path: PathBuf,
    whole: bool,
}

impl Unfinished {
    /// Begins anew: what an earlier try left is removed.
    async fn make(path: PathBuf) -> Result<Self, DriverError> {
        blocking(move || {
            discard(&path)
                .and_then(|()| make_private_directory(&path))
                .map_err(|error| io_failed("cannot make the image's directory", &error))?;
            Ok(Self { path, whole: false })
        })
        .await
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
