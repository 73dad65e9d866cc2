//! Networks, and the book of addresses: which address is whose. The same address is never given out twice.

mod commands;
mod model;

pub use commands::NetworkAsk;
pub use model::{Address, Network, NetworkKind, Range};
