//! Reconcilers: they take no input, read everything they care about, compare, act, and give the same result when run
//! twice. Each is woken by a timer or a poke.
//!
//! * [`Observer`]: what hypervisors see becomes what records say.
//! * [`Housekeeper`]: what ended long ago is forgotten, what was left unfinished is taken up again.
//!
//! Tasks that were cut off are not their business: the [`Worker`](crate::tasks::Worker) takes those up itself.

mod housekeeper;
mod observer;

pub use housekeeper::Housekeeper;
pub use observer::Observer;
pub(crate) use observer::explain;
