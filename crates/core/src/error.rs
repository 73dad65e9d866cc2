//! The one error type of core.
//!
//! Policy: an [`Error`] is an outcome that the *caller* can act on. `text` is public and reaches the wire as it
//! is; `cause` is for the log and never leaves the process. Every door maps every [`ErrorKind`] with a match
//! without a wildcard. Drivers have their own [`DriverError`](crate::ports::DriverError); the task that called
//! the driver decides what becomes of it. "May not see it" is answered as [`ErrorKind::NotFound`].

use crate::ids::TaskId;
use std::fmt::Display;

/// Shorthand for core's results.
pub type Result<T, E = Error> = std::result::Result<T, E>;

type Cause = Box<dyn std::error::Error + Send + Sync>;

/// What a caller can do about an error.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// It does not exist, or the caller may not see it.
    NotFound,
    /// The caller is known and may not do this.
    Denied,
    /// Nobody, or a credential that does not count.
    Unauthenticated,
    /// The request itself is wrong; `field` names the part (a JSON pointer without the leading slash).
    Invalid {
        /// The offending field, empty when the request as a whole is meant.
        field: String,
    },
    /// The object is in a state that refuses this, or somebody else was faster.
    Conflict,
    /// A running task holds the object; try again when it has ended.
    Busy {
        /// The task that holds it.
        task: TaskId,
    },
    /// Memory, disk, addresses or a quota are used up.
    NoCapacity,
    /// What drives the object cannot do this.
    Unsupported,
    /// Not now; the same request may go through later.
    Unavailable {
        /// A sensible pause in seconds.
        retry_after_s: u32,
    },
    /// A defect or a broken environment; details are in the log.
    Internal,
}

/// An outcome other than success, with a public text and an internal cause.
#[derive(Debug, thiserror::Error)]
#[error("{text}")]
pub struct Error {
    /// What the caller can do about it.
    pub kind: ErrorKind,
    /// Stable machine-readable name, e.g. `name_taken`; documented in the native API.
    pub code: &'static str,
    /// Public sentence without a full stop: what is wrong, with the offending value.
    pub text: String,
    /// What to try next, for people.
    pub hint: Option<String>,
    /// Why, for the log only.
    #[source]
    pub cause: Option<Cause>,
}

impl Error {
    /// An error with kind, stable code and public text.
    pub fn new(kind: ErrorKind, code: &'static str, text: impl Into<String>) -> Self {
        Self { kind, code, text: text.into(), hint: None, cause: None }
    }

    /// `what` (a noun of the table of words) with this key does not exist.
    pub fn not_found(what: &'static str, key: impl Display) -> Self {
        Self::new(ErrorKind::NotFound, "not_found", format!("there is no {what} {key}"))
    }

    /// The caller may not do this.
    pub fn denied(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Denied, "denied", text)
    }

    /// No credential, or one that does not count.
    pub fn unauthenticated(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unauthenticated, "unauthenticated", text)
    }

    /// `field` of the request is wrong.
    pub fn invalid(field: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Invalid { field: field.into() }, "invalid", text)
    }

    /// The state of the object refuses this.
    pub fn conflict(code: &'static str, text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Conflict, code, text)
    }

    /// `what` is held by a running task.
    pub fn busy(what: impl Display, task: TaskId) -> Self {
        Self::new(ErrorKind::Busy { task }, "busy", format!("{what} is held by task {task}"))
            .hint(format!("wait for it with `hostler task watch {task}`"))
    }

    /// Something countable is used up.
    pub fn no_capacity(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::NoCapacity, "no_capacity", text)
    }

    /// The driver behind the object cannot do this.
    pub fn unsupported(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unsupported, "unsupported", text)
    }

    /// Not now.
    pub fn unavailable(text: impl Into<String>) -> Self {
        Self::new(ErrorKind::Unavailable { retry_after_s: 1 }, "unavailable", text)
    }

    /// A defect or a broken environment. The public text says nothing but that.
    pub fn internal(cause: impl Into<Cause>) -> Self {
        let error =
            Self::new(ErrorKind::Internal, "internal", "hostler failed inside; its log has the details");
        error.caused_by(cause)
    }

    /// Adds the next step for people.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the internal cause.
    #[must_use]
    pub fn caused_by(mut self, cause: impl Into<Cause>) -> Self {
        self.cause = Some(cause.into());
        self
    }

    /// Text and all causes on one line, for the log.
    pub fn chain(&self) -> String {
        let mut text = self.text.clone();
        let mut source = std::error::Error::source(self);
        while let Some(error) = source {
            text.push_str(": ");
            text.push_str(&error.to_string());
            source = error.source();
        }
        text
    }
}
