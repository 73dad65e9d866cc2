//! Accounts, tokens, callers.

use crate::ids::{AccountId, TokenId};
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// What an account may do in general; rights on single objects come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Own objects.
    User,
}

impl Role {
    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::User => "user",
        }
    }
}

/// Somebody who may come in.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// The key.
    pub id: AccountId,
    /// A small integer; the first administrator is 3.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique login name.
    pub login: String,
    /// Unique e-mail address, lower case.
    pub email: String,
    /// Argon2id in PHC form; none means that no password lets it in.
    pub password: Option<String>,
    /// What it may do in general.
    pub role: Role,
    /// Whether it may come in at all.
    pub enabled: bool,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for Account {
    const KIND: Kind = Kind::Account;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("login", self.login.as_str().into()),
            ("email", self.email.as_str().into()),
            ("role", self.role.word().into()),
            ("enabled", self.enabled.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
}

/// A credential of an account. Only the hash of the secret is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Token {
    /// The key.
    pub id: TokenId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Whose it is.
    pub account: AccountId,
    /// SHA-256 of the secret, hexadecimal.
    pub hash: String,
    /// Words of the owner.
    pub description: String,
    /// When it stops to count; none means never.
    pub expires_at: Option<Timestamp>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Record for Token {
    const KIND: Kind = Kind::Token;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("account", self.account.0.into()),
            ("hash", self.hash.as_str().into()),
            ("created_at", self.created_at.0.into()),
        ]
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

/// Who asks. Made by [`Core`](crate::Core) from a credential; a door cannot make one up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// Its login name, for messages and logs.
    pub login: String,
    /// What it may do in general.
    pub role: Role,
}

impl Caller {
    /// Whether everything is allowed.
    pub fn is_administrator(&self) -> bool {
        self.role == Role::Administrator
    }
}
