//! Named points at which the process can be made to die, for crash tests.

use std::sync::OnceLock;

/// Aborts the process when the environment variable `HOSTLER_FAIL_POINT` holds this name, as kill -9 would at
/// this very place. Read once; costs a comparison otherwise.
pub fn fail_point(name: &str) {
    static CHOSEN: OnceLock<Option<String>> = OnceLock::new();
    let chosen =
        CHOSEN.get_or_init(|| std::env::var("HOSTLER_FAIL_POINT").ok().filter(|name| !name.is_empty()));
    if chosen.as_deref() == Some(name) {
        tracing::warn!(fail_point = name, "dying here as asked by HOSTLER_FAIL_POINT");
        std::process::abort();
    }
}
