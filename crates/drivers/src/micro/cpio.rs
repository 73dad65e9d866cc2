//! Writes an archive in cpio's "newc" format, as the kernel unpacks it for its initial RAM file system.
//!
//! The same files make the same bytes: sorted by name, owned by root, dated 1970.

use std::collections::BTreeMap;

const DIRECTORY: u32 = 0o040_000;
const REGULAR: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTER_DEVICE: u32 = 0o020_000;

/// Files by their path, without a slash at the front.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug, PartialEq, Eq)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    bytes: Vec<u8>,
}

impl Archive {
    /// A directory; those above it come by themselves.
    pub(crate) fn directory(&mut self, path: &str, mode: u32) {
        self.insert(path, DIRECTORY | mode, (0, 0), Vec::new());
    }

    /// A regular file.
    pub(crate) fn file(&mut self, path: &str, mode: u32, bytes: impl Into<Vec<u8>>) {
        self.insert(path, REGULAR | mode, (0, 0), bytes.into());
    }

    /// A symbolic link.
    pub(crate) fn link(&mut self, path: &str, target: &str) {
        self.insert(path, LINK | 0o777, (0, 0), target.into());
    }

    /// A character device.
    pub(crate) fn device(&mut self, path: &str, mode: u32, major: u32, minor: u32) {
        self.insert(path, CHARACTER_DEVICE | mode, (major, minor), Vec::new());
    }

    /// Whether there is anything at this path.
    pub(crate) fn holds(&self, path: &str) -> bool {
        self.entries.contains_key(path.trim_start_matches('/'))
    }

    fn insert(&mut self, path: &str, mode: u32, device: (u32, u32), bytes: Vec<u8>) {
        let path = path.trim_start_matches('/');
        for (end, _) in path.match_indices('/') {
            let above = Entry { mode: DIRECTORY | 0o755, device: (0, 0), bytes: Vec::new() };
            self.entries.entry(path[..end].to_owned()).or_insert(above);
        }
        self.entries.insert(path.to_owned(), Entry { mode, device, bytes });
    }

    /// The archive's bytes. Directories come before what is in them, because their names sort so.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (number, (path, entry)) in (1..).zip(&self.entries) {
            write(&mut bytes, number, path, entry);
        }
        let end = Entry { mode: 0, device: (0, 0), bytes: Vec::new() };
        write(&mut bytes, 0, "TRAILER!!!", &end);
        bytes
    }
}

fn write(archive: &mut Vec<u8>, number: usize, path: &str, entry: &Entry) {
    let (major, minor) = entry.device;
    let links = if entry.mode & DIRECTORY == DIRECTORY { 2 } else { 1 };
    let (name, length) = (path.len() + 1, entry.bytes.len());
    let mode = entry.mode;
    // Number, mode, owner, group, links, time, size, device it lies on, device it is, length of its name, checksum.
    let header = format!(
        "070701{number:08x}{mode:08x}{0:08x}{0:08x}{links:08x}{0:08x}{length:08x}{0:08x}{0:08x}{major:08x}{minor:08x}{name:08x}{0:08x}",
        0
    );
    archive.extend_from_slice(header.as_bytes());
    archive.extend_from_slice(path.as_bytes());
    archive.push(0);
    archive.resize(archive.len().next_multiple_of(4), 0);
    archive.extend_from_slice(&entry.bytes);
    archive.resize(archive.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::Archive;
    use std::io::Write;
    use std::path::Path;
    use std::process::Stdio;

    fn archive() -> Archive {
        let mut archive = Archive::default();
        archive.file("/usr/bin/x", 0o755, *b"hello");
        archive.link("bin", "usr/bin");
        archive.directory("/root", 0o700);
        archive.device("dev/console", 0o600, 5, 1);
        archive
    }

    #[test]
    fn directories_above_come_by_themselves_and_first() {
        let paths: Vec<_> = archive().entries.into_keys().collect();
        assert_eq!(paths, ["bin", "dev", "dev/console", "root", "usr", "usr/bin", "usr/bin/x"]);
        assert_eq!(archive().bytes(), archive().bytes());
    }

    #[test]
    fn cpio_reads_it_where_there_is_one() {
        let mut command = crate::spawn::unconfined(Path::new("cpio"));
        let child = command.args(["-tv", "--quiet"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let Ok(mut child) = child else { return };
        child.stdin.take().unwrap().write_all(&archive().bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let listing = String::from_utf8(output.stdout).unwrap();
        assert!(output.status.success() && listing.lines().count() == 7, "{listing}");
        assert!(listing.contains("-rwxr-xr-x") && listing.contains("bin -> usr/bin"), "{listing}");
    }
}
