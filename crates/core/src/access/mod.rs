//! Who may come in and what they may do: accounts, tokens, and the one function that decides rights.

mod commands;
mod model;
mod password;
mod rights;

pub use commands::Idempotency;
pub use model::{Account, Caller, Replay, Role, Token};
pub use password::{hash_password, verify_password};
