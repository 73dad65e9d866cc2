//! What happens around every request: its id, its span, its count, and the last word on how it failed.

use crate::client::{Client, set_transport_security};
use crate::closed::Dialect;
use crate::native::Refusal;
use crate::state::DoorState;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::FutureExt;
use std::borrow::Cow;
use std::panic::AssertUnwindSafe;
use std::time::Instant;
use tracing::Instrument;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The pattern of the route that answered, for counting; paths themselves are too many.
#[derive(Clone, Debug)]
struct Route(MatchedPath);

/// Tells [`observe`] which route answered: only layers on the routes themselves can know.
pub(crate) async fn name_route(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let mut response = next.run(request).await;
    if let Some(route) = route {
        response.extensions_mut().insert(Route(route));
    }
    response
}

/// Gives the request an id and a span, catches panics, renders problems, sets the headers that all answers have.
pub(crate) async fn observe(State(state): State<DoorState>, mut request: Request, next: Next) -> Response {
    let client = Client::of(state.proxies(), request.headers(), request.extensions());
    request.extensions_mut().insert(client);
    let id = request_id(request.headers()).map_or_else(|| state.request_id(), str::to_owned);
    let began = Instant::now();
    let method = request.method().clone();
    let dialect = Dialect::of(request.uri().path());
    let span = tracing::info_span!("request", request.id = %id, %method, path = %shown(request.uri().path()), %client);
    let answering = AssertUnwindSafe(next.run(request).instrument(span.clone())).catch_unwind();
    let answer = answering.await;
    let _in_span = span.enter();
    let response = answer.unwrap_or_else(|panic| panicked(panic.as_ref(), dialect));
    let mut response = finished(response, dialect, &id);
    set_transport_security(&mut response, client);
    let route = response.extensions().get::<Route>().map_or("unmatched", |route| route.0.as_str());
    let (status, took) = (response.status(), began.elapsed());
    tracing::debug!(status = status.as_u16(), took_ms = took.as_secs_f64() * 1e3, "answered");
    state.metrics().answered(&method, route, status, took);
    response
}

/// A path for the log. Some doors take tokens and keys in their paths; whatever may be one is left out.
fn shown(path: &str) -> Cow<'_, str> {
    const SHORTEST: usize = 24;
    let holds = |segment: &str| ["auth", "token"].contains(&segment);
    let secret = |segment: &str| segment.len() >= SHORTEST && !segment.contains('@');
    if !path.split('/').any(holds) || !path.split('/').any(secret) {
        return path.into();
    }
    let segments = path.split('/').map(|segment| if secret(segment) { "…" } else { segment });
    segments.collect::<Vec<_>>().join("/").into()
}

/// The answer with its problem written, if it is one, and the headers that all answers have.
pub(crate) fn finished(mut response: Response, dialect: Dialect, id: &str) -> Response {
    if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
        response = refusal.rendered(response, id);
    }
    set_headers(&mut response, dialect, id);
    response
}

/// The caller's id for this request, when it is sane.
pub(crate) fn request_id(headers: &HeaderMap) -> Option<&str> {
    let sane = |text: &&str| {
        (1..=64).contains(&text.len())
            && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_.".contains(&c))
    };
    headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane)
}

fn panicked(panic: &(dyn std::any::Any + Send), dialect: Dialect) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without words");
    tracing::error!(panic = text, "a handler panicked");
    let text = "hostler failed inside; its log has the details";
    dialect.answer(StatusCode::INTERNAL_SERVER_ERROR, "internal", text)
}

fn set_headers(response: &mut Response, dialect: Dialect, id: &str) {
    let headers = response.headers_mut();
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    if dialect != Dialect::Plain {
        headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    }
    if let Ok(id) = HeaderValue::from_str(id) {
        headers.insert(REQUEST_ID, id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sane_request_ids_are_taken_over() {
        let with = |value: &str| HeaderMap::from_iter([(REQUEST_ID, value.parse().unwrap())]);
        assert_eq!(request_id(&with("build-7.3")), Some("build-7.3"));
        for odd in ["", "a b", "a\"b", &"a".repeat(65)] {
            assert_eq!(request_id(&with(odd)), None, "{odd}");
        }
        assert_eq!(request_id(&HeaderMap::new()), None);
    }

    #[test]
    fn secrets_in_paths_are_not_shown() {
        let token = "4-e9726dd9-61d9-2940-add3-914851d2cb8a";
        for (path, told) in [
            (format!("/auth/key/{token}"), "/auth/key/…"),
            (format!("//api/auth/v4/token/{token}/"), "//api/auth/v4/token/…/"),
            ("/auth/v3/session/F2BABF12426B297C86FC5628".to_owned(), "/auth/v3/session/…"),
            ("/token/utpg2i2xswor6h8ttjhu3d47z53yy47y".to_owned(), "/token/…"),
            ("/auth/v4/user/somebody.with.a.name@example.com/key".to_owned(), ""),
            ("/hostler/v1/machines/0198c0de-0000-7000-8000-000000000001".to_owned(), ""),
        ] {
            assert_eq!(shown(&path), if told.is_empty() { path.as_str() } else { told });
        }
    }

    #[test]
    fn a_panic_is_answered_in_the_shape_of_its_door() {
        assert!(panicked(&"oh", Dialect::Native).extensions().get::<Refusal>().is_some());
        assert!(panicked(&"oh", Dialect::Plain).extensions().get::<Refusal>().is_none());
    }
}
