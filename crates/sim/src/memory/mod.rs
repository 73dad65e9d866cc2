//! Drivers, clock and ids in memory.
//!
//! [`SimHypervisor`] and [`SimStorage`] are what `hostler-sim` and the tests drive instead of QEMU and disks. Their
//! latencies are real time, by tokio's timers; a latency of 0 touches no timer at all. [`TestClock`] and
//! [`SeededIds`] are for core: with them a test decides when time passes and knows every id beforehand.

mod clock;
mod console;
mod devices;
mod entry;
mod fleet;
mod goldens;
mod guest;
mod hypervisor;
mod identity;
mod ids;
mod journal;
mod storage;
mod switch;

pub use clock::TestClock;
pub use devices::Devices;
pub use hypervisor::SimHypervisor;
pub use identity::{SimDirectory, SimProvider};
pub use ids::SeededIds;
pub use storage::SimStorage;
pub use switch::SimSwitch;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Takes a lock. Every critical section here leaves its data whole, so a panic elsewhere does not spoil it.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Lets time pass. Zero costs nothing and needs no timer, so that benchmarks measure hostler and not tokio.
pub(crate) async fn pass(duration: Duration) {
    if !duration.is_zero() {
        tokio::time::sleep(duration).await;
    }
}

/// Milliseconds since 1970: the only clock that goes on while the process is dead.
fn wall_ms() -> u64 {
    std::time::UNIX_EPOCH.elapsed().map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}
