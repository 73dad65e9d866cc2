//! What a fresh installation begins with: one cluster, one host in it, one storage, one network, one administrator.

use super::join::Arrival;
use super::{Cluster, Host};
use crate::access::{Account, Origin, Role};
use crate::error::Result;
use crate::events::{Change, NewEvent};
use crate::ids::{AccountId, ClusterId, NetworkId};
use crate::networks::{Network, NetworkKind};
use crate::ports::{Alteration, Commit, Ids, Uplink};
use crate::record::Record;
use crate::time::Timestamp;
use crate::volumes::StoragePlace;

/// The first administrator's small integer, as the documents of VMmanager 6 have it.
const FIRST_ADMINISTRATOR: i64 = 3;
/// Name of the first storage.
const FIRST_STORAGE: &str = "local";

/// What the first start decides.
#[derive(Clone, Debug)]
pub struct FirstStart {
    /// The administrator's e-mail address.
    pub email: String,
    /// The administrator's password, hashed.
    pub password: String,
}

/// The one commit that makes an installation. Names are unique, so of several at once one goes through.
pub(super) fn installation(
    arrival: &Arrival,
    first: FirstStart,
    ids: &dyn Ids,
    now: Timestamp,
) -> Result<Commit> {
    let cluster = Cluster {
        id: ClusterId(ids.uuid()),
        number: 0,
        rev: 0,
        name: "default".into(),
        key: Some(arrival.key.fingerprint.clone()),
        maintenance: None,
        created_at: now,
    };
    let host = host(arrival, arrival.host_name.clone(), cluster.id, now);
    let storage = storage(arrival, FIRST_STORAGE.into(), now);
    let network = Network {
        id: NetworkId(ids.uuid()),
        number: 0,
        rev: 0,
        name: "user".into(),
        kind: NetworkKind::User,
        cluster: cluster.id,
        outbound: false,
        uplink: Uplink::None,
        bridge: None,
        subnets: Vec::new(),
        ranges: Vec::new(),
        domain: None,
        resolvers: Vec::new(),
        removing: false,
        created_at: now,
    };
    let administrator = Account {
        id: AccountId(ids.uuid()),
        number: FIRST_ADMINISTRATOR,
        rev: 0,
        login: "admin".into(),
        email: first.email.to_lowercase(),
        full_name: String::new(),
        password: Some(first.password),
        role: Role::Administrator,
        enabled: true,
        origin: Origin::Local,
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
    Ok(Commit { alterations, events, ..Commit::default() })
}

/// The commit by which a further host joins a cluster. `suffix` makes its name another one than that of a host with
/// the same name.
pub(super) fn further_host(
    arrival: &Arrival,
    cluster: &Cluster,
    suffix: u32,
    now: Timestamp,
) -> Result<Commit> {
    let name = match suffix {
        0 | 1 => arrival.host_name.clone(),
        more => format!("{}-{more}", arrival.host_name),
    };
    let storage = storage(arrival, format!("{FIRST_STORAGE}-{name}"), now);
    let host = host(arrival, name, cluster.id, now);
    let alterations = vec![Alteration::Insert(host.document()?), Alteration::Insert(storage.document()?)];
    let events = NewEvent::about(&host, Change::Created, now).into_iter().collect();
    Ok(Commit { alterations, events, ..Commit::default() })
}

fn host(arrival: &Arrival, name: String, cluster: ClusterId, now: Timestamp) -> Host {
    Host {
        id: arrival.host,
        number: 0,
        rev: 0,
        name,
        cluster,
        facts: None,
        seen_at: Some(now),
        process: Some(arrival.process),
        door: arrival.door.clone(),
        created_at: now,
    }
}

fn storage(arrival: &Arrival, name: String, now: Timestamp) -> StoragePlace {
    StoragePlace { id: arrival.storage, number: 0, rev: 0, name, host: arrival.host, created_at: now }
}
