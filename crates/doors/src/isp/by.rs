//! Who asks: the carriers of credentials, and what a role may call.
//!
//! Quirks, each of which a client of the products needs:
//! * a token or a session is taken from the headers `x-xsrf-token` and `ISP-Session` and from the cookies `ses6` and
//!   `token`, and one that counts suffices: clients send a session in one and a token in the other;
//! * a `Cookie` header that cannot be read is none: DCImanager's guide shows one without a name;
//! * `internal-auth: on` and `isp-box-instance` are not looked at. The first makes a request the administrator's only
//!   over the unix socket, whose peer is the administrator already.

use crate::isp::refused::{Answer, Refused};
use crate::isp::routes::Access;
use crate::isp::service::Asked;
use crate::login::{self, Session};
use crate::state::DoorState;
use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hostler_core::ErrorKind;
use hostler_core::access::Caller;

/// The headers, before the cookies: of two that count the header's wins.
const HEADERS: [&str; 2] = ["x-xsrf-token", "isp-session"];
const COOKIES: [&str; 2] = ["ses6", "token"];
/// Tried of one request, at most: each costs a look into the database.
const TRIED: usize = 8;

/// Who asks.
#[derive(Debug)]
pub(crate) struct By(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        match parts.extensions.get::<Session>() {
            Some(session) => Ok(Self(session.caller.clone())),
            // A public function admits nobody in particular.
            None => Err(Refused::unauthorized()),
        }
    }
}

/// What a request carries, for a public function that asks who it is only sometimes.
#[derive(Debug)]
pub(crate) struct Perhaps(Parts);

impl<S: Send + Sync> FromRequestParts<S> for Perhaps {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        Ok(Self(parts.clone()))
    }
}

impl Perhaps {
    /// Who asks.
    pub(crate) async fn caller(&self, state: &DoorState) -> Answer<Caller> {
        session(state, &self.0).await.map(|session| session.caller)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        Self::of(parts.uri.path()).ok_or_else(Refused::no_such_function)
    }
}

/// Lets in whom the access of the function lets in; handlers find the caller in the request.
pub(crate) async fn admit(
    State((state, access)): State<(DoorState, Access)>,
    request: Request,
    next: Next,
) -> Response {
    if access == Access::Public {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    match session(&state, &parts).await {
        Ok(session) if allows(access, &parts.method, &session.caller) => {
            parts.extensions.insert(session);
            next.run(Request::from_parts(parts, body)).await
        }
        Ok(session) => {
            let pattern = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
            let action = format!("{} {pattern}", parts.method);
            state.core().note_denial(&session.caller, &action, "this takes another role").await;
            Refused::not_this_role().into_response()
        }
        Err(refused) => refused.into_response(),
    }
}

/// Whether a caller of this role may call a function at all.
fn allows(access: Access, method: &Method, caller: &Caller) -> bool {
    let looks = matches!(*method, Method::GET | Method::HEAD);
    match access {
        Access::Public | Access::User => true,
        Access::Administrator => caller.is_administrator() || (looks && caller.sees_everything()),
    }
}

async fn session(state: &DoorState, request: &Parts) -> Answer<Session> {
    let asked = Asked::of(request.uri.path()).ok_or_else(Refused::no_such_function)?;
    let carried = Carried::of(&request.headers);
    let headers = carried.by_header.len();
    let secrets: Vec<&str> = carried.by_header.into_iter().chain(carried.by_cookie).take(TRIED).collect();
    let found = login::by_any(state, &request.extensions, &secrets, asked.service.door()).await;
    let (session, place) = found.map_err(|error| match error.kind {
        ErrorKind::Unauthenticated => Refused::credential(asked.style(), headers > 0),
        _ => error.into(),
    })?;
    // Browsers send cookies with what foreign pages ask, but no headers.
    let by_cookie = place.is_some_and(|place| place >= headers);
    let changes = !matches!(request.method, Method::GET | Method::HEAD);
    if by_cookie && changes && is_foreign(&request.headers, &request.uri) {
        return Err(Refused::not_this_role());
    }
    Ok(session)
}

/// The credentials of a request, in the order in which they are tried.
#[derive(Debug, PartialEq, Eq)]
struct Carried<'a> {
    by_header: Vec<&'a str>,
    by_cookie: Vec<&'a str>,
}

impl<'a> Carried<'a> {
    fn of(headers: &'a HeaderMap) -> Self {
        let plain = |secret: &&str| (1..=512).contains(&secret.len());
        let values = HEADERS.iter().flat_map(|name| headers.get_all(*name));
        let by_header = values.filter_map(|value| Some(value.to_str().ok()?.trim())).filter(plain);
        let cookies: Vec<(&str, &str)> = headers
            .get_all(header::COOKIE)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(';'))
            .filter_map(|pair| pair.split_once('='))
            .map(|(name, secret)| (name.trim(), secret.trim().trim_matches('"')))
            .collect();
        let named = COOKIES.iter().flat_map(|wanted| cookies.iter().filter(move |(name, _)| name == wanted));
        let by_header: Vec<&str> = by_header.collect();
        let mut by_cookie: Vec<&str> = Vec::new();
        for secret in named.map(|(_, secret)| *secret).filter(plain) {
            if !by_header.contains(&secret) && !by_cookie.contains(&secret) {
                by_cookie.push(secret);
            }
        }
        Self { by_header, by_cookie }
    }
}

/// Whether a browser asks on behalf of a page of another origin.
fn is_foreign(headers: &HeaderMap, uri: &Uri) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else { return false };
    let told = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let host = told.or_else(|| uri.authority().map(axum::http::uri::Authority::as_str));
    let origin = origin.to_str().ok().and_then(|origin| origin.split_once("://"));
    match (origin, host) {
        (Some((_, theirs)), Some(ours)) => !theirs.eq_ignore_ascii_case(ours),
        // `null`, which sandboxed pages have, or what cannot be read.
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[(&'static str, &str)]) -> HeaderMap {
        values.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn appended(values: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in values {
            headers.append(*name, value.parse().unwrap());
        }
        headers
    }

    #[test]
    fn headers_are_tried_before_cookies_and_nothing_twice() {
        let all = appended(&[
            ("cookie", "token=c; lang=en; ses6=b"),
            ("isp-session", "s"),
            ("x-xsrf-token", " a "),
            ("cookie", "ses6=a; ses6=\"d\""),
        ]);
        let carried = Carried::of(&all);
        assert_eq!(carried.by_header, ["a", "s"]);
        assert_eq!(carried.by_cookie, ["b", "d", "c"]);
    }

    #[test]
    fn what_cannot_be_read_is_no_credential() {
        for value in ["1996-0082f9c6", "", ";;;", "=", "ses6", "ses6=", "SES6=x", "x-xsrf-token=x"] {
            let carried = headers(&[("cookie", value)]);
            assert!(Carried::of(&carried).by_cookie.is_empty(), "{value}");
        }
        let mut bytes = HeaderMap::new();
        bytes.insert(header::COOKIE, header::HeaderValue::from_bytes(b"ses6=\xff").unwrap());
        bytes.insert("x-xsrf-token", header::HeaderValue::from_bytes(b"\xff").unwrap());
        assert_eq!(Carried::of(&bytes), Carried { by_header: vec![], by_cookie: vec![] });
    }

    #[test]
    fn an_origin_is_ours_when_it_names_the_host_that_was_asked() {
        let uri = Uri::from_static("/vm/v3/host");
        for (origin, foreign) in [
            ("https://Panel.example:8889", false),
            ("http://panel.example:8889", false),
            ("https://panel.example", true),
            ("https://evil.example", true),
            ("null", true),
            ("https://panel.example:8889.evil.example", true),
        ] {
            let headers = headers(&[("host", "panel.example:8889"), ("origin", origin)]);
            assert_eq!(is_foreign(&headers, &uri), foreign, "{origin}");
        }
        assert!(!is_foreign(&headers(&[("host", "panel.example")]), &uri));
        assert!(is_foreign(&headers(&[("origin", "https://panel.example")]), &uri));
    }
}
