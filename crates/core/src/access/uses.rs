//! When credentials were last used: kept in memory, written in batches.
//!
//! A write with each request would cost more than the request. So a use is noted here, and the housekeeper writes what
//! has been noted, at least once a minute. A process that is killed forgets at most that much; a credential then ends
//! up to a minute too early, never too late.

use super::Credential;
use crate::core::Core;
use crate::error::Result;
use crate::ids::CredentialId;
use crate::ports::{Alteration, StoreError};
use crate::query::Filter;
use crate::record::{Record, Value};
use crate::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Written in one commit, at most.
const BATCH: usize = 200;

/// Uses that are not written yet.
#[derive(Debug, Default)]
pub(crate) struct Uses(Mutex<HashMap<CredentialId, Timestamp>>);

impl Uses {
    fn all(&self) -> MutexGuard<'_, HashMap<CredentialId, Timestamp>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// It was used now.
    pub(super) fn note(&self, credential: CredentialId, now: Timestamp) {
        self.all().insert(credential, now);
    }

    /// When it was last used, if that is not written yet.
    pub(crate) fn last(&self, credential: CredentialId) -> Option<Timestamp> {
        self.all().get(&credential).copied()
    }

    /// Written, unless it was used again meanwhile.
    fn written(&self, credential: CredentialId, at: Timestamp) {
        let mut all = self.all();
        if all.get(&credential) == Some(&at) {
            all.remove(&credential);
        }
    }
}

impl Core {
    /// Writes down when credentials were last used.
    ///
    /// # Errors
    /// When the store does not answer; what was noted stays noted.
    pub(crate) async fn write_uses(&self) -> Result<()> {
        let noted: Vec<(CredentialId, Timestamp)> = {
            let all = self.uses().all();
            all.iter().map(|(id, at)| (*id, *at)).collect()
        };
        for batch in noted.chunks(BATCH) {
            if !self.write_batch(batch).await? {
                for one in batch.chunks(1) {
                    // A record that changes just now is written next time.
                    self.write_batch(one).await?;
                }
            }
        }
        Ok(())
    }

    /// Whether it could be written: not when one of the records has changed meanwhile.
    async fn write_batch(&self, batch: &[(CredentialId, Timestamp)]) -> Result<bool> {
        let keys = batch.iter().map(|(id, _)| Value::Id(id.0)).collect();
        let found: Vec<Credential> = self.all(Filter::In("id", keys)).await?;
        let mut changes = self.changes();
        for mut credential in found {
            credential.used_at = batch.iter().find(|(id, _)| *id == credential.id).map(|(_, at)| *at);
            // Without an event: that somebody is at work is no news.
            changes.commit.alterations.push(Alteration::Update(credential.document()?));
        }
        match self.commit(changes).await {
            Ok(_) => {
                // Those that are gone are forgotten here as well.
                batch.iter().for_each(|(id, at)| self.uses().written(*id, *at));
                Ok(true)
            }
            Err(StoreError::Stale { .. }) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }
}
