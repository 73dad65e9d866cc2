//! What the tests of the storage share.

use super::{LocalStorage, LocalStorageConfig};
use crate::fetch::FetchRules;
use crate::spawn::resolve_binary;
use hostler_core::ids::StorageId;
use std::path::{Path, PathBuf};
use uuid::Uuid;

/// `qemu-img`, or nothing with a loud word about it.
pub(crate) fn qemu_img() -> Option<PathBuf> {
    let qemu_img = resolve_binary(Path::new("qemu-img"));
    if !qemu_img.is_absolute() {
        eprintln!("SKIPPED: qemu-img is not installed");
        return None;
    }
    Some(qemu_img)
}

/// A storage in this directory, without an agent for templates.
pub(crate) fn storage(directory: &Path) -> LocalStorage {
    LocalStorage::new(LocalStorageConfig {
        id: StorageId(Uuid::nil()),
        data_dir: directory.to_owned(),
        qemu_img: "qemu-img".into(),
        fetch: FetchRules::default(),
        agent: None,
    })
}
