//! Debian's packages, fetched by apt and unpacked without being installed.
//!
//! apt resolves what the names stand for and checks signatures; packages that lie in the cache with the digest that
//! apt expects are not fetched again. Where apt cannot do it (no lists, no network, another distribution), the same
//! files are taken from the host itself if it has them.

use super::command::{Command, run};
use super::{blocking, first_existing};
use hostler_core::ports::{DriverError, Progress};
use sha2::{Digest, Sha256};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Stands for the present kernel for virtual machines.
const KERNEL: &str = "linux-image-cloud-amd64";
/// The programs; their libraries are found by apt.
const PROGRAMS: [&str; 2] = ["busybox-static", "dropbear-bin"];

/// Where everything is that micro is made of.
#[derive(Debug)]
pub(super) struct Parts {
    /// Root of the tree that programs and libraries lie in.
    pub(super) root: PathBuf,
    /// The kernel as distributed.
    pub(super) kernel: PathBuf,
    /// Its modules: `lib/modules/RELEASE`.
    pub(super) modules: PathBuf,
    /// Its release, e.g. `6.1.0-56-cloud-amd64`.
    pub(super) release: String,
    /// The static busybox.
    pub(super) busybox: PathBuf,
    /// The SSH server.
    pub(super) dropbear: PathBuf,
}

/// Fetches and unpacks. Progress goes from 0 to 0.7.
pub(super) async fn obtain(cache: &Path, work: &Path, progress: &Progress) -> Result<Parts, DriverError> {
    let root = work.join("root");
    let error = match unpacked(cache, &root, progress).await {
        Ok(()) => match find(&root) {
            Some(parts) => return Ok(parts),
            None => DriverError::refused("Debian's packages do not hold what they used to"),
        },
        Err(error) => error,
    };
    match find(Path::new("/")) {
        Some(parts) => {
            tracing::warn!(%error, "apt cannot be used; taking kernel and programs from this host");
            Ok(parts)
        }
        None => {
            let what = "run `apt-get update` as root and try again, or install linux-image-cloud-amd64, \
                        busybox-static and dropbear-bin on this host";
            Err(DriverError { detail: format!("{}; {what}", error.detail), ..error })
        }
    }
}

async fn unpacked(cache: &Path, root: &Path, progress: &Progress) -> Result<(), DriverError> {
    progress.report(0.0, "asking apt for packages");
    let names = names().await?;
    let packages = listed(&names).await?;
    let missing = missing(cache, &packages).await?;
    if !missing.is_empty() {
        download(cache, &missing, progress).await?;
    }
    // What an unfinished build left there may be of another version.
    match tokio::fs::remove_dir_all(root).await {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(super::failed(root, &error));
        }
        _ => {}
    }
    for (done, package) in packages.iter().enumerate() {
        let fraction = 0.5 + 0.2 * done as f64 / packages.len() as f64;
        progress.report(fraction, &format!("unpacking {}", package.name));
        run(Command::new("dpkg-deb").arg("-x").arg(cache.join(&package.file)).arg(root)).await?;
    }
    Ok(())
}

/// Names of all packages that are needed.
async fn names() -> Result<BTreeSet<String>, DriverError> {
    let depends = run(Command::new("apt-cache").args(["depends", KERNEL])).await?;
    let depends = String::from_utf8_lossy(&depends).into_owned();
    let kernel = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: linux-image-"));
    let kernel = kernel.ok_or_else(|| DriverError::refused(format!("apt does not know {KERNEL}")))?;
    let only_needed = ["recommends", "suggests", "conflicts", "breaks", "replaces", "enhances"];
    let closure = Command::new("apt-cache")
        .args(["depends", "--recurse"])
        .args(only_needed.map(|kind| format!("--no-{kind}")))
        .args(PROGRAMS);
    let closure = run(closure).await?;
    // Names stand at the margin; relations are indented and virtual packages in angle brackets.
    let margin = |line: &&str| line.starts_with(|first: char| first.is_ascii_alphanumeric());
    let closure = String::from_utf8_lossy(&closure).into_owned();
    let mut names: BTreeSet<String> = closure.lines().filter(margin).map(str::to_owned).collect();
    names.insert(format!("linux-image-{}", kernel.trim()));
    Ok(names)
}

/// A package as apt would fetch it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Package {
    name: String,
    file: String,
    size: u64,
    sha256: Option<String>,
}

async fn listed(names: &BTreeSet<String>) -> Result<Vec<Package>, DriverError> {
    let output = run(Command::new("apt-get").args(["--print-uris", "download"]).args(names)).await?;
    let packages: Vec<Package> = String::from_utf8_lossy(&output).lines().filter_map(package).collect();
    if packages.is_empty() {
        Err(DriverError::refused("apt does not say where packages are"))
    } else {
        Ok(packages)
    }
}

/// Reads `'URL' FILE SIZE SHA256:DIGEST`.
fn package(line: &str) -> Option<Package> {
    let mut words = line.strip_prefix('\'')?.split_once("' ")?.1.split_whitespace();
    let file = words.next().filter(|file| file.ends_with(".deb") && !file.contains('/'))?.to_owned();
    let size = words.next()?.parse().ok()?;
    let sha256 = words.next().and_then(|word| word.strip_prefix("SHA256:")).map(str::to_owned);
    let name = file.split('_').next()?.to_owned();
    Some(Package { name, file, size, sha256 })
}

/// Those which the cache does not have as apt expects them.
async fn missing(cache: &Path, packages: &[Package]) -> Result<Vec<Package>, DriverError> {
    let (cache, packages) = (cache.to_owned(), packages.to_vec());
    blocking(move || Ok(packages.into_iter().filter(|package| !is_whole(&cache, package)).collect())).await
}

fn is_whole(cache: &Path, package: &Package) -> bool {
    let path = cache.join(&package.file);
    if std::fs::metadata(&path).map_or(0, |facts| facts.len()) != package.size {
        return false;
    }
    match (&package.sha256, std::fs::read(&path)) {
        (Some(expected), Ok(bytes)) => hex::encode(Sha256::digest(bytes)) == *expected,
        (None, Ok(_)) => true,
        (_, Err(_)) => false,
    }
}

/// Fetches packages beside the cache and moves them in when they are whole.
async fn download(cache: &Path, packages: &[Package], progress: &Progress) -> Result<(), DriverError> {
    let place = tempfile::Builder::new().prefix("download-").tempdir_in(cache);
    let place = place.map_err(|error| super::failed(cache, &error))?;
    let names = packages.iter().map(|package| &package.name);
    let fetch = run(Command::new("apt-get").args(["-q", "download"]).args(names).directory(place.path()));
    tokio::pin!(fetch);
    let total: u64 = packages.iter().map(|package| package.size).sum();
    let mut tick = tokio::time::interval(Duration::from_millis(250));
    loop {
        tokio::select! {
            done = &mut fetch => {
                done?;
                break;
            }
            _ = tick.tick() => {
                let here = size_of_files(place.path());
                let fraction = 0.02 + 0.48 * (here as f64 / total.max(1) as f64).min(1.0);
                progress.report(fraction, &format!("fetching {} packages", packages.len()));
            }
        }
    }
    for package in packages {
        let fetched = place.path().join(&package.file);
        tokio::fs::rename(&fetched, cache.join(&package.file))
            .await
            .map_err(|error| super::failed(&fetched, &error))?;
    }
    Ok(())
}

fn size_of_files(directory: &Path) -> u64 {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.metadata().ok())
        .filter(std::fs::Metadata::is_file)
        .map(|facts| facts.len())
        .sum()
}

/// The numbers in a release, so that `6.1.0-9` comes before `6.1.0-56`.
fn numbers(release: &str) -> Vec<u64> {
    release.split(|letter: char| !letter.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Looks for all parts in a tree; none when one is missing.
fn find(root: &Path) -> Option<Parts> {
    let mut kernels: Vec<String> = std::fs::read_dir(root.join("boot"))
        .ok()?
        .flatten()
        .filter_map(|entry| Some(entry.file_name().to_str()?.strip_prefix("vmlinuz-")?.to_owned()))
        .filter(|release| release.ends_with("-cloud-amd64"))
        .collect();
    kernels.sort_by_key(|release| numbers(release));
    let (release, modules) = kernels.into_iter().rev().find_map(|release| {
        let places = [format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")];
        let modules = first_existing(root, &places.each_ref().map(String::as_str))?;
        Some((release, modules))
    })?;
    Some(Parts {
        root: root.to_owned(),
        kernel: root.join(format!("boot/vmlinuz-{release}")),
        modules,
        release,
        busybox: first_existing(root, &["bin/busybox", "usr/bin/busybox"])?,
        dropbear: first_existing(root, &["usr/sbin/dropbear", "usr/bin/dropbear"])?,
    })
}

#[cfg(test)]
mod tests {
    use super::{find, package};

    #[test]
    fn a_line_of_apt_is_read() {
        let line = "'http://mirror/pool/a_1%3a2_amd64.deb' a_1%3a2_amd64.deb 12 SHA256:ab";
        let read = package(line).unwrap();
        assert_eq!((read.name.as_str(), read.file.as_str(), read.size), ("a", "a_1%3a2_amd64.deb", 12));
        assert_eq!(read.sha256.as_deref(), Some("ab"));
        for bad in ["", "Reading package lists...", "'u' ../x.deb 1", "'u' x.tar 1", "'u' x.deb y"] {
            assert_eq!(package(bad), None, "{bad}");
        }
    }

    #[test]
    fn the_newest_kernel_with_modules_is_taken() {
        let tree = tempfile::tempdir().unwrap();
        let root = tree.path();
        for directory in [
            "boot",
            "bin",
            "usr/sbin",
            "lib/modules/6.1.0-9-cloud-amd64",
            "usr/lib/modules/6.1.0-56-cloud-amd64",
        ] {
            std::fs::create_dir_all(root.join(directory)).unwrap();
        }
        for release in ["6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.2.0-1-cloud-amd64", "7.0.0-1-amd64"]
        {
            std::fs::write(root.join("boot").join(format!("vmlinuz-{release}")), "").unwrap();
        }
        std::fs::write(root.join("bin/busybox"), "").unwrap();
        assert!(find(root).is_none(), "there is no dropbear");
        std::fs::write(root.join("usr/sbin/dropbear"), "").unwrap();
        let parts = find(root).unwrap();
        assert_eq!(parts.release, "6.1.0-56-cloud-amd64");
        assert!(parts.modules.ends_with("usr/lib/modules/6.1.0-56-cloud-amd64"));
    }
}
