//! What is counted of this door's requests, in this process.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// Series at most: names that clients make up shall not fill the memory.
const MOST: usize = 10_000;

/// Counts by name and labels, as `/prometheus` shows them.
#[derive(Debug, Default)]
pub(crate) struct Counters(Mutex<BTreeMap<(&'static str, Vec<(&'static str, String)>), u64>>);

impl Counters {
    /// Counts one more.
    pub(crate) fn count(&self, name: &'static str, labels: &[(&'static str, &str)]) {
        let labels = labels.iter().map(|(label, value)| (*label, (*value).to_owned())).collect();
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (name, labels);
        if all.len() < MOST || all.contains_key(&key) {
            *all.entry(key).or_default() += 1;
        }
    }

    /// All of them, by name and labels.
    pub(crate) fn all(&self) -> BTreeMap<(&'static str, Vec<(&'static str, String)>), u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}
