//! Commands about everything that is no machine, one file for each kind of object.

mod access;
mod account;
mod directory;
mod group;
mod maintenance;
mod medium;
mod network;
mod place;
mod rights;
mod snapshot;
mod source;
mod task;
mod template;
mod volume;

pub(super) use access::{LoginCommand, TokenCommand, login, logout, token, whoami};
pub(super) use account::{AccountCommand, account};
pub(super) use directory::{DirectoryCommand, directory};
pub(super) use group::{GroupCommand, SshKeyCommand, group, ssh_key};
pub(super) use maintenance::{MaintenanceCommand, maintenance};
pub(super) use medium::{MediumCommand, medium};
pub(super) use network::{AddressCommand, NetworkCommand, address, network};
pub(super) use place::{HostCommand, StorageCommand, host, storage};
pub(super) use rights::{AuditArgs, GrantCommand, QuotaCommand, audit, grant, quota};
pub(super) use snapshot::{SnapshotCommand, snapshot};
pub(super) use task::{TaskCommand, events, task};
pub(super) use template::{TemplateCommand, template};
pub(super) use volume::{VolumeCommand, volume};
