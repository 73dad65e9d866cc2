//! Accounts and tokens on the wire.

use super::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Somebody who may come in.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Account {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique login name.
    pub login: String,
    /// Unique e-mail address.
    pub email: String,
    /// What it may do in general.
    pub role: Role,
    /// Whether it may come in at all.
    pub enabled: bool,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A credential of an account, without its secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// The account whose it is.
    pub account: Uuid,
    /// Words of the owner.
    pub description: String,
    /// When it stops to count; null means never.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// When it was made.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A token to be made for the caller.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct TokenCreate {
    /// Words of the owner, at most 200 bytes.
    #[serde(default)]
    pub description: String,
    /// It counts for this many seconds; for ever when left out.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 316224000)]
    pub lifetime_s: Option<u64>,
}

/// A new token with its secret, which is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TokenCreated {
    /// The token.
    pub token: Token,
    /// What goes into `Authorization: Bearer`.
    pub secret: String,
}

impl std::fmt::Debug for TokenCreated {
    /// Without the secret, which must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TokenCreated").field("token", &self.token).finish_non_exhaustive()
    }
}
