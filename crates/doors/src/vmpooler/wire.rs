//! How this dialect writes: JSON in a given order, indented; bodies that are read as they come; times.

use axum::body::{Body as Bytes, to_bytes};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hostler_core::time::Timestamp;
use hostler_core::{Error, ErrorKind};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// Which prefix a path has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// `/api/v1`, and paths without any: bare names, the domain beside them.
    V1,
    /// `/api/v2`: full names.
    V2,
    /// `/api/v3`: full names.
    V3,
}

impl Version {
    /// A machine's name as answers to checkouts have it.
    pub(super) fn name(self, name: &str, domain: Option<&str>) -> String {
        match domain.filter(|domain| self != Self::V1 && !domain.is_empty()) {
            Some(domain) => format!("{name}.{domain}"),
            None => name.to_owned(),
        }
    }
}

/// JSON whose members stay in the order they were written in.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    /// A text, a number, true, false.
    Plain(Value),
    /// An array.
    List(Vec<Self>),
    /// An object.
    Object(Vec<(String, Self)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::List(values) => values.serialize(serializer),
            Self::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                for (key, value) in members {
                    map.serialize_entry(key, value)?;
                }
                map.end()
            }
        }
    }
}

impl<T: Into<Value>> From<T> for Json {
    fn from(value: T) -> Self {
        Self::Plain(value.into())
    }
}

/// An object with these members, in this order.
pub(super) fn object<K: Into<String>>(members: impl IntoIterator<Item = (K, Json)>) -> Json {
    Json::Object(members.into_iter().map(|(key, value)| (key.into(), value)).collect())
}

/// An array of texts.
pub(super) fn texts<T: Into<String>>(texts: impl IntoIterator<Item = T>) -> Json {
    Json::List(texts.into_iter().map(|text| Json::from(text.into())).collect())
}

/// Anything as JSON of this dialect; the order is that of its keys.
pub(super) fn any(value: &Value) -> Json {
    match value {
        Value::Array(values) => Json::List(values.iter().map(any).collect()),
        Value::Object(members) => object(members.iter().map(|(key, value)| (key.clone(), any(value)))),
        plain => Json::Plain(plain.clone()),
    }
}

/// Whatever is answered. What was refused is one, too.
pub(super) type Answer = Result<Response, Response>;

/// An answer of this status with this body.
pub(super) fn answer(status: StatusCode, body: &Json) -> Response {
    let text = serde_json::to_string_pretty(body).unwrap_or_else(|_| "{}".to_owned());
    let kind = [(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))];
    (status, kind, text).into_response()
}

/// `{"ok": true, …}`.
pub(super) fn well(status: StatusCode, more: impl IntoIterator<Item = (String, Json)>) -> Response {
    let members = std::iter::once(("ok".to_owned(), Json::from(true))).chain(more);
    answer(status, &object(members))
}

/// `{"ok": false, …}`.
pub(super) fn bad(status: StatusCode, more: impl IntoIterator<Item = (&'static str, Json)>) -> Response {
    let members = std::iter::once(("ok", Json::from(false))).chain(more);
    answer(status, &object(members))
}

/// `{"ok": false, "error": …}`.
pub(super) fn wrong(text: impl Into<String>) -> Response {
    bad(StatusCode::BAD_REQUEST, [("error", Json::from(text.into()))])
}

/// What no route answers.
pub(crate) fn bare(status: StatusCode, text: &str) -> Response {
    match status {
        StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => nothing_here(),
        _ => bad(status, [("error", Json::from(text))]),
    }
}

/// What no route has, whatever the method.
pub(crate) fn nothing_here() -> Response {
    bad(StatusCode::NOT_FOUND, [])
}

/// No token, or one that does not count.
///
/// Quirk: a challenge for Basic, also where a token is wanted: posh-vmpooler sends its password after one only.
pub(super) fn denied() -> Response {
    let mut response = bad(StatusCode::UNAUTHORIZED, []);
    let challenge = HeaderValue::from_static("Basic realm=\"Authentication required\"");
    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// Not now: while hostler starts, and in maintenance.
pub(crate) fn not_now(text: &str, retry_after_s: u32) -> Response {
    let mut response = bad(StatusCode::SERVICE_UNAVAILABLE, [("error", Json::from(text))]);
    response.headers_mut().insert(header::RETRY_AFTER, retry_after_s.into());
    response
}

/// What core refused.
pub(super) fn refused(error: Error) -> Response {
    match error.kind {
        ErrorKind::NotFound => nothing_here(),
        ErrorKind::Unauthenticated => denied(),
        ErrorKind::Denied => bad(StatusCode::FORBIDDEN, [("error", Json::from(error.text))]),
        ErrorKind::Invalid { .. } | ErrorKind::Unsupported => wrong(error.text),
        ErrorKind::Conflict | ErrorKind::Busy { .. } => {
            bad(StatusCode::CONFLICT, [("error", Json::from(error.text))])
        }
        ErrorKind::NoCapacity => bad(StatusCode::SERVICE_UNAVAILABLE, []),
        ErrorKind::Unavailable { retry_after_s } => not_now(&error.text, retry_after_s),
        ErrorKind::Internal => {
            tracing::error!(error = error.chain(), "a request failed");
            bad(StatusCode::INTERNAL_SERVER_ERROR, [("error", Json::from(error.text))])
        }
    }
}

/// Largest body: 10 KiB, as vmpooler has it.
const MAX_BODY: usize = 10 * 1024;
/// Deepest nesting.
const MAX_DEPTH: usize = 5;

/// A body that a route needs, whatever its `Content-Type` says: curl calls JSON a form, others call it nothing.
#[derive(Debug)]
pub(super) struct Body(pub(super) Vec<u8>);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Response;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Response> {
        let bytes = to_bytes(Bytes::new(request.into_body()), MAX_BODY).await;
        bytes.map(|bytes| Self(bytes.to_vec())).map_err(|_| wrong("Request body too large"))
    }
}

/// What is in a body.
#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Nothing at all.
    Empty,
    /// No JSON; in words.
    Garbage(String),
    /// JSON.
    Value(Value),
    /// JSON that goes too deep.
    Deep,
}

impl Body {
    pub(super) fn content(&self) -> Content {
        if self.0.trim_ascii().is_empty() {
            return Content::Empty;
        }
        match serde_json::from_slice::<Value>(&self.0) {
            Ok(value) if depth(&value) > MAX_DEPTH => Content::Deep,
            Ok(value) => Content::Value(value),
            // The parser's words quote nothing of the body.
            Err(error) => Content::Garbage(format!(
                "Invalid JSON: unexpected token at line {}, column {}",
                error.line(),
                error.column()
            )),
        }
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(values) => 1 + values.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// `2015-04-28 19:17:47 +0000`, the layout that the Go client reads.
pub(super) fn spaced(at: Timestamp) -> String {
    formatted(at, "%Y-%m-%d %H:%M:%S +0000")
}

/// RFC 3339 with whole seconds and `+00:00`.
pub(super) fn rfc3339(at: Timestamp) -> String {
    formatted(at, "%Y-%m-%dT%H:%M:%S+00:00")
}

/// `2015-04-28`, of a day counted from 1970.
pub(super) fn date(day: i64) -> String {
    formatted(Timestamp(day.saturating_mul(86_400_000)), "%Y-%m-%d")
}

fn formatted(at: Timestamp, layout: &str) -> String {
    // The end of time where a time is beyond what a calendar has.
    let at = jiff::Timestamp::from_millisecond(at.0).unwrap_or(jiff::Timestamp::MAX);
    at.strftime(layout).to_string()
}

/// Rounded to so many decimals.
pub(super) fn rounded(value: f64, decimals: i32) -> Json {
    let scale = 10_f64.powi(decimals);
    Json::from((value * scale).round() / scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn members_stay_in_order_and_are_indented_by_two() {
        let body = object([
            ("ok", Json::from(true)),
            ("b", object([("hostname", texts(["x", "y"]))])),
            ("a", Json::List(Vec::new())),
            ("c", object::<String>([])),
            ("n", rounded(2.0, 2)),
        ]);
        let text = serde_json::to_string_pretty(&body).unwrap();
        let expected = "{\n  \"ok\": true,\n  \"b\": {\n    \"hostname\": [\n      \"x\",\n      \"y\"\n    ]\n  },\n  \
                        \"a\": [],\n  \"c\": {},\n  \"n\": 2.0\n}";
        assert_eq!(text, expected);
    }

    #[test]
    fn bodies_are_read_as_they_come() {
        let content = |text: &str| Body(text.as_bytes().to_vec()).content();
        assert_eq!(content(" \n"), Content::Empty);
        assert_eq!(content("{\"a\":1}"), Content::Value(serde_json::json!({"a": 1})));
        assert!(matches!(content("--url"), Content::Garbage(_)));
        assert_eq!(content("[[[[[[1]]]]]]"), Content::Deep);
        assert!(matches!(content("[[[[[1]]]]]"), Content::Value(_)));
    }

    #[test]
    fn times_are_as_their_readers_expect() {
        let at = Timestamp(1_430_273_867_123);
        assert_eq!(spaced(at), "2015-04-29 02:17:47 +0000");
        assert_eq!(rfc3339(at), "2015-04-29T02:17:47+00:00");
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(&rfc3339(Timestamp(i64::MAX))[..4], "9999");
    }

    #[test]
    fn names_are_full_from_the_second_version_on() {
        assert_eq!(Version::V1.name("a", Some("b.c")), "a");
        assert_eq!(Version::V3.name("a", Some("b.c")), "a.b.c");
        assert_eq!(Version::V2.name("a", Some("")), "a");
        assert_eq!(Version::V2.name("a", None), "a");
    }
}
