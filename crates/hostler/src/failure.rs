//! How the program fails: what, why, what to do, and with which exit code.

use std::error::Error;
use std::fmt;
use std::process::ExitCode;

/// The exit codes that scripts rely on. A command run inside a guest may end with any other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(pub u8);

impl Exit {
    /// What was asked for is done.
    pub const DONE: Self = Self(0);
    /// It failed.
    pub const FAILED: Self = Self(1);
    /// It was asked for wrongly.
    pub const USAGE: Self = Self(2);
    /// Something named does not exist.
    pub const NOT_FOUND: Self = Self(3);
    /// The caller may not.
    pub const DENIED: Self = Self(4);
    /// A state refuses it, or a running task holds the object.
    pub const CONFLICT: Self = Self(5);
    /// Something countable is used up.
    pub const NO_CAPACITY: Self = Self(6);
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.0.into()
    }
}

/// Why the program did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// The stable name that the server has for it.
    pub code: Option<String>,
    /// What is wrong.
    pub text: String,
    /// Why, outermost first.
    pub causes: Vec<String>,
    /// What to try next.
    pub hint: Option<String>,
}

impl Failure {
    /// A failure without a known cause.
    pub fn new(text: impl Into<String>) -> Self {
        Self { exit: Exit::FAILED, code: None, text: text.into(), causes: Vec::new(), hint: None }
    }

    /// A failure because of an error and what caused that.
    pub fn because(text: impl Into<String>, error: &(dyn Error + 'static)) -> Self {
        let mut failure = Self::new(text);
        let mut next = Some(error);
        while let Some(error) = next {
            let cause = error.to_string();
            // Many errors repeat their source in their own text.
            if !failure.causes.last().is_some_and(|outer| outer.contains(&cause)) {
                failure.causes.push(cause);
            }
            next = error.source();
        }
        failure
    }

    /// Asked for wrongly.
    pub fn usage(text: impl Into<String>) -> Self {
        Self::new(text).exit(Exit::USAGE)
    }

    /// Another way to end.
    #[must_use]
    pub fn exit(self, exit: Exit) -> Self {
        Self { exit, ..self }
    }

    /// Adds a cause.
    #[must_use]
    pub fn cause(mut self, cause: impl Into<String>) -> Self {
        self.causes.push(cause.into());
        self
    }

    /// Adds what to try next.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

impl fmt::Display for Failure {
    /// As it is shown to people: one line each for the error, its causes and the hint.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.text)?;
        for cause in &self.causes {
            write!(f, "\ncause: {cause}")?;
        }
        match &self.hint {
            Some(hint) => write!(f, "\nhint: {hint}"),
            None => Ok(()),
        }
    }
}

impl Error for Failure {}

impl From<crate::config::ConfigError> for Failure {
    fn from(error: crate::config::ConfigError) -> Self {
        Self::new(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_read_error_causes_and_hint() {
        let io = std::io::Error::other("no space left");
        let failure = Failure::because("cannot write", &io).hint("remove something");
        assert_eq!(failure.to_string(), "error: cannot write\ncause: no space left\nhint: remove something");
        assert_eq!(failure.exit, Exit::FAILED);
    }
}
