//! The kernel modules that a template's initial RAM file system needs, in the order in which they load.
//!
//! Each module names those it depends on in its `.modinfo`; the index files that usually tell are only made when a
//! kernel package is installed, which micro's is not.

use super::command::{Command, run};
use super::{blocking, failed, read};
use hostler_core::ports::DriverError;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A module, ready to be loaded.
#[derive(Debug)]
pub(crate) struct Module {
    /// Its name with underscores, as the kernel has it.
    pub(crate) name: String,
    /// Its file, uncompressed.
    pub(crate) bytes: Vec<u8>,
}

/// Reads the wanted modules from `lib/modules/RELEASE`, each behind those it depends on. Those built into the kernel are
/// left out.
pub(crate) async fn choose(
    wanted: &[&str],
    modules: &Path,
    release: &str,
) -> Result<Vec<Module>, DriverError> {
    let root = modules.to_owned();
    let (files, built_in) = blocking(move || survey(&root)).await?;
    let mut chosen: Vec<Module> = Vec::new();
    for &wanted in wanted {
        // Each name is looked at twice: to put down what it depends on, then, those being there, itself.
        let mut waiting = vec![wanted.to_owned()];
        while let Some(name) = waiting.pop() {
            if chosen.iter().any(|module| module.name == name) {
                continue;
            }
            let Some(path) = files.get(&name) else {
                if built_in.lines().any(|line| module_name(Path::new(line)).as_deref() == Some(&name)) {
                    continue;
                }
                return Err(DriverError::refused(format!("the kernel {release} has no module {name}")));
            };
            let bytes = load(path).await?;
            let missing =
                |name: &String| files.contains_key(name) && !chosen.iter().any(|module| module.name == *name);
            let before: Vec<String> = depends(&bytes).into_iter().filter(missing).collect();
            if before.is_empty() {
                chosen.push(Module { name, bytes });
            } else if waiting.len() + before.len() < 100 {
                waiting.push(name);
                waiting.extend(before);
            } else {
                return Err(DriverError::refused(format!("the module {name} depends on itself")));
            }
        }
    }
    Ok(chosen)
}

/// Files of all modules by name, and the list of those built in.
fn survey(root: &Path) -> Result<(BTreeMap<String, PathBuf>, String), DriverError> {
    let mut files = BTreeMap::new();
    let mut directories = vec![root.join("kernel")];
    while let Some(directory) = directories.pop() {
        let entries = std::fs::read_dir(&directory).map_err(|error| failed(&directory, &error))?;
        for entry in entries.flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                directories.push(path);
            } else if let Some(name) = module_name(&path) {
                files.insert(name, path);
            }
        }
    }
    Ok((files, std::fs::read_to_string(root.join("modules.builtin")).unwrap_or_default()))
}

/// The kernel makes no difference between hyphens and underscores, file names do.
fn module_name(path: &Path) -> Option<String> {
    let (stem, _) = path.file_name()?.to_str()?.split_once(".ko")?;
    Some(stem.replace('-', "_"))
}

async fn load(path: &Path) -> Result<Vec<u8>, DriverError> {
    // Newer releases compress their modules.
    let tool = match path.extension().and_then(|end| end.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return read(path),
    };
    run(Command::new(tool).arg("-dc").arg(path)).await
}

/// Names behind `depends=`, which stands between zero bytes.
fn depends(module: &[u8]) -> Vec<String> {
    let key = b"depends=";
    let mut pieces = module.split(|&byte| byte == 0);
    let list = pieces.find_map(|piece| piece.strip_prefix(key)).unwrap_or_default();
    let names = std::str::from_utf8(list).unwrap_or_default().split(',');
    names.filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    use super::{depends, module_name};
    use std::path::Path;

    #[test]
    fn names_have_underscores_and_no_endings() {
        for file in ["virtio-rng.ko", "a/virtio-rng.ko.xz", "virtio_rng.ko.zst"] {
            assert_eq!(module_name(Path::new(file)).as_deref(), Some("virtio_rng"));
        }
        assert_eq!(module_name(Path::new("modules.order")), None);
    }

    #[test]
    fn dependencies_stand_between_zero_bytes() {
        assert_eq!(
            depends(b"\x7fELF\0license=GPL\0depends=net_failover,virtio-ring\0x"),
            ["net_failover", "virtio_ring"]
        );
        assert!(depends(b"depends=\0depends=later").is_empty());
        assert!(depends(b"nothing").is_empty());
    }
}
