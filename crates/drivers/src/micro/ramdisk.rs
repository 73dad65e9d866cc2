//! Puts micro's files together: programs, their libraries, modules, and a handful of files in `/etc`.

use super::cpio::Archive;
use super::modules::Module;
use super::packages::Parts;
use super::{elf, first_existing, read};
use hostler_core::ports::DriverError;

const AGENT: &str = "usr/sbin/hostler-agent";
/// Where libraries lie in Debian's trees, old and new.
const LIBRARIES: [&str; 4] = ["lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu", "lib64", "usr/lib64"];
/// Where they go, which the loader searches by itself.
const LIBRARY_HOME: &str = "lib/x86_64-linux-gnu";

/// Small files of `/etc`. The administrator has no password and cannot get one: only keys open the machine.
const SETTINGS: [(&str, u32, &str); 9] = [
    ("etc/passwd", 0o644, "root:x:0:0:root:/root:/bin/sh\n"),
    ("etc/shadow", 0o600, "root:*:19000:0:99999:7:::\n"),
    ("etc/group", 0o644, "root:x:0:\ntty:x:5:\n"),
    ("etc/shells", 0o644, "/bin/sh\n/bin/ash\n"),
    ("etc/hostname", 0o644, "micro\n"),
    ("etc/hosts", 0o644, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"),
    ("etc/nsswitch.conf", 0o644, "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\n"),
    ("etc/profile", 0o644, "export PATH=/usr/sbin:/usr/bin:/sbin:/bin\nexport PS1='\\u@\\h:\\w\\$ '\n"),
    ("etc/motd", 0o644, "This is micro: all but /data is in memory and gone when the machine stops.\n"),
];

/// The initial RAM file system. `applets` are the paths at which busybox answers, one a line.
pub(super) fn assemble(
    parts: &Parts,
    agent: &[u8],
    modules: &[Module],
    applets: &str,
) -> Result<Vec<u8>, DriverError> {
    let mut archive = Archive::default();
    for directory in ["proc", "sys", "dev", "run", "tmp", "data", "etc/dropbear", "var/log", "var/tmp"] {
        archive.directory(directory, 0o755);
    }
    archive.directory("root", 0o700);
    archive.link("var/run", "/run");
    // The kernel gives it to the first process, before that can mount anything.
    archive.device("dev/console", 0o600, 5, 1);
    for (path, mode, text) in SETTINGS {
        archive.file(path, mode, text);
    }
    archive.file("etc/os-release", 0o644, os_release(&parts.release));
    archive.file(AGENT, 0o755, agent);
    archive.link("init", &format!("/{AGENT}"));
    add_program(&mut archive, parts, "usr/sbin/dropbear", &read(&parts.dropbear)?)?;
    add_program(&mut archive, parts, "bin/busybox", &read(&parts.busybox)?)?;
    for path in applets.lines().map(|line| line.trim().trim_start_matches('/')) {
        // Our own first process is not busybox's; it obeys busybox's poweroff and reboot all the same.
        let other_init = path.is_empty() || path.ends_with("/init") || path == "linuxrc";
        if !other_init && !archive.holds(path) {
            archive.link(path, "/bin/busybox");
        }
    }
    let mut order = String::new();
    for module in modules {
        archive.file(&format!("lib/modules/{}.ko", module.name), 0o644, module.bytes.as_slice());
        order.push_str(&format!("{}.ko\n", module.name));
    }
    archive.file("etc/modules.hostler", 0o644, order);
    Ok(archive.bytes())
}

fn os_release(kernel: &str) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!(
        "ID=hostler-micro\nNAME=\"hostler micro\"\nVERSION_ID={version}\nPRETTY_NAME=\"hostler micro {version}, Debian kernel {kernel}\"\n"
    )
}

/// Adds a program with its loader and all libraries that it needs, and that those need.
fn add_program(archive: &mut Archive, parts: &Parts, path: &str, bytes: &[u8]) -> Result<(), DriverError> {
    archive.file(path, 0o755, bytes);
    let no_program = || DriverError::refused(format!("{path} is no program for this processor"));
    let needs = elf::needs(bytes).ok_or_else(no_program)?;
    let mut waiting = needs.libraries;
    if let Some(loader) = needs.loader {
        let name = loader.rsplit('/').next().unwrap_or_default();
        archive.file(&loader, 0o755, library(parts, name)?);
    }
    while let Some(name) = waiting.pop() {
        let home = format!("{LIBRARY_HOME}/{name}");
        // The loader is named as a library too, but it is where programs look for it.
        if archive.holds(&home) || name.starts_with("ld-linux") {
            continue;
        }
        let bytes = library(parts, &name)?;
        waiting.extend(elf::needs(&bytes).ok_or_else(no_program)?.libraries);
        archive.file(&home, 0o644, bytes);
    }
    Ok(())
}

fn library(parts: &Parts, name: &str) -> Result<Vec<u8>, DriverError> {
    let places = LIBRARIES.map(|directory| format!("{directory}/{name}"));
    let found = first_existing(&parts.root, &places.each_ref().map(String::as_str));
    read(&found.ok_or_else(|| DriverError::refused(format!("the library {name} is not found")))?)
}
