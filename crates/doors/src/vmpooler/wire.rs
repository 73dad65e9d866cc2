//! JSON as vmpooler writes and reads it.
//!
//! Quirks, each of which a client needs:
//! * bodies are indented by two spaces, with one space after a colon, and `ok` stands first: shell scripts search the raw
//!   text for `"hostname": "(.*)"`;
//! * the order of members is that of the question: [`Object`] keeps it, where a map would sort;
//! * the type is exactly `application/json`, without a character set;
//! * bodies are read whatever their type says: curl and Faraday call JSON a form.

use axum::body::{Body, Bytes, to_bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hostler_core::time::Timestamp;
use hostler_core::{Error, ErrorKind};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};
use serde_json::Value;

/// What handlers answer.
pub(super) type Answer<T = Response> = Result<T, Refused>;

/// The largest body.
const MOST_BYTES: usize = 10 * 1024;
/// Arrays and objects within each other, at most.
const DEEPEST: usize = 5;

/// A value whose objects keep the order of their members.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Plain(Value),
    List(Vec<Json>),
    Object(Object),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Plain(value) => value.serialize(serializer),
            Self::List(items) => items.serialize(serializer),
            Self::Object(object) => object.serialize(serializer),
        }
    }
}

/// Members in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Object(Vec<(String, Json)>);

impl Object {
    /// `{"ok": true}`, or false.
    pub(super) fn ok(ok: bool) -> Self {
        Self::default().with("ok", ok)
    }

    /// One member more.
    #[must_use]
    pub(super) fn with(mut self, name: impl Into<String>, value: impl Into<Json>) -> Self {
        self.0.push((name.into(), value.into()));
        self
    }

    /// The same, where there is a value.
    #[must_use]
    pub(super) fn perhaps(self, name: impl Into<String>, value: Option<impl Into<Json>>) -> Self {
        match value {
            Some(value) => self.with(name, value),
            None => self,
        }
    }

    /// Answered with this status.
    pub(super) fn answered(&self, status: StatusCode) -> Response {
        reply(status, self)
    }

    /// Only the members of these names.
    #[must_use]
    pub(super) fn only(self, wanted: impl Fn(&str) -> bool) -> Self {
        Self(self.0.into_iter().filter(|(name, _)| wanted(name)).collect())
    }

    /// The members of another after these.
    #[must_use]
    pub(super) fn followed_by(mut self, other: Self) -> Self {
        self.0.extend(other.0);
        self
    }

    /// One member.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        self.0.iter().find_map(|(here, value)| (here == name).then_some(value))
    }
}

impl FromIterator<(String, Json)> for Object {
    fn from_iter<I: IntoIterator<Item = (String, Json)>>(members: I) -> Self {
        Self(members.into_iter().collect())
    }
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

macro_rules! plain {
    ($($type:ty),*) => { $(impl From<$type> for Json {
        fn from(value: $type) -> Self {
            Self::Plain(Value::from(value))
        }
    })* };
}

plain!(bool, u32, u64, i64, f64, &str, String, Value, Vec<String>);

impl From<Object> for Json {
    fn from(object: Object) -> Self {
        Self::Object(object)
    }
}

impl From<Vec<Json>> for Json {
    fn from(items: Vec<Json>) -> Self {
        Self::List(items)
    }
}

/// An answer with this body.
pub(super) fn reply(status: StatusCode, body: &impl Serialize) -> Response {
    // What is written here has text for keys only, so nothing can fail.
    let text = serde_json::to_vec_pretty(body).unwrap_or_default();
    (status, [(header::CONTENT_TYPE, "application/json")], text).into_response()
}

/// A request that is not carried out.
#[derive(Clone, Debug)]
pub(super) struct Refused {
    status: StatusCode,
    body: Object,
    retry_after_s: Option<u64>,
}

impl Refused {
    /// `{"ok": false}` and nothing else.
    pub(super) fn bare(status: StatusCode) -> Self {
        Self { status, body: Object::ok(false), retry_after_s: None }
    }

    pub(super) fn not_found() -> Self {
        Self::bare(StatusCode::NOT_FOUND)
    }

    /// 400 with a reason.
    pub(super) fn wrong(text: impl Into<String>) -> Self {
        Self::bare(StatusCode::BAD_REQUEST).saying("error", text.into())
    }

    /// The credential is missing or does not count.
    pub(super) fn credential() -> Self {
        Self::bare(StatusCode::UNAUTHORIZED)
    }

    /// Too many failed logins from this address.
    pub(super) fn too_many(retry_after_s: u64) -> Self {
        let refused = Self::bare(StatusCode::TOO_MANY_REQUESTS).saying("error", "too many failed logins");
        Self { retry_after_s: Some(retry_after_s), ..refused }
    }

    /// With one more member.
    pub(super) fn saying(self, name: &str, value: impl Into<Json>) -> Self {
        Self { body: self.body.with(name, value), ..self }
    }

    pub(super) fn is_credential(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED
    }

    #[cfg(test)]
    pub(super) fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let text = match &error.hint {
            Some(hint) => format!("{}; {hint}", error.text),
            None => error.text.clone(),
        };
        match &error.kind {
            ErrorKind::NotFound => Self::not_found(),
            ErrorKind::Denied => Self::bare(StatusCode::FORBIDDEN).saying("message", text),
            ErrorKind::Unauthenticated => Self::credential(),
            ErrorKind::Invalid { .. } | ErrorKind::Unsupported => Self::wrong(text),
            ErrorKind::Conflict | ErrorKind::Busy { .. } => {
                Self::bare(StatusCode::CONFLICT).saying("message", text)
            }
            // The one that clients wait on; the others need somebody to do something.
            ErrorKind::NoCapacity if error.code == "empty_pool" => {
                Self::bare(StatusCode::SERVICE_UNAVAILABLE)
            }
            ErrorKind::NoCapacity => Self::bare(StatusCode::SERVICE_UNAVAILABLE).saying("message", text),
            ErrorKind::Unavailable { retry_after_s } => {
                if error.cause.is_some() {
                    tracing::warn!(error = %error.chain(), "a request found something unavailable");
                }
                let refused = Self::bare(StatusCode::SERVICE_UNAVAILABLE).saying("message", text);
                Self { retry_after_s: Some(u64::from(*retry_after_s)), ..refused }
            }
            ErrorKind::Internal => {
                tracing::error!(error = %error.chain(), "a request failed inside");
                Self::bare(StatusCode::INTERNAL_SERVER_ERROR).saying("message", text)
            }
        }
    }
}

impl IntoResponse for Refused {
    /// Quirk: 401 always challenges for a password, also when a token is wrong: posh-vmpooler sends its password only then.
    fn into_response(self) -> Response {
        let mut response = self.body.answered(self.status);
        let headers = response.headers_mut();
        if self.status == StatusCode::UNAUTHORIZED {
            let challenge = HeaderValue::from_static("Basic realm=\"Authentication required\"");
            headers.insert(header::WWW_AUTHENTICATE, challenge);
        }
        if let Some(pause) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(pause));
        }
        response
    }
}

/// What a body turned out to be.
#[derive(Debug)]
pub(super) enum Read {
    Nothing,
    TooLarge,
    TooComplex,
    /// Why it is no JSON.
    Malformed(String),
    Null,
    /// JSON, but no object.
    Other,
    /// Members in their order; of several with one name, the last.
    Members(Vec<(String, Value)>),
}

/// Reads a body as JSON.
pub(super) async fn read(body: Body) -> Read {
    match to_bytes(body, MOST_BYTES).await {
        Ok(bytes) => understood(&bytes),
        Err(_) => Read::TooLarge,
    }
}

fn understood(bytes: &Bytes) -> Read {
    if bytes.iter().all(u8::is_ascii_whitespace) {
        return Read::Nothing;
    }
    match serde_json::from_slice::<Value>(bytes) {
        Err(error) => Read::Malformed(error.to_string()),
        Ok(value) if depth(&value) > DEEPEST => Read::TooComplex,
        Ok(Value::Null) => Read::Null,
        Ok(Value::Object(_)) => match serde_json::from_slice(bytes) {
            Ok(Members(members)) => Read::Members(members),
            Err(error) => Read::Malformed(error.to_string()),
        },
        Ok(_) => Read::Other,
    }
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

struct Members(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Members {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members, A::Error> {
                let mut members: Vec<(String, Value)> = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    match members.iter_mut().find(|(here, _)| *here == name) {
                        Some(there) => there.1 = value,
                        None => members.push((name, value)),
                    }
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// `2015-04-28 19:17:47 +0000`.
///
/// Quirk: go-vmpooler reads exactly this.
pub(super) fn time(at: Timestamp) -> String {
    moment(at).map_or_else(String::new, |at| at.strftime("%Y-%m-%d %H:%M:%S +0000").to_string())
}

/// RFC 3339 with whole seconds and an offset; none beyond the year 9999.
pub(super) fn rfc3339(at: Timestamp) -> Option<String> {
    Some(moment(at)?.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string())
}

fn moment(at: Timestamp) -> Option<jiff::Timestamp> {
    jiff::Timestamp::from_millisecond(at.0).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_look_as_scripts_search_them() {
        let inner = Object::default().with("hostname", "o41xtodlvnvu5cw");
        let body =
            Object::ok(true).with("z", inner).with("a", Object::default()).with("n", Vec::<String>::new());
        let text = serde_json::to_string_pretty(&body).unwrap();
        let wanted = "{\n  \"ok\": true,\n  \"z\": {\n    \"hostname\": \"o41xtodlvnvu5cw\"\n  },\n  \"a\": {},\n  \"n\": []\n}";
        assert_eq!(text, wanted);
    }

    #[test]
    fn members_keep_their_order_and_the_last_of_a_name_counts() {
        let Read::Members(members) = understood(&Bytes::from_static(br#" {"z":"1","a":2,"z":3} "#)) else {
            panic!("an object");
        };
        assert_eq!(members, [("z".to_owned(), 3.into()), ("a".to_owned(), 2.into())]);
    }

    #[test]
    fn what_is_no_object_is_told_apart() {
        let kind = |text: &'static str| understood(&Bytes::from_static(text.as_bytes()));
        assert!(matches!(kind(""), Read::Nothing));
        assert!(matches!(kind(" \n"), Read::Nothing));
        assert!(matches!(kind("null"), Read::Null));
        assert!(matches!(kind("[1]"), Read::Other));
        assert!(matches!(kind("\"\""), Read::Other));
        assert!(matches!(kind("--url"), Read::Malformed(_)));
        assert!(matches!(kind(r#"{"a":[[[[1]]]]}"#), Read::Members(_)));
        assert!(matches!(kind(r#"{"a":[[[[[1]]]]]}"#), Read::TooComplex));
        let deep: &'static str = Box::leak("[".repeat(5000).into_boxed_str());
        assert!(matches!(kind(deep), Read::Malformed(_)));
    }

    #[test]
    fn times_are_written_as_clients_read_them() {
        let at = Timestamp(1_430_273_867_999);
        assert_eq!(time(at), "2015-04-29 02:17:47 +0000");
        assert_eq!(rfc3339(at).as_deref(), Some("2015-04-29T02:17:47+00:00"));
        assert_eq!(rfc3339(Timestamp(i64::MAX)), None);
    }
}
