//! What was read lately, kept in memory, so that reading it again costs no statement.
//!
//! The database is the authority; this only remembers what it answered: records by key, and short answers to whole
//! statements. Three rules keep an answer from here as good as one from there:
//!
//! * The writer drops what it changes *before* it commits (the records themselves, and every answer about their
//!   kinds), and nothing of those kinds is kept until the commit has ended. So nobody finds the old here once the new
//!   can be found there.
//! * What was read is kept only if no commit touched its kind since before the read began.
//! * It is bounded: what was not asked for again since half of it was filled anew goes.
//!
//! Only this process writes to the database while it serves (the lock on the data directory sees to that).

use crate::sql::Bound;
use hostler_core::record::{Document, Kind};
use std::collections::HashMap;
use std::mem;
use std::sync::{Mutex, MutexGuard, PoisonError};
use uuid::Uuid;

/// Bytes kept for one kind, at most: half for records, half for answers.
const BYTES: usize = 16 * 1024 * 1024;
/// What a record takes beside its body, and an answer beside its records.
const OVERHEAD: usize = 256;
/// Answers with more records are not kept: who reads pages rarely reads the same again.
const SHORT: usize = 8;

/// What was read lately, by kind.
#[derive(Debug)]
pub(super) struct Cache {
    shelves: [Mutex<Shelf>; Kind::ALL.len()],
}

/// What is known of one kind.
#[derive(Debug, Default)]
struct Shelf {
    records: Halves<Uuid, Document>,
    answers: Halves<Bound, Vec<Document>>,
    /// Counts commits that touched this kind, twice; odd while one is under way.
    changes: u64,
    closed: bool,
}

/// The right to keep what is about to be read, unless something is committed meanwhile.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    kind: Kind,
    changes: u64,
}

impl Cache {
    pub(super) fn new() -> Self {
        Self { shelves: std::array::from_fn(|_| Mutex::default()) }
    }

    /// The record with this key, if it is known.
    pub(super) fn record(&self, kind: Kind, id: Uuid) -> Result<Document, Reading> {
        let mut shelf = self.shelf(kind);
        shelf.records.get(&id).ok_or(Reading { kind, changes: shelf.changes })
    }

    /// The answer to this statement about one kind, if it is known.
    pub(super) fn answer(&self, kind: Kind, statement: &Bound) -> Result<Vec<Document>, Reading> {
        let mut shelf = self.shelf(kind);
        shelf.answers.get(statement).ok_or(Reading { kind, changes: shelf.changes })
    }

    /// Keeps a record that was read.
    pub(super) fn keep_record(&self, reading: Reading, document: &Document) {
        if let Some(mut shelf) = self.unchanged(reading) {
            shelf.records.put(document.id, document.clone(), weight(document));
        }
    }

    /// Keeps an answer that was read, if it is short.
    pub(super) fn keep_answer(&self, reading: Reading, statement: Bound, answer: &[Document]) {
        if answer.len() <= SHORT
            && let Some(mut shelf) = self.unchanged(reading)
        {
            let bytes = answer.iter().map(weight).sum::<usize>() + statement.weight() + OVERHEAD;
            shelf.answers.put(statement, answer.to_vec(), bytes);
        }
    }

    /// These records are about to be committed.
    pub(super) fn committing(&self, changed: &[(Kind, Uuid)]) {
        for (kind, id) in changed {
            let mut shelf = self.shelf(*kind);
            shelf.records.remove(id);
            if shelf.changes.is_multiple_of(2) {
                shelf.changes += 1;
                shelf.answers = Halves::default();
            }
        }
    }

    /// The commit has ended, in whichever way.
    pub(super) fn committed(&self, changed: &[(Kind, Uuid)]) {
        for (kind, _) in changed {
            let mut shelf = self.shelf(*kind);
            shelf.changes += shelf.changes % 2;
        }
    }

    /// Forgets everything and keeps nothing from now on.
    pub(super) fn close(&self) {
        for kind in Kind::ALL {
            *self.shelf(kind) = Shelf { closed: true, ..Shelf::default() };
        }
    }

    fn unchanged(&self, reading: Reading) -> Option<MutexGuard<'_, Shelf>> {
        let shelf = self.shelf(reading.kind);
        (!shelf.closed && reading.changes.is_multiple_of(2) && shelf.changes == reading.changes)
            .then_some(shelf)
    }

    fn shelf(&self, kind: Kind) -> MutexGuard<'_, Shelf> {
        // Nothing here panics half way; and what is forgotten is read again.
        self.shelves[kind as usize].lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Values in two halves: when the young one is full it becomes the aged one, and what nobody asked for while it was
/// aged goes with it.
#[derive(Debug)]
struct Halves<K, V> {
    young: HashMap<K, (V, usize)>,
    aged: HashMap<K, (V, usize)>,
    bytes: usize,
}

impl<K, V> Default for Halves<K, V> {
    fn default() -> Self {
        Self { young: HashMap::new(), aged: HashMap::new(), bytes: 0 }
    }
}

impl<K: Eq + std::hash::Hash, V: Clone> Halves<K, V> {
    fn get(&mut self, key: &K) -> Option<V> {
        if let Some((value, _)) = self.young.get(key) {
            return Some(value.clone());
        }
        let (key, (value, bytes)) = self.aged.remove_entry(key)?;
        self.put(key, value.clone(), bytes);
        Some(value)
    }

    fn put(&mut self, key: K, value: V, bytes: usize) {
        if self.bytes + bytes > BYTES / 4 {
            self.aged = mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += bytes;
        if let Some((_, before)) = self.young.insert(key, (value, bytes)) {
            self.bytes -= before;
        }
    }

    fn remove(&mut self, key: &K) {
        if let Some((_, bytes)) = self.young.remove(key) {
            self.bytes -= bytes;
        }
        self.aged.remove(key);
    }
}

fn weight(document: &Document) -> usize {
    document.body.len() + OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sql::Draft;

    fn document(key: u128, body: &str) -> Document {
        let id = Uuid::from_u128(key);
        Document { kind: Kind::Credential, id, number: 1, rev: 1, columns: Vec::new(), body: body.into() }
    }

    fn read(cache: &Cache, key: u128) -> Result<String, Reading> {
        cache.record(Kind::Credential, Uuid::from_u128(key)).map(|document| document.body)
    }

    fn ask(cache: &Cache, statement: &Bound) -> Result<usize, Reading> {
        cache.answer(Kind::Credential, statement).map(|answer| answer.len())
    }

    #[test]
    fn what_was_read_is_known_until_it_changes() {
        let cache = Cache::new();
        let statement = Draft::new("SELECT 1").finish();
        cache.keep_record(read(&cache, 1).unwrap_err(), &document(1, "one"));
        cache.keep_record(read(&cache, 2).unwrap_err(), &document(2, "two"));
        cache.keep_answer(ask(&cache, &statement).unwrap_err(), statement.clone(), &[document(1, "one")]);
        assert_eq!((read(&cache, 1).unwrap().as_str(), ask(&cache, &statement).unwrap()), ("one", 1));
        let changed = [(Kind::Credential, Uuid::from_u128(1))];
        cache.committing(&changed);
        assert!(read(&cache, 1).is_err() && ask(&cache, &statement).is_err());
        cache.committed(&changed);
        assert!(read(&cache, 1).is_err() && ask(&cache, &statement).is_err());
        assert_eq!(read(&cache, 2).unwrap(), "two", "it did not change");
    }

    #[test]
    fn what_was_read_around_a_commit_is_not_kept() {
        let cache = Cache::new();
        let changed = [(Kind::Credential, Uuid::from_u128(2)), (Kind::Credential, Uuid::from_u128(3))];
        let before = read(&cache, 1).unwrap_err();
        cache.committing(&changed);
        let during = read(&cache, 1).unwrap_err();
        for reading in [before, during] {
            cache.keep_record(reading, &document(1, "old"));
        }
        cache.committed(&changed);
        for reading in [before, during] {
            cache.keep_record(reading, &document(1, "old"));
        }
        let after = read(&cache, 1).unwrap_err();
        cache.keep_record(after, &document(1, "after"));
        assert_eq!(read(&cache, 1).unwrap(), "after");
    }

    #[test]
    fn a_commit_of_one_kind_does_not_concern_another() {
        let cache = Cache::new();
        let reading = read(&cache, 1).unwrap_err();
        cache.committing(&[(Kind::Machine, Uuid::from_u128(1))]);
        cache.keep_record(reading, &document(1, "one"));
        assert!(read(&cache, 1).is_ok());
        cache.close();
        cache.keep_record(read(&cache, 1).unwrap_err(), &document(1, "one"));
        assert!(read(&cache, 1).is_err(), "it is closed");
    }

    #[test]
    fn it_is_bounded_and_keeps_what_is_asked_for() {
        let cache = Cache::new();
        let body = "x".repeat(1000);
        for key in 0..20_000 {
            cache.keep_record(read(&cache, key).unwrap_err(), &document(key, &body));
            assert!(read(&cache, 0).is_ok(), "asked for each time");
        }
        let shelf = cache.shelf(Kind::Credential);
        let count = shelf.records.young.len() + shelf.records.aged.len();
        assert!((3000..8000).contains(&count), "{count} records");
    }
}
