//! How records travel between core and the store.
//!
//! A record is a typed struct in core and a [`Document`] at the store port: identity, version, the columns that
//! lists may filter and order by, and the whole record as JSON. The store never needs to know a record's fields,
//! and a new field with a serde default needs no migration.

use crate::error::{Error, Result};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

/// The kinds of record, each a table of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`Machine`](crate::machines::Machine)
    Machine,
    /// [`Template`](crate::templates::Template)
    Template,
    /// [`Volume`](crate::volumes::Volume)
    Volume,
    /// [`Medium`](crate::media::Medium)
    Medium,
    /// [`Snapshot`](crate::snapshots::Snapshot)
    Snapshot,
    /// [`StoragePlace`](crate::volumes::StoragePlace)
    Storage,
    /// [`Network`](crate::networks::Network)
    Network,
    /// [`Address`](crate::networks::Address)
    Address,
    /// [`Host`](crate::hosts::Host)
    Host,
    /// [`Cluster`](crate::hosts::Cluster)
    Cluster,
    /// [`Account`](crate::access::Account)
    Account,
    /// [`Group`](crate::access::Group)
    Group,
    /// [`Member`](crate::access::Member): an account in a group
    Member,
    /// [`Credential`](crate::access::Credential)
    Credential,
    /// [`SshKey`](crate::access::SshKey)
    SshKey,
    /// [`Grant`](crate::access::Grant)
    Grant,
    /// [`Quota`](crate::access::Quota)
    Quota,
    /// [`Deed`](crate::access::Deed): a line of the audit trail
    Deed,
    /// [`Setting`](crate::settings::Setting)
    Setting,
    /// [`Pool`](crate::pools::Pool)
    Pool,
    /// [`Request`](crate::pools::Request): machines that somebody waits for
    Request,
    /// [`Demand`](crate::pools::Demand): a pool's figures of a day
    Demand,
    /// [`Golden`](crate::goldens::Golden): a machine that others are forked from
    Golden,
    /// [`Task`](crate::tasks::Task)
    Task,
    /// [`Replay`](crate::access::Replay): the answer to an idempotent request
    Replay,
}

impl Kind {
    /// Every kind, in the order tables are made.
    pub const ALL: [Self; 25] = [
        Self::Machine,
        Self::Template,
        Self::Volume,
        Self::Medium,
        Self::Snapshot,
        Self::Storage,
        Self::Network,
        Self::Address,
        Self::Host,
        Self::Cluster,
        Self::Account,
        Self::Group,
        Self::Member,
        Self::Credential,
        Self::SshKey,
        Self::Grant,
        Self::Quota,
        Self::Deed,
        Self::Setting,
        Self::Pool,
        Self::Request,
        Self::Demand,
        Self::Golden,
        Self::Task,
        Self::Replay,
    ];

    /// The word for it: table name, first half of event names, noun in messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::Machine => "machine",
            Self::Template => "template",
            Self::Volume => "volume",
            Self::Medium => "medium",
            Self::Snapshot => "snapshot",
            Self::Storage => "storage",
            Self::Network => "network",
            Self::Address => "address",
            Self::Host => "host",
            Self::Cluster => "cluster",
            Self::Account => "account",
            Self::Group => "group",
            Self::Member => "member",
            Self::Credential => "credential",
            Self::SshKey => "ssh_key",
            Self::Grant => "grant",
            Self::Quota => "quota",
            Self::Deed => "deed",
            Self::Setting => "setting",
            Self::Pool => "pool",
            Self::Request => "request",
            Self::Demand => "demand",
            Self::Golden => "golden",
            Self::Task => "task",
            Self::Replay => "replay",
        }
    }
}

/// A value of a column. Times are milliseconds, booleans 0 and 1.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Value {
    /// No value.
    Null,
    /// A whole number, a time or a boolean.
    Int(i64),
    /// Text.
    Text(String),
    /// The id of another record.
    Id(Uuid),
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Int(value.into())
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::Text(value.to_owned())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::Text(value)
    }
}

impl From<Uuid> for Value {
    fn from(value: Uuid) -> Self {
        Self::Id(value)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// A record as the store sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// Which table.
    pub kind: Kind,
    /// The key.
    pub id: Uuid,
    /// The small integer; 0 before the first commit, which allots it.
    pub number: i64,
    /// The version; 0 before the first commit, one more with each. An update states the version it was made from.
    pub rev: i64,
    /// Columns kept beside the body, by name. In documents of a list: what it was ordered by, term by term. Empty in
    /// others read from the store.
    pub columns: Vec<(&'static str, Value)>,
    /// The record as JSON, without `number` and `rev`.
    pub body: String,
}

/// The four methods of [`Record`] that are the same for every record: `id`, `number` and `rev` are its fields.
macro_rules! stamped {
    () => {
        fn key(&self) -> ::uuid::Uuid {
            self.id.0
        }
        fn number(&self) -> i64 {
            self.number
        }
        fn rev(&self) -> i64 {
            self.rev
        }
        fn stamp(&mut self, number: i64, rev: i64) {
            (self.number, self.rev) = (number, rev);
        }
    };
}
pub(crate) use stamped;

/// A typed record that the store can keep.
pub trait Record: Serialize + DeserializeOwned + Send + Sync {
    /// Its table.
    const KIND: Kind;

    /// The key.
    fn key(&self) -> Uuid;
    /// The small integer, 0 while not committed.
    fn number(&self) -> i64;
    /// The version it was read at, 0 while not committed.
    fn rev(&self) -> i64;
    /// Takes what the store allotted.
    fn stamp(&mut self, number: i64, rev: i64);
    /// What lists may filter and order by; the store has a column of each name.
    fn columns(&self) -> Vec<(&'static str, Value)>;

    /// What an event about this record tells, or nothing when changes of it are nobody's business.
    fn summary(&self) -> Option<serde_json::Value> {
        None
    }

    /// Whose record it is, for filtering events.
    fn owner(&self) -> Option<crate::ids::AccountId> {
        None
    }

    /// The record for the store.
    fn document(&self) -> Result<Document> {
        Ok(Document {
            kind: Self::KIND,
            id: self.key(),
            number: self.number(),
            rev: self.rev(),
            columns: self.columns(),
            body: serde_json::to_string(self).map_err(Error::internal)?,
        })
    }

    /// The record from the store.
    ///
    /// # Errors
    /// Internal, when the body is not what this version of hostler writes.
    fn from_document(document: &Document) -> Result<Self> {
        let mut record: Self = serde_json::from_str(&document.body).map_err(|cause| {
            let what = format!("{} {} cannot be read: {cause}", document.kind.word(), document.id);
            Error::internal(what)
        })?;
        record.stamp(document.number, document.rev);
        Ok(record)
    }
}
