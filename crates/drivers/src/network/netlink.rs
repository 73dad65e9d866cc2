//! Links and addresses of the host, by netlink. Each connection belongs to the network namespace of the thread that
//! opens it, so it is opened for a piece of work and not kept.

use futures_util::TryStreamExt;
use hostler_core::ports::{DriverError, DriverErrorKind};
use rtnetlink::packet_route::AddressFamily;
use rtnetlink::packet_route::address::{AddressAttribute, AddressFlags, AddressMessage, AddressScope};
use rtnetlink::packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use rtnetlink::{Handle, LinkBridge, LinkUnspec};
use std::net::IpAddr;

/// A link of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Link {
    pub(super) index: u32,
    pub(super) name: String,
    pub(super) mac: Vec<u8>,
    pub(super) is_bridge: bool,
    pub(super) is_up: bool,
    /// The bridge it is plugged into.
    pub(super) controller: Option<u32>,
}

impl Link {
    fn read(message: LinkMessage) -> Self {
        let mut link = Self {
            index: message.header.index,
            name: String::new(),
            mac: Vec::new(),
            is_bridge: false,
            is_up: message.header.flags.contains(LinkFlags::Up),
            controller: None,
        };
        for attribute in message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => link.name = name,
                LinkAttribute::Address(mac) => link.mac = mac,
                LinkAttribute::Controller(index) => link.controller = Some(index),
                LinkAttribute::LinkInfo(infos) => {
                    link.is_bridge = infos.contains(&LinkInfo::Kind(InfoKind::Bridge));
                }
                _ => {}
            }
        }
        link
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Netlink {
    handle: Handle,
}

impl Netlink {
    /// Connects to the namespace of this thread. The connection ends when this is dropped.
    pub(super) fn open() -> Result<Self, DriverError> {
        let (connection, handle, _) = rtnetlink::new_connection()
            .map_err(|error| DriverError::internal(format!("cannot open netlink: {error}")))?;
        tokio::spawn(connection);
        Ok(Self { handle })
    }

    /// The link of this name.
    pub(super) async fn link(&self, name: &str) -> Result<Option<Link>, DriverError> {
        let found = self.handle.link().get().match_name(name).execute().try_next().await;
        match found {
            Ok(message) => Ok(message.map(Link::read)),
            Err(error) if is(&error, libc::ENODEV) => Ok(None),
            Err(error) => Err(failed(&format!("cannot look for {name}"), &error)),
        }
    }

    /// All links.
    pub(super) async fn links(&self) -> Result<Vec<Link>, DriverError> {
        let found = self.handle.link().get().execute().map_ok(Link::read).try_collect().await;
        found.map_err(|error| failed("cannot list links", &error))
    }

    /// Makes a bridge that is down, with a MAC that stays.
    pub(super) async fn bridge_add(&self, name: &str, mac: [u8; 6]) -> Result<Link, DriverError> {
        // Frames to the bridge's own group addresses pass no rules, so nothing may be learnt from them.
        let bridge = LinkBridge::new(name).forward_delay(0).mcast_snooping(false).no_linklocal_learn(true);
        let message = bridge.address(mac.to_vec()).build();
        let made = self.handle.link().add(message).execute().await;
        made.map_err(|error| failed(&format!("cannot make the bridge {name}"), &error))?;
        let link = self.link(name).await?;
        link.ok_or_else(|| DriverError::gone(format!("the bridge {name} went away as soon as it was made")))
    }

    pub(super) async fn up(&self, link: &Link) -> Result<(), DriverError> {
        let message = LinkUnspec::new_with_index(link.index).up().build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(|error| failed(&format!("cannot turn {} on", link.name), &error))
    }

    /// Plugs a link into a bridge.
    pub(super) async fn plug(&self, link: &Link, bridge: u32) -> Result<(), DriverError> {
        let message = LinkUnspec::new_with_index(link.index).controller(bridge).build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(|error| failed(&format!("cannot plug {} into its bridge", link.name), &error))
    }

    /// Pulls a link out of its bridge.
    pub(super) async fn unplug(&self, link: &Link) -> Result<(), DriverError> {
        let message = LinkUnspec::new_with_index(link.index).nocontroller().build();
        let set = self.handle.link().set(message).execute().await;
        set.map_err(|error| failed(&format!("cannot pull {} out of its bridge", link.name), &error))
    }

    /// Removes a link. Success when it is not there.
    pub(super) async fn remove(&self, link: &Link) -> Result<(), DriverError> {
        match self.handle.link().del(link.index).execute().await {
            Err(error) if !is(&error, libc::ENODEV) => {
                Err(failed(&format!("cannot remove {}", link.name), &error))
            }
            _ => Ok(()),
        }
    }

    /// Addresses of a link with their prefix lengths; those that the kernel gives every link are left out.
    pub(super) async fn addresses(&self, link: u32) -> Result<Vec<(IpAddr, u8)>, DriverError> {
        let found = self.handle.address().get().set_link_index_filter(link).execute();
        let found: Vec<AddressMessage> =
            found.try_collect().await.map_err(|error| failed("cannot list addresses", &error))?;
        let kept = found.iter().filter(|one| one.header.scope != AddressScope::Link);
        Ok(kept.filter_map(|one| Some((address_of(one)?, one.header.prefix_len))).collect())
    }

    pub(super) async fn address_add(
        &self,
        link: &Link,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), DriverError> {
        let mut request = self.handle.address().add(link.index, address, prefix);
        if address.is_ipv6() {
            // A bridge without guests has no carrier, and the address would be tentative until it has.
            let flags = AddressAttribute::Flags(AddressFlags::Nodad);
            request.message_mut().attributes.push(flags);
        }
        match request.execute().await {
            Err(error) if !is(&error, libc::EEXIST) => {
                Err(failed(&format!("cannot give {} the address {address}/{prefix}", link.name), &error))
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn address_remove(
        &self,
        link: &Link,
        address: IpAddr,
        prefix: u8,
    ) -> Result<(), DriverError> {
        let mut message = AddressMessage::default();
        message.header.family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        message.header.prefix_len = prefix;
        message.header.index = link.index;
        message.attributes.push(AddressAttribute::Address(address));
        message.attributes.push(AddressAttribute::Local(address));
        match self.handle.address().del(message).execute().await {
            Err(error) if !is(&error, libc::EADDRNOTAVAIL) => {
                Err(failed(&format!("cannot take {address}/{prefix} from {}", link.name), &error))
            }
            _ => Ok(()),
        }
    }
}

fn address_of(message: &AddressMessage) -> Option<IpAddr> {
    let local = message.attributes.iter().find_map(|attribute| match attribute {
        AddressAttribute::Local(address) => Some(*address),
        _ => None,
    });
    local.or_else(|| {
        message.attributes.iter().find_map(|attribute| match attribute {
            AddressAttribute::Address(address) => Some(*address),
            _ => None,
        })
    })
}

fn is(error: &rtnetlink::Error, code: i32) -> bool {
    matches!(error, rtnetlink::Error::NetlinkError(message) if message.raw_code() == -code)
}

fn failed(doing: &str, error: &rtnetlink::Error) -> DriverError {
    let kind = match error {
        rtnetlink::Error::NetlinkError(message) => match -message.raw_code() {
            libc::EPERM | libc::EACCES | libc::EEXIST | libc::EINVAL | libc::EOPNOTSUPP | libc::EBUSY => {
                DriverErrorKind::Refused
            }
            libc::ENODEV => DriverErrorKind::Gone,
            libc::ENOMEM | libc::ENOBUFS => DriverErrorKind::Exhausted,
            _ => DriverErrorKind::Internal,
        },
        _ => DriverErrorKind::Protocol,
    };
    DriverError::new(kind, format!("{doing}: {error}"))
}
