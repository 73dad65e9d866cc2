//! What the tests against a real QEMU share. Without QEMU they say so and pass.

use super::{QemuConfig, QemuHypervisor};
use crate::spawn::resolve_binary;
use hostler_core::ids::{HostId, MachineId, TemplateId};
use hostler_core::ports::{Boot, Hypervisor, MachineSpec};
use hostler_core::templates::Firmware;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use uuid::Uuid;

/// QEMU, or nothing with a loud word about it.
pub(crate) fn binary() -> Option<PathBuf> {
    let binary = resolve_binary(Path::new("qemu-system-x86_64"));
    if !binary.is_absolute() {
        eprintln!("SKIPPED: qemu-system-x86_64 is not installed");
        return None;
    }
    Some(binary)
}

/// A data directory and the machines started in it, which end with it even when a test fails.
#[derive(Debug)]
pub(crate) struct World {
    pub(crate) directory: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Option<Self> {
        binary()?;
        Some(Self { directory: tempfile::tempdir().unwrap() })
    }

    /// A server. There may be one after the other on the same directory.
    pub(crate) fn hypervisor(&self) -> QemuHypervisor {
        let accelerator = Some(("tcg".to_owned(), "qemu64".to_owned()));
        let host = HostId(Uuid::nil());
        QemuHypervisor::new(QemuConfig { accelerator, ..QemuConfig::new(host, self.directory.path()) })
    }

    pub(crate) fn machines(&self) -> PathBuf {
        self.directory.path().join("machines")
    }

    /// Pids of all processes that run in this world.
    pub(crate) fn processes(&self) -> Vec<u32> {
        super::process::scan(&self.machines()).into_iter().map(|(_, pid)| pid).collect()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for pid in self.processes() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
    }
}

/// A machine without disks: SeaBIOS finds nothing to boot and waits.
pub(crate) fn empty_machine(generation: u64) -> MachineSpec {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    let number = u128::from(NEXT.fetch_add(1, Ordering::Relaxed));
    MachineSpec {
        id: MachineId(Uuid::from_u128((u128::from(std::process::id()) << 64) + number)),
        name: format!("test-{number}"),
        generation,
        vcpus: 1,
        memory_mib: 32,
        template: TemplateId(Uuid::nil()),
        boot: Boot::Firmware(Firmware::Bios),
        disks: Vec::new(),
        nics: Vec::new(),
        seed: None,
        medium: None,
        snapshot: None,
        golden: None,
    }
}

/// Turns a machine off and removes it, and looks whether anything is left.
pub(crate) async fn end(hypervisor: &QemuHypervisor, world: &World, id: MachineId) {
    hypervisor.power_off(id).await.unwrap();
    hypervisor.remove(id).await.unwrap();
    assert!(!world.machines().join(id.to_string()).exists());
}
