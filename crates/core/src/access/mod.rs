//! Who may come in and what they may do: accounts, tokens, and the one function that decides rights.

mod model;

pub use model::{Account, Caller, Replay, Role, Token};
