//! How a process comes to its host: it makes the installation, joins it with a new host, or takes its host over from
//! the process before it.
//!
//! A host is served by one process. On one computer the lock of the data directory sees to that; a data directory
//! that was copied to another one is told by the host's record, which names the process and is renewed while that
//! lives.

use super::bootstrap::{FirstStart, further_host, installation};
use super::presence::HOST_LEASE;
use super::{Cluster, Host};
use crate::error::{Error, Result};
use crate::ids::{HostId, StorageId};
use crate::ports::{Alteration, Clock, Commit, Ids, Store, StoreError};
use crate::query::{Filter, Select, Sort};
use crate::record::{Kind, Record};
use crate::time::Timestamp;
use crate::volumes::StoragePlace;
use sha2::{Digest, Sha256};
use uuid::Uuid;

/// A process that has not been heard of for so long is not waited for; clocks do not differ by that much.
const CERTAINLY_GONE: u32 = 4;
/// Hosts of one name, at most.
const NAMESAKES: u32 = 1000;

/// The key of a process, as far as others may know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// By [`fingerprint`].
    pub fingerprint: String,
    /// Somebody asked for a new one in place of one that is lost.
    pub replaced: bool,
}

/// Tells keys apart without telling them.
pub fn fingerprint(key: &[u8; 32]) -> String {
    let digest = Sha256::new().chain_update("hostler key ").chain_update(key).finalize();
    hex::encode(&digest[..16])
}

/// What a process says of itself when it comes.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// Its host; the data directory keeps the id from before the record is made.
    pub host: HostId,
    /// That host's storage.
    pub storage: StorageId,
    /// This start.
    pub process: Uuid,
    /// Name of the computer.
    pub host_name: String,
    /// Whether a process that served the host before this one is certainly dead: this one holds the lock of the very
    /// same data directory.
    pub same_place: bool,
    /// Its key.
    pub key: Key,
    /// Where it listens, as a URL.
    pub door: Option<String>,
}

/// What a process needs to know of the installation before it can make its drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation {
    /// This host.
    pub host: HostId,
    /// Its storage.
    pub storage: StorageId,
    /// Whether the installation was made just now, by this process.
    pub fresh: bool,
}

/// Whether there is an installation.
///
/// # Errors
/// Those of the store.
pub async fn is_installed(store: &dyn Store) -> Result<bool> {
    Ok(cluster(store).await?.is_some())
}

/// The host and storage of an installation that has one only, for data directories from before they kept their ids.
///
/// # Errors
/// Those of the store.
pub async fn only_host(store: &dyn Store) -> Result<Option<(HostId, StorageId)>> {
    let places = store.list(Kind::Storage, Select::new(Filter::All, 2)).await?;
    let [only] = &places[..] else { return Ok(None) };
    let place = StoragePlace::from_document(only)?;
    Ok(Some((place.host, place.id)))
}

/// Makes the installation, joins it, or comes back to it. `first` is asked only when there is none yet: hashing a
/// password takes a while. Of several processes that find none, one makes it and the others join.
///
/// # Errors
/// Conflict `other_key` when the key is not the installation's, `host_served` when another process serves this host;
/// those of the store, and of `first`.
pub async fn arrive(
    store: &dyn Store,
    clock: &dyn Clock,
    ids: &dyn Ids,
    arrival: &Arrival,
    first: impl FnOnce() -> Result<FirstStart>,
) -> Result<Installation> {
    let found = |fresh| Installation { host: arrival.host, storage: arrival.storage, fresh };
    if cluster(store).await?.is_none() {
        let commit = installation(arrival, first()?, ids, clock.now())?;
        match store.commit(commit).await {
            Ok(_) => return Ok(found(true)),
            Err(StoreError::Taken { .. } | StoreError::Stale { .. }) => {
                tracing::info!("another process has made the installation meanwhile");
            }
            Err(error) => return Err(error.into()),
        }
    }
    let cluster = cluster(store).await?;
    let cluster = cluster.ok_or_else(|| Error::internal("the installation has no cluster"))?;
    check_key(store, clock, cluster.clone(), arrival).await?;
    if host(store, arrival.host).await?.is_some() {
        take_over(store, clock, arrival).await?;
    } else {
        join(store, clock, &cluster, arrival).await?;
    }
    Ok(found(false))
}

async fn cluster(store: &dyn Store) -> Result<Option<Cluster>> {
    let select = Select::new(Filter::All, 1).ordered(Sort::ascending("number"));
    store.list(Kind::Cluster, select).await?.first().map(Cluster::from_document).transpose()
}

async fn host(store: &dyn Store, id: HostId) -> Result<Option<Host>> {
    store.get(Kind::Host, id.0).await?.as_ref().map(Host::from_document).transpose()
}

/// All processes derive guests' identities from one key; a process with another one would give them new ones.
async fn check_key(
    store: &dyn Store,
    clock: &dyn Clock,
    mut cluster: Cluster,
    arrival: &Arrival,
) -> Result<()> {
    let ours = &arrival.key.fingerprint;
    match &cluster.key {
        Some(known) if known == ours => return Ok(()),
        // An installation from before fingerprints were kept.
        None => {}
        Some(_) if arrival.key.replaced && !others_live(store, clock, arrival).await? => {
            tracing::warn!(
                "the installation gets a new key: guests get new host keys, stored secrets are lost"
            );
        }
        Some(_) => {
            let text = "the key in the data directory is not the one of this installation";
            return Err(Error::conflict("other_key", text)
                .hint("copy the file `key` from the data directory of another host of this installation"));
        }
    }
    cluster.key = Some(ours.clone());
    let alterations = vec![Alteration::Update(cluster.document()?)];
    store.commit(Commit { alterations, ..Commit::default() }).await?;
    Ok(())
}

/// Whether any other host was heard of lately.
async fn others_live(store: &dyn Store, clock: &dyn Clock, arrival: &Arrival) -> Result<bool> {
    let hosts = store.list(Kind::Host, Select::new(Filter::All, 1000)).await?;
    for document in &hosts {
        let host = Host::from_document(document)?;
        if host.id != arrival.host && !long_gone(&host, clock.now()) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn long_gone(host: &Host, now: Timestamp) -> bool {
    host.seen_at.is_none_or(|at| now.since(at) > HOST_LEASE * CERTAINLY_GONE)
}

async fn join(store: &dyn Store, clock: &dyn Clock, cluster: &Cluster, arrival: &Arrival) -> Result<()> {
    for suffix in 1..=NAMESAKES {
        match store.commit(further_host(arrival, cluster, suffix, clock.now())?).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Taken { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::conflict("name_taken", format!("{NAMESAKES} hosts are named {} already", arrival.host_name)))
}

async fn take_over(store: &dyn Store, clock: &dyn Clock, arrival: &Arrival) -> Result<()> {
    loop {
        let before = host(store, arrival.host).await?;
        let mut record = before.ok_or_else(|| Error::internal("the host's record has vanished"))?;
        if !arrival.same_place && record.process.is_some() && !long_gone(&record, clock.now()) {
            tracing::info!(host = record.name, "waiting to see whether another process serves this host");
            clock.sleep(HOST_LEASE).await;
            let after = host(store, arrival.host).await?;
            if after.is_some_and(|after| (after.process, after.seen_at) != (record.process, record.seen_at)) {
                let text = format!("another process serves host {}", record.name);
                return Err(Error::conflict("host_served", text).hint(
                    "a data directory belongs to one host: stop the other process, or start with a new directory",
                ));
            }
        }
        record.process = Some(arrival.process);
        record.seen_at = Some(clock.now());
        record.door.clone_from(&arrival.door);
        let alterations = vec![Alteration::Update(record.document()?)];
        match store.commit(Commit { alterations, ..Commit::default() }).await {
            Ok(_) => return Ok(()),
            Err(StoreError::Stale { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
