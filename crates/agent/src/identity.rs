//! Takes on an identity: randomness, clock, name, card, keys, in this order.
//!
//! The order matters. A fork has the random generator and the clock of the machine it was forked from; nothing that
//! depends on either may happen before both are set. The SSH server comes last: whoever reaches it reaches this
//! machine and no other.

use crate::wire::{Fault, HostKey, Identify};
use crate::{NAME, Place, base64, cloud, complain, files, login, network, ssh, sys};
use serde_json::{Value, json};
use std::fmt::Display;
use std::path::Path;

/// What is remembered from one identity to the next.
#[derive(Debug)]
pub(crate) struct State {
    pub(crate) place: Place,
    leases: network::Leases,
    server: ssh::Server,
    /// The SSH server waits for [`State::finish`].
    server_due: bool,
}

impl State {
    pub(crate) fn new(place: Place) -> Self {
        Self { place, leases: network::Leases::default(), server: ssh::Server::default(), server_due: false }
    }
}

impl State {
    /// What is left to do once the host has its answer. Starting a program takes an emulated machine longer than the
    /// whole identity, and nobody needs to wait for it.
    pub(crate) fn finish(&mut self) {
        if std::mem::take(&mut self.server_due)
            && let Err(error) = ssh::start(&self.server)
        {
            complain(&format!("{NAME}: dropbear: {error}\n"));
        }
    }
}

/// Takes on this identity. Everything is checked before anything is changed.
pub(crate) fn take(state: &mut State, wanted: &Identify) -> Result<Value, Fault> {
    let checked = check(wanted)?;
    sys::add_entropy(checked.entropy).map_err(failed("entropy"))?;
    sys::set_clock(wanted.time_ns).map_err(failed("clock"))?;
    name(&wanted.host_name).map_err(failed("host name"))?;
    let machine_id = format!("{}\n", wanted.machine_id);
    files::write(Path::new("/etc/machine-id"), machine_id.as_bytes(), 0o444).map_err(failed("machine id"))?;
    cloud::take_over(Path::new("/"), &wanted.machine_id).map_err(failed("cloud-init"))?;
    let card = network::Wanted {
        mac: checked.mac,
        addresses: &wanted.addresses,
        gateways: &wanted.gateways,
        resolvers: &wanted.resolvers,
        domain: wanted.domain.as_deref(),
        host_name: &wanted.host_name,
    };
    let mut notes = network::apply(&card, state.place, &state.leases).map_err(failed("network"))?;
    login::authorize(&wanted.authorized_keys, state.place).map_err(failed("authorized keys"))?;
    if let Some(key) = checked.key {
        ssh::write_host_key(&key).map_err(failed("host key"))?;
        notes.extend(ssh::reload(state.place, &state.server));
        state.server_due = state.place == Place::Micro;
    }
    Ok(json!({ "notes": notes }))
}

fn failed<E: Display>(what: &'static str) -> impl Fn(E) -> Fault {
    move |error| Fault::failed(format!("{what}: {error}"))
}

/// What had to be decoded.
struct Checked {
    entropy: [u8; 32],
    mac: Option<[u8; 6]>,
    key: Option<ssh::Key>,
}

fn check(wanted: &Identify) -> Result<Checked, Fault> {
    let bad = |what: &str| Fault::bad_request(format!("{what} makes no sense"));
    if !is_host_name(&wanted.host_name) {
        return Err(bad("host_name"));
    }
    if wanted.machine_id.len() != 32
        || !wanted.machine_id.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    {
        return Err(bad("machine_id"));
    }
    let longest = |address: &std::net::IpAddr| if address.is_ipv4() { 32 } else { 128 };
    if wanted.addresses.iter().any(|one| one.prefix > longest(&one.address)) {
        return Err(bad("addresses"));
    }
    if wanted.authorized_keys.iter().any(|key| key.trim().chars().any(char::is_control)) {
        return Err(bad("authorized_keys"));
    }
    if wanted.domain.as_deref().is_some_and(|domain| !domain.split('.').all(is_host_name)) {
        return Err(bad("domain"));
    }
    let mac = match &wanted.mac {
        Some(text) => Some(network::mac_from_text(text).ok_or_else(|| bad("mac"))?),
        None => None,
    };
    let key = match &wanted.ssh_host_key {
        Some(HostKey { seed, public }) => {
            let half = |text| bytes(text).ok_or_else(|| bad("ssh_host_key"));
            Some(ssh::Key { seed: half(seed)?, public: half(public)? })
        }
        None => None,
    };
    Ok(Checked { entropy: bytes(&wanted.entropy).ok_or_else(|| bad("entropy"))?, mac, key })
}

fn bytes(text: &str) -> Option<[u8; 32]> {
    base64::decode(text)?.try_into().ok()
}

/// Letters, digits and hyphens, at most 63, not beginning or ending with a hyphen.
fn is_host_name(name: &str) -> bool {
    let allowed = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    allowed && (1..=63).contains(&name.len()) && !name.starts_with('-') && !name.ends_with('-')
}

fn name(name: &str) -> std::io::Result<()> {
    sys::set_host_name(name)?;
    files::write(Path::new("/etc/hostname"), format!("{name}\n").as_bytes(), 0o644)?;
    let hosts = std::fs::read_to_string("/etc/hosts").unwrap_or_default();
    files::write(Path::new("/etc/hosts"), hosts_with(&hosts, name).as_bytes(), 0o644)
}

/// The same file, with our name as the only one on Debian's line for it.
fn hosts_with(old: &str, name: &str) -> String {
    let ours = |line: &&str| line.split_whitespace().next() == Some("127.0.1.1");
    let others = || old.lines().filter(|line| !ours(line));
    let local = others().any(|line| line.split_whitespace().next() == Some("127.0.0.1"));
    let mut text = String::new();
    if !local {
        text.push_str("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
    }
    let mut placed = false;
    for line in others() {
        text.push_str(line);
        text.push('\n');
        if !placed && line.split_whitespace().next() == Some("127.0.0.1") {
            text.push_str(&format!("127.0.1.1\t{name}\n"));
            placed = true;
        }
    }
    if !placed {
        text.push_str(&format!("127.0.1.1\t{name}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{check, hosts_with, is_host_name};
    use crate::wire::Identify;

    fn identify(change: impl Fn(&mut serde_json::Value)) -> Identify {
        let zeros = crate::base64::encode(&[0; 32]);
        let mut value = serde_json::json!({
            "host_name": "m-1", "machine_id": "0123456789abcdef0123456789abcdef", "mac": "52:54:00:00:00:01",
            "addresses": [{"address": "10.0.0.2", "prefix": 24}], "ssh_host_key": {"seed": zeros, "public": zeros},
            "entropy": zeros, "time_ns": 1,
        });
        change(&mut value);
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn nonsense_is_refused_before_anything_is_changed() {
        assert!(check(&identify(|_| ())).is_ok());
        let wrong = [
            ("host_name", "a b"),
            ("host_name", ""),
            ("machine_id", "0123"),
            ("mac", "52:54"),
            ("entropy", "AAAA"),
        ];
        for (field, value) in wrong {
            assert!(check(&identify(|all| all[field] = value.into())).is_err(), "{field}");
        }
        assert!(check(&identify(|all| all["authorized_keys"] = vec!["ssh-ed25519 A\nB"].into())).is_err());
        assert!(check(&identify(|all| all["addresses"][0]["prefix"] = 33.into())).is_err());
    }

    #[test]
    fn host_names_are_what_everybody_accepts() {
        assert!(is_host_name("sassy-mule-7"));
        for bad in ["", "-a", "a-", "a.b", "a_b", &"a".repeat(64)] {
            assert!(!is_host_name(bad), "{bad}");
        }
    }

    #[test]
    fn the_hosts_file_has_the_name_once() {
        let fresh = hosts_with("", "one");
        assert_eq!(
            fresh,
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n127.0.1.1\tone\n"
        );
        let again = hosts_with(&fresh, "two");
        assert_eq!(
            again,
            "127.0.0.1\tlocalhost\n127.0.1.1\ttwo\n::1\tlocalhost ip6-localhost ip6-loopback\n"
        );
        assert_eq!(hosts_with(&again, "two"), again);
    }
}
