//! Small files, written whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

/// Makes the file hold exactly these bytes with this mode. A reader, or a crash, sees the old or the new contents.
/// Nothing is written when it is so already.
pub(crate) fn write(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    if fs::read(path).is_ok_and(|old| old == bytes) && has_mode(path, mode) {
        return Ok(());
    }
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".hostler-new");
    let fresh = path.with_file_name(name);
    let _ = fs::remove_file(&fresh);
    let mut file = File::options().write(true).create_new(true).mode(mode).open(&fresh)?;
    file.write_all(bytes)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()?;
    if let Err(error) = fs::rename(&fresh, path) {
        let _ = fs::remove_file(&fresh);
        // Something may be mounted on the very file, as systemd does with a machine-id it made up.
        if error.kind() != io::ErrorKind::ResourceBusy {
            return Err(error);
        }
        fs::write(path, bytes)?;
    }
    Ok(())
}

fn has_mode(path: &Path, mode: u32) -> bool {
    fs::metadata(path).is_ok_and(|facts| facts.permissions().mode() & 0o7777 == mode)
}

/// Makes a directory with this mode; one that exists gets the mode.
pub(crate) fn directory(path: &Path, mode: u32) -> io::Result<()> {
    fs::create_dir_all(path)?;
    if !has_mode(path, mode) {
        fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    Ok(())
}

/// A small text file without white space around it; empty when it cannot be read.
pub(crate) fn text(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}
