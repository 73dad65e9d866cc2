//! Disk images for tests, and a look at processes.

use anyhow::{Context, Result, ensure};
use std::path::Path;
use tokio::process::Command;

/// What [`bootable`] says on its serial console.
pub const GREETING: &str = "booted from an imported disk";

/// A qcow2 disk whose boot sector writes [`GREETING`] to the serial port and halts: the smallest disk that boots by
/// real firmware.
pub async fn bootable(folder: &Path, image: &Path) -> Result<()> {
    let mut disk = vec![0_u8; 1 << 20];
    // cli; xor ax,ax; mov ds,ax; mov si,message; next: lodsb; test al,al; jz stop; mov dx,0x3f8; out dx,al;
    // jmp next; stop: hlt; jmp stop
    let code = [
        0xfa, 0x31, 0xc0, 0x8e, 0xd8, 0xbe, 0x40, 0x7c, 0xac, 0x84, 0xc0, 0x74, 0x06, 0xba, 0xf8, 0x03, 0xee,
        0xeb, 0xf5, 0xf4, 0xeb, 0xfd,
    ];
    disk[..code.len()].copy_from_slice(&code);
    disk[0x40..0x40 + GREETING.len()].copy_from_slice(GREETING.as_bytes());
    disk[0x40 + GREETING.len()] = b'\n';
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    let raw = folder.join("boots.raw");
    tokio::fs::write(&raw, disk).await?;
    qemu_img(&["convert", "-f", "raw", "-O", "qcow2", text(&raw)?, text(image)?]).await
}

pub fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

pub async fn qemu_img(arguments: &[&str]) -> Result<()> {
    let output = Command::new("qemu-img").args(arguments).output().await?;
    ensure!(output.status.success(), "qemu-img {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

/// How many processes have this directory's machines: their working directory lies in it.
pub fn processes(data: &Path) -> Result<usize> {
    let machines = data.canonicalize()?.join("machines");
    let mut count = 0;
    for entry in std::fs::read_dir("/proc")? {
        let Ok(folder) = std::fs::read_link(entry?.path().join("cwd")) else { continue };
        count += usize::from(folder.starts_with(&machines));
    }
    Ok(count)
}
