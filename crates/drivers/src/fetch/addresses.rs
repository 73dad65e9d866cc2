//! Which addresses may be fetched from. What is refused is named, not guessed from "is global": what the lists do not
//! know is the public network.

use ipnet::IpNet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// IANA's special-purpose registries, as far as nothing public can lie there.
const REFUSED_4: [([u8; 4], u8, &str); 15] = [
    ([0, 0, 0, 0], 8, "an unspecified address"),
    ([10, 0, 0, 0], 8, "a private address"),
    ([100, 64, 0, 0], 10, "an address behind a provider's translation"),
    ([127, 0, 0, 0], 8, "a loopback address"),
    ([169, 254, 0, 0], 16, "a link-local address"),
    ([172, 16, 0, 0], 12, "a private address"),
    ([192, 0, 0, 0], 24, "a reserved address"),
    ([192, 0, 2, 0], 24, "an address of documentation"),
    ([192, 88, 99, 0], 24, "a reserved address"),
    ([192, 168, 0, 0], 16, "a private address"),
    ([198, 18, 0, 0], 15, "an address of benchmarks"),
    ([198, 51, 100, 0], 24, "an address of documentation"),
    ([203, 0, 113, 0], 24, "an address of documentation"),
    ([224, 0, 0, 0], 4, "a multicast address"),
    ([240, 0, 0, 0], 4, "a reserved address"),
];
const REFUSED_6: [(u128, u8, &str); 12] = [
    (0, 128, "an unspecified address"),
    (1, 128, "a loopback address"),
    (0x0064_ff9b_0001 << 80, 48, "an address of translation"),
    (0x0100 << 112, 64, "a discarding address"),
    (0x2001 << 112, 23, "a reserved address"),
    (0x2001_0db8 << 96, 32, "an address of documentation"),
    (0x3fff << 112, 20, "an address of documentation"),
    (0x5f00 << 112, 16, "a reserved address"),
    (0xfc00 << 112, 7, "a private address"),
    (0xfe80 << 112, 10, "a link-local address"),
    (0xfec0 << 112, 10, "a private address"),
    (0xff00 << 112, 8, "a multicast address"),
];

/// Why this address is not fetched from; nothing when it may be.
pub(super) fn refusal(address: IpAddr, allowed: &[IpNet]) -> Option<&'static str> {
    let inner = match address {
        IpAddr::V4(_) => None,
        IpAddr::V6(address) => carried(address),
    };
    // An address in another's clothes is what it carries.
    if let Some(inner) = inner {
        return refusal(IpAddr::V4(inner), allowed);
    }
    if allowed.iter().any(|prefix| prefix.contains(&address)) {
        return None;
    }
    match address {
        IpAddr::V4(address) => {
            let bits = u32::from(address);
            let within = |of: [u8; 4], length: u8| (bits ^ u32::from_be_bytes(of)) >> (32 - length) == 0;
            REFUSED_4.iter().find(|(of, length, _)| within(*of, *length)).map(|(_, _, why)| *why)
        }
        IpAddr::V6(address) => {
            let bits = u128::from(address);
            let within = |of: u128, length: u8| (bits ^ of).checked_shr(128 - u32::from(length)) == Some(0);
            REFUSED_6.iter().find(|(of, length, _)| within(*of, *length)).map(|(_, _, why)| *why)
        }
    }
}

/// The IPv4 address in a mapped, compatible, translated (NAT64) or tunnelled (6to4) address.
fn carried(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let bits = u128::from(address);
    let low = Ipv4Addr::from((bits & 0xffff_ffff) as u32);
    let mapped = bits >> 32 == 0xffff;
    let translated = bits >> 32 == 0xffff_0000 || bits >> 32 == 0x0064_ff9b << 64;
    let compatible = bits >> 32 == 0 && bits > 0xffff;
    if mapped || translated || compatible {
        return Some(low);
    }
    (bits >> 112 == 0x2002).then(|| Ipv4Addr::from((bits >> 80 & 0xffff_ffff) as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn why(address: &str) -> Option<&'static str> {
        refusal(address.parse().unwrap(), &[])
    }

    #[test]
    fn what_is_not_public_is_refused() {
        for address in [
            "0.0.0.0",
            "0.1.2.3",
            "10.1.2.3",
            "100.64.0.1",
            "100.127.255.255",
            "127.0.0.1",
            "127.255.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.0.0.170",
            "192.0.2.1",
            "192.88.99.1",
            "192.168.0.1",
            "198.18.0.1",
            "198.19.255.255",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "239.255.255.255",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "2001:db8::1",
            "2001::1",
            "2001:2::1",
            "3fff::1",
            "100::1",
            "5f00::1",
            "64:ff9b:1::7f00:1",
        ] {
            assert!(why(address).is_some(), "{address}");
        }
    }

    #[test]
    fn other_clothes_do_not_help() {
        for address in [
            "::ffff:127.0.0.1",
            "::ffff:10.0.0.1",
            "::127.0.0.1",
            "::169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b::10.0.0.1",
            "2002:7f00:1::",
            "2002:a00:1::1",
            "2002:c0a8:1::",
            "::ffff:0:127.0.0.1",
        ] {
            assert!(why(address).is_some(), "{address}");
        }
        assert_eq!(why("::ffff:93.184.216.34"), None);
        assert_eq!(why("64:ff9b::93.184.216.34"), None);
        assert_eq!(why("2002:5db8:d822::1"), None);
    }

    #[test]
    fn what_is_public_passes() {
        for address in [
            "1.1.1.1",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "128.0.0.1",
            "169.253.0.1",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "192.167.0.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700::1111",
            "2a00::1",
            "2001:4860:4860::8888",
            "2003::1",
            "2400::1",
        ] {
            assert_eq!(why(address), None, "{address}");
        }
    }

    #[test]
    fn an_administrator_may_allow_a_prefix() {
        let allowed: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].map(|prefix| prefix.parse().unwrap()).into();
        let why = |address: &str| refusal(address.parse().unwrap(), &allowed);
        assert_eq!(why("10.2.3.4"), None);
        assert_eq!(why("::ffff:10.2.3.4"), None);
        assert_eq!(why("fd00::1"), None);
        assert!(why("192.168.0.1").is_some() && why("fc00::1").is_some() && why("::1").is_some());
    }
}
