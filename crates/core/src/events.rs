//! Events: what changed, in the order it was committed. Written in the commit they tell about.

use crate::ids::AccountId;
use crate::record::{Kind, Record};
use crate::time::Timestamp;
use uuid::Uuid;

/// What happened to a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new.
    Created,
    /// It differs from before.
    Updated,
    /// It is no longer kept.
    Deleted,
}

impl Change {
    /// Second half of an event's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
        }
    }
}

/// An event not yet committed.
#[derive(Clone, Debug, PartialEq)]
pub struct NewEvent {
    /// When.
    pub at: Timestamp,
    /// What kind of record.
    pub kind: Kind,
    /// What happened to it.
    pub change: Change,
    /// Its key.
    pub subject: Uuid,
    /// Whose it is; nobody's events are seen by administrators only.
    pub owner: Option<AccountId>,
    /// The record's summary at that moment, as JSON.
    pub body: String,
}

/// A committed event. `seq` grows with every commit; a stream resumes after the last one it saw.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Position in the order of commits.
    pub seq: i64,
    /// What happened.
    pub event: NewEvent,
}

impl NewEvent {
    /// The event for a change of `record`, if the record tells any.
    pub fn about<R: Record>(record: &R, change: Change, at: Timestamp) -> Option<Self> {
        let body = record.summary()?.to_string();
        Some(Self { at, kind: R::KIND, change, subject: record.key(), owner: record.owner(), body })
    }

    /// Its name on the wire, e.g. `machine.updated`.
    pub fn name(&self) -> String {
        format!("{}.{}", self.kind.word(), self.change.word())
    }
}
