//! The fields that lists of the native API may be filtered and ordered by, under the names they are shown by.
//!
//! A field is here only if whoever may see the list may see it: what is filtered by can be found out.

use hostler_core::query::language::Field;
use hostler_core::query::language::Holds::{Bool, Key, Moment, Number, Text, Word};
use hostler_core::record::Kind;

const ID: Field = Field::own("id", Key);
const NUMBER: Field = Field::own("number", Number);
const NAME: Field = Field::own("name", Text);
const STATE: Field = Field::own("state", Word);
const OWNER: Field = Field::own("owner", Key);
const OWNER_LOGIN: Field = Field::through("owner.login", Text, "owner", Kind::Account, "login");
const CLUSTER_NAME: Field = Field::through("cluster.name", Text, "cluster", Kind::Cluster, "name");
const HOST_NAME: Field = Field::through("host.name", Text, "host", Kind::Host, "name");
const MACHINE_NAME: Field = Field::through("machine.name", Word, "machine", Kind::Machine, "name");
const STORAGE_NAME: Field = Field::through("storage.name", Text, "storage", Kind::Storage, "name");
const TEMPLATE_NAME: Field = Field::through("template.name", Text, "template", Kind::Template, "name");
const TASK: Field = Field::own("task", Key);
const CREATED_AT: Field = Field::own("created_at", Moment);

/// Machines.
pub(super) const MACHINES: &[Field] = &[
    ID,
    NUMBER,
    // Machines have host names, in lower case: an index serves them.
    Field::own("name", Word),
    Field::own("title", Text),
    Field::own("domain", Text),
    Field::own("description", Text),
    Field::own("life", Word),
    Field::own("wanted", Word),
    Field::own("observed", Word),
    OWNER,
    OWNER_LOGIN,
    Field::own("cluster", Key),
    CLUSTER_NAME,
    Field::own("host", Key),
    HOST_NAME,
    Field::own("template", Key),
    TEMPLATE_NAME,
    Field::through("template.version", Number, "template", Kind::Template, "version"),
    TASK,
    Field::own("vcpus", Number),
    Field::own("memory_mib", Number),
    Field::naming("addresses", Text, Kind::Address, "machine", "ip"),
    CREATED_AT,
    Field::own("updated_at", Moment),
    Field::of("stock.pool", Key, "pool"),
    Field::through("pool.name", Text, "pool", Kind::Pool, "name"),
    Field::of("stock.state", Word, "stock"),
    Field::of("stock.ready_at", Moment, "stocked_at"),
    Field::of("checkout.until", Moment, "lent_until"),
];

/// Templates.
pub(super) const TEMPLATES: &[Field] = &[
    ID,
    NUMBER,
    NAME,
    Field::own("version", Number),
    STATE,
    OWNER,
    Field::own("storage", Key),
    STORAGE_NAME,
    TASK,
    CREATED_AT,
];

/// Volumes.
pub(super) const VOLUMES: &[Field] = &[
    ID,
    NUMBER,
    NAME,
    STATE,
    OWNER,
    OWNER_LOGIN,
    Field::own("storage", Key),
    STORAGE_NAME,
    Field::own("template", Key),
    TEMPLATE_NAME,
    Field::own("machine", Key),
    MACHINE_NAME,
    TASK,
    Field::own("size_mib", Number),
    CREATED_AT,
];

/// Media.
pub(super) const MEDIA: &[Field] =
    &[ID, NUMBER, NAME, STATE, OWNER, Field::own("storage", Key), STORAGE_NAME, TASK, CREATED_AT];

/// Snapshots.
pub(super) const SNAPSHOTS: &[Field] = &[
    ID,
    NUMBER,
    NAME,
    STATE,
    OWNER,
    OWNER_LOGIN,
    Field::own("machine", Key),
    MACHINE_NAME,
    TASK,
    CREATED_AT,
];

/// Networks, and hosts.
pub(super) const NETWORKS: &[Field] =
    &[ID, NUMBER, NAME, Field::own("cluster", Key), CLUSTER_NAME, CREATED_AT];

/// Clusters.
pub(super) const CLUSTERS: &[Field] = &[ID, NUMBER, NAME, CREATED_AT];

/// Storages.
pub(super) const STORAGES: &[Field] = &[ID, NUMBER, NAME, Field::own("host", Key), HOST_NAME, CREATED_AT];

/// Addresses of a network.
pub(super) const ADDRESSES: &[Field] = &[
    ID,
    NUMBER,
    Field::own("ip", Text),
    Field::own("machine", Key),
    MACHINE_NAME,
    OWNER,
    OWNER_LOGIN,
    CREATED_AT,
];

/// Tasks.
pub(super) const TASKS: &[Field] = &[
    ID,
    NUMBER,
    Field::own("kind", Word),
    STATE,
    Field::own("open", Bool),
    Field::own("due", Moment),
    Field::own("host", Key),
    HOST_NAME,
    OWNER,
    OWNER_LOGIN,
    Field::own("subject", Key),
    CREATED_AT,
];

const ACCOUNT: Field = Field::own("account", Key);
const ACCOUNT_LOGIN: Field = Field::through("account.login", Text, "account", Kind::Account, "login");

/// Accounts.
pub(super) const ACCOUNTS: &[Field] = &[
    ID,
    NUMBER,
    Field::own("login", Text),
    Field::own("email", Text),
    Field::own("role", Word),
    Field::own("enabled", Bool),
    CREATED_AT,
];

/// Groups.
pub(super) const GROUPS: &[Field] = &[ID, NUMBER, NAME, CREATED_AT];

/// SSH keys.
pub(super) const SSH_KEYS: &[Field] =
    &[ID, NUMBER, ACCOUNT, ACCOUNT_LOGIN, NAME, Field::own("fingerprint", Text), CREATED_AT];

/// Tokens and sessions.
pub(super) const TOKENS: &[Field] = &[
    ID,
    NUMBER,
    ACCOUNT,
    ACCOUNT_LOGIN,
    Field::own("description", Text),
    Field::own("expires_at", Moment),
    Field::own("used_at", Moment),
    CREATED_AT,
];

/// The audit trail.
pub(super) const DEEDS: &[Field] = &[
    ID,
    NUMBER,
    Field::own("account", Key),
    Field::own("login", Text),
    Field::own("action", Word),
    Field::own("object", Key),
    Field::own("object_kind", Word),
    Field::own("door", Word),
    Field::own("outcome", Word),
    CREATED_AT,
];
