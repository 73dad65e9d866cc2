//! Fail points: places where the crash tests end the process as `kill -9` would.

use std::sync::OnceLock;

/// Ends the process at once when the environment variable `HOSTLER_FAIL_POINT` holds this name.
///
/// For the crash harness only: it starts hostler with the variable set, waits for its death, starts it again without
/// and looks whether everything heals. The variable is read once. Names in this crate, in the order in which a start
/// passes them: `qemu.recorded` (what will be started is on disk), `qemu.spawned` (the process exists, its pid is
/// not yet on disk), `qemu.pid_written`, `qemu.running` (guest code runs, core does not know yet).
pub fn fail_point(name: &str) {
    static WANTED: OnceLock<Option<String>> = OnceLock::new();
    let wanted = WANTED.get_or_init(|| std::env::var("HOSTLER_FAIL_POINT").ok());
    if wanted.as_deref() == Some(name) {
        tracing::error!(fail_point = name, "ending here, as asked");
        std::process::abort();
    }
}
