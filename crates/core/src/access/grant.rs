//! Actions on single objects, granted to accounts and groups.

use crate::ids::{AccountId, GrantId, GroupId};
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use uuid::Uuid;

/// What can be done with an object. Whoever is granted any of them may also see it; none implies another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// All of them, and passing them on.
    All,
    /// A machine: start, stop, console, SSH, programs in the guest. A template: make machines from it.
    Use,
    /// A machine: attach and detach volumes, media, cards. A volume, medium or network: be attached.
    Attach,
    /// Change its properties: size, description, limits, snapshots.
    Alter,
    /// Delete it.
    Delete,
}

impl Action {
    /// Every action.
    pub const ALL: [Self; 5] = [Self::All, Self::Use, Self::Attach, Self::Alter, Self::Delete];

    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Use => "use",
            Self::Attach => "attach",
            Self::Alter => "alter",
            Self::Delete => "delete",
        }
    }
}

/// To whom something is granted or for whom something is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "kind", content = "id", rename_all = "snake_case")]
pub enum Subject {
    /// One account.
    Account(AccountId),
    /// All accounts of a group.
    Group(GroupId),
}

impl Subject {
    /// The key of the account or group.
    pub fn key(self) -> Uuid {
        match self {
            Self::Account(id) => id.0,
            Self::Group(id) => id.0,
        }
    }

    /// `account` or `group`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Account(_) => "account",
            Self::Group(_) => "group",
        }
    }
}

/// What one subject may do with one object; at most one for each pair, and never without an action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Grant {
    /// The key.
    pub id: GrantId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Kind of the object, its word: `machine`, `volume`, `network`, `template`, `medium`.
    pub object_kind: String,
    /// The object.
    pub object: Uuid,
    /// To whom.
    pub subject: Subject,
    /// What.
    pub actions: BTreeSet<Action>,
    /// Who granted it last.
    pub by: AccountId,
    /// When it was first granted.
    pub created_at: Timestamp,
}

impl Record for Grant {
    const KIND: Kind = Kind::Grant;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("object_kind", self.object_kind.as_str().into()),
            ("object", self.object.into()),
            ("subject", self.subject.key().into()),
            ("subject_kind", self.subject.word().into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({
            "object_kind": self.object_kind, "object": self.object, "subject": self.subject, "actions": self.actions,
        }))
    }

    fn owner(&self) -> Option<AccountId> {
        match self.subject {
            Subject::Account(account) => Some(account),
            Subject::Group(_) => None,
        }
    }
}
