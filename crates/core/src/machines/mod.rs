//! Machines: computers we manage.
//!
//! A machine has three fields where others have one "state", because they answer different questions:
//!
//! ```text
//!   life      what we promised       creating ──► present ──► deleting ──► gone
//!                                        └────────(undone)───────────────────┘
//!   wanted    what the owner asked   on | off
//!   observed  what was last seen     on | paused | off | unknown   (with time and generation)
//! ```
//!
//! `reason` says why a machine is not as it should be, in words. `task` names the running task that holds the
//! machine; while it is set nobody else changes life, wanted, or observed, except that the observer may not
//! touch a held machine at all. A task takes hold in the commit that creates it and lets go in the commit that
//! ends it, so a machine can never be held by nobody.

pub(crate) mod alter;
pub(crate) mod boot;
mod commands;
pub(crate) mod create;
pub(crate) mod delete;
mod identity;
mod inbound;
pub(crate) mod keys;
mod limits;
mod live;
mod model;
mod placing;
pub(crate) mod power;
mod query;
mod spec;
mod surroundings;
pub(crate) mod turn;

pub(crate) use alter::{if_still_up, is_up};
pub(crate) use commands::amount;
pub use commands::{MachineAsk, MachineEdit};
pub(crate) use identity::hashed_mac;
pub(crate) use limits::check_keys;
pub use live::NicAsk;
pub(crate) use model::is_api_version;
pub use model::{HostName, Life, Machine, Nic, Observation, Observed, Power};
pub use power::Verb;
pub(crate) use spec::{boot as boot_of, disk as disk_of};
pub use surroundings::{HostLoad, Surroundings};
pub use turn::Busy;
