//! Changing machines while they run.
//!
//! Nothing is remembered between two changes: each begins by asking QEMU what is there, so it works on machines that
//! an earlier server started or changed, and asking twice is harmless. What a change makes in several steps it takes
//! back when a later step is refused. Devices leave when the guest has let go of them; that is waited for.

#[cfg(test)]
mod bad_monitor;
mod disks;
mod medium;
mod nics;
mod size;
#[cfg(test)]
mod tests;

use super::Running;
use hostler_core::ports::{DriverError, DriverErrorKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;
use tokio::time::Instant;

/// How long a guest may take to let go of a device; a slow one that is busy takes seconds.
const UNPLUG_PATIENCE: Duration = Duration::from_secs(15);
/// An event that was lost is made up for after this long.
const LOOK_PAUSE: Duration = Duration::from_millis(500);

/// How long QEMU itself may take to let go of the node of a device that has gone, and how often it is asked.
const RELEASE_PATIENCE: Duration = Duration::from_secs(5);
const RELEASE_PAUSE: Duration = Duration::from_millis(20);

/// Where devices that have an id are.
const DEVICES: &str = "/machine/peripheral";
/// Where objects that were made by a command or an option are.
const OBJECTS: &str = "/objects";

#[derive(Debug, Deserialize)]
struct Property {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
struct NamedNode {
    #[serde(rename = "node-name")]
    name: String,
    image: NodeImage,
}

#[derive(Debug, Deserialize)]
struct NodeImage {
    #[serde(rename = "virtual-size")]
    virtual_size: u64,
}

impl Running {
    async fn asked<T: DeserializeOwned>(&self, command: &str, arguments: Value) -> Result<T, DriverError> {
        let answer = self.qmp.execute(command, arguments).await?;
        serde_json::from_value(answer).map_err(|error| {
            DriverError::new(DriverErrorKind::Protocol, format!("QEMU's answer to {command}: {error}"))
        })
    }

    async fn told(&self, command: &str, arguments: Value) -> Result<(), DriverError> {
        self.qmp.execute(command, arguments).await.map(drop)
    }

    /// What is below a path of QEMU's object tree, with the type of each.
    async fn children(&self, path: &str) -> Result<BTreeMap<String, String>, DriverError> {
        let list: Vec<Property> = self.asked("qom-list", json!({ "path": path })).await?;
        Ok(list.into_iter().map(|property| (property.name, property.kind)).collect())
    }

    /// Nodes by name, with the size of what they show.
    async fn nodes(&self) -> Result<BTreeMap<String, u64>, DriverError> {
        let list: Vec<NamedNode> = self.asked("query-named-block-nodes", json!({ "flat": true })).await?;
        Ok(list.into_iter().map(|node| (node.name, node.image.virtual_size)).collect())
    }

    /// What QEMU says that it did is looked at: a record must not promise what is not there.
    async fn has(&self, device: &str) -> Result<(), DriverError> {
        if self.children(DEVICES).await?.contains_key(device) {
            return Ok(());
        }
        let text = format!("QEMU says that it has added {device}, but it has not");
        Err(DriverError::new(DriverErrorKind::Protocol, text))
    }

    /// Asks the guest to let go of a device and waits until it has.
    async fn unplug(&self, device: &str) -> Result<(), DriverError> {
        let mut events = self.qmp.events();
        match self.told("device_del", json!({ "id": device })).await {
            Err(error) if error.kind == DriverErrorKind::Gone => return Ok(()),
            // Somebody asked before, and the guest thinks it over.
            Err(error) if error.detail.contains("in the process of unplug") => {}
            other => other?,
        }
        let deadline = Instant::now() + UNPLUG_PATIENCE;
        loop {
            if !self.children(DEVICES).await?.contains_key(device) {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(DriverError::timeout(format!(
                    "the guest does not let go of {device} within {} seconds; is it in use there? Unmount it, or turn \
                     the machine off first",
                    UNPLUG_PATIENCE.as_secs()
                )));
            }
            // Whatever is heard is a reason to look; so is hearing nothing for a while.
            let _ = tokio::time::timeout(LOOK_PAUSE, async {
                while events.recv().await.is_ok_and(|event| event.name != "DEVICE_DELETED") {}
            })
            .await;
            if events.is_closed() {
                return Err(DriverError::new(DriverErrorKind::Unreachable, "QEMU's monitor hung up"));
            }
        }
    }

    /// Removes what is there of these nodes, those above before those below.
    async fn drop_nodes(&self, names: &[&str]) -> Result<(), DriverError> {
        let there: BTreeSet<String> = self.nodes().await?.into_keys().collect();
        for name in names.iter().filter(|name| there.contains(**name)) {
            self.drop_node(name).await?;
        }
        Ok(())
    }

    /// A device that has just gone holds its node for a moment more.
    async fn drop_node(&self, name: &str) -> Result<(), DriverError> {
        let deadline = Instant::now() + RELEASE_PATIENCE;
        loop {
            match self.told("blockdev-del", json!({ "node-name": name })).await {
                Err(error) if error.detail.contains("is in use") && Instant::now() < deadline => {}
                other => return other,
            }
            tokio::time::sleep(RELEASE_PAUSE).await;
        }
    }
}
