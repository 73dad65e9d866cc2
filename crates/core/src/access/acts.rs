//! What every command takes on the object that it is about, in one table.

use super::Action::{Alter, Attach, Delete, Use};
use super::rights::Act;

pub(crate) const MACHINE_CONSOLE: Act = Act::new("machine.console", Use);
pub(crate) const MACHINE_RUN: Act = Act::new("machine.run", Use);
pub(crate) const MACHINE_EDIT: Act = Act::new("machine.edit", Alter);
pub(crate) const MACHINE_INBOUND: Act = Act::new("machine.inbound", Alter);
pub(crate) const MACHINE_DELETE: Act = Act::new("machine.delete", Delete);
pub(crate) const MACHINE_MEDIUM: Act = Act::new("machine.medium", Attach);
pub(crate) const NIC_ATTACH: Act = Act::new("nic.attach", Attach);
pub(crate) const NIC_DETACH: Act = Act::new("nic.detach", Attach);
pub(crate) const VOLUME_ATTACH: Act = Act::new("volume.attach", Attach);
pub(crate) const VOLUME_DETACH: Act = Act::new("volume.detach", Attach);
pub(crate) const VOLUME_GROW: Act = Act::new("volume.grow", Alter);
pub(crate) const VOLUME_LIMIT: Act = Act::new("volume.limit", Alter);
pub(crate) const VOLUME_DELETE: Act = Act::new("volume.delete", Delete);
pub(crate) const SNAPSHOT_TAKE: Act = Act::new("snapshot.take", Alter);
pub(crate) const SNAPSHOT_REVERT: Act = Act::new("snapshot.revert", Alter);
pub(crate) const SNAPSHOT_REMOVE: Act = Act::new("snapshot.remove", Alter);
pub(crate) const TEMPLATE_USE: Act = Act::new("template.use", Use);
pub(crate) const TEMPLATE_DELETE: Act = Act::new("template.delete", Delete);
pub(crate) const MEDIUM_USE: Act = Act::new("medium.use", Attach);
pub(crate) const MEDIUM_DELETE: Act = Act::new("medium.delete", Delete);
pub(crate) const NETWORK_USE: Act = Act::new("network.use", Attach);
pub(crate) const CHECKOUT_RETURN: Act = Act::new("checkout.return", Delete);
pub(crate) const CHECKOUT_CHANGE: Act = Act::new("checkout.change", Alter);
pub(crate) const NETWORK_DELETE: Act = Act::new("network.delete", Delete);
