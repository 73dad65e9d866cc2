//! Network cards that come and go.

use super::super::command_line::{NIC_SLOTS, is_mac};
use super::super::names::NicNames;
use super::super::{Driver, Running};
use super::DEVICES;
use crate::network::tap;
use hostler_core::ids::MachineId;
use hostler_core::ports::{DriverError, DriverErrorKind, Link, NicSpec};
use serde::Deserialize;
use serde_json::json;
use std::collections::BTreeSet;
use std::sync::Arc;

#[derive(Debug, Deserialize)]
struct Bus {
    bus: u32,
    devices: Vec<Placed>,
}

#[derive(Debug, Deserialize)]
struct Placed {
    slot: usize,
}

impl Driver {
    /// See [`Hypervisor::nic_attach`](hostler_core::ports::Hypervisor::nic_attach). A card that comes later has no
    /// forwarded port until the next start.
    pub(in super::super) async fn nic_attach(
        self: &Arc<Self>,
        id: MachineId,
        nic: &NicSpec,
    ) -> Result<(), DriverError> {
        if !is_mac(&nic.mac) {
            return Err(DriverError::refused(format!("{:?} is not a MAC address", nic.mac)));
        }
        let running = self.powered(id).await?;
        let names = NicNames::of(&nic.mac);
        if running.children(DEVICES).await?.contains_key(&names.device) {
            return Ok(());
        }
        let slot = running.free_slot().await?;
        running.forget_netdev(&names).await?;
        running.wire(&names, &nic.link, &nic.mac).await?;
        let device = json!({
            "driver": "virtio-net-pci", "id": names.device, "netdev": names.netdev, "mac": nic.mac,
            "bus": "pci.0", "addr": format!("{slot:02x}.0"), "romfile": "",
        });
        let plugged = match running.told("device_add", device).await {
            Ok(()) => running.has(&names.device).await,
            refused => refused,
        };
        if plugged.is_err() {
            let _ = running.forget_netdev(&names).await;
        }
        plugged
    }

    /// See [`Hypervisor::nic_detach`](hostler_core::ports::Hypervisor::nic_detach).
    pub(in super::super) async fn nic_detach(
        self: &Arc<Self>,
        id: MachineId,
        mac: &str,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        let names = NicNames::of(mac);
        if running.children(DEVICES).await?.contains_key(&names.device) {
            running.unplug(&names.device).await?;
        }
        running.forget_netdev(&names).await
    }
}

impl Running {
    async fn free_slot(&self) -> Result<usize, DriverError> {
        let buses: Vec<Bus> = self.asked("query-pci", serde_json::Value::Null).await?;
        let root = buses.into_iter().filter(|bus| bus.bus == 0).flat_map(|bus| bus.devices);
        let taken: BTreeSet<usize> = root.map(|device| device.slot).collect();
        NIC_SLOTS.into_iter().find(|slot| !taken.contains(slot)).ok_or_else(|| {
            DriverError::refused(format!("a machine can have {} network cards at most", NIC_SLOTS.len()))
        })
    }

    /// Makes the host's end of a card.
    async fn wire(&self, names: &NicNames, link: &Link, mac: &str) -> Result<(), DriverError> {
        let netdev = match link {
            Link::User { outbound, .. } => {
                json!({ "type": "user", "id": names.netdev, "ipv6": false, "restrict": !outbound })
            }
            Link::Bridge { network, bridge, .. } => {
                let tap = tap::open(*network, bridge, mac).await?;
                self.qmp.hand_over(&names.netdev, tap).await?;
                json!({ "type": "tap", "id": names.netdev, "fd": names.netdev })
            }
        };
        self.told("netdev_add", netdev).await
    }

    async fn forget_netdev(&self, names: &NicNames) -> Result<(), DriverError> {
        match self.told("netdev_del", json!({ "id": names.netdev })).await {
            Err(error) if error.kind == DriverErrorKind::Gone => Ok(()),
            other => other,
        }
    }
}
