//! Who may come in and what they may do: accounts and groups, credentials, grants and quotas, the audit trail, and the
//! one function that decides rights.

mod account;
mod audit;
mod caller;
mod commands;
mod credential;
mod grant;
mod password;
mod quota;
mod replay;
mod rights;

pub use account::{Account, Group, Member, Origin, Role, SshKey};
pub use audit::{Deed, Outcome};
pub use caller::{Caller, Via};
pub use commands::Idempotency;
pub use credential::{Credential, CredentialKind};
pub use grant::{Action, Grant, Subject};
pub use password::{hash_password, verify_password};
pub use quota::{Amounts, Quota};
pub use replay::Replay;
