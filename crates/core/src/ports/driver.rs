//! What all drivers share: how they fail and how they report progress.

use std::sync::Arc;

/// What went wrong at a driver, from the point of view of the task that called it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverErrorKind {
    /// The thing acted on does not exist there.
    Gone,
    /// Understood and refused; trying again will not help.
    Refused,
    /// No connection.
    Unreachable,
    /// No answer in time.
    Timeout,
    /// An answer that makes no sense.
    Protocol,
    /// Memory, disk or descriptors are used up there.
    Exhausted,
    /// The driver cannot do this at all.
    Unsupported,
    /// A defect in the driver.
    Internal,
}

/// A driver's failure. `detail` is shown to the machine's owner and kept as a reason: no secrets in it.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{detail}")]
pub struct DriverError {
    /// What went wrong.
    pub kind: DriverErrorKind,
    /// Whether the same call may succeed later without anybody doing anything.
    pub retryable: bool,
    /// The cause in words, with the last words of the process where there are any.
    pub detail: String,
}

impl DriverError {
    /// An error; retryable when its kind usually passes by itself (unreachable, timeout).
    pub fn new(kind: DriverErrorKind, detail: impl Into<String>) -> Self {
        let retryable = matches!(kind, DriverErrorKind::Unreachable | DriverErrorKind::Timeout);
        Self { kind, retryable, detail: detail.into() }
    }

    /// The thing acted on does not exist there.
    pub fn gone(detail: impl Into<String>) -> Self {
        Self::new(DriverErrorKind::Gone, detail)
    }

    /// Understood and refused.
    pub fn refused(detail: impl Into<String>) -> Self {
        Self::new(DriverErrorKind::Refused, detail)
    }

    /// The driver cannot do this.
    pub fn unsupported(detail: impl Into<String>) -> Self {
        Self::new(DriverErrorKind::Unsupported, detail)
    }

    /// No answer in time.
    pub fn timeout(detail: impl Into<String>) -> Self {
        Self::new(DriverErrorKind::Timeout, detail)
    }

    /// A defect.
    pub fn internal(detail: impl Into<String>) -> Self {
        Self::new(DriverErrorKind::Internal, detail)
    }
}

/// Where long driver calls report to: a fraction 0..=1 and what is being done. Cheap to clone and to call often.
#[derive(Clone)]
pub struct Progress(Arc<Report>);

type Report = dyn Fn(f64, &str) + Send + Sync;

impl Progress {
    /// Reports go to this function.
    pub fn new(report: impl Fn(f64, &str) + Send + Sync + 'static) -> Self {
        Self(Arc::new(report))
    }

    /// Nobody listens.
    pub fn ignored() -> Self {
        Self::new(|_, _| {})
    }

    /// `fraction` of the call is done; `message` says what comes now.
    pub fn report(&self, fraction: f64, message: &str) {
        (self.0)(fraction, message);
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Progress")
    }
}
