//! Firmware that a machine starts with: SeaBIOS, which QEMU brings itself, or UEFI, which keeps variables.
//!
//! The variables are a machine's own (what it boots, which keys it trusts): a small image in the machine's directory,
//! made from the distribution's template at the first start, kept over restarts, gone when the machine goes. It is
//! qcow2, so that a snapshot with memory can hold it too.
//!
//! Secure Boot needs a chipset that keeps the guest's system from writing the variables behind the firmware's back;
//! only `q35` has that. All others stay on `pc`, whose slots take devices while the machine runs; on `q35` they do not.

use crate::directory::Directory;
use crate::durable::io_failed;
use crate::spawn::{Confinement, Limits, Reach, User, confined, resolve_binary};
use hostler_core::ports::{Boot, DriverError};
use hostler_core::templates::Firmware;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Seek};
use std::os::fd::AsRawFd;
use std::path::Path;

/// The Debian package that brings the files below.
const PACKAGE: &str = "ovmf";
const FOLDER: &str = "/usr/share/OVMF";
const CODE: &str = "OVMF_CODE_4M.fd";
const VARIABLES: &str = "OVMF_VARS_4M.fd";
/// With the part that runs in system management mode.
const SECURE_CODE: &str = "OVMF_CODE_4M.secboot.fd";
/// With Microsoft's keys, by which the boot loaders of all large distributions are signed.
const SECURE_VARIABLES: &str = "OVMF_VARS_4M.ms.fd";

/// A machine's variables, in its directory.
const OWN: &str = "firmware.qcow2";
/// Bytes; the distribution's have half a MiB.
const LARGEST_VARIABLES: u64 = 64 << 20;
const CODE_NODE: &str = "firmware-code";
const VARIABLES_NODE: &str = "firmware-variables";

/// What UEFI machines lack on this host, and what to do about it; none when nothing is missing.
pub fn missing() -> Option<String> {
    let all = [CODE, VARIABLES, SECURE_CODE, SECURE_VARIABLES];
    let lacking = all.into_iter().find(|name| !Path::new(FOLDER).join(name).is_file())?;
    Some(format!("there is no UEFI firmware {FOLDER}/{lacking}: install the Debian package {PACKAGE}"))
}

/// Whether with Secure Boot; none when it is not UEFI.
fn uefi(boot: &Boot) -> Option<bool> {
    match boot {
        Boot::Firmware(Firmware::UefiSecure) => Some(true),
        Boot::Firmware(Firmware::Uefi) => Some(false),
        Boot::Firmware(Firmware::Bios) | Boot::Kernel { .. } => None,
    }
}

/// The machine type with what the firmware needs of it. `versioned` is the newest `pc`.
pub(super) fn machine_type(versioned: &str, boot: &Boot) -> String {
    match uefi(boot) {
        None => versioned.to_owned(),
        Some(secure) => {
            let chipset =
                if secure { versioned.replace("i440fx", "q35") + ",smm=on" } else { versioned.to_owned() };
            format!("{chipset},pflash0={CODE_NODE},pflash1={VARIABLES_NODE}")
        }
    }
}

/// The last slot that is free on this machine type: the last one of `q35` is its chipset's.
pub(super) fn last_slot(machine_type: &str) -> usize {
    if machine_type.contains("q35") { 0x1e } else { 0x1f }
}

/// Arguments for it, as pairs.
pub(super) fn options(firmware: Firmware) -> Vec<(&'static str, String)> {
    let mut options = vec![("-boot", "menu=off,strict=on".to_owned())];
    if let Some(secure_boot) = uefi(&Boot::Firmware(firmware)) {
        let code = format!("{FOLDER}/{}", if secure_boot { SECURE_CODE } else { CODE });
        let code = json!({ "node-name": CODE_NODE, "driver": "raw", "read-only": true,
                           "file": { "driver": "file", "filename": code } });
        let variables = json!({ "node-name": VARIABLES_NODE, "driver": "qcow2", "read-only": false,
                                "file": { "driver": "file", "filename": OWN, "locking": "on" } });
        options.extend([("-blockdev", code.to_string()), ("-blockdev", variables.to_string())]);
        if secure_boot {
            options.push(("-global", "driver=cfi.pflash01,property=secure,value=on".to_owned()));
            // Waking from memory would run code that nobody has checked.
            options.push(("-global", "driver=ICH9-LPC,property=disable_s3,value=1".to_owned()));
        }
    }
    options
}

/// Makes the machine's variables at its first start. They are given to its user at every start: a crash may have come
/// between the two.
pub(super) fn prepare(home: &Directory, user: Option<&User>, boot: &Boot) -> Result<(), DriverError> {
    let Some(secure) = uefi(boot) else { return Ok(()) };
    if let Some(why) = missing() {
        return Err(DriverError::unsupported(why));
    }
    let failed = |error: &std::io::Error| io_failed("cannot make the firmware's variables", error);
    match home.metadata(OWN) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let template = Path::new(FOLDER).join(if secure { SECURE_VARIABLES } else { VARIABLES });
            let image = variables(&resolve_binary(Path::new("qemu-img")), &template, user)?;
            home.write(OWN, ".firmware.qcow2", &image).map_err(|error| failed(&error))?;
        }
        Err(error) => return Err(failed(&error)),
    }
    user.map_or(Ok(()), |user| home.give(OWN, Some(user.uid), Some(user.gid))).map_err(|error| failed(&error))
}

/// A template of variables as qcow2. Made as the machine's user in a file without a name: nobody can put anything in
/// its way, and the user need not be let in where it lies.
fn variables(qemu_img: &Path, template: &Path, user: Option<&User>) -> Result<Vec<u8>, DriverError> {
    let failed = |error: std::io::Error| io_failed("cannot make the firmware's variables", &error);
    let mut making = tempfile::tempfile().map_err(failed)?;
    if let Some(user) = user {
        std::os::unix::fs::fchown(&making, Some(user.uid), Some(user.gid)).map_err(failed)?;
    }
    let output = confined(qemu_img, confinement(&making, template, user))
        .and_then(|mut convert| {
            convert.args(["convert", "-f", "raw", "-O", "qcow2"]).arg(template).arg("/proc/self/fd/0");
            convert.current_dir("/").stdin(making.try_clone()?).output()
        })
        .map_err(failed)?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        return Err(DriverError::refused(format!("cannot make the firmware's variables: {}", words.trim())));
    }
    let mut image = Vec::new();
    making.rewind().and_then(|()| making.read_to_end(&mut image)).map_err(failed)?;
    Ok(image)
}

fn confinement(making: &File, template: &Path, user: Option<&User>) -> Confinement {
    let making = format!("/proc/self/fd/{}", making.as_raw_fd()).into();
    let limits = Limits {
        file_bytes: Some(LARGEST_VARIABLES),
        memory_bytes: Some(4 << 30),
        cpu_s: Some(60),
        files: None,
    };
    let reach = Some(Reach { readable: vec![template.to_owned()], writable: vec![making] });
    Confinement { user: user.cloned(), reach, limits, ..Confinement::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECURE: Boot = Boot::Firmware(Firmware::UefiSecure);
    const PLAIN: Boot = Boot::Firmware(Firmware::Uefi);

    #[test]
    fn only_secure_boot_changes_the_chipset() {
        let of = |boot: &Boot| machine_type("pc-i440fx-7.2", boot);
        assert_eq!(of(&Boot::Firmware(Firmware::Bios)), "pc-i440fx-7.2");
        assert!(of(&PLAIN).starts_with("pc-i440fx-7.2,pflash0="), "{}", of(&PLAIN));
        assert!(of(&SECURE).starts_with("pc-q35-7.2,smm=on,pflash0="), "{}", of(&SECURE));
        assert_eq!((last_slot(&of(&PLAIN)), last_slot(&of(&SECURE))), (0x1f, 0x1e));
    }

    #[test]
    fn a_machine_keeps_its_variables() {
        if let Some(why) = missing() {
            eprintln!("SKIPPED: {why}");
            assert!(std::env::var_os("CI").is_none(), "in CI it must be there: {why}");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let home = Directory::open(folder.path()).unwrap();
        let own = folder.path().join(OWN);
        prepare(&home, None, &Boot::Firmware(Firmware::Bios)).unwrap();
        assert!(!own.exists(), "SeaBIOS has none");
        prepare(&home, None, &SECURE).unwrap();
        assert!(std::fs::read(&own).unwrap().starts_with(b"QFI\xfb"));
        std::fs::write(&own, "written by the guest").unwrap();
        prepare(&home, None, &SECURE).unwrap();
        assert_eq!(std::fs::read(&own).unwrap(), b"written by the guest");
    }

    /// A program in place of `qemu-img` that tells who it is and reads what it should not.
    #[test]
    fn the_tool_is_the_machines_user_and_reaches_the_template_only() {
        if !rustix::process::geteuid().is_root() || crate::spawn::landlock_problem().is_some() {
            eprintln!("SKIPPED: only root can give a child another user, and only Landlock fences it in");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let open = || std::os::unix::fs::PermissionsExt::from_mode(0o755);
        let (tool, template) = (folder.path().join("bin/tool"), folder.path().join("template"));
        std::fs::create_dir(folder.path().join("bin")).unwrap();
        let script =
            "#!/bin/sh\n{ id -u; cat \"$6\"; cat /etc/hostname || echo fenced; } 2>/dev/null > \"$7\"\n";
        std::fs::write(&tool, script).unwrap();
        std::fs::write(&template, "variables\n").unwrap();
        for path in [folder.path(), &folder.path().join("bin"), &tool] {
            std::fs::set_permissions(path, open()).unwrap();
        }
        let user = User { uid: 1_900_000_001, gid: 1_900_000_000, groups: Vec::new() };
        let told = variables(&tool, &template, Some(&user)).unwrap();
        assert_eq!(String::from_utf8_lossy(&told), "1900000001\nvariables\nfenced\n");
        if missing().is_none() {
            let template = Path::new(FOLDER).join(VARIABLES);
            let made = variables(&resolve_binary(Path::new("qemu-img")), &template, Some(&user)).unwrap();
            assert!(made.starts_with(b"QFI\xfb"));
        }
    }
}
