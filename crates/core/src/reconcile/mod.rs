//! Reconcilers: they take no input, read everything they care about, compare, act, and give the same result when run
//! twice. Each is woken by a timer or a poke.
//!
//! * [`Observer`]: what hypervisors see becomes what records say.
//! * [`NetworkKeeper`]: what records say of networks becomes what hosts have.
//! * [`DirectoryKeeper`]: accounts of people from outside follow their directory.
//! * [`PoolKeeper`]: pools have what they shall have, checkouts end when their time is over.
//! * [`Housekeeper`]: what ended long ago is forgotten, what was left unfinished is taken up again.
//!
//! Tasks that were cut off are not their business: the [`Worker`](crate::tasks::Worker) takes those up itself.

mod directory_keeper;
mod housekeeper;
mod network_keeper;
mod news;
mod observer;
mod pool_keeper;

pub use directory_keeper::DirectoryKeeper;
pub use housekeeper::Housekeeper;
pub use network_keeper::NetworkKeeper;
pub use observer::Observer;
pub(crate) use observer::explain;
pub use pool_keeper::PoolKeeper;
