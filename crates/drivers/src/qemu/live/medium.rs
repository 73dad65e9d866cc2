//! What lies in the CD drive.

use super::super::command_line::medium as medium_blockdev;
use super::super::names::{CD, medium_node};
use super::super::{Driver, Running};
use super::{DEVICES, LOOK_PAUSE};
use crate::durable::{blocking, io_failed};
use crate::layout::Layout;
use hostler_core::ids::{MachineId, MediumId};
use hostler_core::ports::{DriverError, DriverErrorKind};
use serde::Deserialize;
use serde_json::json;
use std::sync::Arc;

/// How often a guest is looked at that was asked to open the drive: five seconds.
const LOOKS: u32 = 10;

#[derive(Debug, Deserialize)]
struct Block {
    #[serde(default)]
    qdev: Option<String>,
    #[serde(default)]
    inserted: Option<Inserted>,
    #[serde(default)]
    tray_open: Option<bool>,
}

#[derive(Debug, Deserialize)]
struct Inserted {
    #[serde(rename = "node-name")]
    node: Option<String>,
}

impl Driver {
    /// See [`Hypervisor::medium_change`](hostler_core::ports::Hypervisor::medium_change).
    pub(in super::super) async fn medium_change(
        self: &Arc<Self>,
        id: MachineId,
        medium: Option<MediumId>,
        force: bool,
    ) -> Result<(), DriverError> {
        let running = self.powered(id).await?;
        let wanted = medium.map(medium_node);
        let drive = running.drive().await?;
        let inside = drive.inserted.and_then(|inserted| inserted.node);
        if inside != wanted || (wanted.is_some() && drive.tray_open == Some(true)) {
            running.empty_drive(inside.is_some(), force).await?;
            if let (Some(medium), Some(node)) = (medium, &wanted) {
                running.drop_nodes(&[node]).await?;
                let driver = self.clone();
                blocking(move || {
                    driver
                        .isolation
                        .share(&driver.layout)
                        .map_err(|error| io_failed("the medium cannot be shared", &error))
                })
                .await?;
                let image = medium_blockdev(medium, &Layout::seen_by_machine())?;
                running.told("blockdev-add", image).await?;
                running.insert(node, force).await?;
            }
            running.told("blockdev-close-tray", json!({ "id": CD })).await?;
        }
        // Media that were in it before, also those that a server which died could not put away.
        let nodes = running.nodes().await?;
        let others = nodes.keys().filter(|name| name.starts_with("m-") && Some(*name) != wanted.as_ref());
        let others: Vec<&str> = others.map(String::as_str).collect();
        running.drop_nodes(&others).await
    }
}

impl Running {
    async fn drive(&self) -> Result<Block, DriverError> {
        let blocks: Vec<Block> = self.asked("query-block", serde_json::Value::Null).await?;
        let path = format!("{DEVICES}/{CD}");
        let drive = blocks
            .into_iter()
            .find(|block| block.qdev.as_ref().is_some_and(|qdev| qdev == CD || qdev.starts_with(&path)));
        drive.ok_or_else(|| {
            DriverError::refused(
                "the machine was started without a CD drive; it has one after its next start",
            )
        })
    }

    /// Puts this medium into the open drive. Firmware that looks for something to boot from closes it again at times:
    /// then it is opened once more.
    async fn insert(&self, node: &str, force: bool) -> Result<(), DriverError> {
        let insert = || self.told("blockdev-insert-medium", json!({ "id": CD, "node-name": node }));
        for _ in 1..LOOKS {
            match insert().await {
                Err(error) if error.kind == DriverErrorKind::Refused => {
                    self.empty_drive(false, force).await?;
                }
                other => return other,
            }
        }
        insert().await
    }

    async fn empty_drive(&self, full: bool, force: bool) -> Result<(), DriverError> {
        // A locked drive is not opened by this: the guest is asked to, and QEMU says nothing.
        self.told("blockdev-open-tray", json!({ "id": CD, "force": force })).await?;
        let mut looks = 0;
        while self.drive().await?.tray_open == Some(false) {
            looks += 1;
            if looks > LOOKS {
                return Err(DriverError::refused(
                    "the guest has locked the drive: unmount the medium there, or use force",
                ));
            }
            tokio::time::sleep(LOOK_PAUSE).await;
        }
        if full { self.told("blockdev-remove-medium", json!({ "id": CD })).await } else { Ok(()) }
    }
}
