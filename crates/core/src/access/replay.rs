//! Answers remembered for requests that may be repeated.

use super::Caller;
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::query::{Filter, Select};
use crate::record::{Kind, Record, Value};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A key that makes a creation safe to repeat: the same key with the same request gets the first answer again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key, 1 to 255 printable characters.
    pub key: String,
    /// SHA-256 over method, path and body, hexadecimal.
    pub request: String,
}

impl Idempotency {
    /// A checked key for a request with this content.
    ///
    /// # Errors
    /// Invalid, when the key is empty, too long or not printable.
    pub fn new(key: &str, content: &[u8]) -> Result<Self> {
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|c| (0x20..0x7f).contains(&c)) {
            return Err(Error::invalid(
                "Idempotency-Key",
                "an idempotency key has 1 to 255 printable ASCII characters",
            ));
        }
        Ok(Self { key: key.to_owned(), request: hex::encode(Sha256::digest(content)) })
    }
}

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

impl Core {
    /// Whether a request under this key was answered before, so that a door can say so.
    ///
    /// # Errors
    /// Conflict `idempotency_mismatch`, when the earlier request was another one.
    pub async fn answered_before(&self, caller: &Caller, idempotency: &Idempotency) -> Result<bool> {
        Ok(self.replayed(caller, Some(idempotency)).await?.is_some())
    }

    /// What an earlier request under this key made, if there was one.
    ///
    /// # Errors
    /// Conflict `idempotency_mismatch`, when the earlier request was another one.
    pub(crate) async fn replayed(
        &self,
        caller: &Caller,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<Replay>> {
        let Some(asked) = idempotency else { return Ok(None) };
        let filter = Filter::eq("key", asked.key.as_str()).and(Filter::eq("account", caller.account.0));
        let found = self.select::<Replay>(Select::new(filter, 1)).await?.pop();
        if found.as_ref().is_some_and(|replay| replay.request != asked.request) {
            let text = format!("the idempotency key `{}` was used for another request", asked.key);
            return Err(Error::conflict("idempotency_mismatch", text).hint("use a new key for a new request"));
        }
        Ok(found)
    }

    /// The record that remembers the answer to a request under a key.
    pub(crate) fn replay(
        &self,
        caller: &Caller,
        asked: &Idempotency,
        subject: Uuid,
        task: Option<Uuid>,
    ) -> Replay {
        Replay {
            id: self.ids().uuid(),
            number: 0,
            rev: 0,
            account: caller.account,
            key: asked.key.clone(),
            request: asked.request.clone(),
            subject,
            task,
            created_at: self.now(),
        }
    }
}
