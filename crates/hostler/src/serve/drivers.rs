//! Where drivers come from: the seam at which `hostler-sim` puts simulated ones.

use crate::config::{Config, Qemu};
use crate::failure::Failure;
use hostler_core::core::LocalHost;
use hostler_core::doctor::Finding;
use hostler_core::hosts::Installation;
use hostler_drivers::local::{LocalStorage, LocalStorageConfig};
use hostler_drivers::network::LinuxSwitch;
use hostler_drivers::qemu::{QemuConfig, QemuHypervisor};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Makes what the server acts with.
pub trait DriverFactory {
    /// What the program is called.
    fn program(&self) -> &'static str;

    /// Whether the drivers' part of the configuration makes sense; nothing is touched.
    ///
    /// # Errors
    /// What is wrong with it.
    fn check(&self, config: &Config) -> Result<(), Failure>;

    /// What can be said of this host without a server.
    fn examine(&self, config: &Config) -> Vec<Finding>;

    /// The drivers of this host.
    ///
    /// # Errors
    /// When they cannot be made from this configuration on this host.
    fn make(
        &self,
        config: &Config,
        installation: Installation,
        data_dir: &Path,
    ) -> Result<LocalHost, Failure>;
}

/// Runs machines with QEMU, and keeps their volumes in the data directory.
#[derive(Clone, Copy, Debug)]
pub struct RealDrivers;

impl DriverFactory for RealDrivers {
    fn program(&self) -> &'static str {
        "hostler"
    }

    fn check(&self, config: &Config) -> Result<(), Failure> {
        let range = config.isolation.range().map_err(|why| Failure::new(format!("isolation.uids {why}")))?;
        let Some(range) = range else { return Ok(()) };
        for book in ["/etc/passwd", "/etc/group"] {
            let lines = std::fs::read_to_string(book).unwrap_or_default();
            if let Some(name) = range.taken_by(&lines) {
                return Err(Failure::new(format!(
                    "isolation.uids has a number that belongs to {name} in {book}"
                ))
                .hint("name a range that nobody has; machines must not share a user with anybody"));
            }
        }
        Ok(())
    }

    fn examine(&self, config: &Config) -> Vec<Finding> {
        let programs = [
            ("hypervisor", &config.qemu.binary, "qemu-system-x86"),
            ("images", &config.qemu.qemu_img, "qemu-utils"),
        ];
        let found = programs.map(|(check, program, package)| match find_program(program) {
            Some(path) => Finding::ok(check, format!("{} is there", path.display())),
            None => Finding::problem(check, format!("there is no program {}", program.display()))
                .hint(format!("install {package}, or name it in [qemu] of the configuration")),
        });
        let mut found = Vec::from(found);
        found.push(match hostler_drivers::qemu::firmware::missing() {
            None => Finding::ok("firmware", "UEFI firmware is there"),
            Some(why) => {
                Finding::warning("firmware", "machines of templates with UEFI cannot start").because(why)
            }
        });
        found
    }

    fn make(
        &self,
        config: &Config,
        installation: Installation,
        data_dir: &Path,
    ) -> Result<LocalHost, Failure> {
        if !config.sim.is_empty() {
            tracing::warn!("[sim] of the configuration is for hostler-sim; these machines are real");
        }
        let Qemu { binary, qemu_img, agent, console_bytes, .. } = config.qemu.clone();
        let hypervisor = QemuHypervisor::new(QemuConfig {
            binary,
            accelerator: accelerator(&config.qemu.accelerator),
            console_bytes,
            uids: config.isolation.range().map_err(Failure::new)?,
            memory_overhead_mib: config.isolation.memory_overhead_mib,
            ..QemuConfig::new(installation.host, data_dir)
        });
        let storage = LocalStorage::new(LocalStorageConfig {
            id: installation.storage,
            data_dir: data_dir.to_owned(),
            qemu_img,
            fetch: config.images.rules(),
            agent: agent.or_else(agent_beside_us),
        });
        let switch = Arc::new(LinuxSwitch::new(installation.host, data_dir));
        Ok(LocalHost { hypervisor: Arc::new(hypervisor), storage: Arc::new(storage), switch })
    }
}

/// An accelerator that the configuration insists on, with the CPU model it goes best with.
fn accelerator(text: &str) -> Option<(String, String)> {
    let (name, cpu) = match text.split_once(':') {
        Some((name, cpu)) => (name, cpu),
        None if text == "kvm" => (text, "host"),
        None => (text, "max"),
    };
    (name != "auto").then(|| (name.to_owned(), cpu.to_owned()))
}

/// The guest agent where `scripts/build-agent` leaves it, or as packages install it: in the directory of the program.
/// The first comes first, because cargo leaves an agent that is not static in the second.
fn agent_beside_us() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?;
    let folder = program.parent()?;
    let built = folder.parent().map(|target| target.join("agent/hostler-agent"));
    built.into_iter().chain([folder.join("hostler-agent")]).find(|path| path.is_file())
}

fn find_program(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 {
        return program.is_file().then(|| program.to_owned());
    }
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_accelerator_brings_its_cpu_model() {
        assert_eq!(accelerator("auto"), None);
        assert_eq!(accelerator("kvm"), Some(("kvm".into(), "host".into())));
        assert_eq!(accelerator("tcg"), Some(("tcg".into(), "max".into())));
        assert_eq!(accelerator("tcg:qemu64"), Some(("tcg".into(), "qemu64".into())));
    }

    #[test]
    fn a_missing_program_is_named_with_its_package() {
        let mut config = Config::default();
        config.qemu.binary = "/nonexistent/qemu".into();
        let findings = RealDrivers.examine(&config);
        assert_eq!(findings[0].text, "there is no program /nonexistent/qemu");
        assert!(findings[0].hint.as_ref().unwrap().starts_with("install qemu-system-x86"));
    }
}
