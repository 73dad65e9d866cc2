//! Ways in for the fuzzers under `fuzz/`: bytes of strangers go where strangers' bytes go. Not for anybody else.

use crate::guest::fuzz as guest;
use crate::local::{fuzz as local, inspect};
use crate::qemu::fuzz as qemu;
use hostler_core::templates::SourceFormat;
use rustix::fs::{MemfdFlags, memfd_create};
use std::fs::File;
use std::io::{Cursor, Seek, Write};

/// What a QEMU process says over its monitor.
pub fn monitor(bytes: &[u8]) {
    qemu(bytes);
}

/// What a guest's agent answers.
pub fn agent(bytes: &[u8]) {
    guest(bytes);
}

/// An image, a medium or an appliance that somebody brings, taken for every format there is; and what a volume says of
/// its snapshots.
pub fn image(bytes: &[u8]) {
    let mut image = Cursor::new(bytes);
    let _ = inspect::identify(&mut image);
    let _ = inspect::inspect_medium(&mut image);
    for format in SourceFormat::ALL {
        let _ = inspect::inspect(&mut image, format, 1 << 20);
    }
    let Ok(mut file) = memfd_create("image", MemfdFlags::CLOEXEC).map(File::from) else { return };
    if file.write_all(bytes).is_ok() && file.rewind().is_ok() {
        local(&mut file);
    }
}
