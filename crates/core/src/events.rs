//! Events: what changed, in the order it was committed. Written in the commit they tell about.

use crate::access::{Caller, Grant, Member};
use crate::core::Core;
use crate::error::Result;
use crate::ids::AccountId;
use crate::query::Filter;
use crate::record::{Kind, Record};
use crate::time::Timestamp;
use std::collections::HashSet;
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
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Created, Self::Updated, Self::Deleted, Self::CancelRequested];

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
    /// The caller's way of seeing events.
    pub fn sight(&self, caller: &Caller) -> Sight {
        Sight { core: self.clone(), caller: caller.clone(), granted: None }
    }

    /// Events after `seq` that are within sight, oldest first, and the position reached: events out of sight move it
    /// on, too. At most `limit` are looked at.
    ///
    /// # Errors
    /// Unavailable, when the store does not answer.
    pub async fn events_after(&self, sight: &mut Sight, seq: i64, limit: u32) -> Result<(Vec<Event>, i64)> {
        let events = self.store().events_after(seq, limit).await?;
        let reached = events.last().map_or(seq, |last| last.seq);
        let mut seen = Vec::with_capacity(events.len());
        for event in events {
            if sight.reaches(&event).await? {
                seen.push(event);
            }
        }
        Ok((seen, reached))
    }

    /// First and last position kept; a stream that resumes before the first has missed something.
    ///
    /// # Errors
    /// Unavailable, when the store does not answer.
    pub async fn event_bounds(&self) -> Result<(i64, i64)> {
        Ok(self.store().event_bounds().await?)
    }

    /// Events as they are committed, to be filtered by a [`Sight`]. A reader that lags goes on with
    /// [`Core::events_after`].
    pub fn event_feed(&self) -> broadcast::Receiver<Arc<Event>> {
        self.store().subscribe()
    }
}

/// Which events a caller may see: those of its own objects, and of the objects that were granted to it or its groups.
///
/// It remembers what is granted until it meets an event about a grant or a member. Events come in the order of commits,
/// so a right given or taken away counts for every event after.
#[derive(Clone, Debug)]
pub struct Sight {
    core: Core,
    caller: Caller,
    granted: Option<HashSet<Uuid>>,
}

impl Sight {
    /// Whether an event is the caller's business. Ask for each event, in their order.
    ///
    /// # Errors
    /// Unavailable, when the store does not answer.
    pub async fn reaches(&mut self, event: &Event) -> Result<bool> {
        let told = &event.event;
        if self.caller.sees_everything() {
            return Ok(true);
        }
        if matches!(told.kind, Kind::Grant | Kind::Member) {
            self.granted = None;
        }
        // Everybody may look at pools; requests have an owner.
        if told.kind == Kind::Pool || told.owner == Some(self.caller.account) {
            return Ok(true);
        }
        if !matches!(told.kind, Kind::Machine | Kind::Volume | Kind::Snapshot | Kind::Task) {
            return Ok(false);
        }
        if self.granted.is_none() {
            self.look().await?;
        }
        let concerned = concerned(told);
        Ok(self.granted.as_ref().is_some_and(|granted| granted.contains(&concerned)))
    }

    /// Reads what is granted now, and to which groups the caller belongs.
    async fn look(&mut self) -> Result<()> {
        let member: Vec<Member> = self.core.all(Filter::eq("account", self.caller.account.0)).await?;
        self.caller.groups = member.into_iter().map(|member| member.group).collect();
        let grants: Vec<Grant> = self.core.all(self.caller.grants()).await?;
        self.granted = Some(grants.into_iter().map(|grant| grant.object).collect());
        Ok(())
    }
}

/// The object whose rights an event goes by: of a snapshot its machine, of a task what it is about.
fn concerned(told: &NewEvent) -> Uuid {
    let field = match told.kind {
        Kind::Snapshot => "machine",
        Kind::Task => "subject",
        _ => return told.subject,
    };
    let body: Option<serde_json::Value> = serde_json::from_str(&told.body).ok();
    let id = body.as_ref().and_then(|body| body.get(field)?.as_str()?.parse().ok());
    id.unwrap_or(told.subject)
}
