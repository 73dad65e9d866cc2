//! The initial RAM file system: the agent as first process, and the modules that reach the disk and the host.

use crate::micro::cpio::Archive;
use crate::micro::modules::Module;

/// The disk first; then the agent's channel and the card, so that the agent finds both however early it is asked.
pub(super) const WANTED: [&str; 5] =
    ["virtio_pci", "virtio_blk", "virtio_console", "virtio_rng", "virtio_net"];

pub(super) fn assemble(agent: &[u8], modules: &[Module]) -> Vec<u8> {
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "dev", "root"] {
        archive.directory(directory, 0o755);
    }
    archive.device("dev/console", 0o600, 5, 1);
    archive.file("usr/sbin/hostler-agent", 0o755, agent);
    archive.link("init", "/usr/sbin/hostler-agent");
    archive.file("etc/root.hostler", 0o644, "vda\n");
    let mut order = String::new();
    for module in modules {
        archive.file(&format!("lib/modules/{}.ko", module.name), 0o644, module.bytes.as_slice());
        order.push_str(&format!("{}.ko\n", module.name));
    }
    archive.file("etc/modules.hostler", 0o644, order);
    archive.bytes()
}
