//! Time and chance, injected so that tests are exact.

use crate::time::Timestamp;
use std::time::Duration;
use uuid::Uuid;

/// The time of day, and waiting for it.
#[async_trait::async_trait]
pub trait Clock: Send + Sync {
    /// Now.
    fn now(&self) -> Timestamp;

    /// Returns when at least `duration` has passed on this clock. May be dropped at any time.
    async fn sleep(&self, duration: Duration);
}

/// Fresh ids and secrets.
pub trait Ids: Send + Sync {
    /// A new UUID v7, later than every one before it.
    fn uuid(&self) -> Uuid;

    /// 256 bits nobody can guess.
    fn secret(&self) -> [u8; 32];
}
