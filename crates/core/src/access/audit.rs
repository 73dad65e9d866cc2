//! The audit trail: who did what to which object, from where, through which door, and how it ended.

use crate::ids::{AccountId, DeedId};
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;
use uuid::Uuid;

/// How a deed ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It was accepted; what came of a task is in the task.
    Done,
    /// It was not allowed.
    Denied,
    /// It could not be done.
    Failed,
}

impl Outcome {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Denied => "denied",
            Self::Failed => "failed",
        }
    }
}

/// One line of the audit trail. Written once, never changed, removed after a set time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deed {
    /// The key.
    pub id: DeedId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Who; none when nobody was let in.
    pub account: Option<AccountId>,
    /// The login name at that time, or the one that was tried.
    pub login: String,
    /// What, `machine.start` for instance.
    pub action: String,
    /// Kind of the object, its word; empty when there is none.
    pub object_kind: String,
    /// The object.
    pub object: Option<Uuid>,
    /// Its name at that time.
    pub object_name: String,
    /// The door.
    pub door: String,
    /// From where; none over the unix socket.
    pub address: Option<IpAddr>,
    /// The credential used, by its key.
    pub credential: Option<Uuid>,
    /// How it ended.
    pub outcome: Outcome,
    /// Why not, when it was not done. Never holds a secret.
    pub reason: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

impl Record for Deed {
    const KIND: Kind = Kind::Deed;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("account", self.account.map(|id| id.0).into()),
            ("login", self.login.as_str().into()),
            ("action", self.action.as_str().into()),
            ("object", self.object.into()),
            ("object_kind", self.object_kind.as_str().into()),
            ("door", self.door.as_str().into()),
            ("outcome", self.outcome.word().into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
}
