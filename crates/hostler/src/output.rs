//! The only place that writes to stdout and stderr for people and scripts.
#![expect(clippy::print_stderr, reason = "errors and notes of the command line belong there")]

use std::fmt::Display;
use std::io::Write;

/// A line on stdout. A reader that has gone away (`hostler … | head`) is none of our business.
pub(crate) fn line(text: impl Display) {
    bytes(format!("{text}\n").as_bytes());
}

/// Bytes on stdout as they are, at once.
pub(crate) fn bytes(bytes: &[u8]) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(bytes).and_then(|()| out.flush());
}

/// A value as indented JSON on stdout.
pub(crate) fn json(value: &impl serde::Serialize) {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(error) => note(format_args!("error: cannot show this as JSON: {error}")),
    }
}

/// A line on stderr.
pub(crate) fn note(text: impl Display) {
    eprintln!("{text}");
}

/// Bytes on stderr as they are.
pub(crate) fn error_bytes(bytes: &[u8]) {
    let _ = std::io::stderr().lock().write_all(bytes);
}
