//! What is written down about a network in `networks/<id>/`: enough to remove it exactly, and what dnsmasq reads.
//!
//! The directory is made before anything of the network is, and removed after everything is: it is the list of what is
//! there. dnsmasq is another user, so its files may be read by all; nobody else gets through the data directory.

use crate::durable::{absent_is_fine, io_failed, write_durably};
use hostler_core::ids::NetworkId;
use hostler_core::ports::{DriverError, NetworkSpec};
use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const SPEC: &str = "spec.json";
const RULES: &str = "rules.nft";
const LISTING: &str = "rules.listing";
const HOSTS: &str = "hosts";
const CARDS: &str = "cards";
const LOG: &str = "dnsmasq.log";

/// A network's directory.
#[derive(Clone, Debug)]
pub(super) struct NetworkHome {
    path: PathBuf,
    network: NetworkId,
}

/// What changed in the files that dnsmasq reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing.
    Same,
    /// Names or cards: it reads them again when told.
    Guests,
    /// Its configuration: it must start anew.
    Config,
}

impl NetworkHome {
    pub(super) fn new(networks: &Path, network: NetworkId) -> Self {
        Self { path: networks.join(network.to_string()), network }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory and writes down what the network is, before anything of it is made.
    pub(super) fn record(&self, spec: &NetworkSpec) -> Result<(), DriverError> {
        let write = || -> io::Result<()> {
            std::fs::create_dir_all(&self.path)?;
            std::fs::set_permissions(&self.path, Permissions::from_mode(0o755))?;
            let bytes = serde_json::to_vec_pretty(spec)?;
            if std::fs::read(self.path.join(SPEC)).ok().as_deref() == Some(&bytes) {
                return Ok(());
            }
            write_durably(&self.path.join(SPEC), &self.path.join(".spec.json"), &bytes)
        };
        write().map_err(|error| io_failed("cannot write down the network", &error))
    }

    /// What was written down; none when nothing was.
    pub(super) fn spec(&self) -> Option<NetworkSpec> {
        serde_json::from_slice(&std::fs::read(self.path.join(SPEC)).ok()?).ok()
    }

    /// Whether these rules were loaded last and are still as the kernel listed them then.
    pub(super) fn has_rules(&self, rules: &str, listing: Option<&str>) -> bool {
        self.text(RULES).as_deref() == Some(rules) && self.has_listing(listing)
    }

    /// Whether the rules are as the kernel listed them when they were loaded last.
    pub(super) fn has_listing(&self, listing: Option<&str>) -> bool {
        listing.is_some() && self.text(LISTING).as_deref() == listing
    }

    /// Writes down rules that were loaded, and how the kernel lists them.
    pub(super) fn write_rules(&self, rules: &str, listing: Option<&str>) -> Result<(), DriverError> {
        let write = || {
            std::fs::write(self.path.join(RULES), rules)?;
            std::fs::write(self.path.join(LISTING), listing.unwrap_or_default())
        };
        write().map_err(|error| io_failed("cannot write down the rules", &error))
    }

    /// Writes what dnsmasq reads.
    pub(super) fn tell(&self, config: &str, hosts: &str, cards: &str) -> Result<Told, DriverError> {
        let tell = || -> io::Result<Told> {
            let guests = self.replace(HOSTS, hosts)? | self.replace(CARDS, cards)?;
            let anew = self.replace(&format!("{}.conf", self.network), config)?;
            Ok(match (anew, guests) {
                (true, _) => Told::Config,
                (false, true) => Told::Guests,
                (false, false) => Told::Same,
            })
        };
        tell().map_err(|error| io_failed("cannot write dnsmasq's files", &error))
    }

    /// Replaces a file as a whole, because dnsmasq may be reading it. Answers whether it is another one now.
    fn replace(&self, name: &str, text: &str) -> io::Result<bool> {
        if self.text(name).as_deref() == Some(text) {
            return Ok(false);
        }
        let new = self.path.join(".new");
        std::fs::write(&new, text)?;
        std::fs::set_permissions(&new, Permissions::from_mode(0o644))?;
        std::fs::rename(&new, self.path.join(name))?;
        Ok(true)
    }

    pub(super) fn new_service_log(&self) -> io::Result<File> {
        File::options().create(true).write(true).truncate(true).open(self.path.join(LOG))
    }

    /// What dnsmasq has said since it was started.
    pub(super) fn service_log(&self) -> String {
        self.text(LOG).unwrap_or_default()
    }

    pub(super) fn remove(&self) -> Result<(), DriverError> {
        absent_is_fine(std::fs::remove_dir_all(&self.path))
            .map_err(|error| io_failed("cannot remove the network's directory", &error))
    }

    fn text(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.path.join(name)).ok()
    }
}

/// Every network of which anything is there.
pub(super) fn all(networks: &Path) -> Result<Vec<NetworkId>, DriverError> {
    let entries = match std::fs::read_dir(networks) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io_failed("cannot list networks", &error)),
    };
    Ok(entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect())
}
