//! Taps: the ends of the cables between bridges and guests.
//!
//! A tap lives as long as the descriptor that made it. QEMU inherits it, so it outlives this server and goes with the
//! guest, whatever end that takes. Until the network's rules know its card, everything that comes out of it is dropped.

use super::names;
use super::netlink::Netlink;
use crate::durable::io_failed;
use hostler_core::ids::NetworkId;
use hostler_core::ports::{DriverError, DriverErrorKind};
use rustix::fs::{Mode, OFlags};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Opens the tap of the card with this MAC and plugs it into the network's bridge, which must be there. Whoever gets
/// the descriptor (`-netdev tap,fd=`, or `getfd` for a running QEMU) is the guest's end; closing all copies of it
/// removes the tap.
///
/// # Errors
/// Gone when there is no such bridge; refused, and worth another try, while an earlier process still holds the tap.
pub(crate) async fn open(network: NetworkId, bridge: &str, mac: &str) -> Result<OwnedFd, DriverError> {
    let netlink = Netlink::open()?;
    let missing = || DriverError::gone(format!("there is no bridge {bridge}"));
    let controller = netlink.link(bridge).await?.filter(|link| link.is_bridge).ok_or_else(missing)?;
    let name = names::tap(network, mac);
    let tap = make(&name).map_err(|error| match error.raw_os_error() {
        Some(libc::EBUSY) => DriverError {
            retryable: true,
            ..DriverError::refused(format!("the tap {name} of the card {mac} is still in use"))
        },
        _ => io_failed(format!("cannot make the tap {name}"), &error),
    })?;
    let link = netlink.link(&name).await?.ok_or_else(|| {
        DriverError::new(
            DriverErrorKind::Internal,
            format!("the tap {name} went away as soon as it was made"),
        )
    })?;
    // The host itself has nothing to say on this cable.
    super::sysctl::set(&format!("ipv6/conf/{name}/disable_ipv6"), "1")?;
    netlink.plug(&link, controller.index).await?;
    netlink.up(&link).await?;
    Ok(tap)
}

fn make(name: &str) -> io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let tap = rustix::fs::open("/dev/net/tun", flags, Mode::empty())?;
    attach(&tap, name)?;
    Ok(tap)
}

fn attach(tap: &OwnedFd, name: &str) -> io::Result<()> {
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags: 0, rest: [0; 22] };
    request.name[..name.len()].copy_from_slice(name.as_bytes());
    // Whole Ethernet frames, with the header by which guests leave checksums and segmentation to the host.
    request.flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as libc::c_short;
    #[expect(unsafe_code, reason = "neither std nor rustix offers TUNSETIFF")]
    // SAFETY: the kernel reads and writes one `struct ifreq`, which `Request` is in size and layout.
    let done = unsafe { libc::ioctl(tap.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// `struct ifreq` as TUNSETIFF uses it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

const _: () = assert!(size_of::<Request>() == size_of::<libc::ifreq>());
