//! Copying bytes that nobody vouches for: bounded, with holes where there are zeros, and stopped when nobody waits.

use crate::durable::io_failed;
use hostler_core::ports::{DriverError, DriverErrorKind};
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const BLOCK: usize = 64 << 10;

/// How much may come out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Length of the file.
    pub(super) bytes: u64,
    /// What of it is not zeros, and so takes space.
    pub(super) stored: u64,
}

/// Stops work on another thread when it is dropped: whoever waited for it has given up.
#[derive(Debug, Default)]
pub(super) struct Waiting(Arc<AtomicBool>);

impl Waiting {
    /// For the worker.
    pub(super) fn stopped(&self) -> Stopped {
        Stopped(self.0.clone())
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether anybody still waits.
#[derive(Clone, Debug)]
pub(super) struct Stopped(Arc<AtomicBool>);

impl Stopped {
    pub(super) fn check(&self) -> Result<(), DriverError> {
        if self.0.load(Ordering::Relaxed) {
            return Err(DriverError::new(DriverErrorKind::Timeout, "nobody waits for it any more"));
        }
        Ok(())
    }
}

/// Copies everything to the beginning of an empty file; answers the length. `each` sees every piece, zeros included.
pub(super) fn copy(
    from: &mut dyn Read,
    to: &File,
    bounds: Bounds,
    stopped: &Stopped,
    mut each: impl FnMut(&[u8]),
) -> Result<u64, DriverError> {
    let mut block = vec![0; BLOCK];
    let (mut length, mut stored) = (0_u64, 0_u64);
    loop {
        stopped.check()?;
        let filled = fill(from, &mut block)?;
        let piece = &block[..filled];
        if piece.is_empty() {
            break;
        }
        if length + filled as u64 > bounds.bytes {
            let text = format!("it holds more than the {} MiB that are allowed", bounds.bytes >> 20);
            return Err(DriverError::refused(text));
        }
        each(piece);
        if piece.iter().any(|byte| *byte != 0) {
            stored += filled as u64;
            if stored > bounds.stored {
                let text = "it grows far beyond its size when it is unpacked, as no disk image does";
                return Err(DriverError::refused(text));
            }
            to.write_all_at(piece, length).map_err(|error| io_failed("cannot write the image", &error))?;
        }
        length += filled as u64;
    }
    to.set_len(length).map_err(|error| io_failed("cannot write the image", &error))?;
    Ok(length)
}

/// Fills the block, unless the source ends before.
fn fill(from: &mut dyn Read, block: &mut [u8]) -> Result<usize, DriverError> {
    let mut filled = 0;
    while filled < block.len() {
        match from.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            // A decoder's word for bytes that make no sense.
            Err(error) if error.raw_os_error().is_none() => {
                return Err(DriverError::refused(format!("the file is damaged: {error}")));
            }
            Err(error) => return Err(io_failed("cannot read the image", &error)),
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn zeros_become_holes_and_bounds_hold() {
        let waiting = Waiting::default();
        let target = || tempfile::tempfile().unwrap();
        let bounds = Bounds { bytes: 8 << 20, stored: 1 << 20 };
        let file = target();
        let mut source = vec![0; 4 << 20];
        source[2 << 20] = 1;
        let length = copy(&mut &source[..], &file, bounds, &waiting.stopped(), |_| {}).unwrap();
        assert_eq!((length, file.metadata().unwrap().len()), (4 << 20, 4 << 20));
        assert!(file.metadata().unwrap().blocks() * 512 <= 1 << 20);
        let mut endless = std::io::repeat(0);
        let error = copy(&mut endless, &target(), bounds, &waiting.stopped(), |_| {}).unwrap_err();
        assert!(error.detail.contains("more than the 8 MiB"), "{error}");
        let mut endless = std::io::repeat(1);
        let error = copy(&mut endless, &target(), bounds, &waiting.stopped(), |_| {}).unwrap_err();
        assert!(error.detail.contains("grows far beyond"), "{error}");
        let stopped = waiting.stopped();
        drop(waiting);
        assert!(copy(&mut &source[..], &target(), bounds, &stopped, |_| {}).is_err());
    }
}
