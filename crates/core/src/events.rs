//! Events: what changed, in the order it was committed. Written in the commit they tell about.

use crate::access::Caller;
use crate::core::Core;
use crate::error::Result;
use crate::ids::AccountId;
use crate::record::{Kind, Record};
use crate::time::Timestamp;
use std::sync::Arc;
use tokio::sync::broadcast;
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
    /// Somebody asked to cancel it (tasks only).
    CancelRequested,
}

impl Change {
    /// Second half of an event's name.
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Updated => "updated",
            Self::Deleted => "deleted",
            Self::CancelRequested => "cancel_requested",
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

impl Core {
    /// Events after `seq` that the caller may see, oldest first, and the position reached: events the caller may not
    /// see move it on, too. At most `limit` are looked at.
    ///
    /// # Errors
    /// Unavailable, when the store does not answer.
    pub async fn events_after(&self, caller: &Caller, seq: i64, limit: u32) -> Result<(Vec<Event>, i64)> {
        let mut events = self.store().events_after(seq, limit).await?;
        let reached = events.last().map_or(seq, |last| last.seq);
        events.retain(|event| may_see(caller, event));
        Ok((events, reached))
    }

    /// First and last position kept; a stream that resumes before the first has missed something.
    ///
    /// # Errors
    /// Unavailable, when the store does not answer.
    pub async fn event_bounds(&self) -> Result<(i64, i64)> {
        Ok(self.store().event_bounds().await?)
    }

    /// Events as they are committed, to be filtered by [`may_see`]. A reader that lags goes on with
    /// [`Core::events_after`].
    pub fn event_feed(&self) -> broadcast::Receiver<Arc<Event>> {
        self.store().subscribe()
    }
}

/// Whether an event is the caller's business.
pub fn may_see(caller: &Caller, event: &Event) -> bool {
    caller.is_administrator() || event.event.owner == Some(caller.account)
}
