//! One request after the other, up to an answer that is no redirection. Each host is resolved once, looked up in the
//! lists of [`addresses`](super::addresses), and connected to by the very addresses that were looked at.

use super::{FetchRules, Resolver, addresses};
use hostler_core::ports::{DriverError, DriverErrorKind};
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{ACCEPT_ENCODING, IF_RANGE, LOCATION, RANGE, USER_AGENT};
use reqwest::{Client, Proxy, Response, Url, redirect};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

const MOST_REDIRECTIONS: usize = 5;
const LONGEST_CONNECT: Duration = Duration::from_secs(30);

/// Asks for the file, from a place on when there is one.
pub(super) async fn ask(
    url: &str,
    from: Option<(u64, &str)>,
    rules: &FetchRules,
    resolver: &Resolver,
) -> Result<Response, DriverError> {
    let mut url = Url::parse(url).map_err(|error| DriverError::refused(format!("the address: {error}")))?;
    for _ in 0..=MOST_REDIRECTIONS {
        let client = client(&url, rules, resolver).await?;
        let mut request = client
            .get(url.clone())
            .header(USER_AGENT, concat!("hostler/", env!("CARGO_PKG_VERSION")))
            .header(ACCEPT_ENCODING, "identity");
        if let Some((at, validator)) = from {
            request = request.header(RANGE, format!("bytes={at}-")).header(IF_RANGE, validator);
        }
        let answer = tokio::time::timeout(rules.stall, request.send()).await;
        let response = answer.map_err(|_| silent(rules))?.map_err(|error| broken(&error))?;
        if !matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
            return Ok(response);
        }
        url = next(&url, response.headers().get(LOCATION).and_then(|value| value.to_str().ok()))?;
    }
    refuse(format!("the server redirects more than {MOST_REDIRECTIONS} times"))
}

/// Where a redirection leads; never from what is encrypted to what is not.
fn next(from: &Url, location: Option<&str>) -> Result<Url, DriverError> {
    let next = location.and_then(|location| from.join(location).ok());
    let Some(next) = next else { return refuse("the server redirects to nowhere") };
    if from.scheme() == "https" && next.scheme() != "https" {
        return refuse("the server redirects from https to what is not encrypted");
    }
    Ok(next)
}

/// A client that reaches this host at addresses that may be reached, and nothing else.
async fn client(url: &Url, rules: &FetchRules, resolver: &Resolver) -> Result<Client, DriverError> {
    if !["http", "https"].contains(&url.scheme()) {
        return refuse("only http:// and https:// are fetched from");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("an address must not carry a name or password");
    }
    let Some(host) = url.host_str() else { return refuse("the address names no host") };
    let literal: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    let builder = Client::builder()
        .no_proxy()
        .redirect(redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .connect_timeout(rules.stall.min(LONGEST_CONNECT));
    let (found, builder) = match (literal, &rules.proxy) {
        (Some(address), None) => (vec![address], builder),
        (None, None) => {
            let found = resolver(host.to_owned()).await.map_err(|error| {
                DriverError::new(DriverErrorKind::Unreachable, format!("cannot resolve {host}: {error}"))
            })?;
            if found.is_empty() {
                return Err(DriverError::new(DriverErrorKind::Unreachable, format!("{host} has no address")));
            }
            let pinned = Pinned(found.iter().map(|address| SocketAddr::new(*address, 0)).collect());
            (found, builder.dns_resolver(pinned))
        }
        // The proxy resolves names, and must keep others from its own network; what is an address is still looked at.
        (literal, Some(proxy)) => {
            let proxy = Proxy::all(proxy.as_str())
                .map_err(|error| DriverError::refused(format!("the proxy: {}", error.without_url())))?;
            (literal.into_iter().collect(), builder.proxy(proxy))
        }
    };
    if let Some((address, why)) = found
        .iter()
        .find_map(|address| Some((address, addresses::refusal(*address, &rules.allow_addresses)?)))
    {
        let named = if literal.is_some() { String::new() } else { format!("{host} is at ") };
        return refuse(format!(
            "{named}{address}, {why}, is not fetched from; [images] allow_addresses of the configuration can allow it"
        ));
    }
    builder
        .build()
        .map_err(|error| DriverError::internal(format!("cannot make a client: {}", error.without_url())))
}

/// Answers these addresses whatever it is asked.
struct Pinned(Vec<SocketAddr>);

impl Resolve for Pinned {
    fn resolve(&self, _name: Name) -> Resolving {
        let addresses: Addrs = Box::new(self.0.clone().into_iter());
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

/// The connection is gone; what came before it broke is kept. Addresses stay out of it: they may hold secrets.
pub(super) fn broken(error: &reqwest::Error) -> DriverError {
    let mut text = String::from("the connection broke");
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    DriverError::new(DriverErrorKind::Unreachable, text)
}

pub(super) fn silent(rules: &FetchRules) -> DriverError {
    DriverError::timeout(format!("the server sent nothing for {} s", rules.stall.as_secs_f64()))
}

fn refuse<T>(why: impl Into<String>) -> Result<T, DriverError> {
    Err(DriverError::refused(why))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirection_never_leads_from_what_is_encrypted_to_what_is_not() {
        let to = |from: &str, location: Option<&str>| next(&from.parse().unwrap(), location);
        let (secure, plain) = ("https://a.example/x/disk", "http://a.example/x/disk");
        for (from, location, expected) in [
            (secure, "../y", "https://a.example/y"),
            (secure, "//b.example/y", "https://b.example/y"),
            (plain, "https://b.example/y", "https://b.example/y"),
            (plain, "http://b.example/y", "http://b.example/y"),
        ] {
            assert_eq!(to(from, Some(location)).unwrap().as_str(), expected);
        }
        for location in [None, Some("http://a.example/x/disk"), Some("file:///etc/passwd"), Some("http://")] {
            assert!(to(secure, location).is_err(), "{location:?}");
        }
    }
}
