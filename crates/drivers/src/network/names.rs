//! Names on the host that derive from our ids, so that what is ours is known without a list: the same network has the
//! same names after a crash, a reboot, or a lost record.

use hostler_core::ids::NetworkId;
use sha2::{Digest, Sha256};

/// Digits of interface names: 32 of them, five bits each.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// Of the 15 characters that an interface name may have, `h` is the first; so many name the network, the rest the card.
const NETWORK_DIGITS: usize = 5;
const CARD_DIGITS: usize = 9;

/// What the names of all taps of a network begin with.
pub(super) fn tap_prefix(network: NetworkId) -> String {
    format!("h{}", digits(&Sha256::digest(network.0.as_bytes()), NETWORK_DIGITS))
}

/// The tap of the card with this MAC on this network.
pub(super) fn tap(network: NetworkId, mac: &str) -> String {
    format!("{}{}", tap_prefix(network), digits(&Sha256::digest(mac.as_bytes()), CARD_DIGITS))
}

/// The MAC of a network's bridge: the mark by which a bridge is known as ours, because it is there from the first
/// moment of the bridge's life.
pub(super) fn bridge_mac(network: NetworkId) -> [u8; 6] {
    let digest = Sha256::new_with_prefix(b"hostler bridge 1").chain_update(network.0.as_bytes()).finalize();
    [0x52, digest[0], digest[1], digest[2], digest[3], digest[4]]
}

/// The name of a network's tables in nftables.
pub(super) fn table(bridge: &str) -> String {
    format!("hostler-{bridge}")
}

fn digits(digest: &[u8], count: usize) -> String {
    let bits = digest.iter().take(8).fold(0_u64, |bits, byte| (bits << 8) | u64::from(*byte));
    (0..count).map(|place| char::from(DIGITS[(bits >> (5 * place)) as usize & 31])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    #[test]
    fn names_fit_and_differ() {
        let network = NetworkId(Uuid::from_u128(1));
        let name = tap(network, "52:54:00:00:00:01");
        assert_eq!(name.len(), 15);
        assert!(name.starts_with(&tap_prefix(network)));
        assert_ne!(name, tap(network, "52:54:00:00:00:02"));
        assert_ne!(tap_prefix(network), tap_prefix(NetworkId(Uuid::from_u128(2))));
        assert_eq!(bridge_mac(network)[0] & 0b11, 0b10, "locally administered, unicast");
    }
}
