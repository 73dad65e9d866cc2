//! Named points at which the process can be made to die, for crash tests.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Aborts the process when the environment variable `HOSTLER_FAIL_POINT` holds this name, as kill -9 would at
/// this very place; with `name:3`, when it gets there for the third time. Read once; costs a comparison otherwise.
pub fn fail_point(name: &str) {
    static CHOSEN: OnceLock<Option<Chosen>> = OnceLock::new();
    let chosen =
        CHOSEN.get_or_init(|| std::env::var("HOSTLER_FAIL_POINT").ok().and_then(|text| Chosen::read(&text)));
    let Some(chosen) = chosen.as_ref().filter(|chosen| chosen.name == name) else { return };
    if chosen.is_last() {
        tracing::warn!(fail_point = name, "dying here as asked by HOSTLER_FAIL_POINT");
        std::process::abort();
    }
}

/// Where to die, and after how many more visits.
struct Chosen {
    name: String,
    left: AtomicU32,
}

impl Chosen {
    fn read(text: &str) -> Option<Self> {
        let (name, count) = text.split_once(':').unwrap_or((text, "1"));
        let left = AtomicU32::new(count.parse().unwrap_or(1));
        (!name.is_empty()).then(|| Self { name: name.to_owned(), left })
    }

    /// Counts a visit.
    fn is_last(&self) -> bool {
        let one_less = |left: u32| Some(left.saturating_sub(1));
        self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok_and(|left| left <= 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_point_may_be_passed_a_few_times() {
        let visits = |text: &str| {
            let chosen = Chosen::read(text)?;
            Some((1..10).find(|_| chosen.is_last()).unwrap_or(0))
        };
        assert_eq!(visits(""), None);
        assert_eq!(visits("a.b"), Some(1));
        assert_eq!(visits("a.b:3"), Some(3));
    }
}
