//! Disks that come, go, grow and slow down.

use super::super::command_line::{image_node, throttle, top_node};
use super::super::names::{DiskNames, SCSI};
use super::super::{Driver, Running};
use super::{DEVICES, OBJECTS};
use crate::durable::{blocking, io_failed};
use crate::layout::Layout;
use hostler_core::ids::{MachineId, VolumeId};
use hostler_core::ports::{DiskBus, DiskSpec, DriverError, DriverErrorKind, IoLimits};
use serde_json::json;
use std::sync::Arc;

impl Driver {
    /// See [`Hypervisor::disk_attach`](hostler_core::ports::Hypervisor::disk_attach).
    pub(in super::super) async fn disk_attach(
        self: &Arc<Self>,
        id: MachineId,
        disk: &DiskSpec,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        let (names, devices) = (DiskNames::of(disk.volume), running.children(DEVICES).await?);
        if devices.contains_key(&names.device) {
            return running.limit(&names, disk.limits).await;
        }
        if disk.bus == DiskBus::Virtio {
            return Err(DriverError::refused(
                "the disk that a machine boots from is there from its start or not",
            ));
        }
        if !devices.contains_key(SCSI) {
            return Err(DriverError::refused(
                "the machine was started without a controller for further disks; it has one after its next start",
            ));
        }
        let (driver, lent) = (self.clone(), disk.clone());
        blocking(move || driver.isolation.lend(&driver.layout, id, &lent).map_err(|error| denied(&error)))
            .await?;
        let attached = running.plug(&names, disk).await;
        if attached.is_err() {
            // The first error is the one to be told.
            let _ = running.forget_disk(&names).await;
        }
        attached
    }

    /// See [`Hypervisor::disk_detach`](hostler_core::ports::Hypervisor::disk_detach).
    pub(in super::super) async fn disk_detach(
        self: &Arc<Self>,
        id: MachineId,
        volume: VolumeId,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        let names = DiskNames::of(volume);
        if let Some(kind) = running.children(DEVICES).await?.get(&names.device) {
            if !kind.contains("scsi") {
                return Err(DriverError::refused("the disk that a machine boots from stays while it runs"));
            }
            running.unplug(&names.device).await?;
        }
        running.forget_disk(&names).await?;
        let driver = self.clone();
        blocking(move || driver.isolation.recall(&driver.layout, volume).map_err(|error| denied(&error)))
            .await
    }

    /// See [`Hypervisor::disk_grow`](hostler_core::ports::Hypervisor::disk_grow). QEMU itself would shrink a disk that
    /// is in use.
    pub(in super::super) async fn disk_grow(
        self: &Arc<Self>,
        id: MachineId,
        volume: VolumeId,
        size_mib: u64,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        let names = DiskNames::of(volume);
        let now = running.nodes().await?.get(&names.top).copied().ok_or_else(|| no_disk(volume))?;
        let wanted =
            size_mib.checked_mul(1 << 20).ok_or_else(|| DriverError::refused("that is too large"))?;
        if wanted < now {
            return Err(DriverError::refused(format!(
                "the disk has {} MiB already; it can only grow",
                now >> 20
            )));
        }
        if wanted == now {
            return Ok(());
        }
        running.told("block_resize", json!({ "node-name": names.top, "size": wanted })).await?;
        match running.nodes().await?.get(&names.top) {
            Some(size) if *size == wanted => Ok(()),
            other => {
                let text =
                    format!("QEMU says that it has grown the disk, but its size is {other:?}, not {wanted}");
                Err(DriverError::new(DriverErrorKind::Protocol, text))
            }
        }
    }

    /// See [`Hypervisor::disk_limit`](hostler_core::ports::Hypervisor::disk_limit).
    pub(in super::super) async fn disk_limit(
        self: &Arc<Self>,
        id: MachineId,
        volume: VolumeId,
        limits: IoLimits,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        let names = DiskNames::of(volume);
        if !running.children(OBJECTS).await?.contains_key(&names.limits) {
            return Err(no_disk(volume));
        }
        running.limit(&names, limits).await
    }
}

impl Running {
    async fn plug(&self, names: &DiskNames, disk: &DiskSpec) -> Result<(), DriverError> {
        // What a server that died in the middle has left may be of another size or limit by now.
        self.forget_disk(names).await?;
        let group =
            json!({ "qom-type": "throttle-group", "id": names.limits, "limits": throttle(disk.limits) });
        self.told("object-add", group).await?;
        self.told("blockdev-add", image_node(disk, &Layout::seen_by_machine())?).await?;
        self.told("blockdev-add", top_node(disk)).await?;
        let device = json!({
            "driver": "scsi-hd", "bus": format!("{SCSI}.0"), "id": names.device, "drive": names.top,
            "serial": names.serial,
        });
        self.told("device_add", device).await?;
        self.has(&names.device).await
    }

    /// Removes what stands behind a disk whose device is not there.
    async fn forget_disk(&self, names: &DiskNames) -> Result<(), DriverError> {
        self.drop_nodes(&[&names.top, &names.image]).await?;
        if self.children(OBJECTS).await?.contains_key(&names.limits) {
            self.told("object-del", json!({ "id": names.limits })).await?;
        }
        Ok(())
    }

    async fn limit(&self, names: &DiskNames, limits: IoLimits) -> Result<(), DriverError> {
        let path = format!("{OBJECTS}/{}", names.limits);
        self.told("qom-set", json!({ "path": path, "property": "limits", "value": throttle(limits) })).await
    }
}

fn denied(error: &std::io::Error) -> DriverError {
    io_failed("the volume cannot change hands", error)
}

fn no_disk(volume: VolumeId) -> DriverError {
    DriverError::refused(format!(
        "the running machine does not have volume {volume} in a way that can be changed; it does after its next start"
    ))
}
