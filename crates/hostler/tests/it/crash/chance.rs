//! Chance that can be had again: splitmix64.

use std::time::Duration;

/// A stream of numbers that depends on its seed only.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    /// A stream of its own for each path of numbers below a seed, so that what one client draws does not depend on
    /// how far another one got.
    pub(crate) fn of(seed: u64, path: &[u64]) -> Self {
        path.iter().fold(Self(seed), |mut chance, part| {
            Self(chance.next() ^ part.wrapping_mul(0xd6e8_feb8_6659_fd93))
        })
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number from 0 to `end`, without `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Whether something happens that happens so many times out of a hundred.
    pub(crate) fn percent(&mut self, often: u64) -> bool {
        self.below(100) < often
    }

    pub(crate) fn pick<'a, T>(&mut self, among: &'a [T]) -> &'a T {
        let place = usize::try_from(self.below(among.len() as u64)).unwrap_or(0);
        &among[place]
    }

    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let span = u64::try_from((most - least).as_micros()).unwrap_or(u64::MAX);
        least + Duration::from_micros(self.below(span))
    }
}

#[test]
fn the_same_seed_draws_the_same() {
    let draw = |seed, path: &[u64]| {
        let mut chance = Chance::of(seed, path);
        [chance.next(), chance.next(), chance.below(10)]
    };
    assert_eq!(draw(1, &[2, 3]), draw(1, &[2, 3]));
    assert_ne!(draw(1, &[2, 3]), draw(1, &[3, 2]));
    assert_ne!(draw(1, &[2, 3]), draw(2, &[2, 3]));
}
