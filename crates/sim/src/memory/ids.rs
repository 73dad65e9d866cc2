//! Ids and secrets that are the same in every run.

use super::lock;
use crate::chance::Chance;
use hostler_core::ports::Ids;
use std::sync::Mutex;
use uuid::{Builder, Uuid};

/// 2026-01-01T00:00:00Z in milliseconds, the beginning of [`TestClock`](super::TestClock).
const BEGINNING_MS: u64 = 1_767_225_600_000;

/// UUIDs v7 and secrets from a seed. Ids sort in the order they were made, by a counter of their own in place of
/// the time, so they do not depend on the clock. The secrets are none: for tests only.
#[derive(Debug)]
pub struct SeededIds(Mutex<State>);

#[derive(Debug)]
struct State {
    made: u64,
    ids: Chance,
    secrets: Chance,
}

impl SeededIds {
    /// Two with the same seed make the same ids and the same secrets, each in its own order.
    pub fn new(seed: u64) -> Self {
        // Separate streams: asking for one more secret does not change the ids after it.
        Self(Mutex::new(State { made: 0, ids: Chance::new(seed), secrets: Chance::new(!seed) }))
    }
}

impl Ids for SeededIds {
    fn uuid(&self) -> Uuid {
        let mut state = lock(&self.0);
        state.made += 1;
        let millis = BEGINNING_MS + state.made;
        Builder::from_unix_timestamp_millis(millis, &state.ids.bytes()).into_uuid()
    }

    fn secret(&self) -> [u8; 32] {
        lock(&self.0).secrets.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::SeededIds;
    use hostler_core::ports::Ids;

    #[test]
    fn the_same_seed_makes_the_same_ids_whatever_secrets_are_drawn() {
        let (one, two, other) = (SeededIds::new(5), SeededIds::new(5), SeededIds::new(6));
        let secret = one.secret();
        assert_eq!(one.uuid(), two.uuid());
        assert_eq!(secret, two.secret());
        assert_ne!(secret, one.secret());
        assert_ne!(other.secret(), secret);
        assert_ne!(one.uuid(), other.uuid());
    }

    #[test]
    fn ids_are_version_7_and_sort_by_making() {
        let ids = SeededIds::new(1);
        let made: Vec<_> = (0..1_000).map(|_| ids.uuid()).collect();
        assert!(made.is_sorted_by(|earlier, later| earlier < later));
        assert!(made.iter().all(|id| id.get_version_num() == 7));
    }
}
