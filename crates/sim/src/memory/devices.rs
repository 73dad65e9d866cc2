//! What is plugged into a simulated machine that is up, and how that changes.

use hostler_core::ids::{MediumId, VolumeId};
use hostler_core::ports::{DiskBus, DiskSpec, DriverError, IoLimits, MachineSpec, NicSpec};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Cards that a machine can have.
const MAX_NICS: usize = 8;

/// Disks, cards, medium and size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Devices {
    /// Its disks.
    pub disks: BTreeMap<VolumeId, (DiskBus, IoLimits)>,
    /// Its cards, by MAC.
    pub nics: BTreeMap<String, NicSpec>,
    /// What lies in its drive.
    pub medium: Option<MediumId>,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory in MiB.
    pub memory_mib: u64,
}

impl Devices {
    /// Those of a machine that has just been started.
    pub(super) fn started(spec: &MachineSpec) -> Self {
        Self {
            disks: spec.disks.iter().map(|disk| (disk.volume, (disk.bus, disk.limits))).collect(),
            nics: spec.nics.iter().map(|nic| (nic.mac.clone(), nic.clone())).collect(),
            medium: spec.medium,
            vcpus: spec.vcpus,
            memory_mib: spec.memory_mib,
        }
    }

    pub(super) fn attach(&mut self, disk: &DiskSpec) -> Result<(), DriverError> {
        if let Some((_, limits)) = self.disks.get_mut(&disk.volume) {
            *limits = disk.limits;
            return Ok(());
        }
        if disk.bus == DiskBus::Virtio {
            return Err(DriverError::refused(
                "the disk that a machine boots from is there from its start or not",
            ));
        }
        self.disks.insert(disk.volume, (disk.bus, disk.limits));
        Ok(())
    }

    pub(super) fn detach(&mut self, volume: VolumeId) -> Result<(), DriverError> {
        if let Some((DiskBus::Virtio, _)) = self.disks.get(&volume) {
            return Err(DriverError::refused("the disk that a machine boots from stays while it runs"));
        }
        self.disks.remove(&volume);
        Ok(())
    }

    /// Refused when the machine does not have this disk.
    pub(super) fn disk(&mut self, volume: VolumeId) -> Result<&mut IoLimits, DriverError> {
        let found = self.disks.get_mut(&volume).map(|(_, limits)| limits);
        found
            .ok_or_else(|| DriverError::refused(format!("the running machine does not have volume {volume}")))
    }

    pub(super) fn plug(&mut self, nic: &NicSpec) -> Result<(), DriverError> {
        if self.nics.len() >= MAX_NICS && !self.nics.contains_key(&nic.mac) {
            return Err(DriverError::refused(format!("a machine can have {MAX_NICS} network cards at most")));
        }
        self.nics.entry(nic.mac.clone()).or_insert_with(|| nic.clone());
        Ok(())
    }

    pub(super) fn resize(&mut self, vcpus: u32, memory_mib: u64) -> Result<(), DriverError> {
        if vcpus < self.vcpus || memory_mib < self.memory_mib {
            return Err(DriverError::refused("a guest that runs cannot give CPUs or memory back"));
        }
        (self.vcpus, self.memory_mib) = (vcpus, memory_mib);
        Ok(())
    }
}
