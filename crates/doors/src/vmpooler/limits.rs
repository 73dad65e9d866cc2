//! How many requests a client may make in a minute, where that is limited at all.

use super::wire::Refused;
use crate::login;
use crate::state::DoorState;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hostler_core::time::Timestamp;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(60);
/// Clients remembered, at most.
const MOST: usize = 100_000;

/// What is counted together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Sort {
    Checkout,
    Delete,
    WithToken,
    Other,
}

impl Sort {
    fn of(method: &Method, path: &str, has_token: bool) -> Self {
        match *method {
            Method::POST if path.split('/').any(|segment| segment == "vm") => Self::Checkout,
            Method::DELETE => Self::Delete,
            _ if has_token => Self::WithToken,
            _ => Self::Other,
        }
    }

    /// Requests in a minute.
    fn most(self) -> u32 {
        match self {
            Self::Checkout => 20,
            Self::Delete => 50,
            Self::WithToken => 500,
            Self::Other => 100,
        }
    }
}

/// Requests of the running minute, by client: a digest of its token, else of its address.
#[derive(Debug, Default)]
pub(crate) struct Limits {
    digests: RandomState,
    windows: Mutex<HashMap<(Sort, u64), (Timestamp, u32)>>,
}

impl Limits {
    /// Counts a request; answers how many have come in this minute, and when the next minute begins.
    fn counted(&self, sort: Sort, client: u64, now: Timestamp) -> (u32, Timestamp) {
        let mut windows = self.windows.lock().unwrap_or_else(PoisonError::into_inner);
        let is_over = |since: Timestamp| since > now || now.since(since) >= PERIOD;
        if windows.len() >= MOST {
            windows.retain(|_, (since, _)| !is_over(*since));
        }
        if windows.len() >= MOST {
            windows.clear();
        }
        let window = windows.entry((sort, client)).or_insert((now, 0));
        if is_over(window.0) {
            *window = (now, 0);
        }
        window.1 = window.1.saturating_add(1);
        (window.1, window.0.plus(PERIOD))
    }
}

/// What is left to a client; told in the answer.
#[derive(Debug, Default)]
pub(super) struct Allowance(Option<[(&'static str, u64); 3]>);

impl Allowance {
    pub(super) fn told(&self, headers: &mut HeaderMap) {
        for (name, value) in self.0.iter().flatten() {
            headers.insert(HeaderName::from_static(name), HeaderValue::from(*value));
        }
    }
}

/// Refuses whoever asks too often.
pub(super) fn heed(state: &DoorState, request: &Request) -> Result<Allowance, Box<Response>> {
    if !state.vmpooler().rate_limit {
        return Ok(Allowance::default());
    }
    let limits = state.vmpooler_limits();
    let token = request.headers().get("x-auth-token").map(HeaderValue::as_bytes);
    let client = match token {
        Some(token) => limits.digests.hash_one(token),
        None => limits.digests.hash_one(login::address(request.extensions())),
    };
    let sort = Sort::of(request.method(), request.uri().path(), token.is_some());
    let now = state.core().clock().now();
    let (count, end) = limits.counted(sort, client, now);
    let left = u64::from(sort.most().saturating_sub(count));
    let reset = u64::try_from(end.0 / 1000).unwrap_or(0);
    let allowance = Allowance(Some([
        ("x-ratelimit-limit", u64::from(sort.most())),
        ("x-ratelimit-remaining", left),
        ("x-ratelimit-reset", reset),
    ]));
    if count <= sort.most() {
        return Ok(allowance);
    }
    let pause = end.since(now).as_secs().max(1);
    let refused = Refused::bare(StatusCode::TOO_MANY_REQUESTS)
        .saying("error", "Rate limit exceeded")
        .saying("limit", sort.most())
        .saying("period", PERIOD.as_secs())
        .saying("retry_after", pause);
    let mut response = refused.into_response();
    allowance.told(response.headers_mut());
    response.headers_mut().insert("retry-after", HeaderValue::from(pause));
    Err(Box::new(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_ends() {
        let limits = Limits::default();
        for count in 1..=3 {
            assert_eq!(limits.counted(Sort::Other, 1, Timestamp(1000)).0, count);
        }
        assert_eq!(limits.counted(Sort::Other, 2, Timestamp(1000)).0, 1, "another client");
        assert_eq!(limits.counted(Sort::Delete, 1, Timestamp(1000)).0, 1, "another sort");
        assert_eq!(limits.counted(Sort::Other, 1, Timestamp(60_999)), (4, Timestamp(61_000)));
        assert_eq!(limits.counted(Sort::Other, 1, Timestamp(61_000)).0, 1);
        assert_eq!(limits.counted(Sort::Other, 1, Timestamp(0)).0, 1, "the clock was set back");
    }

    #[test]
    fn sorts_are_told_by_method_path_and_token() {
        assert_eq!(Sort::of(&Method::POST, "/api/v1/vm/a", true), Sort::Checkout);
        assert_eq!(Sort::of(&Method::DELETE, "/vm/a", true), Sort::Delete);
        assert_eq!(Sort::of(&Method::GET, "/vm/a", true), Sort::WithToken);
        assert_eq!(Sort::of(&Method::POST, "/token", false), Sort::Other);
    }
}
