//! From a machine's specification to QEMU's arguments: a pure function, so that what runs can be read and compared.
//!
//! Every device has an explicit id and slot and the machine type a version, because a saved machine can only be loaded
//! into exactly the same one. Socket and log names are relative: the process runs in the machine's directory, so no
//! path is too long for a unix socket. Paths that come from elsewhere go in as JSON, where a comma means nothing.
//! Nothing secret goes in at all: arguments can be read by everybody on the host.

use crate::layout::{Layout, plain_file_name};
use hostler_core::ports::{Boot, DriverError, Link, MachineSpec, NicSpec};
use hostler_core::templates::Firmware;
use serde_json::json;

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
const FIRST_NIC_SLOT: usize = 0x08;
const FIRST_DISK_SLOT: usize = 0x10;
const SEED_SLOT: usize = 0x1f;

/// What is the same for all machines of this host.
#[derive(Clone, Copy, Debug)]
pub(super) struct Platform<'a> {
    /// Machine type with its version, e.g. `pc-i440fx-7.2`.
    pub(super) machine_type: &'a str,
    /// `kvm` or `tcg`.
    pub(super) accelerator: &'a str,
    /// CPU model.
    pub(super) cpu: &'a str,
}

/// The arguments, without the program's name. `forwards` has a loopback port for each card that forwards one.
pub(super) fn command_line(
    spec: &MachineSpec,
    platform: Platform<'_>,
    layout: &Layout,
    forwards: &[Option<u16>],
) -> Result<Vec<String>, DriverError> {
    let mut line = Line::default();
    foundation(&mut line, spec, platform)?;
    channels(&mut line);
    boot(&mut line, spec, layout)?;
    disks(&mut line, spec, layout)?;
    if spec.nics.len() > FIRST_DISK_SLOT - FIRST_NIC_SLOT {
        return Err(DriverError::refused("a machine can have 8 network cards at most"));
    }
    for (index, nic) in spec.nics.iter().enumerate() {
        network_card(&mut line, index, nic, forwards.get(index).copied().flatten())?;
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

fn foundation(line: &mut Line, spec: &MachineSpec, platform: Platform<'_>) -> Result<(), DriverError> {
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
    line.option("-smp", format!("cpus={}", spec.vcpus));
    line.option("-m", format!("{}M", spec.memory_mib));
    line.option("-object", format!("memory-backend-ram,id=ram,size={}M", spec.memory_mib));
    line.option("-rtc", "base=utc");
    // A guest that turns itself off leaves its process behind with status `shutdown`, so that nobody who looks later
    // takes it for a crash.
    line.option("-action", "shutdown=pause");
    line.flag("-S");
    Ok(())
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
        Boot::Firmware(Firmware::Bios) => line.option("-boot", "menu=off,strict=on"),
    }
    Ok(())
}

/// Format and locking are always said, never left to probing: a guest can write any header onto its own disk.
fn disks(line: &mut Line, spec: &MachineSpec, layout: &Layout) -> Result<(), DriverError> {
    if spec.disks.len() > SEED_SLOT - FIRST_DISK_SLOT {
        return Err(DriverError::refused("a machine can have 15 disks at most"));
    }
    for (index, disk) in spec.disks.iter().enumerate() {
        let file = json!({
            "driver": "file", "filename": text(&layout.volume(disk.volume, disk.format))?,
            "locking": "on", "auto-read-only": false,
        });
        let node = json!({
            "node-name": format!("disk{index}"), "driver": disk.format.word(), "read-only": false,
            "discard": "unmap", "file": file,
        });
        line.option("-blockdev", node.to_string());
        let boot_index =
            if index == 0 && matches!(spec.boot, Boot::Firmware(_)) { ",bootindex=1" } else { "" };
        line.option(
            "-device",
            format!(
                "virtio-blk-pci,id=disk{index}-dev,drive=disk{index},addr={:02x}.0,serial=disk{index}{boot_index}",
                FIRST_DISK_SLOT + index,
            ),
        );
    }
    if spec.seed.is_some() {
        let file = json!({ "driver": "file", "filename": SEED_IMAGE });
        let node = json!({ "node-name": "seed", "driver": "raw", "read-only": true, "file": file });
        line.option("-blockdev", node.to_string());
        line.option(
            "-device",
            format!("virtio-blk-pci,id=seed-dev,drive=seed,addr={SEED_SLOT:02x}.0,serial=cidata"),
        );
    }
    Ok(())
}

fn network_card(
    line: &mut Line,
    index: usize,
    nic: &NicSpec,
    forward: Option<u16>,
) -> Result<(), DriverError> {
    if !is_mac(&nic.mac) {
        return Err(DriverError::refused(format!("{:?} is not a MAC address", nic.mac)));
    }
    let Link::User { outbound, forward: guest } = &nic.link else {
        return Err(DriverError::unsupported("bridges cannot be used yet"));
    };
    // Without restrict the guest reaches this host's loopback and whatever the host reaches.
    let restrict = if *outbound { "off" } else { "on" };
    let mut netdev = format!("user,id=net{index},ipv6=off,restrict={restrict}");
    if let (Some(guest), Some(host)) = (guest, forward) {
        netdev.push_str(&format!(",hostfwd=tcp:127.0.0.1:{host}-:{guest}"));
    }
    line.option("-netdev", netdev);
    line.option(
        "-device",
        // No boot ROM: nothing boots from this network, and loading it costs time.
        format!(
            "virtio-net-pci,id=nic{index},netdev=net{index},mac={},addr={:02x}.0,romfile=",
            nic.mac,
            FIRST_NIC_SLOT + index
        ),
    );
    Ok(())
}

fn is_mac(text: &str) -> bool {
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
    use hostler_core::templates::ImageFormat;
    use std::path::Path;
    use uuid::Uuid;

    const PLATFORM: Platform<'static> =
        Platform { machine_type: "pc-i440fx-7.2", accelerator: "tcg", cpu: "max" };

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
        }
    }

    fn line(spec: &MachineSpec) -> Result<Vec<String>, DriverError> {
        command_line(spec, PLATFORM, &Layout::new(Path::new("/data,dir")), &[Some(40001)])
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
            "-smp cpus=2",
            "-m 256M",
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
            concat!(
                r#"-blockdev {"discard":"unmap","driver":"qcow2","file":{"auto-read-only":false,"driver":"file","#,
                r#""filename":"/data,dir/volumes/00000000-0000-0000-0000-000000000003.qcow2","locking":"on"},"#,
                r#""node-name":"disk0","read-only":false}"#,
            ),
            "-device virtio-blk-pci,id=disk0-dev,drive=disk0,addr=10.0,serial=disk0",
            r#"-blockdev {"driver":"raw","file":{"driver":"file","filename":"seed.img"},"node-name":"seed","read-only":true}"#,
            "-device virtio-blk-pci,id=seed-dev,drive=seed,addr=1f.0,serial=cidata",
            "-netdev user,id=net0,ipv6=off,restrict=on,hostfwd=tcp:127.0.0.1:40001-:22",
            "-device virtio-net-pci,id=nic0,netdev=net0,mac=52:54:00:00:00:01,addr=08.0,romfile=",
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
        assert!(joined.contains("serial=disk0,bootindex=1"));
        assert!(joined.contains("restrict=off -device"));
        assert!(!joined.contains("-kernel"));
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
