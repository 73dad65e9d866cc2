//! The seam to whatever runs virtual machines on one host.
//!
//! Every verb is idempotent: asked twice, the second call finds the work done and says so with success. A driver
//! keeps no truth in memory; after a restart it finds its machines again by [`Hypervisor::adopt`]. Verbs on one
//! machine are never called at the same time (core's task holds the machine); verbs on different machines are.

use super::driver::{DriverError, Progress};
use crate::ids::{GoldenId, HostId, MachineId, MediumId, NetworkId, SnapshotId, TemplateId, VolumeId};
use crate::machines::Observed;
use crate::templates::{Firmware, Image, ImageFormat};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;
use tokio::sync::broadcast;

/// What a driver can do, so that callers ask instead of switching on its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// Technology, e.g. `qemu`.
    pub driver: String,
    /// Machines can be paused and resumed.
    pub pause: bool,
    /// Guests have our agent on a channel of their own.
    pub agent: bool,
    /// The console log can be read.
    pub console_log: bool,
    /// There is a graphical console.
    pub display: bool,
    /// Disks, cards, media, CPUs and memory can be changed while a machine runs, and snapshots be taken.
    pub live: bool,
    /// Machines can be forked from golden ones.
    #[serde(default)]
    pub fork: bool,
}

/// How guest code is run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accelerator {
    /// `kvm` or `tcg`.
    pub name: String,
    /// CPU model given to guests.
    pub cpu: String,
    /// Why this one, and what became of the better ones, in words.
    pub why: String,
}

/// What is known of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// Version of the hypervisor, e.g. `7.2.22`.
    pub version: String,
    /// How guest code is run; none when nothing on this host can run a guest.
    pub accelerator: Option<Accelerator>,
    /// Logical processors.
    pub cpus: u32,
    /// Memory of the computer in MiB.
    pub memory_mib: u64,
    /// Kernel release and architecture.
    pub kernel: String,
    /// What stands in the way, each a sentence; empty when all is well.
    pub problems: Vec<String>,
    /// What the saved state of a machine depends on, in one text: it can only be loaded where this is the same. Empty
    /// when not known.
    #[serde(default)]
    pub likeness: String,
}

/// How a machine starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Boot {
    /// The hypervisor loads a kernel; file names are relative to the template's image directory.
    Kernel {
        /// Kernel file.
        kernel: String,
        /// Initial RAM file system.
        initrd: Option<String>,
        /// Kernel command line.
        command_line: String,
    },
    /// Firmware boots the first disk.
    Firmware(Firmware),
}

/// How a disk is connected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskBus {
    /// virtio-blk: the disk a machine boots from. Stays as long as the machine runs.
    #[default]
    Virtio,
    /// virtio-scsi: every other disk. Comes and goes while the machine runs.
    Scsi,
}

/// How much a disk may do each second.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IoLimits {
    /// Reads and writes together; none is without limit.
    #[serde(default)]
    pub iops: Option<u64>,
    /// Bytes read and written together; none is without limit.
    #[serde(default)]
    pub bytes: Option<u64>,
}

/// A disk as a machine sees it, in order of its position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskSpec {
    /// Which volume.
    pub volume: VolumeId,
    /// Format of the volume's file, from our record.
    pub format: ImageFormat,
    /// How it is connected.
    #[serde(default)]
    pub bus: DiskBus,
    /// How much it may do.
    #[serde(default)]
    pub limits: IoLimits,
}

impl DiskSpec {
    /// A virtio disk without limits.
    pub fn new(volume: VolumeId, format: ImageFormat) -> Self {
        Self { volume, format, bus: DiskBus::Virtio, limits: IoLimits::default() }
    }
}

/// What a network card is plugged into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "by", rename_all = "snake_case")]
pub enum Link {
    /// QEMU's user-mode network.
    User {
        /// Whether the guest may reach anything but us.
        outbound: bool,
        /// Guest port that a port of the host's loopback is forwarded to (22 for SSH).
        forward: Option<u16>,
    },
    /// A bridge of this host, made by the [`Switch`](super::Switch) before the machine starts.
    Bridge {
        /// Which network.
        network: NetworkId,
        /// Name of its bridge.
        bridge: String,
        /// Where the guest answers on it, if that is decided here.
        address: Option<IpAddr>,
    },
}

impl Link {
    /// The guest port that is forwarded, if any is.
    pub fn forward(&self) -> Option<u16> {
        match self {
            Self::User { forward, .. } => *forward,
            Self::Bridge { .. } => None,
        }
    }
}

/// A network card as a machine sees it, in order of its position.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NicSpec {
    /// Six bytes, lower case, colons.
    pub mac: String,
    /// What it is plugged into.
    pub link: Link,
}

/// Data for cloud-init's NoCloud source, given as a small read-only disk labelled `CIDATA`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    /// `user-data`, with its first line (`#cloud-config`, `#!`).
    pub user_data: String,
    /// `meta-data`: instance id and host name, YAML.
    pub meta_data: String,
    /// `network-config`, version 2, when there is any.
    pub network_config: Option<String>,
}

impl std::fmt::Debug for Seed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // User data often has passwords, and the default one has the guest's private key.
        f.write_str("Seed")
    }
}

/// Everything the driver needs to run a machine. Complete: the driver asks core for nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// The key.
    pub id: MachineId,
    /// Host name, for process lists and logs.
    pub name: String,
    /// Counts the starts of this machine; comes back in every [`Sighting`] of this start.
    pub generation: u64,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// What it was made from; boot files lie in that template's image directory.
    pub template: TemplateId,
    /// How it starts.
    pub boot: Boot,
    /// Its disks.
    pub disks: Vec<DiskSpec>,
    /// Its network cards.
    pub nics: Vec<NicSpec>,
    /// Its cloud-init data.
    pub seed: Option<Seed>,
    /// What lies in its CD drive.
    #[serde(default)]
    pub medium: Option<MediumId>,
    /// The snapshot with memory that it runs on from, instead of booting.
    #[serde(default)]
    pub snapshot: Option<SnapshotId>,
    /// The golden machine that it is forked from, instead of booting: it runs on where that one was saved, with
    /// everything that one was, until it is given an identity of its own.
    #[serde(default)]
    pub golden: Option<GoldenId>,
}

/// A golden machine: booted once, then saved, so that machines can be forked from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenSpec {
    /// The key; file names derive from it.
    pub id: GoldenId,
    /// Virtual CPUs of all its forks.
    pub vcpus: u32,
    /// Their memory in MiB.
    pub memory_mib: u64,
    /// What it boots.
    pub template: TemplateId,
    /// The template's image.
    pub image: Image,
    /// Size of its disk in MiB; none when it has none.
    pub disk_mib: Option<u64>,
    /// How it starts.
    pub boot: Boot,
    /// Its cloud-init data.
    pub seed: Option<Seed>,
    /// How long it may take to boot and to come to rest.
    pub patience: Duration,
}

/// A golden machine that was saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GoldenFacts {
    /// What it was made with: [`HostFacts::likeness`] of then. Forks need the same.
    pub likeness: String,
    /// SHA-256 over memory, devices and disk, hexadecimal.
    pub digest: String,
    /// Bytes of its memory that are not zero.
    pub memory_bytes: u64,
    /// Bytes of the state of its devices.
    pub state_bytes: u64,
    /// Bytes of its disk that differ from the template's.
    pub disk_bytes: u64,
    /// From spawn to the agent's answer, milliseconds.
    pub boot_ms: u64,
    /// From there to rest, milliseconds.
    pub rest_ms: u64,
    /// Saving it, milliseconds.
    pub save_ms: u64,
}

/// A snapshot as drivers need to know it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotSpec {
    /// The key; the name inside the volumes derives from it.
    pub id: SnapshotId,
    /// Whether memory is in it.
    pub memory: bool,
    /// The volumes in it; memory is kept in the first.
    pub volumes: Vec<VolumeId>,
}

/// Where something listens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Address to connect to from the host.
    pub address: IpAddr,
    /// TCP port.
    pub port: u16,
}

/// A machine as the hypervisor has it now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Which machine.
    pub id: MachineId,
    /// Which start of it.
    pub generation: u64,
    /// Power as seen.
    pub observed: Observed,
    /// Process id on the host, where that means something.
    pub pid: Option<u32>,
    /// Where its forwarded port listens.
    pub ssh: Option<Endpoint>,
    /// Last words of a process that ended by itself, or why the machine cannot be observed.
    pub reason: Option<String>,
}

/// What makes a guest this machine and no other; sent over the agent's channel, never over the network.
#[derive(Clone, PartialEq, Eq)]
pub struct Identity {
    /// Host name without a domain.
    pub host_name: String,
    /// 32 hexadecimal digits for `/etc/machine-id`.
    pub machine_id: String,
    /// MAC of the first card.
    pub mac: Option<String>,
    /// Addresses with prefix length for the first card; empty means the guest asks DHCP.
    pub addresses: Vec<(IpAddr, u8)>,
    /// Default gateways.
    pub gateways: Vec<IpAddr>,
    /// Whom the guest asks for names; empty leaves that to DHCP or to the guest.
    pub resolvers: Vec<IpAddr>,
    /// Domain in which it looks for short names.
    pub domain: Option<String>,
    /// Ed25519 seed of the SSH host key. Secret.
    pub ssh_host_key: [u8; 32],
    /// Lines for the administrator's `authorized_keys`.
    pub authorized_keys: Vec<String>,
    /// Fresh randomness to be mixed into the guest's generator before any key is made. Secret.
    pub entropy: [u8; 32],
    /// Wall clock, nanoseconds since 1970, UTC.
    pub time_ns: u64,
}

impl std::fmt::Debug for Identity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Identity({})", self.host_name)
    }
}

/// What a guest says of itself. Never trusted, always bounded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
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
    pub addresses: BTreeMap<String, Vec<IpAddr>>,
}

/// A command to run inside a guest, without a shell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GuestCommand {
    /// Program and arguments.
    pub argv: Vec<String>,
    /// Bytes for its standard input.
    pub stdin: Vec<u8>,
    /// It is killed after this long.
    pub deadline: Duration,
}

/// How a command inside a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandOutput {
    /// Exit status, or none when a signal or the deadline ended it.
    pub status: Option<i32>,
    /// First 256 KiB of its standard output.
    pub stdout: Vec<u8>,
    /// First 256 KiB of its standard error.
    pub stderr: Vec<u8>,
    /// Whether output was cut.
    pub truncated: bool,
    /// Whether the deadline ended it.
    pub timed_out: bool,
}

/// Which console to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Console {
    /// Text on the serial line.
    Serial,
    /// RFB (VNC).
    Display,
}

/// Something a machine did by itself. A hint to look again, never the truth: events may be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HypervisorEvent {
    /// Which machine.
    pub machine: MachineId,
    /// What happened, in the driver's words, e.g. `SHUTDOWN`.
    pub what: String,
}

/// Runs the virtual machines of one host.
#[async_trait::async_trait]
pub trait Hypervisor: Send + Sync {
    /// The host it acts on.
    fn host(&self) -> HostId;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// What is known of the host; probes accelerators when the answer is not known yet or `refresh` is set.
    async fn facts(&self, refresh: bool) -> Result<HostFacts, DriverError>;

    /// Finds machines of ours that run since before this process did, connects to them, and reports every machine
    /// it can see. Called once at start, before any other verb.
    async fn adopt(&self) -> Result<Vec<Sighting>, DriverError>;

    /// Every machine of ours on this host, running or with anything left of it (process, directory, socket).
    async fn sightings(&self) -> Result<Vec<Sighting>, DriverError>;

    /// One machine. [`DriverErrorKind::Gone`](super::DriverErrorKind::Gone) when nothing is left of it.
    async fn observe(&self, id: MachineId) -> Result<Sighting, DriverError>;

    /// Starts a machine and returns when guest code runs. Already running with this or a later generation: success.
    /// When the process dies at start, the error holds its last words and nothing is left running.
    async fn start(&self, spec: &MachineSpec) -> Result<Sighting, DriverError>;

    /// Asks the guest to turn itself off (ACPI). Returns at once.
    async fn shut_down(&self, id: MachineId) -> Result<(), DriverError>;

    /// Turns the machine off now; returns when its process is gone. Success when it is off already.
    async fn power_off(&self, id: MachineId) -> Result<(), DriverError>;

    /// Presses the reset button.
    async fn reset(&self, id: MachineId) -> Result<(), DriverError>;

    /// Stops guest code, keeping its memory.
    async fn pause(&self, id: MachineId) -> Result<(), DriverError>;

    /// Goes on after a pause.
    async fn resume(&self, id: MachineId) -> Result<(), DriverError>;

    /// Removes everything of the machine but its volumes. It must be off. Success when nothing is left already.
    async fn remove(&self, id: MachineId) -> Result<(), DriverError>;

    /// Waits up to `patience` for the guest's agent and asks who it is.
    async fn guest_facts(&self, id: MachineId, patience: Duration) -> Result<GuestFacts, DriverError>;

    /// Waits up to `patience` until an SSH server of the machine says its banner: where SSH is forwarded to it, else at
    /// this address.
    async fn ssh_banner(
        &self,
        id: MachineId,
        address: Option<IpAddr>,
        patience: Duration,
    ) -> Result<(), DriverError>;

    /// Gives the guest its identity; returns when the guest has taken it.
    async fn identify(&self, id: MachineId, identity: &Identity) -> Result<(), DriverError>;

    /// Runs a command in the guest and waits for its end.
    async fn guest_run(&self, id: MachineId, command: &GuestCommand) -> Result<CommandOutput, DriverError>;

    /// The last `bytes` of the console's log.
    async fn console_log(&self, id: MachineId, bytes: u64) -> Result<Vec<u8>, DriverError>;

    /// A connection to a console.
    async fn console(&self, id: MachineId, which: Console) -> Result<tokio::net::UnixStream, DriverError>;

    /// Gives a running machine another disk; returns when the device is there. Success when it has it already.
    async fn disk_attach(&self, id: MachineId, disk: &DiskSpec) -> Result<(), DriverError>;

    /// Takes a disk from a running machine; returns when the guest has let go of it and its file is closed. Success
    /// when it is not there; timeout when the guest does not let go.
    async fn disk_detach(&self, id: MachineId, volume: VolumeId) -> Result<(), DriverError>;

    /// Grows a disk of a running machine, file and device. Success when it has that size; shrinking is refused.
    async fn disk_grow(&self, id: MachineId, volume: VolumeId, size_mib: u64) -> Result<(), DriverError>;

    /// Sets how much a disk of a running machine may do.
    async fn disk_limit(&self, id: MachineId, volume: VolumeId, limits: IoLimits) -> Result<(), DriverError>;

    /// Puts a medium into a running machine's drive in place of what is there; none empties the drive. `force` does
    /// so even when the guest has locked it.
    async fn medium_change(
        &self,
        id: MachineId,
        medium: Option<MediumId>,
        force: bool,
    ) -> Result<(), DriverError>;

    /// Gives a running machine another network card. Success when it has one of this MAC already.
    async fn nic_attach(&self, id: MachineId, nic: &NicSpec) -> Result<(), DriverError>;

    /// Takes the card of this MAC from a running machine. Success when it is not there.
    async fn nic_detach(&self, id: MachineId, mac: &str) -> Result<(), DriverError>;

    /// Gives a running machine as many CPUs and as much memory; more only. Refused, with the reason, when that needs
    /// the machine off. Success when it has them already.
    async fn resize(&self, id: MachineId, vcpus: u32, memory_mib: u64) -> Result<(), DriverError>;

    /// Takes a snapshot of a machine that has a process, of all its disks at one moment. Success when it is there
    /// already; of one that is there in part only, the part is removed and it is taken anew.
    async fn snapshot_take(
        &self,
        id: MachineId,
        snapshot: &SnapshotSpec,
        progress: &Progress,
    ) -> Result<(), DriverError>;

    /// Takes a machine that has a process back to a snapshot with memory; it runs on from there. Refused, and nothing
    /// changed, when its devices are not those of the snapshot.
    async fn snapshot_revert(
        &self,
        id: MachineId,
        snapshot: &SnapshotSpec,
        progress: &Progress,
    ) -> Result<(), DriverError>;

    /// Removes a snapshot from a machine that has a process. Success when it is not there.
    async fn snapshot_remove(&self, id: MachineId, snapshot: &SnapshotSpec) -> Result<(), DriverError>;

    /// Boots a golden machine, waits until it has come to rest, saves it and ends it. Success when it was saved before.
    /// What is left of an unfinished one is removed and it is made anew.
    async fn golden_make(&self, spec: &GoldenSpec, progress: &Progress) -> Result<GoldenFacts, DriverError>;

    /// Removes a golden machine, saved or not. Running forks run on; volumes made on its disk are unusable after this.
    /// Success when nothing is left already.
    async fn golden_remove(&self, id: GoldenId) -> Result<(), DriverError>;

    /// Golden machines that lie here, saved or not, for comparing records with reality.
    async fn goldens(&self) -> Result<Vec<GoldenId>, DriverError>;

    /// Hints that a machine changed by itself.
    fn events(&self) -> broadcast::Receiver<HypervisorEvent>;
}
