//! What forks start from, in files without names that nobody can change any more.

use super::saved::{self, Saved};
use super::{damaged, failed};
use crate::durable::blocking;
use crate::layout::Layout;
use hostler_core::ids::GoldenId;
use hostler_core::ports::{DriverError, DriverErrorKind};
use rustix::fs::{MemfdFlags, Mode, OFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex};

/// A golden machine in memory, checked and sealed.
#[derive(Debug)]
pub(in super::super) struct Loaded {
    pub(super) saved: Saved,
    memory: File,
    state: File,
    stamp: Vec<[i64; 4]>,
}

impl Loaded {
    /// Memory for the process of one fork.
    pub(in super::super) fn memory(&self) -> io::Result<OwnedFd> {
        self.memory.as_fd().try_clone_to_owned()
    }

    /// The state of the devices for one fork, to be read from its beginning.
    pub(in super::super) fn state(&self) -> io::Result<OwnedFd> {
        let again = format!("/proc/self/fd/{}", self.state.as_raw_fd());
        Ok(rustix::fs::open(again, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?)
    }

    fn read(layout: &Layout, id: GoldenId) -> Result<Self, DriverError> {
        let saved = Saved::read(layout, id);
        let saved = saved.ok_or_else(|| DriverError::gone("the golden machine is not there"))?;
        let unreadable = |error: io::Error| match error.kind() {
            io::ErrorKind::NotFound => damaged("a file of it is missing"),
            _ => failed(&error),
        };
        let stamp = saved::stamp(layout, id, saved.disk).map_err(unreadable)?;
        let memory = unnamed("golden-memory", saved.memory).map_err(unreadable)?;
        let mut state = unnamed("golden-state", 0).map_err(unreadable)?;
        saved::load(layout, id, &saved, &memory, &mut state)?;
        seal(&memory).and_then(|()| seal(&state)).map_err(unreadable)?;
        Ok(Self { saved, memory, state, stamp })
    }
}

/// Memory of a golden machine that is to be booted.
pub(super) fn empty_memory(mib: u64) -> Result<OwnedFd, DriverError> {
    let bytes = mib.checked_mul(1 << 20).ok_or_else(|| DriverError::refused("no memory is so large"))?;
    unnamed("golden-memory", bytes).map(OwnedFd::from).map_err(|error| failed(&error))
}

fn unnamed(name: &str, bytes: u64) -> io::Result<File> {
    let file = memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
    ftruncate(&file, bytes)?;
    Ok(file.into())
}

/// From here on nobody can write to it, make it shorter or punch holes into it, whoever has it.
fn seal(file: &File) -> io::Result<()> {
    Ok(fcntl_add_seals(file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL)?)
}

/// Golden machines that are in memory.
#[derive(Debug, Default)]
pub(in super::super) struct Shelf(Mutex<HashMap<GoldenId, Place>>);

/// One loads, others wait for it.
type Place = Arc<tokio::sync::Mutex<Option<Arc<Loaded>>>>;

impl Shelf {
    /// The golden machine, loaded now when it is not yet or when its files were changed.
    pub(super) async fn take(
        &self,
        id: GoldenId,
        layout: &Layout,
        share: impl FnOnce(&Layout) -> io::Result<()> + Send + 'static,
    ) -> Result<Arc<Loaded>, DriverError> {
        let place = super::locked(&self.0).entry(id).or_default().clone();
        let mut place = place.lock().await;
        let (layout, known) = (layout.clone(), place.take());
        let loaded = blocking(move || {
            share(&layout).map_err(|error| failed(&error))?;
            match known {
                Some(known)
                    if saved::stamp(&layout, id, known.saved.disk).is_ok_and(|now| now == known.stamp) =>
                {
                    Ok(known)
                }
                _ => Loaded::read(&layout, id).map(Arc::new),
            }
        })
        .await;
        match &loaded {
            Ok(loaded) => *place = Some(loaded.clone()),
            Err(error) if error.kind == DriverErrorKind::Gone => self.forget(id),
            Err(_) => {}
        }
        loaded
    }

    /// Its memory is given back when the last fork that is just starting has it.
    pub(super) fn forget(&self, id: GoldenId) {
        super::locked(&self.0).remove(&id);
    }
}
