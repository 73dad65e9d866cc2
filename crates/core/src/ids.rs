//! Typed identifiers: a machine's id cannot be passed where a volume's is meant.
//!
//! All are UUID v7 made by the [`Ids`](crate::ports::Ids) port, so they sort by the time they were made.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use uuid::Uuid;

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )*};
}

ids! {
    /// A machine, virtual or physical.
    MachineId,
    /// What machines are made from.
    TemplateId,
    /// A virtual disk.
    VolumeId,
    /// An ISO image that can be inserted into machines.
    MediumId,
    /// A machine's state at one moment.
    SnapshotId,
    /// A place where volumes live.
    StorageId,
    /// A layer-2 network.
    NetworkId,
    /// One reserved IP address.
    AddressId,
    /// A computer that runs virtual machines.
    HostId,
    /// Hosts that share networks and storages.
    ClusterId,
    /// Somebody who may come in.
    AccountId,
    /// Accounts that are granted the same.
    GroupId,
    /// An account's place in a group.
    MemberId,
    /// What somebody comes in with: a token, a session, a key, a ticket.
    CredentialId,
    /// An account's public SSH key.
    SshKeyId,
    /// Actions on one object, granted to an account or a group.
    GrantId,
    /// Limits of an account or a group.
    QuotaId,
    /// A line of the audit trail.
    DeedId,
    /// A setting that an API changes.
    SettingId,
    /// A stock of ready machines.
    PoolId,
    /// Machines that somebody waits for.
    RequestId,
    /// A pool's figures of a day.
    DemandId,
    /// A machine that others are forked from.
    GoldenId,
    /// Durable work.
    TaskId,
}
