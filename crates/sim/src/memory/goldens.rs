//! Golden machines of one simulated host: what was saved, and whether it is still whole.

use super::journal::Journal;
use super::lock;
use hostler_core::ids::GoldenId;
use hostler_core::ports::{DriverError, GoldenFacts};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What every simulated machine is saved with.
pub(super) const LIKENESS: &str = "sim";

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Golden {
    id: GoldenId,
    facts: GoldenFacts,
    spoilt: bool,
}

/// They outlive the process as machines do.
#[derive(Debug)]
pub(super) struct Goldens {
    journal: Journal,
    saved: Mutex<BTreeMap<GoldenId, Golden>>,
    fork: AtomicBool,
}

impl Goldens {
    pub(super) fn new(journal: Journal, fork: bool) -> Self {
        Self { journal, saved: Mutex::default(), fork: AtomicBool::new(fork) }
    }

    pub(super) fn let_fork(&self, fork: bool) {
        self.fork.store(fork, Ordering::Relaxed);
    }

    /// Whether machines can be forked here at all.
    pub(super) fn forks(&self) -> bool {
        self.fork.load(Ordering::Relaxed)
    }

    /// Finds what an earlier process saved.
    pub(super) fn adopt(&self) -> Result<(), DriverError> {
        for golden in self.journal.entries::<Golden>()? {
            lock(&self.saved).insert(golden.id, golden);
        }
        Ok(())
    }

    pub(super) fn facts(&self, id: GoldenId) -> Option<GoldenFacts> {
        lock(&self.saved).get(&id).map(|golden| golden.facts.clone())
    }

    pub(super) fn save(&self, id: GoldenId, facts: GoldenFacts) -> Result<(), DriverError> {
        self.keep(Golden { id, facts, spoilt: false })
    }

    fn keep(&self, golden: Golden) -> Result<(), DriverError> {
        self.journal.keep(golden.id.0, &golden)?;
        lock(&self.saved).insert(golden.id, golden);
        Ok(())
    }

    /// Its files are changed behind hostler's back.
    pub(super) fn spoil(&self, id: GoldenId) -> Result<(), DriverError> {
        let golden = lock(&self.saved).get(&id).cloned().ok_or_else(gone)?;
        self.keep(Golden { spoilt: true, ..golden })
    }

    pub(super) fn remove(&self, id: GoldenId) -> Result<(), DriverError> {
        self.journal.forget(id.0)?;
        lock(&self.saved).remove(&id);
        Ok(())
    }

    pub(super) fn ids(&self) -> Vec<GoldenId> {
        lock(&self.saved).keys().copied().collect()
    }

    /// Whether a machine can be forked from it, and if not, why.
    pub(super) fn forkable(&self, id: GoldenId) -> Result<(), DriverError> {
        match lock(&self.saved).get(&id) {
            None => Err(gone()),
            Some(golden) if golden.spoilt => {
                Err(DriverError::refused("the golden machine is damaged: its files are not what was saved"))
            }
            Some(_) => Ok(()),
        }
    }
}

fn gone() -> DriverError {
    DriverError::gone("the golden machine is not there")
}
