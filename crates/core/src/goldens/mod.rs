//! Golden machines: booted once for a template and a size, saved, and forked into the machines of pools.
//!
//! [`model`] has the record, [`make`] the task that boots and saves one, [`choose`] says whether a pool's next machine
//! is forked or boots. Goldens are made when a pool asks for one, and retired when nothing asks any more, when what
//! they were saved with has changed, or when forks of them fail. A retired one goes when no disk lies on its disk.

mod choose;
pub(crate) mod make;
mod model;
mod upkeep;

pub(crate) use choose::Origin;
pub(crate) use model::borne_mib;
pub use model::{Flavor, Golden, GoldenState};
