//! Networks, and the book of addresses: which address is whose. The same address is never given out twice.
//!
//! Records say what networks shall be ([`check`] says which make sense); [`wiring`] turns them into what a host's switch
//! is told, and the [`NetworkKeeper`](crate::reconcile::NetworkKeeper) makes it so again whenever it is not.

mod addresses;
mod cards;
mod check;
mod commands;
mod declared;
mod model;
mod wiring;

pub use commands::NetworkAsk;
pub use declared::Declared;
pub use model::{Address, Network, NetworkKind, Range};
