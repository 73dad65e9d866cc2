//! From a machine's specification to QEMU's arguments: a pure function, so that what runs can be read and compared.
//!
//! Every device has an explicit id and slot and the machine type a version, because a saved machine can only be loaded
//! into exactly the same one. Socket and log names are relative: the process runs in the machine's directory, so no
//! path is too long for a unix socket. Paths that come from elsewhere go in as JSON, where a comma means nothing.
//! Nothing secret goes in at all: arguments can be read by everybody on the host.

use super::firmware;
use super::names::{CD, DiskNames, NicNames, SCSI, medium_node};
use crate::layout::{Layout, plain_file_name};
use hostler_core::ids::MediumId;
use hostler_core::ports::{Boot, DiskBus, DiskSpec, DriverError, IoLimits, Link, MachineSpec, NicSpec};
use serde_json::{Value, json};
use std::os::fd::RawFd;

/// Names within the machine's directory.
pub(super) const QMP_SOCKET: &str = "qmp.sock";
pub(super) const AGENT_SOCKET: &str = "agent.sock";
pub(super) const GUEST_AGENT_SOCKET: &str = "qga.sock";
pub(super) const SERIAL_SOCKET: &str = "serial.sock";
pub(super) const VNC_SOCKET: &str = "vnc.sock";
pub(super) const CONSOLE_LOG: &str = "console.log";
pub(super) const SEED_IMAGE: &str = "seed.img";

/// MiB that QEMU keeps of translated code when it emulates.
pub(super) const CODE_MIB: u64 = 256;

// PCI slots. 0 and 1 are the chipset's. The guest numbers its disks by slot, so the seed comes after all of them.
const VIDEO_SLOT: usize = 0x02;
const CHANNEL_SLOT: usize = 0x03;
const RNG_SLOT: usize = 0x04;
const SCSI_SLOT: usize = 0x05;
/// Slots of network cards, and one past them.
pub(super) const NIC_SLOTS: std::ops::Range<usize> = 0x08..0x10;
const FIRST_DISK_SLOT: usize = 0x10;

/// Disks on the SCSI controller at start; more can be attached.
const MAX_SCSI_DISKS: usize = 255;
/// CPUs and memory modules that a machine can grow to while it runs: more costs every guest tables and memory.
const MAX_LIVE_CPUS: u32 = 16;
const MEMORY_SLOTS: u32 = 16;
const MEMORY_GROWTH: u64 = 8;
/// What guests can take as one module.
pub(super) const MODULE_MIB: u64 = 128;
/// A kernel that finds room for memory above 4 GiB sets 64 MiB aside for devices that reach no further, unless told
/// not to; a small guest has no such memory to spare.
const AMPLE_MIB: u64 = 1024;
const SPARES_BOUNCE_BUFFERS: &str = "swiotlb=noforce";

/// What a card does itself for one kind of plug and not for another.
const NO_OFFLOADS: &str = ",csum=off,gso=off,guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,\
                           host_tso4=off,host_tso6=off,host_ecn=off,host_ufo=off";

/// What is the same for all machines of this host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Platform<'a> {
    /// Machine type with its version, e.g. `pc-i440fx-7.2`.
    pub(super) machine_type: &'a str,
    /// `kvm` or `tcg`.
    pub(super) accelerator: &'a str,
    /// CPU model.
    pub(super) cpu: &'a str,
    /// Logical processors of the host.
    pub(super) host_cpus: u32,
    /// Memory of the host in MiB.
    pub(super) host_memory_mib: u64,
}

/// Where the host's end of a network card is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wire {
    /// In QEMU's own network, with the loopback port that is forwarded, if one is.
    User(Option<u16>),
    /// A tap, as a descriptor that the process inherits.
    Tap(RawFd),
    /// Nothing at all: what a golden machine's card is plugged into, so that a fork's can be plugged into anything.
    Nothing,
}

/// Where a machine's memory comes from. Descriptors are those that the process inherits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Memory {
    /// It begins empty.
    Own,
    /// It is this file, written to by the machine: a golden one.
    Golden(RawFd),
    /// It is a copy of this file, made page by page on writing; the devices come later.
    Forked(RawFd),
}

impl Memory {
    /// A card's offloads depend on what it is plugged into, and a saved card can only be loaded with the same.
    fn travels(self) -> bool {
        self != Self::Own
    }
}

/// The arguments, without the program's name. `wires` has the host's end of each card.
pub(super) fn command_line(
    spec: &MachineSpec,
    platform: Platform<'_>,
    layout: &Layout,
    wires: &[Wire],
    memory: Memory,
) -> Result<Vec<String>, DriverError> {
    let mut line = Line::default();
    foundation(&mut line, spec, platform, memory)?;
    channels(&mut line);
    boot(&mut line, spec, layout)?;
    disks(&mut line, spec, layout, firmware::last_slot(platform.machine_type))?;
    drive(&mut line, spec, layout)?;
    if spec.nics.len() > NIC_SLOTS.len() {
        return Err(DriverError::refused("a machine can have 8 network cards at most"));
    }
    for (index, nic) in spec.nics.iter().enumerate() {
        network_card(&mut line, index, nic, wires.get(index).copied(), memory)?;
    }
    if let Some(snapshot) = spec.snapshot {
        // The name is the same in every disk; memory is found in the one that has it.
        line.option("-loadvm", snapshot.to_string());
    }
    if let Memory::Forked(_) = memory {
        line.option("-incoming", "defer");
    }
    Ok(line.0)
}

#[derive(Default)]
struct Line(Vec<String>);

impl Line {
    fn flag(&mut self, name: &str) {
        self.0.push(name.to_owned());
    }

    fn option(&mut self, name: &str, value: impl Into<String>) {
        self.flag(name);
        self.0.push(value.into());
    }
}

fn foundation(
    line: &mut Line,
    spec: &MachineSpec,
    platform: Platform<'_>,
    from: Memory,
) -> Result<(), DriverError> {
    if spec.vcpus == 0 || spec.memory_mib == 0 {
        return Err(DriverError::refused("a machine needs at least one CPU and some memory"));
    }
    line.flag("-nodefaults");
    line.flag("-no-user-config");
    line.option("-name", format!("guest={}", escaped(&spec.name)));
    line.option("-uuid", spec.id.to_string());
    line.option("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    line.option("-machine", format!("{},memory-backend=ram", platform.machine_type));
    // QEMU takes a GiB for translated code unless told otherwise; the process's limit counts on this bound.
    let code = if platform.accelerator == "tcg" { format!(",tb-size={CODE_MIB}") } else { String::new() };
    line.option("-accel", format!("{}{code}", platform.accelerator));
    line.option("-cpu", platform.cpu);
    let most_cpus = platform.host_cpus.clamp(2, MAX_LIVE_CPUS).max(spec.vcpus);
    line.option("-smp", format!("cpus={},maxcpus={most_cpus}", spec.vcpus));
    line.option("-m", memory(spec, platform));
    let size = format!("id=ram,size={}M", spec.memory_mib);
    // Opened by descriptor: a file that has no name cannot be mistaken, and needs no way to it.
    let file = |fd, share| format!("memory-backend-file,{size},mem-path=/proc/self/fd/{fd},share={share}");
    let backend = match from {
        Memory::Own => format!("memory-backend-ram,{size}"),
        Memory::Golden(fd) => file(fd, "on"),
        Memory::Forked(fd) => file(fd, "off"),
    };
    line.option("-object", backend);
    line.option("-rtc", "base=utc");
    // A guest that turns itself off leaves its process behind with status `shutdown`, so that nobody who looks later
    // takes it for a crash.
    line.option("-action", "shutdown=pause");
    line.flag("-S");
    Ok(())
}

/// The memory, and how much more can be added while the machine runs.
fn memory(spec: &MachineSpec, platform: Platform<'_>) -> String {
    let now = spec.memory_mib;
    let spares = match &spec.boot {
        Boot::Kernel { command_line, .. } => command_line.contains(SPARES_BOUNCE_BUFFERS),
        Boot::Firmware(_) => false,
    };
    let most = now.saturating_mul(MEMORY_GROWTH).min(platform.host_memory_mib) / MODULE_MIB * MODULE_MIB;
    if most <= now || (now < AMPLE_MIB && !spares) {
        return format!("size={now}M");
    }
    format!("size={now}M,slots={MEMORY_SLOTS},maxmem={most}M")
}

/// Control, console, display and the guest's two agents.
fn channels(line: &mut Line) {
    line.option("-chardev", listening("qmp", QMP_SOCKET));
    line.option("-mon", "chardev=qmp,mode=control");
    line.option(
        "-chardev",
        format!("{},logfile={CONSOLE_LOG},logappend=on", listening("serial", SERIAL_SOCKET)),
    );
    line.option("-serial", "chardev:serial");
    line.option("-device", format!("VGA,id=video,addr={VIDEO_SLOT:02x}.0"));
    line.option("-vnc", format!("unix:{VNC_SOCKET}"));
    line.option("-device", format!("virtio-serial-pci,id=channels,addr={CHANNEL_SLOT:02x}.0"));
    line.option("-chardev", listening("agent", AGENT_SOCKET));
    line.option(
        "-device",
        "virtserialport,id=agent-port,bus=channels.0,nr=1,chardev=agent,name=org.hostler.0",
    );
    line.option("-chardev", listening("qga", GUEST_AGENT_SOCKET));
    line.option(
        "-device",
        "virtserialport,id=qga-port,bus=channels.0,nr=2,chardev=qga,name=org.qemu.guest_agent.0",
    );
    line.option("-object", "rng-random,id=entropy,filename=/dev/urandom");
    line.option("-device", format!("virtio-rng-pci,id=rng,rng=entropy,addr={RNG_SLOT:02x}.0"));
}

fn listening(id: &str, socket: &str) -> String {
    format!("socket,id={id},path={socket},server=on,wait=off")
}

fn boot(line: &mut Line, spec: &MachineSpec, layout: &Layout) -> Result<(), DriverError> {
    match &spec.boot {
        Boot::Kernel { kernel, initrd, command_line } => {
            let directory = layout.image(spec.template);
            line.option("-kernel", text(&directory.join(plain_file_name(kernel)?))?);
            if let Some(initrd) = initrd {
                // QEMU reads a list here: a comma in the path would end it.
                line.option("-initrd", escaped(&text(&directory.join(plain_file_name(initrd)?))?));
            }
            line.option("-append", command_line.as_str());
        }
        Boot::Firmware(firmware) => {
            for (name, value) in firmware::options(*firmware) {
                line.option(name, value);
            }
        }
    }
    Ok(())
}

/// The image of a disk. Format and locking are always said, never left to probing: a guest can write any header onto
/// its own disk.
pub(super) fn image_node(disk: &DiskSpec, layout: &Layout) -> Result<Value, DriverError> {
    let file = json!({
        "driver": "file", "filename": text(&layout.volume(disk.volume, disk.format))?,
        "locking": "on", "auto-read-only": false,
    });
    Ok(json!({
        "node-name": DiskNames::of(disk.volume).image, "driver": disk.format.word(), "read-only": false,
        "discard": "unmap", "file": file,
    }))
}

/// What stands above the image and slows it down when it shall. Always there, so that limits can come later.
pub(super) fn top_node(disk: &DiskSpec) -> Value {
    let names = DiskNames::of(disk.volume);
    json!({
        "node-name": names.top, "driver": "throttle", "throttle-group": names.limits, "file": names.image,
    })
}

/// The limits as QEMU wants them; 0 is none, and what is left out stays as it is.
pub(super) fn throttle(limits: IoLimits) -> Value {
    json!({ "iops-total": limits.iops.unwrap_or(0), "bps-total": limits.bytes.unwrap_or(0) })
}

/// A medium that lies in the drive.
pub(super) fn medium(medium: MediumId, layout: &Layout) -> Result<Value, DriverError> {
    let file = json!({ "driver": "file", "filename": text(&layout.medium(medium))?, "locking": "on" });
    Ok(json!({
        "node-name": medium_node(medium), "driver": "raw", "read-only": true, "file": file,
    }))
}

fn disks(line: &mut Line, spec: &MachineSpec, layout: &Layout, seed_slot: usize) -> Result<(), DriverError> {
    line.option("-device", format!("virtio-scsi-pci,id={SCSI},addr={SCSI_SLOT:02x}.0"));
    // The first free ones, as QEMU chooses for a disk that comes later; one of them may be the drive's.
    let first = usize::from(matches!(spec.boot, Boot::Kernel { .. }));
    let (mut slots, mut targets) = (FIRST_DISK_SLOT..seed_slot, first..=MAX_SCSI_DISKS);
    for (index, disk) in spec.disks.iter().enumerate() {
        let names = DiskNames::of(disk.volume);
        let group =
            json!({ "qom-type": "throttle-group", "id": names.limits, "limits": throttle(disk.limits) });
        line.option("-object", group.to_string());
        line.option("-blockdev", image_node(disk, layout)?.to_string());
        line.option("-blockdev", top_node(disk).to_string());
        let crowded = || DriverError::refused("a machine cannot have that many disks");
        let device = match disk.bus {
            DiskBus::Virtio => {
                let slot = slots.next().ok_or_else(crowded)?;
                format!("virtio-blk-pci,addr={slot:02x}.0")
            }
            DiskBus::Scsi => {
                let target = targets.next().ok_or_else(crowded)?;
                format!("scsi-hd,bus={SCSI}.0,scsi-id={target}")
            }
        };
        let boots = index == 0 && matches!(spec.boot, Boot::Firmware(_));
        let DiskNames { device: id, top, serial, .. } = names;
        let boot_index = if boots { ",bootindex=1" } else { "" };
        line.option("-device", format!("{device},id={id},drive={top},serial={serial}{boot_index}"));
    }
    if spec.seed.is_some() {
        let file = json!({ "driver": "file", "filename": SEED_IMAGE });
        let node = json!({ "node-name": "seed", "driver": "raw", "read-only": true, "file": file });
        line.option("-blockdev", node.to_string());
        line.option(
            "-device",
            format!("virtio-blk-pci,id=seed-dev,drive=seed,addr={seed_slot:02x}.0,serial=cidata"),
        );
    }
    Ok(())
}

/// The CD drive, with a medium or empty. Firmware boots from it when it finds nothing on the disk, and so every
/// system's installer must know the drive: it is the chipset's own. A kernel of ours knows the quicker one.
fn drive(line: &mut Line, spec: &MachineSpec, layout: &Layout) -> Result<(), DriverError> {
    let mut device = match spec.boot {
        Boot::Firmware(_) => format!("ide-cd,id={CD},bus=ide.1,unit=0,bootindex=2"),
        Boot::Kernel { .. } => format!("scsi-cd,id={CD},bus={SCSI}.0,scsi-id=0"),
    };
    if let Some(id) = spec.medium {
        line.option("-blockdev", medium(id, layout)?.to_string());
        device.push_str(&format!(",drive={}", medium_node(id)));
    }
    line.option("-device", device);
    Ok(())
}

fn network_card(
    line: &mut Line,
    index: usize,
    nic: &NicSpec,
    wire: Option<Wire>,
    memory: Memory,
) -> Result<(), DriverError> {
    if !is_mac(&nic.mac) {
        return Err(DriverError::refused(format!("{:?} is not a MAC address", nic.mac)));
    }
    let NicNames { device, netdev: id } = NicNames::of(&nic.mac);
    let netdev = match (&nic.link, wire) {
        (Link::User { outbound, forward }, Some(Wire::User(port))) => {
            Some(user(&id, *outbound, *forward, port))
        }
        (Link::Bridge { .. }, Some(Wire::Tap(descriptor))) => Some(format!("tap,id={id},fd={descriptor}")),
        (_, Some(Wire::Nothing)) => None,
        _ => return Err(DriverError::internal(format!("the card {} has no wire of its kind", nic.mac))),
    };
    let plugged = if netdev.is_some() { format!(",netdev={id}") } else { String::new() };
    netdev.into_iter().for_each(|netdev| line.option("-netdev", netdev));
    let offloads = if memory.travels() { NO_OFFLOADS } else { "" };
    line.option(
        "-device",
        // No boot ROM: nothing boots from this network, and loading it costs time.
        format!(
            "virtio-net-pci,id={device}{plugged},mac={},addr={:02x}.0,romfile={offloads}",
            nic.mac,
            NIC_SLOTS.start + index
        ),
    );
    Ok(())
}

fn user(id: &str, outbound: bool, guest: Option<u16>, host: Option<u16>) -> String {
    // Without restrict the guest reaches this host's loopback and whatever the host reaches.
    let restrict = if outbound { "off" } else { "on" };
    let mut netdev = format!("user,id={id},ipv6=off,restrict={restrict}");
    if let (Some(guest), Some(host)) = (guest, host) {
        netdev.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    }
    netdev
}

pub(super) fn is_mac(text: &str) -> bool {
    text.len() == 17
        && text.split(':').count() == 6
        && text
            .split(':')
            .all(|part| part.len() == 2 && part.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f')))
}

/// QEMU reads a doubled comma as one.
fn escaped(text: &str) -> String {
    text.replace(',', ",,")
}

fn text(path: &std::path::Path) -> Result<String, DriverError> {
    path.to_str()
        .map(ToOwned::to_owned)
        .ok_or_else(|| DriverError::refused("the data directory is not UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::ids::{MachineId, TemplateId, VolumeId};
    use hostler_core::ports::{DiskSpec, Seed};
    use hostler_core::templates::{Firmware, ImageFormat};
    use std::path::Path;
    use uuid::Uuid;

    const PLATFORM: Platform<'static> = Platform {
        machine_type: "pc-i440fx-7.2",
        accelerator: "tcg",
        cpu: "max",
        host_cpus: 4,
        host_memory_mib: 1500,
    };

    fn spec() -> MachineSpec {
        MachineSpec {
            id: MachineId(Uuid::from_u128(1)),
            name: "web-1".into(),
            generation: 1,
            vcpus: 2,
            memory_mib: 256,
            template: TemplateId(Uuid::from_u128(2)),
            boot: Boot::Kernel {
                kernel: "vmlinux".into(),
                initrd: Some("initrd".into()),
                command_line: "console=ttyS0 a=b,c".into(),
            },
            disks: vec![DiskSpec::new(VolumeId(Uuid::from_u128(3)), ImageFormat::Qcow2)],
            nics: vec![NicSpec {
                mac: "52:54:00:00:00:01".into(),
                link: Link::User { outbound: false, forward: Some(22) },
            }],
            seed: Some(Seed {
                user_data: "secret".into(),
                meta_data: "secret".into(),
                network_config: Some("secret".into()),
            }),
            medium: None,
            snapshot: None,
            golden: None,
        }
    }

    fn line(spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        command_line(
            spec,
            PLATFORM,
            &Layout::new(Path::new("/data,dir")),
            &[Wire::User(Some(40001))],
            Memory::Own,
        )
    }

    #[test]
    fn the_whole_line_is_as_written_down() {
        let got = line(&spec()).unwrap();
        let expected = [
            "-nodefaults",
            "-no-user-config",
            "-name guest=web-1",
            "-uuid 00000000-0000-0000-0000-000000000001",
            "-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny",
            "-machine pc-i440fx-7.2,memory-backend=ram",
            "-accel tcg,tb-size=256",
            "-cpu max",
            "-smp cpus=2,maxcpus=4",
            "-m size=256M",
            "-object memory-backend-ram,id=ram,size=256M",
            "-rtc base=utc",
            "-action shutdown=pause",
            "-S",
            "-chardev socket,id=qmp,path=qmp.sock,server=on,wait=off",
            "-mon chardev=qmp,mode=control",
            "-chardev socket,id=serial,path=serial.sock,server=on,wait=off,logfile=console.log,logappend=on",
            "-serial chardev:serial",
            "-device VGA,id=video,addr=02.0",
            "-vnc unix:vnc.sock",
            "-device virtio-serial-pci,id=channels,addr=03.0",
            "-chardev socket,id=agent,path=agent.sock,server=on,wait=off",
            "-device virtserialport,id=agent-port,bus=channels.0,nr=1,chardev=agent,name=org.hostler.0",
            "-chardev socket,id=qga,path=qga.sock,server=on,wait=off",
            "-device virtserialport,id=qga-port,bus=channels.0,nr=2,chardev=qga,name=org.qemu.guest_agent.0",
            "-object rng-random,id=entropy,filename=/dev/urandom",
            "-device virtio-rng-pci,id=rng,rng=entropy,addr=04.0",
            "-kernel /data,dir/images/00000000-0000-0000-0000-000000000002/vmlinux",
            "-initrd /data,,dir/images/00000000-0000-0000-0000-000000000002/initrd",
            "-append console=ttyS0 a=b,c",
            "-device virtio-scsi-pci,id=scsi,addr=05.0",
            concat!(
                r#"-object {"id":"l-0000000000000003","limits":{"bps-total":0,"iops-total":0},"#,
                r#""qom-type":"throttle-group"}"#,
            ),
            concat!(
                r#"-blockdev {"discard":"unmap","driver":"qcow2","file":{"auto-read-only":false,"driver":"file","#,
                r#""filename":"/data,dir/volumes/00000000-0000-0000-0000-000000000003.qcow2","locking":"on"},"#,
                r#""node-name":"d-0000000000000003","read-only":false}"#,
            ),
            concat!(
                r#"-blockdev {"driver":"throttle","file":"d-0000000000000003","node-name":"t-0000000000000003","#,
                r#""throttle-group":"l-0000000000000003"}"#,
            ),
            concat!(
                "-device virtio-blk-pci,addr=10.0,id=disk-0000000000000003,drive=t-0000000000000003,",
                "serial=0000000000000003",
            ),
            r#"-blockdev {"driver":"raw","file":{"driver":"file","filename":"seed.img"},"node-name":"seed","read-only":true}"#,
            "-device virtio-blk-pci,id=seed-dev,drive=seed,addr=1f.0,serial=cidata",
            "-device scsi-cd,id=cd,bus=scsi.0,scsi-id=0",
            "-netdev user,id=net-525400000001,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:40001-:22",
            concat!(
                "-device virtio-net-pci,id=nic-525400000001,netdev=net-525400000001,",
                "mac=52:54:00:00:00:01,addr=08.0,romfile=",
            ),
        ];
        let joined = got.join(" ");
        assert_eq!(joined, expected.join(" "));
        assert!(!joined.contains("secret"));
    }

    #[test]
    fn firmware_boots_the_first_disk_and_outbound_lifts_the_restriction() {
        let mut spec = spec();
        spec.boot = Boot::Firmware(Firmware::Bios);
        spec.nics[0].link = Link::User { outbound: true, forward: None };
        let joined = line(&spec).unwrap().join(" ");
        assert!(joined.contains("serial=0000000000000003,bootindex=1"));
        assert!(joined.contains("ide-cd,id=cd,bus=ide.1,unit=0,bootindex=2"));
        assert!(joined.contains("restrict=off -device"));
        assert!(!joined.contains("-kernel"));
    }

    #[test]
    fn further_disks_are_on_the_scsi_controller_with_their_limits_and_the_medium_is_in_the_drive() {
        let mut spec = spec();
        let limits = IoLimits { iops: Some(100), bytes: None };
        let volume = VolumeId(Uuid::from_u128(0xabcd << 64 | 9));
        spec.disks.push(DiskSpec { bus: DiskBus::Scsi, limits, ..DiskSpec::new(volume, ImageFormat::Qcow2) });
        spec.medium = Some(MediumId(Uuid::from_u128(5)));
        let joined = line(&spec).unwrap().join(" ");
        assert!(joined.contains(r#""limits":{"bps-total":0,"iops-total":100}"#));
        assert!(
            joined.contains("scsi-hd,bus=scsi.0,scsi-id=1,id=disk-0000000000000009,drive=t-0000000000000009")
        );
        assert!(joined.contains("scsi-cd,id=cd,bus=scsi.0,scsi-id=0,drive=m-0000000000000005"));
        assert!(joined.contains("/data,dir/media/00000000-0000-0000-0000-000000000005.iso"));
    }

    #[test]
    fn memory_can_grow_where_the_guest_pays_little_for_it() {
        let said =
            |spec: &MachineSpec, host_memory_mib| memory(spec, Platform { host_memory_mib, ..PLATFORM });
        let mut spec = spec();
        assert_eq!(said(&spec, 4000), "size=256M");
        spec.memory_mib = 1024;
        assert_eq!(said(&spec, 4000), "size=1024M,slots=16,maxmem=3968M");
        assert_eq!(said(&spec, 1024), "size=1024M");
        spec.memory_mib = 128;
        let command_line = "a swiotlb=noforce b".into();
        spec.boot = Boot::Kernel { kernel: "vmlinux".into(), initrd: None, command_line };
        assert_eq!(said(&spec, 4000), "size=128M,slots=16,maxmem=1024M");
    }

    #[test]
    fn a_card_on_a_bridge_gets_its_tap_as_a_descriptor() {
        let mut spec = spec();
        let network = hostler_core::ids::NetworkId(Uuid::from_u128(4));
        spec.nics[0].link = Link::Bridge { network, bridge: "br0".into(), address: None };
        let layout = Layout::new(Path::new("/data"));
        let joined = command_line(&spec, PLATFORM, &layout, &[Wire::Tap(17)], Memory::Own).unwrap().join(" ");
        assert!(
            joined.contains(
                "-netdev tap,id=net-525400000001,fd=17 -device virtio-net-pci,id=nic-525400000001,"
            )
        );
        assert!(line(&spec).is_err(), "a bridge is never replaced by another kind of network");
    }

    #[test]
    fn nothing_in_a_specification_becomes_another_option() {
        let mut evil = spec();
        evil.name = "a,debug-threads=on".into();
        assert!(line(&evil).unwrap().contains(&"guest=a,,debug-threads=on".to_owned()));
        let mut evil = spec();
        evil.nics[0].mac = "52:54:00:00:00:01,x=y".into();
        assert!(line(&evil).is_err());
        let mut evil = spec();
        evil.boot = Boot::Kernel { kernel: "../../x".into(), initrd: None, command_line: String::new() };
        assert!(line(&evil).is_err());
    }

    #[test]
    fn what_has_no_slot_is_refused() {
        let mut many = spec();
        many.disks = vec![many.disks[0].clone(); 16];
        assert!(line(&many).is_err());
        let mut many = spec();
        many.nics = vec![many.nics[0].clone(); 9];
        assert!(line(&many).is_err());
    }
}
