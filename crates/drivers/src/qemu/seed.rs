//! The seed of cloud-init's NoCloud source: a small FAT image labelled `CIDATA` with two or three files.

use super::command_line::SEED_IMAGE;
use crate::directory::{Directory, PRIVATE_FILE};
use crate::durable::io_failed;
use crate::spawn::User;
use fatfs::{FileSystem, FormatVolumeOptions, FsOptions, format_volume};
use hostler_core::ports::{DriverError, Seed};
use std::io::{self, Cursor, Write};

/// cloud-init looks for the label in either case; FAT pads it with spaces.
const LABEL: [u8; 11] = *b"CIDATA     ";
const MIB: usize = 1 << 20;
/// More than any cloud-init data needs; a bound so that nobody fills the disk through it.
const MOST: usize = 16 * MIB;

/// Writes the image, readable by the machine's user alone: user data may hold passwords. There must be none yet.
pub(super) fn write_seed(home: &Directory, user: Option<&User>, seed: &Seed) -> Result<(), DriverError> {
    let image = seed_image(seed)?;
    home.create(SEED_IMAGE, PRIVATE_FILE)
        .and_then(|mut file| file.write_all(&image))
        .and_then(|()| user.map_or(Ok(()), |user| home.give(SEED_IMAGE, Some(user.uid), Some(user.gid))))
        .map_err(|error| io_failed("cannot write the seed disk", &error))
}

fn seed_image(seed: &Seed) -> Result<Vec<u8>, DriverError> {
    let mut files = vec![("meta-data", &seed.meta_data), ("user-data", &seed.user_data)];
    if let Some(network) = &seed.network_config {
        files.push(("network-config", network));
    }
    let content: usize = files.iter().map(|(_, text)| text.len()).sum();
    if content > MOST {
        return Err(DriverError::refused("the cloud-init data is larger than 16 MiB"));
    }
    // Room for the tables, and a whole number of MiB.
    let size = (content + content / 8 + MIB).next_multiple_of(MIB);
    fill(size, &files).map_err(|error| DriverError::internal(format!("cannot make the seed disk: {error}")))
}

fn fill(size: usize, files: &[(&str, &String)]) -> io::Result<Vec<u8>> {
    let mut disk = Cursor::new(vec![0; size]);
    format_volume(&mut disk, FormatVolumeOptions::new().volume_label(LABEL))?;
    {
        let volume = FileSystem::new(&mut disk, FsOptions::new())?;
        for (name, text) in files {
            let mut file = volume.root_dir().create_file(name)?;
            file.truncate()?;
            file.write_all(text.as_bytes())?;
            file.flush()?;
        }
        volume.unmount()?;
    }
    Ok(disk.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn what_was_written_can_be_read_back() {
        let seed = Seed {
            user_data: format!("#cloud-config\n{}", "x".repeat(70_000)),
            meta_data: "instance-id: 1\nlocal-hostname: web-1\n".into(),
            network_config: Some("version: 2\n".into()),
        };
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(SEED_IMAGE);
        write_seed(&Directory::open(directory.path()).unwrap(), None, &seed).unwrap();
        let volume = FileSystem::new(std::fs::File::open(&path).unwrap(), FsOptions::new()).unwrap();
        assert_eq!(volume.volume_label_as_bytes(), b"CIDATA");
        assert_eq!(volume.read_volume_label_from_root_dir().unwrap().as_deref(), Some("CIDATA"));
        let mut names: Vec<_> = volume.root_dir().iter().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["meta-data", "network-config", "user-data"]);
        let mut text = String::new();
        volume.root_dir().open_file("user-data").unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, seed.user_data);
    }

    #[test]
    fn too_much_is_refused() {
        let seed = Seed { user_data: "x".repeat(MOST + 1), meta_data: String::new(), network_config: None };
        assert!(seed_image(&seed).is_err());
    }
}
