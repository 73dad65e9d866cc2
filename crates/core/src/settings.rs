//! Settings that an API changes while hostler runs, as opposed to its configuration: each a name and a value.

use crate::access::Caller;
use crate::core::{Attempt, Core, decided};
use crate::error::{Error, Result};
use crate::ids::SettingId;
use crate::ports::StoreError;
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

/// Bytes of a value as JSON, at most.
const MAX_VALUE: usize = 4096;

impl Core {
    /// One setting; none when it was never set.
    ///
    /// # Errors
    /// Denied for whoever does not see everything; invalid, when this cannot be the name of one.
    pub async fn setting_get(&self, caller: &Caller, name: &str) -> Result<Option<Setting>> {
        if !caller.sees_everything() {
            return Err(self
                .deny(caller, "setting.get", None, "only an administrator may look at settings")
                .await);
        }
        checked_name(name)?;
        self.find_by("name", name).await
    }

    /// Sets a setting.
    ///
    /// # Errors
    /// Denied for anybody but administrators; invalid, when name or value cannot be one.
    pub async fn setting_put(
        &self,
        caller: &Caller,
        name: &str,
        value: &serde_json::Value,
    ) -> Result<Setting> {
        self.administers(caller, "setting.put", "change settings").await?;
        checked_name(name)?;
        if value.to_string().len() > MAX_VALUE {
            return Err(Error::invalid("value", "the value of a setting has at most 4 KiB"));
        }
        decided(async || {
            let found: Option<Setting> = self.find_by("name", name).await?;
            let mut changes = self.changes();
            let mut setting = found.clone().unwrap_or_else(|| Setting {
                id: SettingId(self.ids().uuid()),
                number: 0,
                rev: 0,
                name: name.to_owned(),
                value: serde_json::Value::Null,
                created_at: changes.now(),
            });
            setting.value = value.clone();
            if found.is_some() {
                changes.update(&setting)?;
            } else {
                changes.insert(&setting)?;
            }
            let object = (Kind::Setting.word(), setting.id.0, name);
            self.deed_about(&mut changes, caller, "setting.put", object)?;
            let stamp = self.commit(changes).await.map_err(|error| match error {
                // Somebody else set it first at the same time.
                StoreError::Taken { kind: Kind::Setting, .. } => Attempt::Stale,
                other => other.into(),
            })?;
            setting.stamp(stamp.stamps[0].number, stamp.stamps[0].rev);
            Ok(setting)
        })
        .await
    }
}

fn checked_name(name: &str) -> Result<()> {
    let fits = |c: u8| c.is_ascii_alphanumeric() || b"._-/".contains(&c);
    if name.is_empty() || name.len() > 128 || !name.bytes().all(fits) {
        let text = "the name of a setting has 1 to 128 letters, digits and . _ - /";
        return Err(Error::invalid("name", text));
    }
    Ok(())
}
