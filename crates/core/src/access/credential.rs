//! What somebody comes in with. One table for all of it, so that all can be listed and revoked.

use crate::ids::{AccountId, CredentialId};
use crate::record::{Kind, Record, Value, stamped};
use crate::secret::Sealed;
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What a credential is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CredentialKind {
    /// Sent with each request by a program.
    #[default]
    Token,
    /// A person who logged in.
    Session,
    /// Exchanged for a session, once.
    Key,
    /// Opens one console, once.
    Ticket,
}

impl CredentialKind {
    /// Every kind.
    pub const ALL: [Self; 4] = [Self::Token, Self::Session, Self::Key, Self::Ticket];

    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Session => "session",
            Self::Key => "key",
            Self::Ticket => "ticket",
        }
    }
}

/// A credential of an account. Only the hash of its secret is kept, except where its owner may read it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Credential {
    /// The key.
    pub id: CredentialId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// What it is for.
    #[serde(default)]
    pub kind: CredentialKind,
    /// Whom it lets in.
    pub account: AccountId,
    /// SHA-256 of the secret, hexadecimal; unique.
    pub hash: String,
    /// The secret, sealed, where the owner may list it again: vmpooler's tokens alone.
    #[serde(default)]
    pub sealed: Option<Sealed>,
    /// Words of the owner.
    pub description: String,
    /// The door that made it, `native` for instance.
    #[serde(default)]
    pub door: String,
    /// The actions it is limited to, by their words; none means all that its account may do.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
    /// The one object that it is good for: a ticket's machine.
    #[serde(default)]
    pub object: Option<Uuid>,
    /// When it stops to count, used or not.
    pub expires_at: Option<Timestamp>,
    /// How long it counts without being used, in seconds; each use begins it anew.
    #[serde(default)]
    pub idle_s: Option<u32>,
    /// When it was last used, as far as written: up to a minute late.
    #[serde(default)]
    pub used_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Credential {
    /// Whether it counts now, having last been used then (as the record says or, more recently, as this process
    /// knows).
    pub fn counts(&self, used_at: Option<Timestamp>, now: Timestamp) -> bool {
        let last = used_at.max(self.used_at).unwrap_or(self.created_at);
        let idle = |seconds: u32| now.since(last) >= std::time::Duration::from_secs(seconds.into());
        self.expires_at.is_none_or(|end| now < end) && !self.idle_s.is_some_and(idle)
    }

    /// When it stops to count unless it is used again, as far as written.
    pub fn ends_at(&self) -> Option<Timestamp> {
        let last = self.used_at.unwrap_or(self.created_at);
        let idle = self.idle_s.map(|seconds| last.plus(std::time::Duration::from_secs(seconds.into())));
        match (self.expires_at, idle) {
            (Some(end), Some(idle)) => Some(end.min(idle)),
            (end, idle) => end.or(idle),
        }
    }
}

impl Record for Credential {
    const KIND: Kind = Kind::Credential;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("account", self.account.0.into()),
            ("hash", self.hash.as_str().into()),
            ("created_at", self.created_at.0.into()),
            ("kind", self.kind.word().into()),
            ("description", self.description.as_str().into()),
            ("expires_at", self.ends_at().map(|end| end.0).into()),
            ("used_at", self.used_at.map(|at| at.0).into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({ "number": self.number, "kind": self.kind, "account": self.account }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.account)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(expires_at: Option<i64>, idle_s: Option<u32>) -> Credential {
        Credential {
            id: CredentialId(Uuid::from_u128(1)),
            number: 1,
            rev: 1,
            kind: CredentialKind::Token,
            account: AccountId(Uuid::from_u128(2)),
            hash: String::new(),
            sealed: None,
            description: String::new(),
            door: String::new(),
            scope: None,
            object: None,
            expires_at: expires_at.map(Timestamp),
            idle_s,
            used_at: None,
            created_at: Timestamp(0),
        }
    }

    #[test]
    fn it_counts_until_its_end_or_until_nobody_has_used_it_for_long() {
        let at = |second: i64| Timestamp(second * 1000);
        assert!(credential(None, None).counts(None, at(1_000_000_000)));
        assert!(credential(Some(5000), None).counts(None, Timestamp(4999)));
        assert!(!credential(Some(5000), None).counts(Some(at(4)), at(5)));
        assert!(credential(None, Some(60)).counts(None, at(59)));
        assert!(!credential(None, Some(60)).counts(None, at(60)));
        assert!(credential(None, Some(60)).counts(Some(at(30)), at(89)));
        assert!(!credential(None, Some(60)).counts(Some(at(30)), at(90)));
    }
}
