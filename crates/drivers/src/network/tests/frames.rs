//! Ethernet frames, put together by hand, and cables to send and hear them on.

use hostler_core::ids::NetworkId;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::OwnedFd;
use std::time::Duration;
use tokio::io::unix::AsyncFd;

pub(super) type Mac = [u8; 6];

/// The header that the kernel puts before frames of a tap.
const OFFLOAD: usize = 10;
const DEADLINE: Duration = Duration::from_secs(10);

pub(super) fn mac(number: u8) -> Mac {
    [0x52, 0x54, 0, 0, 0, number]
}

pub(super) fn v4(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(10, 77, 0, number)
}

pub(super) fn v6(number: u16) -> Ipv6Addr {
    Ipv6Addr::new(0xfd77, 0, 0, 0, 0, 0, 0, number)
}

pub(super) fn ethernet(to: Mac, from: Mac, kind: u16, body: &[u8]) -> Vec<u8> {
    let mut frame = [to, from].concat();
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(body);
    frame.resize(frame.len().max(60), 0);
    frame
}

/// ARP: `operation` 1 asks, 2 answers.
pub(super) fn arp(operation: u8, from: Mac, sender: (Mac, Ipv4Addr), target: Ipv4Addr) -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, operation];
    body.extend_from_slice(&sender.0);
    body.extend_from_slice(&sender.1.octets());
    body.extend_from_slice(&[0; 6]);
    body.extend_from_slice(&target.octets());
    ethernet([0xff; 6], from, 0x0806, &body)
}

pub(super) fn ipv4(link: (Mac, Mac), from: Ipv4Addr, to: Ipv4Addr, protocol: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(20 + body.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x45, 0, length[0], length[1], 0, 1, 0, 0, 64, protocol, 0, 0];
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    // Bridges of some hosts look at the checksum of the header.
    let words = packet.as_chunks::<2>().0.iter().map(|word| u32::from(u16::from_be_bytes(*word)));
    let sum = words.sum::<u32>();
    let folded = (sum & 0xffff) + (sum >> 16);
    let checksum = !u16::try_from((folded & 0xffff) + (folded >> 16)).unwrap();
    packet[10..12].copy_from_slice(&checksum.to_be_bytes());
    packet.extend_from_slice(body);
    ethernet(link.0, link.1, 0x0800, &packet)
}

pub(super) fn ipv6(link: (Mac, Mac), from: Ipv6Addr, to: Ipv6Addr, next: u8, body: &[u8]) -> Vec<u8> {
    let length = u16::try_from(body.len()).unwrap().to_be_bytes();
    let mut packet = vec![0x60, 0, 0, 0, length[0], length[1], next, 255];
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(body);
    ethernet(link.0, link.1, 0x86dd, &packet)
}

pub(super) fn udp(from: u16, to: u16, payload: &[u8]) -> Vec<u8> {
    let length = u16::try_from(8 + payload.len()).unwrap();
    let mut segment: Vec<u8> = [from, to, length, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
    segment.extend_from_slice(payload);
    segment
}

/// TCP without payload; `flags` 2 is SYN, 16 is ACK.
pub(super) fn tcp(from: u16, to: u16, flags: u8) -> Vec<u8> {
    let mut segment: Vec<u8> = [from, to].iter().flat_map(|word| word.to_be_bytes()).collect();
    segment.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0x50, flags, 4, 0, 0, 0, 0, 0]);
    segment
}

/// A message of neighbour discovery about `target`: 134 router, 135 asks, 136 claims, 137 redirects.
pub(super) fn neighbour(kind: u8, target: Ipv6Addr) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, 0x60, 0, 0, 0];
    message.extend_from_slice(&target.octets());
    message.extend_from_slice(&[0; 16]);
    message
}

/// Whether a frame is the one that was sent. Bridges of some hosts cut off what fills short packets up.
pub(super) fn same(heard: &[u8], sent: &[u8]) -> bool {
    heard == sent || heard.len() > 34 && sent.starts_with(heard)
}

/// A guest's end of a cable.
pub(super) struct Cable(AsyncFd<OwnedFd>);

impl Cable {
    pub(super) async fn plug(network: NetworkId, bridge: &str, number: u8) -> Self {
        let mac = format!("52:54:00:00:00:{number:02x}");
        let tap = super::super::tap::open(network, bridge, &mac).await.unwrap();
        #[expect(deprecated, reason = "its successor is unsafe, which a test has no need of")]
        Self(AsyncFd::new(tap).unwrap())
    }

    pub(super) fn send(&self, frame: &[u8]) {
        let mut bytes = vec![0; OFFLOAD];
        bytes.extend_from_slice(frame);
        assert_eq!(rustix::io::write(self.0.get_ref(), &bytes).unwrap(), bytes.len());
    }

    /// The frames that come until `last` does.
    pub(super) async fn hear_until(&self, last: &[u8]) -> Vec<Vec<u8>> {
        let mut heard = Vec::new();
        let listen = async {
            loop {
                let frame = self.next().await;
                if same(&frame, last) {
                    return;
                }
                heard.push(frame);
            }
        };
        tokio::time::timeout(DEADLINE, listen).await.expect("what is sent last arrives");
        heard
    }

    async fn next(&self) -> Vec<u8> {
        let mut buffer = [0; 2048];
        loop {
            let mut ready = self.0.readable().await.unwrap();
            match ready.try_io(|tap| Ok(rustix::io::read(tap.get_ref(), &mut buffer)?)) {
                Ok(length) => return buffer[OFFLOAD..length.unwrap()].to_vec(),
                Err(_would_block) => {}
            }
        }
    }
}
