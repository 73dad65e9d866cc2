//! Accounts, groups, SSH keys and credentials on the wire.

use super::Role;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that must not reach a log.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct Password(pub String);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password")
    }
}

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
    /// The person's name; may be empty.
    pub full_name: String,
    /// What it may do in general.
    pub role: Role,
    /// Whether it may come in at all.
    pub enabled: bool,
    /// Who vouches for it: local, ldap or oidc.
    pub origin: String,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// An account to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountCreate {
    /// Unique login name: 1 to 64 letters, digits and `.`, `_`, `-`, `+`, `@`; case makes no difference.
    pub login: String,
    /// Unique e-mail address; case makes no difference.
    pub email: String,
    /// The person's name.
    #[serde(default)]
    pub full_name: String,
    /// 1 to 1024 bytes; without one, no password lets it in.
    #[serde(default)]
    pub password: Option<Password>,
    /// What it may do in general; user when left out.
    #[serde(default)]
    pub role: Option<Role>,
    /// Whether it may come in; true when left out.
    #[serde(default)]
    pub enabled: Option<bool>,
}

/// What shall be different about an account; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AccountEdit {
    /// The e-mail address.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub email: Option<String>,
    /// The person's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub full_name: Option<String>,
    /// What it may do in general: administrators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<Role>,
    /// Whether it may come in: administrators only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enabled: Option<bool>,
    /// A new password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password: Option<Password>,
    /// The password until now, to change one's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present_password: Option<Password>,
}

/// Who the server takes the caller for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Whoami {
    /// The account.
    pub account: Account,
    /// The groups that it is in.
    pub groups: Vec<Uuid>,
    /// The credential it came in with; null over the unix socket.
    pub credential: Option<Uuid>,
    /// The actions that the credential is limited to; null means no limit.
    pub scope: Option<Vec<String>>,
}

/// Accounts that are granted the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Group {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Unique name.
    pub name: String,
    /// Words of the administrator.
    pub description: String,
    /// Who says who is in it: local, ldap or oidc.
    pub origin: String,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A group to be added.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupCreate {
    /// Unique name, 1 to 100 characters.
    pub name: String,
    /// At most 200 bytes.
    #[serde(default)]
    pub description: String,
}

/// What shall be different about a group; what is left out stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupEdit {
    /// The name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The description.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
}

/// A public SSH key of an account.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SshKey {
    /// The key of the record.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// The account whose it is.
    pub account: Uuid,
    /// Unique among the account's.
    pub name: String,
    /// One line as in `authorized_keys`.
    pub public_key: String,
    /// `SHA256:` and base64, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// When it was added.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// A public SSH key to be kept for the caller.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SshKeyCreate {
    /// Unique among the caller's; the key's comment when left out.
    #[serde(default)]
    pub name: String,
    /// One line as in `authorized_keys`, without options.
    pub public_key: String,
}

/// A token or a session of an account, without its secret.
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
    /// The door that made it, `native` for instance.
    pub door: String,
    /// The actions it is limited to; null means all that its account may do.
    pub scope: Option<Vec<String>>,
    /// When it stops to count, used or not; null means never.
    #[schema(format = DateTime)]
    pub expires_at: Option<String>,
    /// How many seconds it counts without being used; null means for ever.
    pub idle_s: Option<u32>,
    /// When it was last used; null means not yet.
    #[schema(format = DateTime)]
    pub used_at: Option<String>,
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
    /// It ends when it is not used for this many seconds.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 316224000)]
    pub idle_s: Option<u32>,
    /// The actions it is limited to: all, use, attach, alter, delete. All that the caller may do when left out.
    #[serde(default)]
    pub scope: Option<Vec<String>>,
    /// Id, number or login name of whom it lets in, the caller when left out; for administrators only.
    #[serde(default)]
    pub account: Option<String>,
    /// A secret that it has already, as a token of vmpooler has: 32 of a-z and 0-9; for administrators only.
    #[serde(default)]
    pub secret: Option<Password>,
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

/// Somebody at the door.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Login {
    /// Login name or e-mail address; case makes no difference.
    pub login: String,
    /// The password.
    pub password: Password,
}

/// A new session with its secret, which is shown this once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct LoggedIn {
    /// Who came in.
    pub account: Account,
    /// The session: it ends at a logout, after an hour without use, or after twelve hours.
    pub session: Token,
    /// What goes into `Authorization: Bearer`.
    pub secret: String,
}

impl std::fmt::Debug for LoggedIn {
    /// Without the secret, which must not reach a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LoggedIn").field("session", &self.session).finish_non_exhaustive()
    }
}
