//! The seams: what core needs from the world, as traits with few verbs. Everything else is plain functions.

mod clock;
mod driver;
mod hypervisor;
mod identity;
mod storage;
mod store;
mod switch;

pub use clock::{Clock, Ids};
pub use driver::{DriverError, DriverErrorKind, Progress};
pub use hypervisor::{
    Accelerator, Boot, Capabilities, CommandOutput, Console, DiskBus, DiskSpec, Endpoint, GoldenFacts,
    GoldenSpec, GuestCommand, GuestFacts, HostFacts, Hypervisor, HypervisorEvent, Identity, IoLimits, Link,
    MachineSpec, NicSpec, Seed, Sighting, SnapshotSpec,
};
pub use identity::{Attempt, Directory, Person, Provider};
pub use storage::{Backing, ImageSource, MediumFacts, Storage, StorageFacts, StorageItem, VolumeSpec};
pub use store::{
    Alteration, Claim, Claimed, Commit, Committed, Fence, Guard, Stamp, Store, StoreError, StoreFacts,
};
pub use switch::{InboundRule, NetworkSpec, Port, Protocol, Subnet, Switch, Uplink};
