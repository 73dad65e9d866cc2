//! A DHCP client (RFC 2131) as small as it gets: ask, take the first offer, be told so.
//!
//! Only used where the host gave no addresses and no other program of the guest takes care of the card.

use crate::sys;
use std::io;
use std::net::{Ipv4Addr, UdpSocket};
use std::time::{Duration, Instant};

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACKNOWLEDGE: u8 = 5;
const REFUSE: u8 = 6;

const OPTION_MASK: u8 = 1;
const OPTION_ROUTER: u8 = 3;
const OPTION_DNS: u8 = 6;
const OPTION_HOST_NAME: u8 = 12;
const OPTION_ADDRESS: u8 = 50;
const OPTION_SECONDS: u8 = 51;
const OPTION_KIND: u8 = 53;
const OPTION_SERVER: u8 = 54;
const OPTION_WANTED: u8 = 55;
const COOKIE: [u8; 4] = [99, 130, 83, 99];

/// What a server lends us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) address: Ipv4Addr,
    pub(crate) prefix: u8,
    pub(crate) routers: Vec<Ipv4Addr>,
    pub(crate) dns: Vec<Ipv4Addr>,
    /// How long the address is ours.
    pub(crate) seconds: u32,
}

/// Asks on this card until there is a lease or the patience is over. The card is up.
pub(crate) fn ask(card: &str, mac: [u8; 6], host_name: &str, patience: Duration) -> io::Result<Lease> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 68))?;
    sys::bind_to_device(&socket, card)?;
    socket.set_broadcast(true)?;
    let conversation = Conversation {
        socket,
        transaction: transaction()?,
        mac,
        host_name,
        until: Instant::now() + patience,
    };
    let offer = conversation.exchange(DISCOVER, None, OFFER)?;
    let answer = conversation.exchange(REQUEST, Some(&offer), ACKNOWLEDGE)?;
    Ok(answer.lease())
}

fn transaction() -> io::Result<u32> {
    use std::io::Read;
    let mut bytes = [0; 4];
    std::fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u32::from_ne_bytes(bytes))
}

#[derive(Debug)]
struct Conversation<'a> {
    socket: UdpSocket,
    transaction: u32,
    mac: [u8; 6],
    host_name: &'a str,
    until: Instant,
}

impl Conversation<'_> {
    /// Sends a question, again and again with growing pauses, until the answer comes.
    fn exchange(&self, kind: u8, offer: Option<&Answer>, wanted: u8) -> io::Result<Answer> {
        let question = question(self.transaction, self.mac, self.host_name, kind, offer);
        let mut pause = Duration::from_millis(400);
        loop {
            // A card that was turned on a moment ago may not be ready to send.
            let sent = self.socket.send_to(&question, (Ipv4Addr::BROADCAST, 67));
            let again = Instant::now() + pause;
            if let Some(answer) = self.listen(wanted, again.min(self.until))? {
                return Ok(answer);
            }
            if Instant::now() >= self.until {
                sent?;
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no DHCP server answered"));
            }
            pause *= 2;
        }
    }

    fn listen(&self, wanted: u8, until: Instant) -> io::Result<Option<Answer>> {
        let mut buffer = [0; 1500];
        loop {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.socket.set_read_timeout(Some(left))?;
            let Ok((length, _)) = self.socket.recv_from(&mut buffer) else { continue };
            match parse(&buffer[..length], self.transaction, self.mac) {
                Some(answer) if answer.kind == wanted => return Ok(Some(answer)),
                Some(answer) if answer.kind == REFUSE => {
                    return Err(io::Error::other("the DHCP server refused its own offer"));
                }
                _ => {}
            }
        }
    }
}

fn question(transaction: u32, mac: [u8; 6], host_name: &str, kind: u8, offer: Option<&Answer>) -> Vec<u8> {
    // Request, Ethernet, six bytes of address, no relays.
    let mut packet = vec![1, 1, 6, 0];
    packet.extend_from_slice(&transaction.to_be_bytes());
    // Answer by broadcast: we have no address yet to receive anything else.
    packet.extend_from_slice(&[0, 0, 0x80, 0]);
    packet.resize(28, 0);
    packet.extend_from_slice(&mac);
    packet.resize(236, 0);
    packet.extend_from_slice(&COOKIE);
    let mut option = |code: u8, value: &[u8]| {
        if let Ok(length) = u8::try_from(value.len()) {
            packet.extend_from_slice(&[code, length]);
            packet.extend_from_slice(value);
        }
    };
    option(OPTION_KIND, &[kind]);
    if let Some(offer) = offer {
        option(OPTION_ADDRESS, &offer.address.octets());
        if let Some(server) = offer.server {
            option(OPTION_SERVER, &server);
        }
    }
    if !host_name.is_empty() {
        option(OPTION_HOST_NAME, host_name.as_bytes());
    }
    option(OPTION_WANTED, &[OPTION_MASK, OPTION_ROUTER, OPTION_DNS, OPTION_SECONDS]);
    packet.push(255);
    // Old servers drop what is shorter than a BOOTP packet.
    packet.resize(packet.len().max(300), 0);
    packet
}

/// What a server said.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Answer {
    kind: u8,
    address: Ipv4Addr,
    mask: Option<[u8; 4]>,
    routers: Vec<Ipv4Addr>,
    dns: Vec<Ipv4Addr>,
    seconds: u32,
    server: Option<[u8; 4]>,
}

impl Answer {
    fn lease(self) -> Lease {
        let prefix = self.mask.map_or(24, |mask| u32::from_be_bytes(mask).leading_ones());
        Lease {
            address: self.address,
            prefix: u8::try_from(prefix).unwrap_or(32),
            routers: self.routers,
            dns: self.dns,
            seconds: self.seconds,
        }
    }
}

/// Reads a packet; none when it is not an answer to us.
fn parse(packet: &[u8], transaction: u32, mac: [u8; 6]) -> Option<Answer> {
    let fixed = packet.get(..240)?;
    let ours = fixed[0] == 2 && fixed[4..8] == transaction.to_be_bytes() && fixed[28..34] == mac;
    if !ours || fixed[236..240] != COOKIE {
        return None;
    }
    let address = Ipv4Addr::from(<[u8; 4]>::try_from(&fixed[16..20]).ok()?);
    let mut answer =
        Answer { kind: 0, address, mask: None, routers: vec![], dns: vec![], seconds: 3600, server: None };
    let mut rest = &packet[240..];
    while let [code, after @ ..] = rest {
        match *code {
            0 => rest = after,
            255 => break,
            code => {
                let (&length, after) = after.split_first()?;
                let (value, after) = after.split_at_checked(usize::from(length))?;
                rest = after;
                answer.option(code, value);
            }
        }
    }
    Some(answer)
}

impl Answer {
    fn option(&mut self, code: u8, value: &[u8]) {
        let list = || value.as_chunks::<4>().0.iter().map(|four| Ipv4Addr::from(*four)).collect();
        match code {
            OPTION_KIND => self.kind = value.first().copied().unwrap_or(0),
            OPTION_MASK => self.mask = value.first_chunk().copied(),
            OPTION_ROUTER => self.routers = list(),
            OPTION_DNS => self.dns = list(),
            OPTION_SECONDS => {
                self.seconds = value.first_chunk().map_or(3600, |four| u32::from_be_bytes(*four));
            }
            OPTION_SERVER => self.server = value.first_chunk().copied(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{ACKNOWLEDGE, DISCOVER, Lease, OFFER, parse, question};
    use proptest::prelude::*;
    use std::net::Ipv4Addr;

    const MAC: [u8; 6] = [0x52, 0x54, 0, 1, 2, 3];

    fn answer(kind: u8, options: &[u8]) -> Vec<u8> {
        let mut packet = question(7, MAC, "", kind, None);
        packet[0] = 2;
        packet[16..20].copy_from_slice(&[10, 0, 2, 15]);
        packet.truncate(243);
        packet.extend_from_slice(options);
        packet
    }

    #[test]
    fn a_lease_is_read_from_an_answer() {
        let options = [
            1, 4, 255, 255, 255, 0, 3, 4, 10, 0, 2, 2, 0, 0, 6, 8, 10, 0, 2, 3, 10, 0, 2, 4, 51, 4, 0, 1,
            0x51, 0x80, 54, 4, 10, 0, 2, 2, 255,
        ];
        let read = parse(&answer(ACKNOWLEDGE, &options), 7, MAC).unwrap();
        assert_eq!((read.kind, read.server), (ACKNOWLEDGE, Some([10, 0, 2, 2])));
        let lease = Lease {
            address: Ipv4Addr::new(10, 0, 2, 15),
            prefix: 24,
            routers: vec![Ipv4Addr::new(10, 0, 2, 2)],
            dns: vec![Ipv4Addr::new(10, 0, 2, 3), Ipv4Addr::new(10, 0, 2, 4)],
            seconds: 86400,
        };
        assert_eq!(read.lease(), lease);
    }

    #[test]
    fn answers_to_others_are_not_ours() {
        let packet = answer(OFFER, &[255]);
        assert!(parse(&packet, 7, MAC).is_some());
        assert!(parse(&packet, 8, MAC).is_none());
        assert!(parse(&packet, 7, [1; 6]).is_none());
        assert!(parse(&question(7, MAC, "", DISCOVER, None), 7, MAC).is_none());
    }

    proptest! {
        #[test]
        fn no_options_make_it_panic(options: Vec<u8>) {
            let _ = parse(&answer(OFFER, &options), 7, MAC).map(super::Answer::lease);
            let _ = parse(&options, 7, MAC);
        }
    }
}
