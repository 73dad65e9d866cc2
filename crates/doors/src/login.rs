//! Who comes in: a token in the request, or the peer of the unix socket.
//!
//! A token always wins over the socket. Failures are counted per address of the client; after ten within a minute further
//! wrong tokens from there are answered with "too many". A right token is let in even then, so that nobody can lock
//! others out, and the unix socket is exempt. No right ever derives from an address.

use crate::client::Client;
use crate::state::DoorState;
use axum::http::{Extensions, HeaderMap, header};
use hostler_core::access::{Caller, CredentialKind, Via};
use hostler_core::secret::Secret;
use hostler_core::time::Timestamp;
use hostler_core::{Core, Error, ErrorKind};
use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::Semaphore;

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

/// A caller who came in, so that a long stream can ask again whether they still may.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    pub(crate) caller: Caller,
}

impl Session {
    /// Whether the credential still counts. A database that does not answer ends nothing.
    pub(crate) async fn still_counts(&self, core: &Core) -> bool {
        core.still_counts(&self.caller).await.unwrap_or(true)
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

/// Finds out who asks: by the token of the `Authorization` header, or as the peer of the unix socket. Wrong tokens count
/// as failures of their address.
pub(crate) async fn session(
    state: &DoorState,
    headers: &HeaderMap,
    extensions: &Extensions,
) -> Result<Session, Refused> {
    let secret = bearer(headers).map_err(Refused::By)?;
    let error = match by_any(state, extensions, secret.as_slice(), "native").await {
        Ok((session, _)) => return Ok(session),
        Err(error) => error,
    };
    // Nothing was tried, or nothing can be locked out.
    let counts = error.kind == ErrorKind::Unauthenticated && secret.is_some();
    if !counts || extensions.get::<LocalPeer>().is_some() {
        return Err(Refused::By(error));
    }
    match state.failures().failed(Source::Address(address(extensions)), state.core().clock().now()) {
        Some(retry_after_s) => Err(Refused::TooMany { retry_after_s }),
        None => Err(Refused::By(error)),
    }
}

/// Finds out who asks by the first of these secrets that counts, and says which of them it was; without any, by the
/// peer of the unix socket.
///
/// Failures are not counted here: clients of the foreign dialects go on with a token that has expired, many times at once,
/// and log in again on 401 alone. Their tokens have 96 bits at least, so that guessing is hopeless anyway.
pub(crate) async fn by_any(
    state: &DoorState,
    extensions: &Extensions,
    secrets: &[&str],
    door: &'static str,
) -> Result<(Session, Option<usize>), Error> {
    let local = extensions.get::<LocalPeer>();
    let via = Via { door, address: address(extensions) };
    if secrets.is_empty() && local.is_some_and(|peer| peer.is_administrator()) {
        let caller = state.core().local_administrator().await?;
        return Ok((Session { caller: caller.through(via) }, None));
    }
    let mut refused = Error::unauthenticated("this needs a token");
    for (place, secret) in secrets.iter().enumerate() {
        match state.core().caller_by(secret, KINDS, via.clone()).await {
            Ok(caller) => return Ok((Session { caller }, Some(place))),
            Err(error) if error.kind == ErrorKind::Unauthenticated => refused = error,
            Err(error) => return Err(error),
        }
    }
    Err(refused)
}

/// Lets somebody in by login name or e-mail address and password, whichever the door.
///
/// Failures count per address, and per address and account together. After ten of the latter within a minute no
/// password is checked for that pair, so that guessing is slow; elsewhere that account comes in as before. The unix
/// socket is exempt.
pub(crate) async fn by_password(
    state: &DoorState,
    extensions: &Extensions,
    name: &str,
    password: &Secret,
    door: &'static str,
) -> Result<Caller, Refused> {
    let address = address(extensions);
    let via = Via { door, address };
    if extensions.get::<LocalPeer>().is_some() {
        return state.core().log_in(name, password, via).await.map_err(Refused::By);
    }
    let failures = state.failures();
    let pair = || Source::Pair(address, name.chars().take(254).collect::<String>().trim().to_lowercase());
    let now = || state.core().clock().now();
    // Asked with a place in the queue, so that a crowd of guesses does not get past the count.
    let _place = failures.queue.acquire().await;
    if let Some(retry_after_s) = failures.wait(pair(), now()) {
        return Err(Refused::TooMany { retry_after_s });
    }
    match state.core().log_in(name, password, via).await {
        Err(error) if error.kind == ErrorKind::Unauthenticated => {
            let waits = [failures.failed(pair(), now()), failures.failed(Source::Address(address), now())];
            match waits.into_iter().flatten().max() {
                Some(retry_after_s) => Err(Refused::TooMany { retry_after_s }),
                None => Err(Refused::By(error)),
            }
        }
        other => other.map_err(Refused::By),
    }
}

/// Lets somebody in by a key, which is burnt. Failures count per address, as those of tokens do.
pub(crate) async fn by_key(
    state: &DoorState,
    extensions: &Extensions,
    key: &str,
    door: &'static str,
) -> Result<Caller, Refused> {
    let address = address(extensions);
    match state.core().key_redeem(key, Via { door, address }).await {
        Err(error) if error.kind == ErrorKind::Unauthenticated && extensions.get::<LocalPeer>().is_none() => {
            match state.failures().failed(Source::Address(address), state.core().clock().now()) {
                Some(retry_after_s) => Err(Refused::TooMany { retry_after_s }),
                None => Err(Refused::By(error)),
            }
        }
        other => other.map_err(Refused::By),
    }
}

/// Where a request comes from; none over the unix socket.
pub(crate) fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<Client>().and_then(|client| client.address)
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
/// Remembered, at most; an attacker with more addresses is not slowed down, but costs no more memory.
const SOURCES: usize = 10_000;
/// Passwords on their way, at most; more wait.
const QUEUE: usize = 32;
/// What lets somebody in here: what is to be redeemed once has its own routes.
const KINDS: &[CredentialKind] = &[CredentialKind::Token, CredentialKind::Session];

/// What failed logins are counted by.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Source {
    /// An address, whoever was tried.
    Address(Option<IpAddr>),
    /// An address and the name that was tried.
    Pair(Option<IpAddr>, String),
}

/// Failed logins of the last minute.
#[derive(Debug)]
pub(crate) struct Failures {
    times: Mutex<HashMap<Source, VecDeque<Timestamp>>>,
    queue: Semaphore,
}

impl Default for Failures {
    fn default() -> Self {
        Self { times: Mutex::default(), queue: Semaphore::new(QUEUE) }
    }
}

impl Failures {
    /// Seconds until this source may try again; none when it may now.
    pub(crate) fn wait(&self, source: Source, now: Timestamp) -> Option<u64> {
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        left(all.get_mut(&near(source))?, now)
    }

    /// Counts a failure. Beyond what is allowed: seconds until the next is.
    pub(crate) fn failed(&self, source: Source, now: Timestamp) -> Option<u64> {
        let mut all = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SOURCES {
            all.retain(|_, times| times.back().is_some_and(|at| is_fresh(*at, now)));
        }
        if all.len() >= SOURCES {
            all.clear();
        }
        let times = all.entry(near(source)).or_default();
        let wait = left(times, now);
        if wait.is_none() {
            times.push_back(now);
        }
        wait
    }
}

/// Of the last minute. A time that is still to come is from before the clock was set back, and counts no longer.
fn is_fresh(at: Timestamp, now: Timestamp) -> bool {
    at <= now && now.since(at) < WINDOW
}

/// Seconds until one more is allowed; none when it is now.
fn left(times: &mut VecDeque<Timestamp>, now: Timestamp) -> Option<u64> {
    times.retain(|at| is_fresh(*at, now));
    let oldest = (times.len() >= ALLOWED).then(|| times.front().copied()).flatten()?;
    Some(WINDOW.saturating_sub(now.since(oldest)).as_secs().max(1))
}

fn near(source: Source) -> Source {
    match source {
        Source::Address(ip) => Source::Address(ip.map(neighbourhood)),
        Source::Pair(ip, name) => Source::Pair(ip.map(neighbourhood), name),
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
        let from = |text: &str| Source::Address(Some(text.parse::<IpAddr>().unwrap()));
        for second in 0..10 {
            assert_eq!(failures.failed(from("192.0.2.1"), Timestamp(second * 1000)), None);
        }
        assert_eq!(failures.failed(from("192.0.2.1"), Timestamp(10_000)), Some(50));
        assert_eq!(failures.failed(from("::ffff:192.0.2.1"), Timestamp(10_000)), Some(50));
        assert_eq!(failures.failed(from("192.0.2.2"), Timestamp(10_000)), None);
        assert_eq!(failures.failed(from("192.0.2.1"), Timestamp(60_000)), None);
    }

    #[test]
    fn a_pair_waits_alone_and_a_clock_set_back_forgives() {
        let failures = Failures::default();
        let address = "192.0.2.1".parse::<IpAddr>().ok();
        let ann = || Source::Pair(address, "ann".into());
        for _ in 0..10 {
            assert_eq!(failures.wait(ann(), Timestamp(100_000)), None);
            assert_eq!(failures.failed(ann(), Timestamp(100_000)), None);
        }
        assert_eq!(failures.wait(ann(), Timestamp(101_000)), Some(59));
        assert_eq!(failures.wait(Source::Pair(address, "bob".into()), Timestamp(101_000)), None);
        assert_eq!(failures.wait(Source::Pair(None, "ann".into()), Timestamp(101_000)), None);
        assert_eq!(failures.wait(ann(), Timestamp(50_000)), None, "the clock was set back");
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
