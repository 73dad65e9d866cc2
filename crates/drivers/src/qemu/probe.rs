//! Which way of running guest code works on this host, found out by running some.
//!
//! That `/dev/kvm` exists proves nothing: there are hosts where it opens, runs real mode and even long mode correctly,
//! and interprets kernels a hundred times slower than QEMU itself would. So every candidate runs the
//! [ROM](super::probe_rom) against a deadline. The outcome is kept in a file until QEMU, kernel or CPU change.

use super::probe_rom::probe_rom;
use crate::durable::{blocking, io_failed, write_durably};
use crate::spawn::{Confinement, confined};
use hostler_core::ports::{Accelerator, DriverError, DriverErrorKind};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;

const CACHE: &str = "qemu-probe.json";
/// `out 0xf4, 0x10` at `isa-debug-exit`.
const PASSED: i32 = 33;
/// One letter for each thing that worked.
const LETTERS: &str = "RPLIS";
/// Candidates, best first.
const CANDIDATES: [(&str, &str); 4] = [("kvm", "host"), ("kvm", "qemu64"), ("tcg", "max"), ("tcg", "qemu64")];

/// What is known of QEMU on this host.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Probed {
    /// What the outcome depends on.
    key: Key,
    /// The newest versioned machine type that `pc` stands for.
    pub(super) machine_type: String,
    /// The first candidate that passed.
    pub(super) accelerator: Option<Accelerator>,
    /// What became of all candidates that were tried, in words.
    pub(super) outcomes: Vec<String>,
}

impl Probed {
    pub(super) fn version(&self) -> &str {
        &self.key.version
    }

    pub(super) fn kernel(&self) -> &str {
        &self.key.kernel
    }
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Key {
    binary: PathBuf,
    version: String,
    kernel: String,
    cpu: String,
    forced: Option<(String, String)>,
}

/// The cached outcome if it still holds, else a new one. `forced` is used without being tried.
pub(super) async fn probe(
    binary: &Path,
    data_dir: &Path,
    forced: Option<&(String, String)>,
    refresh: bool,
) -> Result<Probed, DriverError> {
    let version = version_in(&output_of(binary, &["--version"]).await?)
        .ok_or_else(|| DriverError::new(DriverErrorKind::Protocol, "QEMU does not tell its version"))?;
    let uname = rustix::system::uname();
    let kernel = format!("{} {}", uname.release().to_string_lossy(), uname.machine().to_string_lossy());
    let key = Key { binary: binary.to_owned(), version, kernel, cpu: cpu_model(), forced: forced.cloned() };
    let cache = data_dir.join(CACHE);
    if !refresh && let Some(cached) = cached(&cache).await.filter(|cached| cached.key == key) {
        return Ok(cached);
    }
    let machine_type = machine_type_in(&output_of(binary, &["-machine", "help"]).await?)
        .ok_or_else(|| DriverError::unsupported("this QEMU has no machine type `pc`"))?;
    let (accelerator, outcomes) = match forced {
        Some((name, cpu)) => {
            let why = "set in the configuration, not tried".to_owned();
            (Some(Accelerator { name: name.clone(), cpu: cpu.clone(), why }), Vec::new())
        }
        None => try_candidates(binary, data_dir).await?,
    };
    let probed = Probed { key, machine_type, accelerator, outcomes };
    keep(cache, probed.clone()).await?;
    Ok(probed)
}

async fn cached(path: &Path) -> Option<Probed> {
    serde_json::from_slice(&tokio::fs::read(path).await.ok()?).ok()
}

async fn keep(path: PathBuf, probed: Probed) -> Result<(), DriverError> {
    blocking(move || {
        let bytes =
            serde_json::to_vec_pretty(&probed).map_err(|error| DriverError::internal(error.to_string()))?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        crate::durable::make_private_directory(directory)
            .map_err(|error| io_failed("cannot make the data directory", &error))?;
        let temporary = path.with_extension(format!("json.{}", std::process::id()));
        write_durably(&path, &temporary, &bytes)
            .map_err(|error| io_failed("cannot keep what the probe found", &error))
    })
    .await
}

async fn try_candidates(
    binary: &Path,
    data_dir: &Path,
) -> Result<(Option<Accelerator>, Vec<String>), DriverError> {
    let directory = data_dir.to_owned();
    let rom = blocking(move || {
        let failed = |error: &std::io::Error| io_failed("cannot write the probe's ROM", error);
        crate::durable::make_private_directory(&directory).map_err(|error| failed(&error))?;
        let mut file = tempfile::Builder::new()
            .suffix(".rom")
            .tempfile_in(&directory)
            .map_err(|error| failed(&error))?;
        std::io::Write::write_all(&mut file, &probe_rom()).map_err(|error| failed(&error))?;
        Ok(file)
    })
    .await?;
    let mut outcomes = Vec::new();
    for (name, cpu) in CANDIDATES {
        let outcome = if name == "kvm" && !Path::new("/dev/kvm").exists() {
            Err("there is no /dev/kvm".to_owned())
        } else {
            try_one(binary, name, cpu, rom.path()).await
        };
        match outcome {
            Ok(took) => {
                outcomes.push(format!("{name} with CPU {cpu} works ({} ms)", took.as_millis()));
                let accelerator =
                    Accelerator { name: name.into(), cpu: cpu.into(), why: outcomes.join("; ") };
                return Ok((Some(accelerator), outcomes));
            }
            Err(why) => outcomes.push(format!("{name} with CPU {cpu}: {why}")),
        }
    }
    Ok((None, outcomes))
}

/// A CPU that is emulated gets more time: it is slowed by whatever else the host does, and there is nothing slower.
fn deadline(accelerator: &str) -> Duration {
    if accelerator == "kvm" { Duration::from_millis(1500) } else { Duration::from_secs(10) }
}

/// Runs the ROM once. The error says what was seen instead of success.
async fn try_one(binary: &Path, accelerator: &str, cpu: &str, rom: &Path) -> Result<Duration, String> {
    let mut command = apart(binary).map_err(|error| format!("QEMU cannot be confined: {error}"))?;
    command
        .args(["-M", "q35", "-accel", accelerator, "-cpu", cpu, "-m", "16"])
        .args(["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=1", "-debugcon", "stdio"])
        .arg("-bios")
        .arg(rom)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let begun = Instant::now();
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("QEMU cannot be run: {error}"))?;
    let mut printed = Vec::new();
    let output = child.stdout.take();
    let running = async {
        if let Some(output) = output {
            let _ = output.take(64).read_to_end(&mut printed).await;
        }
        child.wait().await
    };
    let ended = tokio::time::timeout(deadline(accelerator), running).await;
    let took = begun.elapsed();
    if ended.is_err() {
        // Kills and reaps.
        let _ = child.kill().await;
    }
    let letters: String =
        String::from_utf8_lossy(&printed).chars().filter(char::is_ascii_alphabetic).collect();
    match ended {
        Ok(Ok(status)) if status.code() == Some(PASSED) && letters == LETTERS => Ok(took),
        Ok(Ok(status)) => Err(format!("ended with {status} after {}", reached(&letters))),
        Ok(Err(error)) => Err(format!("QEMU was lost: {error}")),
        Err(_) => Err(format!(
            "too slow or stuck, {} ms were not enough to get beyond {}",
            deadline(accelerator).as_millis(),
            reached(&letters)
        )),
    }
}

/// Where the ROM died, in words.
fn reached(letters: &str) -> &'static str {
    match letters.chars().last() {
        None => "the start of the process",
        Some('R') => "real mode",
        Some('P') => "protected mode",
        Some('L') => "long mode",
        Some('I') => "timer interrupts",
        Some('S') => "the loop",
        Some(_) => "something unknown",
    }
}

/// QEMU in a session of its own: a signal that ends us from a terminal is not for it.
fn apart(binary: &Path) -> std::io::Result<std::process::Command> {
    confined(binary, Confinement { session: true, ..Confinement::default() })
}

/// What a short run of the program prints, bounded in time and size.
async fn output_of(binary: &Path, arguments: &[&str]) -> Result<String, DriverError> {
    let mut command = apart(binary).map_err(|error| io_failed("cannot confine QEMU", &error))?;
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io_failed(format!("cannot run {}", binary.display()), &error))?;
    let mut printed = Vec::new();
    let output = child.stdout.take();
    let reading = async {
        if let Some(output) = output {
            let _ = output.take(256 << 10).read_to_end(&mut printed).await;
        }
        let _ = child.wait().await;
    };
    tokio::time::timeout(Duration::from_secs(10), reading)
        .await
        .map_err(|_| DriverError::timeout(format!("{} {} hangs", binary.display(), arguments.join(" "))))?;
    Ok(String::from_utf8_lossy(&printed).into_owned())
}

/// `QEMU emulator version 7.2.22 (Debian …)` says 7.2.22.
fn version_in(text: &str) -> Option<String> {
    let rest = text.split_once("version ")?.1;
    let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
    (!version.is_empty()).then_some(version)
}

/// The line that begins with `pc` ends in `(alias of pc-i440fx-7.2)`. Distributions have their own names there.
fn machine_type_in(help: &str) -> Option<String> {
    let line = help.lines().find(|line| line.split_whitespace().next() == Some("pc"))?;
    let name = line.split_once("(alias of ")?.1.split(')').next()?;
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!name.is_empty() && name.chars().all(plain)).then(|| name.to_owned())
}

fn cpu_model() -> String {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let line = text.lines().find(|line| line.starts_with("model name"));
    line.and_then(|line| line.split_once(':')).map(|(_, model)| model.trim().to_owned()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_and_machine_types_are_read_from_what_qemu_prints() {
        assert_eq!(version_in("QEMU emulator version 7.2.22 (Debian 1:7.2)\n").unwrap(), "7.2.22");
        assert_eq!(version_in("nonsense"), None);
        let help = "Supported machines are:\nmicrovm  microvm (i386)\n\
            pc                   Standard PC (i440FX + PIIX, 1996) (alias of pc-i440fx-7.2)\n\
            pc-i440fx-7.2        Standard PC (i440FX + PIIX, 1996) (default)\n";
        assert_eq!(machine_type_in(help).unwrap(), "pc-i440fx-7.2");
        assert_eq!(machine_type_in("pc  Standard (alias of pc,x=y)"), None);
    }

    #[tokio::test]
    async fn the_probe_finds_an_accelerator_that_works_and_remembers_it() {
        let Some(binary) = crate::qemu::test_world::binary() else { return };
        let directory = tempfile::tempdir().unwrap();
        let probed = probe(&binary, directory.path(), None, false).await.unwrap();
        let accelerator = probed.accelerator.clone().unwrap();
        assert!(accelerator.why.contains("works"), "{accelerator:?}");
        let mut doctored = probed.clone();
        doctored.outcomes = vec!["from the file".into()];
        keep(directory.path().join(CACHE), doctored.clone()).await.unwrap();
        assert_eq!(probe(&binary, directory.path(), None, false).await.unwrap(), doctored);
        assert!(directory.path().read_dir().unwrap().count() == 1, "the ROM is left behind");
    }

    #[tokio::test]
    async fn a_cpu_that_does_not_exist_is_an_outcome_in_words() {
        let Some(binary) = crate::qemu::test_world::binary() else { return };
        let directory = tempfile::tempdir().unwrap();
        let rom = directory.path().join("rom");
        std::fs::write(&rom, probe_rom()).unwrap();
        let why = try_one(&binary, "tcg", "no-such-cpu", &rom).await.unwrap_err();
        assert!(why.contains("start of the process"), "{why}");
        std::fs::write(&rom, vec![0xf4; 65536]).unwrap();
        let why = try_one(&binary, "kvm", "no-such-cpu", &rom).await.unwrap_err();
        assert!(why.contains("start of the process"), "{why}");
    }
}
