//! Accounts, their groups and their SSH keys.

use crate::ids::{AccountId, GroupId, MemberId, SshKeyId};
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// What an account may do in general; grants on single objects come on top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything.
    Administrator,
    /// Sees everything and changes nothing.
    ReadOnly,
    /// Own objects, with the functions that hosters give to experienced customers.
    AdvancedUser,
    /// Own objects.
    User,
}

impl Role {
    /// Every role, the mightiest first.
    pub const ALL: [Self; 4] = [Self::Administrator, Self::ReadOnly, Self::AdvancedUser, Self::User];

    /// Its word on the wire and in the store.
    pub fn word(self) -> &'static str {
        match self {
            Self::Administrator => "administrator",
            Self::ReadOnly => "read_only",
            Self::AdvancedUser => "advanced_user",
            Self::User => "user",
        }
    }
}

/// Who vouches for an account or a group.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum Origin {
    /// hostler itself; an account comes in by its password.
    #[default]
    Local,
    /// An LDAP directory.
    Ldap {
        /// Name of the directory in the configuration.
        directory: String,
        /// What the directory calls the person and never changes, its `entryUUID` for instance.
        #[serde(default)]
        key: String,
        /// Where the entry was last found.
        dn: String,
        /// Whether the account was disabled because the directory no longer has the person; it is enabled again when the
        /// person comes back, which an account that an administrator disabled is not.
        #[serde(default)]
        gone: bool,
    },
    /// An OpenID provider.
    Oidc {
        /// The provider's issuer address.
        issuer: String,
        /// What the provider calls the person; never changes.
        subject: String,
    },
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
    /// The person's name, for people; may be empty.
    #[serde(default)]
    pub full_name: String,
    /// Argon2id in PHC form; none means that no password lets it in.
    pub password: Option<String>,
    /// What it may do in general.
    pub role: Role,
    /// Whether it may come in at all.
    pub enabled: bool,
    /// Who vouches for it.
    #[serde(default)]
    pub origin: Origin,
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

    fn summary(&self) -> Option<serde_json::Value> {
        Some(
            serde_json::json!({ "number": self.number, "login": self.login, "role": self.role, "enabled": self.enabled }),
        )
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.id)
    }
}

/// Accounts that are granted the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// The key.
    pub id: GroupId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique name.
    pub name: String,
    /// Words of the administrator.
    #[serde(default)]
    pub description: String,
    /// Who says who is in it.
    #[serde(default)]
    pub origin: Origin,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for Group {
    const KIND: Kind = Kind::Group;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![("name", self.name.as_str().into()), ("created_at", self.created_at.0.into())]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({ "number": self.number, "name": self.name }))
    }
}

/// An account is in a group; at most once.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// The key.
    pub id: MemberId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// The group.
    pub group: GroupId,
    /// Who is in it.
    pub account: AccountId,
    /// When it joined.
    pub created_at: Timestamp,
}

impl Record for Member {
    const KIND: Kind = Kind::Member;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("in_group", self.group.0.into()),
            ("account", self.account.0.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }

    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({ "id": self.id, "group": self.group, "account": self.account }))
    }

    fn owner(&self) -> Option<AccountId> {
        Some(self.account)
    }
}

/// A public SSH key of an account, given to guests of its machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SshKey {
    /// The key of the record.
    pub id: SshKeyId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Whose it is.
    pub account: AccountId,
    /// Unique among the account's.
    pub name: String,
    /// One line as in `authorized_keys`, without options.
    pub public_key: String,
    /// `SHA256:` and base64, as `ssh-keygen -l` shows it.
    pub fingerprint: String,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for SshKey {
    const KIND: Kind = Kind::SshKey;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("account", self.account.0.into()),
            ("name", self.name.as_str().into()),
            ("fingerprint", self.fingerprint.as_str().into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
}
