//! Links, addresses and routes, set through the kernel's rtnetlink(7): a few messages built by hand.

use crate::sys;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const RTM_DELADDR: u16 = 21;
const RTM_GETADDR: u16 = 22;
const RTM_NEWROUTE: u16 = 24;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;

const REQUEST: u16 = 0x1;
const ACKNOWLEDGE: u16 = 0x4;
const REPLACE: u16 = 0x100;
const DUMP: u16 = 0x300;
const CREATE: u16 = 0x400;

const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const IFA_BROADCAST: u16 = 4;
/// The address is ours by decree: no waiting for duplicates to speak up.
const IFA_F_NODAD: u8 = 0x02;
const IFLA_ADDRESS: u16 = 1;
const RTA_OIF: u16 = 4;
const RTA_GATEWAY: u16 = 5;
/// The gateway is reached through this card whatever the card's own addresses say.
const RTNH_F_ONLINK: u32 = 4;

/// An address that a card has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    /// The card's number.
    pub(crate) index: u32,
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
    /// Not only valid on this link or this machine.
    pub(crate) global: bool,
}

/// A connection to the kernel.
#[derive(Debug)]
pub(crate) struct Netlink {
    socket: File,
    sequence: u32,
}

impl Netlink {
    pub(crate) fn open() -> io::Result<Self> {
        Ok(Self { socket: sys::netlink_socket()?, sequence: 0 })
    }

    /// Turns a card on or off.
    pub(crate) fn link_set_up(&mut self, index: u32, up: bool) -> io::Result<()> {
        self.command(RTM_NEWLINK, 0, &link_header(index, u32::from(up), 1))
    }

    /// Gives a card, which should be off, another MAC.
    pub(crate) fn link_set_mac(&mut self, index: u32, mac: [u8; 6]) -> io::Result<()> {
        let mut body = link_header(index, 0, 0);
        attribute(&mut body, IFLA_ADDRESS, &mac);
        self.command(RTM_NEWLINK, 0, &body)
    }

    /// Gives a card an address; one that it has already is fine.
    pub(crate) fn address_add(&mut self, index: u32, address: IpAddr, prefix: u8) -> io::Result<()> {
        self.command(RTM_NEWADDR, CREATE | REPLACE, &address_body(index, address, prefix))
    }

    /// Takes an address away.
    pub(crate) fn address_remove(&mut self, held: &Held) -> io::Result<()> {
        self.command(RTM_DELADDR, 0, &address_body(held.index, held.address, held.prefix))
    }

    /// Makes this gateway the way to everywhere.
    pub(crate) fn gateway_set(&mut self, index: u32, gateway: IpAddr) -> io::Result<()> {
        match self.command(RTM_NEWROUTE, CREATE | REPLACE, &route_body(index, gateway, 0)) {
            // Hosters like to hand out single addresses whose gateway is in no prefix of theirs.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENETUNREACH | libc::EHOSTUNREACH | libc::EINVAL)
                ) =>
            {
                self.command(RTM_NEWROUTE, CREATE | REPLACE, &route_body(index, gateway, RTNH_F_ONLINK))
            }
            other => other,
        }
    }

    /// Every address of every card, the loopback's too.
    pub(crate) fn addresses(&mut self) -> io::Result<Vec<Held>> {
        let messages = self.exchange(RTM_GETADDR, REQUEST | DUMP, &[0; 8])?;
        Ok(messages
            .iter()
            .filter(|message| message.kind == RTM_NEWADDR)
            .filter_map(|m| held(&m.body))
            .collect())
    }

    fn command(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        self.exchange(kind, REQUEST | ACKNOWLEDGE | flags, body).map(drop)
    }

    /// Sends one message and reads until the kernel says that it is done with it.
    fn exchange(&mut self, kind: u16, flags: u16, body: &[u8]) -> io::Result<Vec<Message>> {
        self.sequence += 1;
        let length = u32::try_from(16 + body.len()).map_err(io::Error::other)?;
        let mut message = Vec::with_capacity(16 + body.len());
        message.extend_from_slice(&length.to_ne_bytes());
        message.extend_from_slice(&kind.to_ne_bytes());
        message.extend_from_slice(&flags.to_ne_bytes());
        message.extend_from_slice(&self.sequence.to_ne_bytes());
        message.extend_from_slice(&0_u32.to_ne_bytes());
        message.extend_from_slice(body);
        self.socket.write_all(&message)?;
        let mut buffer = vec![0; 64 * 1024];
        let mut collected = Vec::new();
        loop {
            let length = self.socket.read(&mut buffer)?;
            for message in messages(&buffer[..length]) {
                if message.sequence != self.sequence {
                    continue;
                }
                match message.kind {
                    NLMSG_DONE => return Ok(collected),
                    NLMSG_ERROR => {
                        let code =
                            message.body.first_chunk().map_or(-libc::EIO, |code| i32::from_ne_bytes(*code));
                        return if code == 0 {
                            Ok(collected)
                        } else {
                            Err(io::Error::from_raw_os_error(-code))
                        };
                    }
                    _ => collected.push(message),
                }
            }
        }
    }
}

#[derive(Debug)]
struct Message {
    kind: u16,
    sequence: u32,
    body: Vec<u8>,
}

/// Takes a packet from the kernel apart.
fn messages(mut bytes: &[u8]) -> Vec<Message> {
    let mut found = Vec::new();
    while let Some((header, _)) = bytes.split_at_checked(16) {
        let word =
            |at: usize| u32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let length = word(0) as usize;
        let Some(body) = bytes.get(16..length) else { break };
        let kind = u16::from_ne_bytes([header[4], header[5]]);
        found.push(Message { kind, sequence: word(8), body: body.to_vec() });
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    found
}

fn held(body: &[u8]) -> Option<Held> {
    let (header, mut rest) = body.split_first_chunk::<8>()?;
    let [_, prefix, _, scope, index @ ..] = *header;
    let (mut local, mut other) = (None, None);
    while let Some((head, _)) = rest.split_first_chunk::<4>() {
        let length = usize::from(u16::from_ne_bytes([head[0], head[1]]));
        let value = rest.get(4..length)?;
        match u16::from_ne_bytes([head[2], head[3]]) {
            IFA_LOCAL => local = ip(value),
            IFA_ADDRESS => other = ip(value),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    let address = local.or(other)?;
    Some(Held { index: u32::from_ne_bytes(index), address, prefix, global: scope == 0 })
}

fn ip(bytes: &[u8]) -> Option<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Some(four.into());
    }
    <[u8; 16]>::try_from(bytes).ok().map(Into::into)
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

fn family(address: IpAddr) -> u8 {
    let family = if address.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    u8::try_from(family).unwrap_or_default()
}

fn attribute(body: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    body.extend_from_slice(&length.to_ne_bytes());
    body.extend_from_slice(&kind.to_ne_bytes());
    body.extend_from_slice(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

/// `struct ifinfomsg`.
fn link_header(index: u32, flags: u32, change: u32) -> Vec<u8> {
    let mut body = vec![0; 4];
    for word in [index, flags, change] {
        body.extend_from_slice(&word.to_ne_bytes());
    }
    body
}

/// `struct ifaddrmsg` and its attributes.
fn address_body(index: u32, address: IpAddr, prefix: u8) -> Vec<u8> {
    let flags = if address.is_ipv6() { IFA_F_NODAD } else { 0 };
    let mut body = vec![family(address), prefix, flags, 0];
    body.extend_from_slice(&index.to_ne_bytes());
    attribute(&mut body, IFA_LOCAL, &octets(address));
    attribute(&mut body, IFA_ADDRESS, &octets(address));
    if let IpAddr::V4(address) = address
        && prefix < 31
    {
        let all = u32::MAX.checked_shr(u32::from(prefix)).unwrap_or(0);
        attribute(&mut body, IFA_BROADCAST, &(address.to_bits() | all).to_be_bytes());
    }
    body
}

/// `struct rtmsg` for the default route, and its attributes.
fn route_body(index: u32, gateway: IpAddr, flags: u32) -> Vec<u8> {
    // Family, three lengths of zero (everything), table main, protocol static, scope universe, type unicast.
    let mut body = vec![family(gateway), 0, 0, 0, 254, 4, 0, 1];
    body.extend_from_slice(&flags.to_ne_bytes());
    attribute(&mut body, RTA_GATEWAY, &octets(gateway));
    attribute(&mut body, RTA_OIF, &index.to_ne_bytes());
    body
}

#[cfg(test)]
mod tests {
    use super::{Held, Netlink, address_body, held, messages};
    use proptest::prelude::*;
    use std::net::{IpAddr, Ipv4Addr};

    #[test]
    fn an_address_is_read_as_it_was_written() {
        for text in ["10.0.2.15", "fd00::15"] {
            let address: IpAddr = text.parse().unwrap();
            let read = held(&address_body(2, address, 24)).unwrap();
            assert_eq!(read, Held { index: 2, address, prefix: 24, global: true });
        }
    }

    #[test]
    fn this_system_has_a_loopback() {
        let addresses = Netlink::open().unwrap().addresses().unwrap();
        assert!(
            addresses.iter().any(|one| one.address == IpAddr::from(Ipv4Addr::LOCALHOST)),
            "{addresses:?}"
        );
    }

    proptest! {
        #[test]
        fn no_packet_makes_it_panic(bytes: Vec<u8>) {
            for message in messages(&bytes) {
                let _ = held(&message.body);
            }
            let _ = held(&bytes);
        }
    }
}
