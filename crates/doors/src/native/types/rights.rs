//! Grants, quotas and the audit trail on the wire.

use super::Action;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use uuid::Uuid;

/// What one account or group may do with one object, besides what it may do anyway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grant {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// `machine`, `volume`, `network`, `template` or `medium`.
    pub object_kind: String,
    /// The object.
    pub object: Uuid,
    /// `account` or `group`.
    pub subject_kind: String,
    /// The account or group.
    pub subject: Uuid,
    /// What it may do; never empty.
    pub actions: Vec<Action>,
    /// The account that granted it last.
    pub by: Uuid,
    /// When it was first granted.
    #[schema(format = DateTime)]
    pub created_at: String,
}

/// All that is granted on one object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Grants {
    /// In the order in which it was first granted.
    pub items: Vec<Grant>,
}

/// What a subject shall be granted on an object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantSet {
    /// In place of what it was granted before; empty takes everything back.
    pub actions: Vec<Action>,
}

/// Amounts of what is limited. As a limit, null means as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Amounts {
    /// Machines that are not gone.
    #[serde(default)]
    pub machines: Option<i64>,
    /// Their virtual CPUs.
    #[serde(default)]
    pub vcpus: Option<i64>,
    /// Their memory in MiB.
    #[serde(default)]
    pub memory_mib: Option<i64>,
    /// Volumes, attached or not, in MiB of virtual size.
    #[serde(default)]
    pub disk_mib: Option<i64>,
    /// IP addresses.
    #[serde(default)]
    pub addresses: Option<i64>,
    /// Machines of pools that are lent.
    #[serde(default)]
    pub checkouts: Option<i64>,
}

/// What an account, or all members of a group together, have and may have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quota {
    /// `account` or `group`.
    pub subject_kind: String,
    /// The account or group.
    pub subject: Uuid,
    /// Its login name, or the group's name.
    pub name: String,
    /// The limits.
    pub limits: Amounts,
    /// What is in use.
    pub used: Amounts,
}

/// Quotas of several.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Quotas {
    /// The caller's own comes before those of its groups.
    pub items: Vec<Quota>,
}

/// One line of the audit trail.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Deed {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// Who; null when nobody was let in.
    pub account: Option<Uuid>,
    /// The login name at that time, or the one that was tried.
    pub login: String,
    /// What, `machine.start` for instance.
    pub action: String,
    /// Kind of the object; empty when there is none.
    pub object_kind: String,
    /// The object.
    pub object: Option<Uuid>,
    /// Its name at that time.
    pub object_name: String,
    /// The door, `native` for instance.
    pub door: String,
    /// From where; null over the unix socket.
    pub address: Option<String>,
    /// The credential used.
    pub credential: Option<Uuid>,
    /// `done` (what came of a task is in the task), `denied` or `failed`.
    pub outcome: String,
    /// Why not.
    pub reason: Option<String>,
    /// When.
    #[schema(format = DateTime)]
    pub created_at: String,
}
