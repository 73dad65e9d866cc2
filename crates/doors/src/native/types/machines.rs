//! Machines on the wire.

use super::{InboundRule, Life, Observed, Power, Stock};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use utoipa::ToSchema;
use uuid::Uuid;

/// A computer we manage.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Machine {
    /// The key.
    pub id: Uuid,
    /// The small integer.
    pub number: i64,
    /// The host name.
    pub name: String,
    /// What people call it; many may have the same.
    pub title: String,
    /// The full name asked for it; may be empty.
    pub domain: String,
    /// Words of the owner.
    pub description: String,
    /// Words of the owner, by key.
    pub labels: BTreeMap<String, String>,
    /// The account whose it is.
    pub owner: Uuid,
    /// The cluster it may run in.
    pub cluster: Uuid,
    /// The host it runs on.
    pub host: Uuid,
    /// What it was made from.
    pub template: TemplateRef,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Network cards in order.
    pub nics: Vec<Nic>,
    /// The medium in its CD drive.
    pub medium: Option<Uuid>,
    /// Its volumes, the one it boots from first; those that the caller may see.
    pub volumes: Vec<Uuid>,
    /// Where SSH is forwarded to it, while it runs on user networking.
    pub ssh: Option<Endpoint>,
    /// Its public SSH host key, one line, so that nobody needs to trust on first use.
    pub ssh_host_key: Option<String>,
    /// What we promised.
    pub life: Life,
    /// The power that the owner asked for.
    pub wanted: Power,
    /// The power that was seen.
    pub observed: Observation,
    /// Whether its agent has answered since it was last started.
    pub ready: bool,
    /// When its agent first answered since then.
    #[schema(format = DateTime)]
    pub ready_at: Option<String>,
    /// Why it is not as it should be.
    pub reason: Option<String>,
    /// The task that holds it.
    pub task: Option<Uuid>,
    /// What the guest said of itself last. Never to be trusted.
    pub guest: Option<GuestFacts>,
    /// What it is to its pool; null when it belongs to none.
    pub stock: Option<Stock>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    pub created_at: String,
    /// When it last changed.
    #[schema(format = DateTime)]
    pub updated_at: String,
}

/// Which template a machine was made from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TemplateRef {
    /// Its key.
    pub id: Uuid,
    /// Its name; null when its record is no longer kept.
    pub name: Option<String>,
    /// Its version under that name.
    pub version: Option<u32>,
}

/// A network card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Nic {
    /// The network it is on.
    pub network: Uuid,
    /// Six bytes, lower case, colons.
    pub mac: String,
    /// Its first reserved address, on networks that have addresses.
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// All its reserved addresses, one of each family at most.
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// What others may begin to send it, on bridges; null lets everything through.
    pub inbound: Option<Vec<InboundRule>>,
}

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Endpoint {
    /// Address, as seen from the machine's host.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
}

/// What was seen last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Observation {
    /// Power.
    pub power: Observed,
    /// When.
    #[schema(format = DateTime)]
    pub at: String,
    /// Which start of the machine.
    pub generation: u64,
}

/// What a guest says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GuestFacts {
    /// `hostler-agent` or `qemu-guest-agent`.
    pub agent: String,
    /// Its version.
    pub version: String,
    /// Host name.
    pub host_name: String,
    /// Operating system in words.
    pub os: String,
    /// Kernel release.
    pub kernel: String,
    /// Addresses of its cards, by name of the card.
    #[schema(value_type = BTreeMap<String, Vec<String>>)]
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
}

pub(super) fn yes() -> bool {
    true
}

/// A machine to be made. What is left out comes from the template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineCreate {
    /// Host name; one is made up when left out.
    #[serde(default)]
    pub name: Option<String>,
    /// What people call it, at most 255 characters; the host name when left out.
    #[serde(default)]
    pub title: String,
    /// The full name asked for it, at most 253 characters.
    #[serde(default)]
    pub domain: String,
    /// Whose it shall be, by id, number, login name or e-mail address; administrators only for others.
    #[serde(default)]
    pub owner: Option<String>,
    /// Cluster, by id, number or name; where the template lies when left out.
    #[serde(default)]
    pub cluster: Option<String>,
    /// Host, by id, number or name; where the template lies when left out.
    #[serde(default)]
    pub host: Option<String>,
    /// Password of the guest's administrator, where the template has cloud-init.
    #[serde(default)]
    pub password: Option<String>,
    /// Template, by id, number, name or `name@version`.
    pub template: String,
    /// Virtual CPUs.
    #[serde(default)]
    pub vcpus: Option<u32>,
    /// Memory in MiB.
    #[serde(default)]
    pub memory_mib: Option<u64>,
    /// Size of the first disk in MiB; at least the template's.
    #[serde(default)]
    pub disk_mib: Option<u64>,
    /// Network, by id, number or name; the first one when left out.
    #[serde(default)]
    pub network: Option<String>,
    /// Addresses on it, one of each family at most; the next free ones when left out.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
    /// Lines for the administrator's `authorized_keys`.
    #[serde(default)]
    pub ssh_keys: Vec<String>,
    /// cloud-init user data.
    #[serde(default)]
    pub user_data: Option<String>,
    /// Words of the owner.
    #[serde(default)]
    pub description: String,
    /// Words of the owner, by key.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Whether it is started; yes when left out.
    #[serde(default = "yes")]
    pub start: bool,
}

/// What a machine's owner gave to cloud-init.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_debug_implementations, reason = "it often has passwords")]
pub struct UserData {
    /// cloud-init user data; null when there is none.
    pub user_data: Option<String>,
}

/// Changes to a machine; what is left out or null stays.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineEdit {
    /// What people call it; empty for the host name.
    #[serde(default)]
    pub title: Option<String>,
    /// The full name asked for it.
    #[serde(default)]
    pub domain: Option<String>,
    /// Words of the owner.
    #[serde(default)]
    pub description: Option<String>,
    /// Replaces all labels.
    #[serde(default)]
    pub labels: Option<BTreeMap<String, String>>,
    /// Virtual CPUs; only more while the machine is on.
    #[serde(default)]
    pub vcpus: Option<u32>,
    /// Memory in MiB; only more while the machine is on.
    #[serde(default)]
    pub memory_mib: Option<u64>,
}

/// The new size of a machine; what is left out or null stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MachineResize {
    /// Virtual CPUs.
    #[serde(default)]
    pub vcpus: Option<u32>,
    /// Memory in MiB; added in steps of 128 while the machine is on.
    #[serde(default)]
    pub memory_mib: Option<u64>,
}

/// What shall lie in a machine's CD drive.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MediumChange {
    /// The medium, by id, number or name; null or left out empties the drive.
    #[serde(default)]
    pub medium: Option<String>,
    /// Also when the guest has locked the drive.
    #[serde(default)]
    pub force: bool,
}

/// A network card to be added.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NicAttach {
    /// Network, by id, number or name; the first one when left out.
    #[serde(default)]
    pub network: Option<String>,
    /// Its address on networks that give out addresses; the next free one when left out.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    pub address: Option<IpAddr>,
    /// Six bytes with colons; one is made up when left out.
    #[serde(default)]
    pub mac: Option<String>,
}

/// How a machine's power is changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PowerChange {
    /// A stop or restart cuts the power at once instead of asking the guest.
    #[serde(default)]
    pub force: bool,
}

fn a_minute() -> u32 {
    60
}

/// A command to run inside a guest, without a shell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Its standard input.
    #[serde(default)]
    pub stdin: Option<String>,
    /// `stdin` is base64, and `stdout` and `stderr` shall be. Otherwise they are text, and what is not UTF-8 in the
    /// output is replaced.
    #[serde(default)]
    pub base64: bool,
    /// It is killed after this many seconds, 1 to 600; 60 when left out.
    #[serde(default = "a_minute")]
    #[schema(minimum = 1, maximum = 600)]
    pub deadline_s: u32,
}

/// How a command inside a guest ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RunOutput {
    /// Exit status; null when a signal or the deadline ended it.
    pub status: Option<i32>,
    /// First 256 KiB of its standard output.
    pub stdout: String,
    /// First 256 KiB of its standard error.
    pub stderr: String,
    /// Whether `stdout` and `stderr` are base64.
    pub base64: bool,
    /// Whether output was cut.
    pub truncated: bool,
    /// Whether the deadline ended it.
    pub timed_out: bool,
}
