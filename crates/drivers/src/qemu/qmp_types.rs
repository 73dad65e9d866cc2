//! What QMP puts on the wire, as far as we use it. Unknown members are ignored: newer versions add some.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A command to QEMU.
#[derive(Debug, Serialize)]
pub(super) struct Request<'a> {
    pub(super) execute: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    pub(super) arguments: Value,
    pub(super) id: u64,
}

/// Any line from QEMU: which of these members is there says what it is.
#[derive(Debug, Deserialize)]
pub(super) struct Message {
    #[serde(rename = "QMP")]
    pub(super) greeting: Option<Value>,
    pub(super) event: Option<String>,
    #[serde(default)]
    pub(super) data: Value,
    #[serde(rename = "return")]
    pub(super) result: Option<Value>,
    pub(super) error: Option<Refusal>,
    pub(super) id: Option<Value>,
}

/// QEMU's no.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Refusal {
    pub(super) class: String,
    pub(super) desc: String,
}

/// Something that happened in QEMU.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QmpEvent {
    /// Its name, e.g. `SHUTDOWN`.
    pub(super) name: String,
    /// What QEMU says about it.
    pub(super) data: Value,
}

/// Answer to `query-status`.
#[derive(Debug, Deserialize)]
pub(super) struct Status {
    pub(super) status: String,
}

/// Answer to `query-uuid`.
#[derive(Debug, Deserialize)]
pub(super) struct QueriedUuid {
    #[serde(rename = "UUID")]
    pub(super) uuid: uuid::Uuid,
}
