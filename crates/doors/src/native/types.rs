//! What travels over the native API, in both directions.
//!
//! The server renders these types and the command line reads them, so the two cannot drift apart. They are not
//! core's records: a record may gain a field that is nobody's business. Conventions:
//!
//! * points in time are RFC 3339 in UTC with milliseconds;
//! * keys are UUIDs; `number` is the small integer of the same object;
//! * what is absent is `null`, never left out of an answer;
//! * unknown fields of a request are errors; clients must ignore unknown fields of an answer.

mod access;
mod checkouts;
mod disks;
mod lists;
mod machines;
mod media;
mod networks;
mod outside;
mod places;
mod pools;
mod rights;
mod snapshots;
mod tasks;
mod words;

pub use access::{
    Account, AccountCreate, AccountEdit, Group, GroupCreate, GroupEdit, LoggedIn, Login, Password, SshKey,
    SshKeyCreate, Token, TokenCreate, TokenCreated, Whoami,
};
pub use checkouts::{
    Birth, Checkout, CheckoutCreate, CheckoutEdit, Lent, Phase, Request, RequestCreate, Requests, Stock,
};
pub use disks::{
    Image, ImageSource, Storage, Template, TemplateCreate, Volume, VolumeAttach, VolumeCreate, VolumeGrow,
    VolumeLimits,
};
pub use lists::{
    AddressesAsk, AuditAsk, EventsAsk, MachinesAsk, NamedAsk, PageAsk, SnapshotsAsk, TasksAsk, TemplatesAsk,
    TokensAsk, VolumesAsk,
};
pub use machines::{
    Endpoint, GuestFacts, Machine, MachineCreate, MachineEdit, MachineResize, MediumChange, Nic, NicAttach,
    Observation, PowerChange, Run, RunOutput, TemplateRef, UserData,
};
pub use media::{MediaAsk, Medium, MediumCreate};
pub use networks::{Inbound, InboundRule, Network, NetworkCreate, Source, Subnet, Uplink};
pub use outside::{Directory, DirectoryChecked, DirectorySynced, Provider};
pub use places::{Accelerator, Address, AddressReserve, Cluster, Host, HostFacts, Range};
pub use pools::{
    FiguresAsk, Golden, Pool, PoolDay, PoolEdit, PoolFailure, PoolFigures, PoolShown, PoolSpec, Pools, Probe,
    Spread, StockAsk, Trouble,
};
pub use rights::{Amounts, Deed, Grant, GrantSet, Grants, Quota, Quotas};
pub use snapshots::{Snapshot, SnapshotCreate, SnapshotRevert, SnapshotVolume};
pub use tasks::{
    Doctor, Event, Finding, Info, Maintenance, MaintenanceSet, RepairAsk, RepairDone, RepairOutcome, Repairs,
    Task,
};
pub use words::{
    Action, Firmware, ImageFormat, Level, Life, MediumState, NetworkKind, Observed, Power, Protocol, Role,
    SnapshotState, SourceFormat, StockState, TaskState, TemplateState, VolumeState,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// A page of a list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// The objects, in the order asked for.
    pub items: Vec<T>,
    /// Give this as `after` for the next page; null at the end. Opaque.
    pub next: Option<String>,
}

/// The answer to a command: the object as it is now, and the task that carries the command out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Accepted<T> {
    /// The object.
    pub record: T,
    /// The task (status 202); null when there was nothing left to do (status 200).
    pub task: Option<Task>,
}

/// An error (RFC 9457, `application/problem+json`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// Relative reference that names the kind of problem: `/hostler/problems/` and the code.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong with this request.
    pub detail: String,
    /// Stable name of the problem, e.g. `name_taken`.
    pub code: String,
    /// The offending part of the request, as a JSON pointer without the leading slash, or a parameter's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// With a filter or an order that makes no sense: how many characters of it come before the place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub position: Option<usize>,
    /// What to try next, for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// With code `busy`: the task that holds the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub task: Option<Uuid>,
    /// Names this request in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}
