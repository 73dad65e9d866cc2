//! What a fresh installation begins with: one cluster, this host in it, one storage, one network, one administrator.

use super::{Cluster, Host};
use crate::access::{Account, Role};
use crate::error::Result;
use crate::events::{Change, NewEvent};
use crate::ids::{AccountId, ClusterId, HostId, NetworkId, StorageId};
use crate::networks::{Network, NetworkKind};
use crate::ports::{Alteration, Clock, Commit, Ids, Store};
use crate::query::{Filter, Select};
use crate::record::{Kind, Record};
use crate::volumes::StoragePlace;

/// The first administrator's small integer, as the documents of VMmanager 6 have it.
const FIRST_ADMINISTRATOR: i64 = 3;

/// What the first start decides.
#[derive(Clone, Debug)]
pub struct FirstStart {
    /// Name of this host.
    pub host_name: String,
    /// The administrator's e-mail address.
    pub email: String,
    /// The administrator's password, hashed.
    pub password: String,
}

/// What a process needs to know of the installation before it can make its drivers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Installation {
    /// This host.
    pub host: HostId,
    /// Its storage.
    pub storage: StorageId,
    /// Whether it was made just now.
    pub fresh: bool,
}

/// Finds the installation, or makes it in one commit. `first` is asked only for a fresh one: hashing a password takes
/// a while.
///
/// # Errors
/// Those of the store, and of `first`.
pub async fn bootstrap(
    store: &dyn Store,
    clock: &dyn Clock,
    ids: &dyn Ids,
    first: impl FnOnce() -> Result<FirstStart>,
) -> Result<Installation> {
    let places = store.list(Kind::Storage, Select::new(Filter::All, 1)).await?;
    if let Some(document) = places.first() {
        let place = StoragePlace::from_document(document)?;
        return Ok(Installation { host: place.host, storage: place.id, fresh: false });
    }
    let first = first()?;
    let now = clock.now();
    let cluster = Cluster {
        id: ClusterId(ids.uuid()),
        number: 0,
        rev: 0,
        name: "default".into(),
        key_check: None,
        created_at: now,
    };
    let host = Host {
        id: HostId(ids.uuid()),
        number: 0,
        rev: 0,
        name: first.host_name,
        cluster: cluster.id,
        facts: None,
        seen_at: None,
        created_at: now,
    };
    let storage = StoragePlace {
        id: StorageId(ids.uuid()),
        number: 0,
        rev: 0,
        name: "local".into(),
        host: host.id,
        created_at: now,
    };
    let network = Network {
        id: NetworkId(ids.uuid()),
        number: 0,
        rev: 0,
        name: "user".into(),
        kind: NetworkKind::User,
        cluster: cluster.id,
        outbound: false,
        prefix: None,
        gateway: None,
        ranges: Vec::new(),
        created_at: now,
    };
    let administrator = Account {
        id: AccountId(ids.uuid()),
        number: FIRST_ADMINISTRATOR,
        rev: 0,
        login: "admin".into(),
        email: first.email.to_lowercase(),
        password: Some(first.password),
        role: Role::Administrator,
        enabled: true,
        created_at: now,
    };
    let alterations = vec![
        Alteration::Insert(cluster.document()?),
        Alteration::Insert(host.document()?),
        Alteration::Insert(storage.document()?),
        Alteration::Insert(network.document()?),
        Alteration::Insert(administrator.document()?),
    ];
    let events = NewEvent::about(&host, Change::Created, now).into_iter().collect();
    store.commit(Commit { alterations, events, ..Commit::default() }).await?;
    Ok(Installation { host: host.id, storage: storage.id, fresh: true })
}
