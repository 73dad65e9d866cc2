//! What was asked and what was answered.

use serde_json::Value;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A kind of object that can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Machine,
    Volume,
    Template,
}

impl Kind {
    pub(crate) fn list(self) -> &'static str {
        match self {
            Self::Machine => "machines",
            Self::Volume => "volumes",
            Self::Template => "templates",
        }
    }
}

/// What was asked, with machines by name and everything else by key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// `request` is unique and kept by the object: as a description, or as its name.
    Create {
        kind: Kind,
        request: String,
        name: String,
        set: Vec<(&'static str, String)>,
    },
    /// A field gets a value. `subject` is a machine's name or a volume's key.
    Set {
        kind: Kind,
        subject: String,
        field: &'static str,
        value: String,
    },
    Power {
        machine: String,
        verb: &'static str,
    },
    Delete {
        kind: Kind,
        subject: String,
    },
    Cancel {
        task: String,
    },
}

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It was promised.
    Acknowledged { subject: String, number: i64, task: Option<String> },
    /// It was refused: nothing may have changed.
    Refused { status: u16, code: String },
    /// The server died, or gave no answer in time: it may have been done or not.
    Unknown,
}

/// One request. Moments are counted, not measured: `began` of any later request is greater than `ended` of an
/// earlier one.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub began: u64,
    pub ended: u64,
    pub asked: Asked,
    pub outcome: Outcome,
}

impl Entry {
    /// Whether it may have been done.
    pub(crate) fn may_be_done(&self) -> bool {
        !matches!(self.outcome, Outcome::Refused { .. })
    }

    /// The key of the object, when it was promised.
    pub(crate) fn promised(&self) -> Option<&str> {
        match &self.outcome {
            Outcome::Acknowledged { subject, .. } => Some(subject),
            _ => None,
        }
    }
}

/// A creation that may be asked for again under its key.
#[derive(Clone, Debug)]
pub(crate) struct Repeatable {
    pub asked: Asked,
    pub body: Value,
}

/// Everything that was asked so far. Clients share it.
#[derive(Debug, Default)]
pub(crate) struct History(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    moment: u64,
    entries: Vec<Entry>,
    volumes: Vec<String>,
    templates: Vec<String>,
    tasks: Vec<String>,
    unanswered: Vec<Repeatable>,
}

impl History {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next moment.
    pub(crate) fn moment(&self) -> u64 {
        let mut kept = self.kept();
        kept.moment += 1;
        kept.moment
    }

    /// Notes the end of a request.
    pub(crate) fn note(&self, began: u64, asked: Asked, outcome: Outcome) {
        let mut kept = self.kept();
        kept.moment += 1;
        if let (Asked::Create { kind, .. }, Outcome::Acknowledged { subject, .. }) = (&asked, &outcome) {
            match kind {
                Kind::Volume => kept.volumes.push(subject.clone()),
                Kind::Template => kept.templates.push(subject.clone()),
                Kind::Machine => {}
            }
        }
        if let Outcome::Acknowledged { task: Some(task), .. } = &outcome {
            kept.tasks.push(task.clone());
        }
        let ended = kept.moment;
        kept.entries.push(Entry { began, ended, asked, outcome });
    }

    /// A creation under a key got no answer: it shall be asked again.
    pub(crate) fn ask_again(&self, repeatable: Repeatable) {
        self.kept().unanswered.push(repeatable);
    }

    pub(crate) fn unanswered(&self) -> Vec<Repeatable> {
        std::mem::take(&mut self.kept().unanswered)
    }

    /// A volume that was heard of, by a number that was drawn.
    pub(crate) fn volume(&self, drawn: u64) -> Option<String> {
        among(&self.kept().volumes, 12, drawn)
    }

    /// A template that was heard of.
    pub(crate) fn template(&self, drawn: u64) -> Option<String> {
        among(&self.kept().templates, 4, drawn)
    }

    /// A task that was heard of lately.
    pub(crate) fn task(&self, drawn: u64) -> Option<String> {
        among(&self.kept().tasks, 6, drawn)
    }

    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.kept().entries.clone()
    }

    /// What was noted since the last `known` entries.
    pub(crate) fn since(&self, known: usize) -> Vec<Entry> {
        self.kept().entries[known..].to_vec()
    }

    pub(crate) fn len(&self) -> usize {
        self.kept().entries.len()
    }
}

/// One of the last `window` keys, by a number that was drawn.
fn among(keys: &[String], window: usize, drawn: u64) -> Option<String> {
    let last = &keys[keys.len().saturating_sub(window)..];
    let place = usize::try_from(drawn.checked_rem(last.len() as u64)?).ok()?;
    last.get(place).cloned()
}
