//! A clock that stands still until a test moves it.

use super::lock;
use hostler_core::ports::Clock;
use hostler_core::time::Timestamp;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;

/// 2026-01-01T00:00:00Z: a test that prints a time prints the same one every day.
const BEGINNING: Duration = Duration::from_millis(1_767_225_600_000);

/// Time that passes by [`advance`](TestClock::advance) only. Clones are the same clock.
#[derive(Clone)]
pub struct TestClock(Arc<Mutex<State>>);

struct State {
    /// Since 1970; finer than [`Timestamp`], so that short sleeps add up.
    now: Duration,
    /// Counts sleepers, so that those with the same deadline wake in the order they lay down.
    lain: u64,
    sleepers: BTreeMap<(Duration, u64), oneshot::Sender<()>>,
}

impl TestClock {
    /// A clock that shows 2026-01-01T00:00:00Z.
    pub fn new() -> Self {
        Self(Arc::new(Mutex::new(State { now: BEGINNING, lain: 0, sleepers: BTreeMap::new() })))
    }

    /// Lets time pass and wakes, in order, those whose time has come. They run when the caller next awaits; one who
    /// then sleeps again waits for the next advance.
    pub fn advance(&self, duration: Duration) {
        let mut state = lock(&self.0);
        let now = state.now.saturating_add(duration);
        state.now = now;
        while let Some(first) = state.sleepers.first_entry() {
            if first.key().0 > now {
                break;
            }
            // The sleeper may have been dropped this very moment; nobody is left to wake then.
            let _ = first.remove().send(());
        }
    }

    /// How many are asleep.
    pub fn sleepers(&self) -> usize {
        lock(&self.0).sleepers.len()
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for TestClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TestClock({}, {} asleep)", self.now(), self.sleepers())
    }
}

#[async_trait::async_trait]
impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        Timestamp(i64::try_from(lock(&self.0).now.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep(&self, duration: Duration) {
        if duration.is_zero() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        let key = {
            let mut state = lock(&self.0);
            state.lain += 1;
            let key = (state.now.saturating_add(duration), state.lain);
            state.sleepers.insert(key, wake);
            key
        };
        let _bed = Bed { clock: self, key };
        // An error would mean that the clock is gone, but we hold it.
        let _ = woken.await;
    }
}

/// Takes a sleeper off the list when its future is dropped.
struct Bed<'a> {
    clock: &'a TestClock,
    key: (Duration, u64),
}

impl Drop for Bed<'_> {
    fn drop(&mut self) {
        lock(&self.clock.0).sleepers.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::TestClock;
    use hostler_core::ports::Clock;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    async fn until_asleep(clock: &TestClock, count: usize) {
        while clock.sleepers() != count {
            tokio::task::yield_now().await;
        }
    }

    #[test]
    fn begins_at_a_fixed_time() {
        assert_eq!(TestClock::new().now().to_string(), "2026-01-01T00:00:00.000Z");
    }

    #[tokio::test]
    async fn sleepers_wake_in_order_and_not_before_their_time() -> anyhow::Result<()> {
        let clock = TestClock::new();
        let woken = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for (index, seconds) in [3_u64, 1, 2, 1].into_iter().enumerate() {
            let (own, woken) = (clock.clone(), woken.clone());
            tasks.push(tokio::spawn(async move {
                own.sleep(Duration::from_secs(seconds)).await;
                super::lock(&woken).push(index);
            }));
            until_asleep(&clock, index + 1).await;
        }
        clock.advance(Duration::from_millis(999));
        assert_eq!(clock.sleepers(), 4);
        clock.advance(Duration::from_millis(1));
        assert_eq!(clock.sleepers(), 2);
        clock.advance(Duration::from_secs(9));
        for task in tasks {
            task.await?;
        }
        assert_eq!(*super::lock(&woken), [1, 3, 2, 0]);
        assert_eq!(clock.now().to_string(), "2026-01-01T00:00:10.000Z");
        Ok(())
    }

    #[tokio::test]
    async fn a_dropped_sleeper_is_forgotten() {
        let clock = TestClock::new();
        let own = clock.clone();
        let task = tokio::spawn(async move { own.sleep(Duration::from_secs(1)).await });
        until_asleep(&clock, 1).await;
        task.abort();
        assert!(task.await.is_err());
        assert_eq!(clock.sleepers(), 0);
    }

    #[tokio::test]
    async fn sleeping_no_time_does_not_sleep() {
        TestClock::new().sleep(Duration::ZERO).await;
    }
}
