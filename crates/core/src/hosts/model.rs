//! The records of hosts and clusters.

use crate::ids::{ClusterId, HostId};
use crate::ports::HostFacts;
use crate::record::{Kind, Record, Value};
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
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for Cluster {
    const KIND: Kind = Kind::Cluster;

    fn key(&self) -> Uuid {
        self.id.0
    }
    fn number(&self) -> i64 {
        self.number
    }
    fn rev(&self) -> i64 {
        self.rev
    }
    fn stamp(&mut self, number: i64, rev: i64) {
        self.number = number;
        self.rev = rev;
    }
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![("name", self.name.as_str().into()), ("created_at", self.created_at.0.into())]
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
    /// When that was learnt.
    pub seen_at: Option<Timestamp>,
    /// When it was added.
    pub created_at: Timestamp,
}

impl Record for Host {
    const KIND: Kind = Kind::Host;

    fn key(&self) -> Uuid {
        self.id.0
    }
    fn number(&self) -> i64 {
        self.number
    }
    fn rev(&self) -> i64 {
        self.rev
    }
    fn stamp(&mut self, number: i64, rev: i64) {
        self.number = number;
        self.rev = rev;
    }
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
