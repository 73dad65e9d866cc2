//! Settings that an API changes while hostler runs, as opposed to its configuration: each a name and a value.

use crate::ids::SettingId;
use crate::record::{Kind, Record, Value, stamped};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};

/// One setting. All processes on a store share it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Setting {
    /// The key.
    pub id: SettingId,
    /// A small integer.
    #[serde(skip)]
    pub number: i64,
    /// Version of the record.
    #[serde(skip)]
    pub rev: i64,
    /// Unique name, `maintenance` for instance.
    pub name: String,
    /// Its value.
    pub value: serde_json::Value,
    /// When it was set first.
    pub created_at: Timestamp,
}

impl Record for Setting {
    const KIND: Kind = Kind::Setting;

    stamped!();
    fn columns(&self) -> Vec<(&'static str, Value)> {
        vec![("name", self.name.as_str().into()), ("created_at", self.created_at.0.into())]
    }
}
