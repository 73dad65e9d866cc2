//! The real clock and real chance. Nothing else in hostler asks the system for the time or makes ids.
#![expect(clippy::disallowed_methods, reason = "this is what the Clock and Ids ports stand for")]

use hostler_core::ports::{Clock, Ids};
use hostler_core::time::Timestamp;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use uuid::Uuid;

/// The time of day of this computer.
#[derive(Clone, Copy, Debug)]
pub struct SystemClock;

#[async_trait::async_trait]
impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
    }

    async fn sleep(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }
}

/// Ids that grow with time, also within a millisecond, and secrets from the kernel.
#[derive(Clone, Copy, Debug)]
pub struct SystemIds;

impl Ids for SystemIds {
    fn uuid(&self) -> Uuid {
        Uuid::now_v7()
    }

    fn secret(&self) -> [u8; 32] {
        let mut secret = [0; 32];
        // Without random bytes every secret would be a lie; no caller could go on.
        getrandom::fill(&mut secret).expect("the kernel gives random bytes");
        secret
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_grow_even_within_a_millisecond() {
        let ids: Vec<Uuid> = (0..10_000).map(|_| SystemIds.uuid()).collect();
        assert!(ids.is_sorted_by(|a, b| a < b));
        assert_ne!(SystemIds.secret(), SystemIds.secret());
    }
}
