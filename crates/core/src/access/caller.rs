//! Who asks.

use super::{Account, Role};
use crate::ids::{AccountId, CredentialId, GroupId};
use sha2::{Digest, Sha256};
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

/// Who asks. Made by [`Core`](crate::Core) from a credential; a door cannot make one up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The account.
    pub account: AccountId,
    /// Its login name, for messages and logs.
    pub login: String,
    /// What it may do in general.
    pub role: Role,
    /// The groups that it is in.
    pub groups: Arc<[GroupId]>,
    /// What it came in with; none over the unix socket, and for hostler itself.
    pub credential: Option<CredentialId>,
    /// The actions that its credential is limited to; none means no limit.
    pub scope: Option<Arc<[String]>>,
    /// How it came.
    pub via: Via,
    /// What its account was when it came in, where no credential stands for that. What is made for it later counts
    /// only if the account is still so.
    pub footing: Option<Footing>,
}

/// A digest of what ends sessions when it changes: the password's hash and the role.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Footing([u8; 32]);

impl Footing {
    /// Of an account as it is.
    pub(crate) fn of(account: &Account) -> Self {
        let digest = Sha256::new_with_prefix(account.role.word()).chain_update([0]);
        Self(digest.chain_update(account.password.as_deref().unwrap_or_default()).finalize().into())
    }
}

impl fmt::Debug for Footing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Footing")
    }
}

/// The way that a caller came; written into the audit trail, and the ground of no right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Via {
    /// The door: `native`, `vmmanager`, … or `hostler` for what it does by itself.
    pub door: &'static str,
    /// The client's address; none over the unix socket.
    pub address: Option<IpAddr>,
}

impl Via {
    /// What hostler does by itself.
    pub const ITSELF: Self = Self { door: "hostler", address: None };
}

impl Caller {
    /// Whether everything is allowed.
    pub fn is_administrator(&self) -> bool {
        self.role == Role::Administrator
    }

    /// Whether everything may be seen.
    pub fn sees_everything(&self) -> bool {
        matches!(self.role, Role::Administrator | Role::ReadOnly)
    }

    /// The same caller, come by this way.
    #[must_use]
    pub fn through(self, via: Via) -> Self {
        Self { via, ..self }
    }
}
