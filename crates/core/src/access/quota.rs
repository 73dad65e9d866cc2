//! How much an account or a group may have at once.

use super::Subject;
use crate::ids::QuotaId;
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// Amounts of what is limited. As a limit, none means as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amounts {
    /// Machines that are not gone.
    pub machines: Option<i64>,
    /// Their virtual processors.
    pub vcpus: Option<i64>,
    /// Their memory, MiB.
    pub memory_mib: Option<i64>,
    /// Volumes, attached or not, MiB of virtual size.
    pub disk_mib: Option<i64>,
    /// IP addresses.
    pub addresses: Option<i64>,
    /// Machines lent from pools.
    pub checkouts: Option<i64>,
}

/// The limits of one account, or of all accounts of a group together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quota {
    /// The key.
    pub id: QuotaId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Whose limits; each subject has at most one record.
    pub subject: Subject,
    /// The limits.
    pub limits: Amounts,
    /// When it was set first.
    pub created_at: Timestamp,
}

impl Record for Quota {
    const KIND: Kind = Kind::Quota;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![
            ("subject", self.subject.key().into()),
            ("subject_kind", self.subject.word().into()),
            ("created_at", self.created_at.0.into()),
        ]
    }
}
