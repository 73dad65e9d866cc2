//! From records to what a driver needs.

use super::{Machine, Nic};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::networks::{Network, NetworkKind};
use crate::ports::{Boot, DiskBus, DiskSpec, Link, MachineSpec, NicSpec};
use crate::query::Filter;
use crate::templates::{Firmware, Image, Template};
use crate::volumes::Volume;

/// Port of the guest that is forwarded on user networks.
const SSH_PORT: u16 = 22;

impl Core {
    /// A machine's volumes in the order of their positions.
    pub(crate) async fn volumes_of(&self, machine: &Machine) -> Result<Vec<Volume>> {
        let mut volumes: Vec<Volume> = self.all(Filter::eq("machine", machine.id.0)).await?;
        volumes.sort_by_key(|volume| (volume.position, volume.id));
        Ok(volumes)
    }

    pub(crate) async fn image_of(&self, machine: &Machine) -> Result<(Template, Image)> {
        let template: Template = self.get(machine.template.0).await?;
        let image = template.image.clone();
        let image = image.ok_or_else(|| {
            Error::conflict("not_ready", format!("template {} has no image", template.name))
        })?;
        Ok((template, image))
    }

    pub(super) async fn spec(
        &self,
        machine: &Machine,
        image: &Image,
        generation: u64,
    ) -> Result<MachineSpec> {
        let template: Template = self.get(machine.template.0).await?;
        let volumes = self.volumes_of(machine).await?;
        let held = self.addresses_of(std::slice::from_ref(machine)).await?;
        let mut nics = Vec::with_capacity(machine.nics.len());
        for (place, nic) in machine.nics.iter().enumerate() {
            let network: Network = self.get(nic.network.0).await?;
            let forward = (place == 0).then_some(SSH_PORT);
            let link = match (network.kind, &network.bridge) {
                (NetworkKind::Bridge, Some(bridge)) => Link::Bridge {
                    network: network.id,
                    bridge: bridge.clone(),
                    address: nic.addresses.iter().find_map(|id| held.get(id).copied()),
                },
                _ => Link::User { outbound: network.outbound, forward },
            };
            nics.push(NicSpec { mac: nic.mac.clone(), link });
        }
        Ok(MachineSpec {
            id: machine.id,
            name: machine.name.to_string(),
            generation,
            vcpus: machine.vcpus,
            memory_mib: machine.memory_mib,
            template: machine.template,
            boot: boot(image, template.firmware),
            disks: volumes.iter().map(disk).collect(),
            nics,
            seed: if image.cloud_init { Some(self.seed(machine).await?) } else { None },
            medium: machine.medium,
            snapshot: None,
            golden: machine.golden.filter(|_| generation == 1),
        })
    }
}

pub(crate) fn disk(volume: &Volume) -> DiskSpec {
    let bus = if volume.position == 0 { DiskBus::Virtio } else { DiskBus::Scsi };
    DiskSpec { volume: volume.id, format: volume.format, bus, limits: volume.limits }
}

pub(crate) fn boot(image: &Image, firmware: Firmware) -> Boot {
    match &image.kernel {
        Some(kernel) => Boot::Kernel {
            kernel: kernel.clone(),
            initrd: image.initrd.clone(),
            command_line: image.command_line.clone(),
        },
        None => Boot::Firmware(firmware),
    }
}

/// What a driver needs to know of one card, which the machine may not have yet.
pub(super) async fn nic_spec(core: &Core, machine: &Machine, nic: &Nic) -> Result<NicSpec> {
    let mut with = machine.clone();
    if !with.nics.iter().any(|one| one.mac == nic.mac) {
        with.nics.push(nic.clone());
    }
    let (_, image) = core.image_of(machine).await?;
    let spec = core.spec(&with, &image, machine.observed.generation).await?;
    spec.nics
        .into_iter()
        .find(|one| one.mac == nic.mac)
        .ok_or_else(|| Error::not_found("network card", &nic.mac))
}
