//! Words with a fixed set of values, each the mirror of one of core's.

use serde::{Deserialize, Serialize};
use std::fmt;
use utoipa::ToSchema;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident of $core:path { $($(#[$variant_doc:meta])* $variant:ident $word:literal),* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum $name {
            $($(#[$variant_doc])* $variant),*
        }

        impl $name {
            /// Every value.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// Its word on the wire.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word),*
                }
            }
        }

        impl From<$core> for $name {
            fn from(of: $core) -> Self {
                use $core as Core;
                match of {
                    $(Core::$variant => Self::$variant),*
                }
            }
        }

        impl From<$name> for $core {
            fn from(of: $name) -> Self {
                use $core as Core;
                match of {
                    $($name::$variant => Core::$variant),*
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.word())
            }
        }
    )*};
}

words! {
    /// Firmware that boots a disk.
    Firmware of hostler_core::templates::Firmware {
        /// SeaBIOS.
        Bios "bios",
        /// UEFI; each machine keeps its variables.
        Uefi "uefi",
        /// UEFI with Secure Boot and Microsoft's keys.
        UefiSecure "uefi_secure",
    }

    /// What was promised about a machine.
    Life of hostler_core::machines::Life {
        /// Being made.
        Creating "creating",
        /// Made, usable.
        Present "present",
        /// Being removed.
        Deleting "deleting",
        /// Removed; the record is kept for a while.
        Gone "gone",
    }

    /// The power that the owner asked for.
    Power of hostler_core::machines::Power {
        /// Running.
        On "on",
        /// Not running.
        Off "off",
    }

    /// The power that was seen.
    Observed of hostler_core::machines::Observed {
        /// Guest code runs.
        On "on",
        /// Guest code stands still, memory is kept.
        Paused "paused",
        /// Nothing runs.
        Off "off",
        /// The host cannot tell.
        Unknown "unknown",
    }

    /// Where a task is.
    TaskState of hostler_core::tasks::TaskState {
        /// Not begun.
        Queued "queued",
        /// Begun.
        Running "running",
        /// Something failed or it was cancelled; what it did is being undone.
        Undoing "undoing",
        /// Succeeded.
        Done "done",
        /// Ended without success.
        Failed "failed",
        /// Ended because somebody asked.
        Cancelled "cancelled",
    }

    /// Where a template is in its life.
    TemplateState of hostler_core::templates::TemplateState {
        /// Its image is being made.
        Building "building",
        /// Machines can be made from it.
        Ready "ready",
        /// Its image is being removed.
        Deleting "deleting",
        /// Its image could not be made.
        Failed "failed",
    }

    /// Format of a disk image.
    ImageFormat of hostler_core::templates::ImageFormat {
        /// Bytes as they are.
        Raw "raw",
        /// QEMU's copy-on-write format.
        Qcow2 "qcow2",
    }

    /// Format of an image that is brought in.
    SourceFormat of hostler_core::templates::SourceFormat {
        /// Bytes as they are.
        Raw "raw",
        /// QEMU's format, version 2 or 3.
        Qcow2 "qcow2",
        /// VMware's format in one file: monolithicSparse or streamOptimized.
        Vmdk "vmdk",
        /// Hyper-V's present format.
        Vhdx "vhdx",
        /// Hyper-V's former format.
        Vhd "vhd",
        /// An appliance: a tar archive with a description and one disk.
        Ova "ova",
    }

    /// Where a medium is in its life.
    MediumState of hostler_core::media::MediumState {
        /// Being fetched.
        Creating "creating",
        /// Can be inserted.
        Ready "ready",
        /// Being removed.
        Deleting "deleting",
        /// Could not be fetched.
        Failed "failed",
    }

    /// Where a volume is in its life.
    VolumeState of hostler_core::volumes::VolumeState {
        /// Being made.
        Creating "creating",
        /// Usable.
        Present "present",
        /// Being removed.
        Deleting "deleting",
    }

    /// Where a snapshot is in its life.
    SnapshotState of hostler_core::snapshots::SnapshotState {
        /// Being taken.
        Creating "creating",
        /// The machine can go back to it.
        Present "present",
        /// Being removed.
        Deleting "deleting",
    }

    /// How a network is made on a host.
    NetworkKind of hostler_core::networks::NetworkKind {
        /// User-mode network: every guest is alone on it, SSH comes by a forwarded port.
        User "user",
        /// A bridge on every host of the cluster.
        Bridge "bridge",
    }

    /// What travels in a packet.
    Protocol of hostler_core::ports::Protocol {
        /// TCP.
        Tcp "tcp",
        /// UDP.
        Udp "udp",
        /// ICMP and ICMPv6.
        Icmp "icmp",
    }

    /// What can be done with an object.
    Action of hostler_core::access::Action {
        /// All of them.
        All "all",
        /// Machine: power, consoles, programs in the guest. Template: make machines from it.
        Use "use",
        /// Machine: volumes, media, cards. Volume: be attached.
        Attach "attach",
        /// Change its properties.
        Alter "alter",
        /// Delete it.
        Delete "delete",
    }

    /// What an account may do in general.
    Role of hostler_core::access::Role {
        /// Everything.
        Administrator "administrator",
        /// Sees everything and changes nothing.
        ReadOnly "read_only",
        /// Own objects, with the functions given to experienced customers.
        AdvancedUser "advanced_user",
        /// Own objects.
        User "user",
    }

    /// Where a machine of a pool is on its way.
    StockState of hostler_core::pools::StockState {
        /// Being made.
        Filling "filling",
        /// May be lent.
        Ready "ready",
        /// Lent.
        Lent "lent",
        /// Given back, or at its end; being removed.
        Returned "returned",
        /// Never became ready, or stopped answering.
        Failed "failed",
    }

    /// How bad a finding is.
    Level of hostler_core::doctor::Level {
        /// As it should be.
        Ok "ok",
        /// Works, but not as it could.
        Warning "warning",
        /// Something does not work.
        Problem "problem",
    }
}

impl TaskState {
    /// Whether there is anything left to do.
    pub fn is_open(self) -> bool {
        matches!(self, Self::Queued | Self::Running | Self::Undoing)
    }
}
