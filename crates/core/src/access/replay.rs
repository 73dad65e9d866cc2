//! Answers remembered for requests that may be repeated.

use crate::ids::AccountId;
use crate::record::{Kind, Record, Value};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The answer to a request that carried an idempotency key, so that the same request again gets the same answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Replay {
    /// The key.
    pub id: Uuid,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Who asked.
    pub account: AccountId,
    /// The key they gave.
    pub key: String,
    /// SHA-256 over method, path and body, hexadecimal: another request under the same key is refused.
    pub request: String,
    /// What the request made.
    pub subject: Uuid,
    /// The task that carries it out, when there is one.
    pub task: Option<Uuid>,
    /// When.
    pub created_at: Timestamp,
}

impl Record for Replay {
    const KIND: Kind = Kind::Replay;

    fn key(&self) -> Uuid {
        self.id
    }
    fn number(&self) -> i64 {
        self.number
    }
    fn rev(&self) -> i64 {
        self.rev
    }
    fn stamp(&mut self, number: i64, rev: i64) {
        (self.number, self.rev) = (number, rev);
    }
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("account", self.account.0.into()),
            ("key", self.key.as_str().into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
}
