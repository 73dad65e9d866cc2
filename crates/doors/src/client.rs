//! Where a request comes from, and whether it came encrypted: told by the connection, or by a proxy that the
//! administrator trusts.
//!
//! It decides whose failed logins count together, what the log says, and whether cookies are `Secure`. No right ever
//! derives from it.
//!
//! `Forwarded` (RFC 7239) is not read: a proxy that knows only `X-Forwarded-For` hands on whatever its client wrote there.

use crate::login::LocalPeer;
use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use axum::response::Response;
use ipnet::IpNet;
use std::convert::Infallible;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// A year, as is usual. Only this host: others of its domain are not ours to promise for.
const TRANSPORT_SECURITY: HeaderValue = HeaderValue::from_static("max-age=31536000");

/// The connection is encrypted. The listener inserts it into the extensions of every request of such a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OverTls;

/// Who asks, as far as the network tells. Handlers of every door may extract it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Its address, IPv4 as such; none over the unix socket.
    pub address: Option<IpAddr>,
    /// Whether it sees `https://`: cookies are `Secure` then.
    pub secure: bool,
}

impl Client {
    /// What the connection says, or a trusted proxy at its other end.
    pub(crate) fn of(proxies: &TrustedProxies, headers: &HeaderMap, extensions: &Extensions) -> Self {
        if extensions.get::<LocalPeer>().is_some() {
            return Self::default();
        }
        let peer = extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
        let direct = Self { address: peer, secure: extensions.get::<OverTls>().is_some() };
        let Some(peer) = peer.filter(|peer| proxies.contains(*peer)) else { return direct };
        let secure = last(headers, &FORWARDED_PROTO)
            .map_or(direct.secure, |scheme| scheme.eq_ignore_ascii_case("https"));
        Self { address: Some(proxies.behind(peer, headers)), secure }
    }
}

impl fmt::Display for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.address {
            Some(address) => address.fmt(f),
            None => f.write_str("local"),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Client {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get().copied().unwrap_or_default())
    }
}

/// Tells browsers that came encrypted to do so always.
pub(crate) fn set_transport_security(response: &mut Response, client: Client) {
    if client.secure {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, TRANSPORT_SECURITY);
    }
}

/// Prefixes of proxies that may say on whose behalf they ask.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// From prefixes, or addresses that stand for themselves.
    ///
    /// # Errors
    /// Which of them is neither.
    pub fn parse(prefixes: &[String]) -> Result<Self, String> {
        let one = |text: &String| {
            let address = || text.parse::<IpAddr>().map(IpNet::from);
            let prefix = text.parse::<IpNet>().or_else(|_| address());
            let prefix =
                prefix.map_err(|_| format!("`{text}` is no prefix of addresses, e.g. 10.0.0.0/8"))?;
            if prefix.prefix_len() == 0 {
                return Err(format!("`{text}` would let everybody claim to be anybody"));
            }
            Ok(prefix)
        };
        prefixes.iter().map(one).collect::<Result<_, _>>().map(Self)
    }

    fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|prefix| prefix.contains(&address))
    }

    /// The first address from the right that is no proxy of ours: what stands further left, anybody may have written.
    /// When an entry is no address, it is the hop that wrote it.
    fn behind(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut nearest = peer;
        let values: Vec<&HeaderValue> = headers.get_all(FORWARDED_FOR).iter().collect();
        for value in values.into_iter().rev() {
            let Ok(text) = value.to_str() else { return nearest };
            for entry in text.rsplit(',').map(str::trim).filter(|entry| !entry.is_empty()) {
                let Some(address) = address(entry) else { return nearest };
                nearest = address;
                if !self.contains(address) {
                    return nearest;
                }
            }
        }
        nearest
    }
}

/// What the nearest proxy wrote: the last of all values.
fn last<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get_all(name).iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next().map(str::trim)
}

/// An address, with or without a port, as proxies write it.
fn address(entry: &str) -> Option<IpAddr> {
    let bare = entry.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(entry);
    let with_port = || entry.parse::<SocketAddr>().map(|address| address.ip());
    bare.parse::<IpAddr>().or_else(|_| with_port()).ok().map(|address| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies() -> TrustedProxies {
        TrustedProxies::parse(&["10.0.0.0/8".to_owned(), "2001:db8::/32".to_owned(), "192.0.2.9".to_owned()])
            .unwrap()
    }

    fn client(peer: &str, over_tls: bool, headers: &[(HeaderName, &str)]) -> Client {
        let mut extensions = Extensions::new();
        extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 40_000)));
        if over_tls {
            extensions.insert(OverTls);
        }
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        Client::of(&proxies(), &map, &extensions)
    }

    #[test]
    fn an_address_is_believed_from_the_right_as_far_as_proxies_are_trusted() {
        for (peer, forwarded, address) in [
            // Nobody's word counts but that of a trusted proxy.
            ("203.0.113.5", &["198.51.100.1"][..], "203.0.113.5"),
            ("203.0.113.5", &["10.0.0.1"], "203.0.113.5"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("192.0.2.9", &["198.51.100.1"], "198.51.100.1"),
            ("192.0.2.8", &["198.51.100.1"], "192.0.2.8"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("2001:db8::1", &["2a00::1"], "2a00::1"),
            // What the client wrote itself stands on the left.
            ("10.0.0.1", &["1.1.1.1, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["127.0.0.1, 198.51.100.1, 10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["198.51.100.1", "10.9.9.9"], "198.51.100.1"),
            ("10.0.0.1", &["10.1.1.1, 10.9.9.9"], "10.1.1.1"),
            // What is no address ends the chain at the hop that wrote it.
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, unknown, 10.9.9.9"], "10.9.9.9"),
            ("10.0.0.1", &["198.51.100.1; DROP TABLE"], "10.0.0.1"),
            ("10.0.0.1", &["\u{e9}"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1, , "], "198.51.100.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
            // Ports and brackets.
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("10.0.0.1", &["[2a00::1]:4711"], "2a00::1"),
            ("10.0.0.1", &["[2a00::1]"], "2a00::1"),
            ("10.0.0.1", &["::ffff:198.51.100.1"], "198.51.100.1"),
        ] {
            let headers: Vec<_> = forwarded.iter().map(|value| (FORWARDED_FOR, *value)).collect();
            let found = client(peer, false, &headers).address.unwrap().to_string();
            assert_eq!(found, address, "{peer} {forwarded:?}");
        }
    }

    #[test]
    fn only_a_trusted_proxy_says_whether_it_was_encrypted() {
        for (peer, over_tls, scheme, secure) in [
            ("203.0.113.5", false, None, false),
            ("203.0.113.5", true, None, true),
            ("203.0.113.5", false, Some("https"), false),
            ("203.0.113.5", true, Some("http"), true),
            ("10.0.0.1", false, Some("https"), true),
            ("10.0.0.1", false, Some("HTTPS"), true),
            ("10.0.0.1", true, Some("http"), false),
            ("10.0.0.1", true, None, true),
            ("10.0.0.1", false, Some("https, http"), false),
            ("10.0.0.1", false, Some("ftp"), false),
        ] {
            let headers: Vec<_> = scheme.map(|scheme| (FORWARDED_PROTO, scheme)).into_iter().collect();
            assert_eq!(client(peer, over_tls, &headers).secure, secure, "{peer} {over_tls} {scheme:?}");
        }
    }

    #[test]
    fn the_unix_socket_has_no_address_whatever_a_header_says() {
        let mut extensions = Extensions::new();
        extensions.insert(LocalPeer { uid: 0, server_uid: 0 });
        let headers = HeaderMap::from_iter([(FORWARDED_FOR, HeaderValue::from_static("198.51.100.1"))]);
        assert_eq!(Client::of(&proxies(), &headers, &extensions), Client::default());
    }

    #[test]
    fn prefixes_are_checked() {
        for wrong in ["", "10.0.0.0/33", "proxy.example", "0.0.0.0/0", "::/0"] {
            assert!(TrustedProxies::parse(&[wrong.to_owned()]).is_err(), "{wrong}");
        }
        assert_eq!(TrustedProxies::parse(&[]).unwrap(), TrustedProxies::default());
    }
}
