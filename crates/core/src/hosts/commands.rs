//! What callers may ask about hosts.

use super::{Cluster, Host};
use crate::access::Caller;
use crate::core::{Core, ListAsk, LocalHost, Page};
use crate::error::{Error, Result};
use crate::ids::HostId;
use crate::ports::StoreError;
use crate::query::{Filter, Select, Sort};
use crate::record::Record;

impl Core {
    /// The first record of a kind of which every installation has one.
    pub(crate) async fn first<R: Record>(&self) -> Result<R> {
        let select = Select::new(Filter::All, 1).ordered(Sort::ascending("number"));
        let first = self.select::<R>(select).await?.pop();
        first.ok_or_else(|| Error::internal(format!("the installation has no {}", R::KIND.word())))
    }

    /// One host, by id, number or name.
    ///
    /// # Errors
    /// Not found.
    pub async fn host_get(&self, _caller: &Caller, key: &str) -> Result<Host> {
        let found = match (key.parse::<HostId>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id.0).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.find_by("name", key).await?,
        };
        found.ok_or_else(|| Error::not_found("host", key))
    }

    /// All hosts.
    pub async fn host_list(&self, _caller: &Caller, ask: ListAsk) -> Result<Page<Host>> {
        self.page(ask).await
    }

    /// All clusters.
    pub async fn cluster_list(&self, _caller: &Caller, ask: ListAsk) -> Result<Page<Cluster>> {
        self.page(ask).await
    }

    /// Looks at a host again and keeps what was learnt.
    ///
    /// # Errors
    /// Unavailable or internal, when the driver cannot tell.
    pub async fn host_look(&self, local: &LocalHost, refresh: bool) -> Result<Host> {
        let facts = local.hypervisor.facts(refresh).await?;
        loop {
            let mut host: Host = self.get(local.hypervisor.host().0).await?;
            if host.facts.as_ref() == Some(&facts) {
                return Ok(host);
            }
            host.facts = Some(facts.clone());
            let mut changes = self.changes();
            changes.update(&host)?;
            match self.commit(changes).await {
                Ok(_) => return Ok(host),
                Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}
