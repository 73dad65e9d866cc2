//! Who may come in and what they may do: accounts and groups, credentials, grants and quotas, the audit trail, and the
//! one function that decides rights.
//!
//! ```text
//!   password ─► log_in ──────────► Caller ─► credential_make ─► a session or token, its secret told once
//!   key      ─► key_redeem ─────►    │
//!   secret   ─► caller_by ──────►    │        every request: credential ─► account ─► groups, all read anew
//!   socket   ─► local_administrator ─┘
//! ```
//!
//! A credential counts while its record exists, its times allow, and its account is enabled. Whatever ends it is a
//! commit with an event; whoever keeps something open for a caller follows these with [`Watch`].

mod account;
mod accounts;
pub(crate) mod acts;
mod audit;
mod caller;
mod credential;
mod credentials;
mod grant;
mod grants;
mod groups;
mod keys;
mod login;
pub mod outside;
mod password;
mod quota;
mod quotas;
mod replay;
mod rights;
mod trail;
mod uses;
mod watch;

pub use account::{Account, Group, Member, Origin, Role, SshKey};
pub use accounts::{AccountAsk, AccountChange};
pub use audit::{Deed, Outcome};
pub use caller::{Caller, Footing, Via};
pub use credential::{Credential, CredentialKind};
pub use credentials::{CredentialAsk, SecretForm};
pub use grant::{Action, Grant, Subject};
pub use groups::{GroupAsk, GroupChange};
pub use keys::SshKeyAsk;
pub(crate) use password::Passwords;
pub use password::{hash_password, verify_password};
pub use quota::{Amounts, Quota};
pub use quotas::{Allowance, Amount};
pub use replay::{Idempotency, Replay};
pub(crate) use rights::{Act, Object, Standing};
pub use trail::Attempted;
pub(crate) use trail::Refusals;
pub(crate) use uses::Uses;
pub use watch::Watch;
