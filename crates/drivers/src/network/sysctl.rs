//! Kernel settings of single interfaces. Only those of our own bridges and taps are ever written.

use crate::durable::io_failed;
use hostler_core::ports::DriverError;
use std::io;

/// Sets `net/<name>`. Success when the kernel does not have the setting: it was built without that protocol.
pub(super) fn set(name: &str, value: &str) -> Result<(), DriverError> {
    if get(name).as_deref() == Some(value) {
        return Ok(());
    }
    match std::fs::write(format!("/proc/sys/net/{name}"), value) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(io_failed(format!("cannot set net/{name}"), &error))
        }
        _ => Ok(()),
    }
}

/// The value of `net/<name>`, if the kernel has it.
pub(super) fn get(name: &str) -> Option<String> {
    std::fs::read_to_string(format!("/proc/sys/net/{name}")).ok().map(|text| text.trim().to_owned())
}
