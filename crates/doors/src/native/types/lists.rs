//! What lists may be asked, as query parameters. Every list also takes those of [`PageAsk`].

use serde::{Deserialize, Serialize};
use utoipa::IntoParams;
use uuid::Uuid;

/// Which page of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct PageAsk {
    /// At most this many, 1 to 1000; 100 when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[param(minimum = 1, maximum = 1000)]
    pub limit: Option<u32>,
    /// `next` of the page before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Column to order by, with a minus sign before it to turn the order around.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<String>,
    /// Fields to order by, in place of `order`: `host.name desc, name`. Text goes by its letters whatever their case;
    /// ties go by number.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order_by: Option<String>,
    /// Only what this holds for: `(name CP 'web-%') AND NOT (vcpus GT 2)`. Operators are EQ, NE, GT, GE, LT, LE, CP (a
    /// pattern with % and _), IN (…), IS null; a mistake is answered with its `position`, an unknown field with those
    /// that are known.
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    #[param(rename = "where")]
    pub filter: Option<String>,
}

/// Which machines. Orders: id, number, name, life, observed, created_at, updated_at, memory_mib, vcpus.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct MachinesAsk {
    /// The name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of these (comma-separated): creating, present, deleting, gone. All but gone when left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub life: Option<String>,
    /// With true, machines that are gone are listed, too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gone: Option<bool>,
    /// One of these (comma-separated): on, paused, off, unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed: Option<String>,
    /// One of these (comma-separated): on, off.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub wanted: Option<String>,
    /// Made from this template, by id, number, `name@version`, or name (any version).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// On this host, by id, number or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// Of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
}

/// Which templates. Orders: id, number, name, version, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TemplatesAsk {
    /// The name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of these (comma-separated): building, ready, deleting, failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
}

/// Which volumes. Orders: id, number, name, size_mib, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct VolumesAsk {
    /// The name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of these (comma-separated): creating, present, deleting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of this machine, by id, number or name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<String>,
    /// Of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
}

/// Which snapshots. Orders: id, number, name, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct SnapshotsAsk {
    /// The name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// One of these (comma-separated): creating, present, deleting.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
}

/// Which networks, hosts, clusters, storages. Orders: id, number, name, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct NamedAsk {
    /// The name contains this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
}

/// Which addresses. Orders: id, number, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AddressesAsk {
    /// Of the machine with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub machine: Option<Uuid>,
}

/// Which tasks. Orders: id, number, kind, state, due, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TasksAsk {
    /// Of this kind, e.g. `machine.create`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// One of these (comma-separated): queued, running, undoing, done, failed, cancelled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// Whether there is anything left to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open: Option<bool>,
    /// On the object with this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<Uuid>,
    /// Of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner: Option<Uuid>,
}

/// Which tokens, sessions or SSH keys.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct TokensAsk {
    /// Of this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Uuid>,
}

/// Which events.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct EventsAsk {
    /// About objects of these kinds (comma-separated), e.g. `task,machine`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// About these objects (keys, comma-separated).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// After this position, as the header `Last-Event-ID`, which wins; from now on when both are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
}

/// Which lines of the audit trail. Orders: id, number, created_at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AuditAsk {
    /// By this account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<Uuid>,
    /// About this object.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<Uuid>,
    /// Of this action, `machine.start` for instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub action: Option<String>,
    /// Through this door.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub door: Option<String>,
    /// `done`, `denied` or `failed`; several with commas between.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
}
