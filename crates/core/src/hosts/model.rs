//! The records of hosts and clusters.

use crate::ids::{ClusterId, HostId};
use crate::maintenance::Maintenance;
use crate::ports::HostFacts;
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Hosts that share networks and storages.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The key.
    pub id: ClusterId,
    /// A small integer; the first cluster is 1.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique name.
    pub name: String,
    /// Fingerprint of the key that all processes share, kept by the first cluster.
    #[serde(default)]
    pub key: Option<String>,
    /// Why nobody may change anything now, kept by the first cluster.
    #[serde(default)]
    pub maintenance: Option<Maintenance>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for Cluster {
    const KIND: Kind = Kind::Cluster;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![("name", self.name.as_str().into()), ("created_at", self.created_at.0.into())]
    }
    fn summary(&self) -> Option<serde_json::Value> {
        let maintenance = self.maintenance.is_some();
        Some(serde_json::json!({ "id": self.id, "name": self.name, "maintenance": maintenance }))
    }
}

/// A computer that runs virtual machines.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Host {
    /// The key.
    pub id: HostId,
    /// A small integer; the first host is 1.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique name.
    pub name: String,
    /// Its cluster.
    pub cluster: ClusterId,
    /// What is known of it; none until it was first looked at.
    pub facts: Option<HostFacts>,
    /// When its process last said that it lives; renewed every few seconds.
    pub seen_at: Option<Timestamp>,
    /// The start of a process that serves it now, or did last. Whoever finds another one here than its own has lost
    /// the host.
    #[serde(default)]
    pub process: Option<Uuid>,
    /// Where that process listens, as a URL.
    #[serde(default)]
    pub door: Option<String>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for Host {
    const KIND: Kind = Kind::Host;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("name", self.name.as_str().into()),
            ("cluster", self.cluster.0.into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
    fn summary(&self) -> Option<serde_json::Value> {
        Some(serde_json::json!({ "id": self.id, "name": self.name }))
    }
}
