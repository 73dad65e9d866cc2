//! Names of what QEMU holds for a machine. They derive from ids and MACs, never from positions, so that whoever looks
//! at a process later knows what is what. QEMU wants a letter first and at most 31 bytes for nodes, so an id is
//! shortened to its last 64 bits, which are random; in one machine no two are alike.

use hostler_core::ids::{MediumId, VolumeId};
use uuid::Uuid;

/// The SCSI controller; its bus has `.0` behind.
pub(super) const SCSI: &str = "scsi";
/// The CD drive.
pub(super) const CD: &str = "cd";

/// What belongs to one disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct DiskNames {
    /// Node of the image.
    pub(super) image: String,
    /// Node of the filter above it, which the device has.
    pub(super) top: String,
    /// The limits' object.
    pub(super) limits: String,
    /// The device.
    pub(super) device: String,
    /// Serial number that the guest sees: 16 digits.
    pub(super) serial: String,
}

impl DiskNames {
    pub(super) fn of(volume: VolumeId) -> Self {
        let serial = short(volume.0);
        Self {
            image: format!("d-{serial}"),
            top: format!("t-{serial}"),
            limits: format!("l-{serial}"),
            device: format!("disk-{serial}"),
            serial,
        }
    }
}

/// What belongs to one network card.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NicNames {
    /// The device.
    pub(super) device: String,
    /// The host's end.
    pub(super) netdev: String,
}

impl NicNames {
    pub(super) fn of(mac: &str) -> Self {
        let digits = mac.replace(':', "");
        Self { device: format!("nic-{digits}"), netdev: format!("net-{digits}") }
    }
}

/// Node of a medium.
pub(super) fn medium_node(medium: MediumId) -> String {
    format!("m-{}", short(medium.0))
}

fn short(id: Uuid) -> String {
    format!("{:016x}", id.as_u64_pair().1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_and_begin_with_a_letter() {
        let names = DiskNames::of(VolumeId(Uuid::from_u128(u128::MAX)));
        for name in [names.image, names.top, names.limits, names.device, medium_node(MediumId(Uuid::nil()))] {
            assert!(name.len() <= 31 && name.starts_with(|c: char| c.is_ascii_alphabetic()), "{name}");
        }
        assert!(names.serial.len() <= 20, "virtio-blk cuts longer ones");
        assert_eq!(NicNames::of("52:54:00:00:00:01").device, "nic-525400000001");
    }
}
