//! Whether others than this computer's users can do without a token what vmpooler lets anybody do.

use crate::config::{Config, Unnamed};
use hostler_core::doctor::Finding;
use std::net::IpAddr;

/// What the doctor says of vmpooler's door at this address, `HOST:PORT`, if anything.
pub(crate) fn finding(config: &Config, address: &str) -> Option<Finding> {
    let (what, hint) = match config.vmpooler.anonymous {
        Unnamed::Off => return None,
        Unnamed::Full => ("take and remove machines of pools", "say \"read\" or \"off\" there"),
        Unnamed::Read => ("see pools and who uses them", "say \"off\" there"),
    };
    if is_loopback(address) {
        return None;
    }
    let text = format!("whoever reaches {address} can {what} without a token");
    let finding = Finding::warning("vmpooler", text);
    Some(finding.because("[vmpooler] anonymous lets them").hint(format!("{hint}, or listen on 127.0.0.1")))
}

/// A name other than `localhost` may be anything.
fn is_loopback(address: &str) -> bool {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_may_do_much_without_a_token_is_told_of_where_others_get_in() {
        let mut config = Config::default();
        for (anonymous, said) in [
            (Unnamed::Full, Some("take and remove machines")),
            (Unnamed::Read, Some("see pools")),
            (Unnamed::Off, None),
        ] {
            config.vmpooler.anonymous = anonymous;
            for outside in
                ["0.0.0.0:8889", "[::]:8889", "192.0.2.1:80", "hostler.example:443", "[::ffff:192.0.2.1]:1"]
            {
                let found = finding(&config, outside);
                assert_eq!(found.is_some(), said.is_some(), "{outside} {anonymous:?}");
                assert!(found.is_none_or(|found| found.text.contains(said.unwrap_or_default())), "{outside}");
            }
            for inside in
                ["127.0.0.1:8889", "127.9.9.9:1", "[::1]:8889", "localhost:80", "[::ffff:127.0.0.1]:1"]
            {
                assert!(finding(&config, inside).is_none(), "{inside} {anonymous:?}");
            }
        }
    }
}
