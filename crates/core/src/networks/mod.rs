//! Networks, and the book of addresses: which address is whose. The same address is never given out twice.

mod model;

pub use model::{Address, Network, NetworkKind, Range};
