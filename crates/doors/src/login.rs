//! Who comes in: a token in the request, or the peer of the unix socket.
//!
//! A token always wins over the socket. Failures are counted per address of the client; after ten within a minute further
//! wrong tokens from there are answered with "too many". A right token is let in even then, so that nobody can lock
//! others out, and the unix socket is exempt. No right ever derives from an address.

use crate::client::Client;
use crate::state::DoorState;
use axum::http::{Extensions, HeaderMap, header};
use hostler_core::access::Caller;
use hostler_core::time::Timestamp;
use hostler_core::{Core, Error, ErrorKind};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// The peer of a unix socket. The listener inserts it into the extensions of every request of such a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LocalPeer {
    /// User id of the peer, as the kernel tells.
    pub uid: u32,
    /// User id that this server runs under.
    pub server_uid: u32,
}

impl LocalPeer {
    /// Whether the peer needs no password: it is the server's own user, or root, and could read the data anyway.
    pub fn is_administrator(self) -> bool {
        self.uid == self.server_uid || self.uid == 0
    }
}

/// A caller and what they came in with, so that a long stream can ask again whether it still counts.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) caller: Caller,
    credential: Credential,
}

#[derive(Clone)]
enum Credential {
    Token(String),
    Local,
}

impl std::fmt::Debug for Credential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Token(_) => "Token",
            Self::Local => "Local",
        })
    }
}

impl Credential {
    async fn caller(&self, core: &Core) -> Result<Caller, Error> {
        match self {
            Self::Token(secret) => core.caller_by_token(secret).await,
            Self::Local => core.local_administrator().await,
        }
    }
}

impl Session {
    /// Whether the credential still counts. A database that does not answer ends nothing.
    pub(crate) async fn still_counts(&self, core: &Core) -> bool {
        match self.credential.caller(core).await {
            Ok(caller) => caller == self.caller,
            Err(error) => error.kind != ErrorKind::Unauthenticated,
        }
    }
}

/// Why nobody comes in.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The credential, or the lack of one.
    By(Error),
    /// Too many failures from this address.
    TooMany {
        /// Seconds until one more is allowed.
        retry_after_s: u64,
    },
}

/// Finds out who asks.
pub(crate) async fn session(
    state: &DoorState,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Session, Refused> {
    let local = extensions.get::<LocalPeer>();
    let credential = match bearer(headers) {
        Ok(Some(secret)) => Credential::Token(secret.to_owned()),
        Ok(None) if local.is_some_and(|peer| peer.is_administrator()) => Credential::Local,
        Ok(None) => return Err(Refused::By(Error::unauthenticated("this needs a token"))),
        Err(error) => return Err(Refused::By(error)),
    };
    match credential.caller(state.core()).await {
        Ok(caller) => Ok(Session { caller, credential }),
        Err(error) if error.kind == ErrorKind::Unauthenticated && local.is_none() => {
            let from = extensions.get::<Client>().and_then(|client| client.address);
            match state.failures().failed(from, state.core().clock().now()) {
                Some(retry_after_s) => Err(Refused::TooMany { retry_after_s }),
                None => Err(Refused::By(error)),
            }
        }
        Err(error) => Err(Refused::By(error)),
    }
}

/// The token of a request, if it has one.
fn bearer(headers: &HeaderMap) -> Result<Option<&str>, Error> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    let wrong = || Error::unauthenticated("the Authorization header must read `Bearer` and a token");
    if values.next().is_some() {
        return Err(wrong());
    }
    let (scheme, secret) = value.to_str().ok().and_then(|text| text.split_once(' ')).ok_or_else(wrong)?;
    let secret = secret.trim();
    if !scheme.eq_ignore_ascii_case("bearer") || secret.is_empty() || secret.len() > 512 {
        return Err(wrong());
    }
    Ok(Some(secret))
}

const WINDOW: Duration = Duration::from_secs(60);
const ALLOWED: usize = 10;
/// Addresses remembered, at most; an attacker with more of them is not slowed down, but costs no more memory.
const ADDRESSES: usize = 10_000;

/// Failed logins of the last minute, per address.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    times: Mutex<HashMap<Option<IpAddr>, VecDeque<Timestamp>>>,
}

impl Failures {
    /// Counts a failure. Beyond what is allowed: seconds until the next is.
    pub(crate) fn failed(&self, from: Option<IpAddr>, now: Timestamp) -> Option<u64> {
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = |at: &Timestamp| now.since(*at) < WINDOW;
        if all.len() >= ADDRESSES {
            all.retain(|_, times| times.back().is_some_and(fresh));
        }
        if all.len() >= ADDRESSES {
            all.clear();
        }
        let times = all.entry(from.map(neighbourhood)).or_default();
        while times.front().is_some_and(|at| !fresh(at)) {
            times.pop_front();
        }
        if times.len() < ALLOWED {
            times.push_back(now);
            return None;
        }
        let oldest = times.front().copied().unwrap_or(now);
        Some((WINDOW.saturating_sub(now.since(oldest))).as_secs().max(1))
    }
}

/// One customer of a provider usually has a whole /64 of IPv6.
fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from_bits(ip.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn a_token_is_read_from_one_bearer_header() {
        assert_eq!(bearer(&headers(&[])).unwrap(), None);
        assert_eq!(bearer(&headers(&["Bearer hst_1"])).unwrap(), Some("hst_1"));
        assert_eq!(bearer(&headers(&["bearer  hst_1 "])).unwrap(), Some("hst_1"));
        for wrong in [&["Basic YTpi"][..], &["Bearer"], &["Bearer "], &["Bearer a", "Bearer b"]] {
            assert!(bearer(&headers(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn the_eleventh_failure_within_a_minute_has_to_wait() {
        let failures = Failures::default();
        let from = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for second in 0..10 {
            assert_eq!(failures.failed(from("192.0.2.1"), Timestamp(second * 1000)), None);
        }
        assert_eq!(failures.failed(from("192.0.2.1"), Timestamp(10_000)), Some(50));
        assert_eq!(failures.failed(from("::ffff:192.0.2.1"), Timestamp(10_000)), Some(50));
        assert_eq!(failures.failed(from("192.0.2.2"), Timestamp(10_000)), None);
        assert_eq!(failures.failed(from("192.0.2.1"), Timestamp(60_000)), None);
    }

    #[test]
    fn neighbours_in_ipv6_count_together() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(neighbourhood(ip("2001:db8::1")), neighbourhood(ip("2001:db8::2")));
        assert_ne!(neighbourhood(ip("2001:db8::1")), neighbourhood(ip("2001:db8:0:1::1")));
    }

    #[test]
    fn only_the_owner_and_root_are_local_administrators() {
        assert!(LocalPeer { uid: 1000, server_uid: 1000 }.is_administrator());
        assert!(LocalPeer { uid: 0, server_uid: 1000 }.is_administrator());
        assert!(!LocalPeer { uid: 1001, server_uid: 1000 }.is_administrator());
    }
}
