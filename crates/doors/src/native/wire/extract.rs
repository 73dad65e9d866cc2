//! What handlers take from a request, and the answers they share.

use super::list::unknown;
use super::{Answer, Refusal};
use crate::login::Session;
use crate::native::types::{self, Accepted};
use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hostler_core::access::{Caller, Idempotency};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use std::collections::BTreeMap;
use uuid::Uuid;

/// Largest body of a request: 1 MiB.
const MAX_BODY: usize = 1 << 20;

/// Who asks.
#[derive(Debug)]
pub(crate) struct By(pub(crate) Caller);

impl<S: Send + Sync> FromRequestParts<S> for By {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        Ok(Self(session(&parts.extensions)?.caller))
    }
}

/// Who asks, and what they came in with.
pub(crate) fn session(extensions: &axum::http::Extensions) -> Answer<Session> {
    let known = extensions.get::<Session>().cloned();
    // A route outside the layer that asks for credentials admits nobody.
    known.ok_or_else(|| hostler_core::Error::unauthenticated("this needs a token").into())
}

/// The parameters of a query string, each at most once.
#[derive(Debug)]
pub(crate) struct Parameters(pub(crate) BTreeMap<String, String>);

impl<S: Send + Sync> FromRequestParts<S> for Parameters {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(&parts.uri);
        let pairs = pairs.map_err(|_| Refusal::malformed("", "the query string cannot be read"))?.0;
        let mut parameters = BTreeMap::new();
        for (name, value) in pairs {
            if parameters.contains_key(&name) {
                let shown: String = name.chars().take(80).collect();
                let text = format!("the parameter `{shown}` is given twice");
                return Err(Refusal::malformed(shown, text));
            }
            parameters.insert(name, value);
        }
        Ok(Self(parameters))
    }
}

impl Parameters {
    /// Refuses parameters other than these.
    pub(crate) fn only(&self, known: &'static [&'static str]) -> Answer<()> {
        match self.0.keys().find(|name| !known.contains(&name.as_str())) {
            Some(odd) => Err(unknown(odd, known.iter().copied())),
            None => Ok(()),
        }
    }

    /// A number from 0 to `most`, if the parameter is given.
    pub(crate) fn number(&self, name: &'static str, most: u64) -> Answer<Option<u64>> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        let number = text.parse().ok().filter(|number| *number <= most);
        let wrong = || Refusal::malformed(name, format!("`{name}` is a number from 0 to {most}"));
        number.ok_or_else(wrong).map(Some)
    }
}

/// A JSON body, and the idempotency key of the request if it has one.
#[derive(Debug)]
pub(crate) struct Posted<T> {
    pub(crate) value: T,
    pub(crate) idempotency: Option<Idempotency>,
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Posted<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let bytes = body_of(&parts.headers, body).await?;
        is_json(&parts.headers)?;
        let value = parsed(&bytes)?;
        Ok(Self { value, idempotency: idempotency(&parts, &bytes)? })
    }
}

/// A JSON body that may be left out.
#[derive(Debug)]
pub(crate) struct OptionallyPosted<T>(pub(crate) T);

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for OptionallyPosted<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let bytes = body_of(&parts.headers, body).await?;
        if bytes.is_empty() {
            return Ok(Self(T::default()));
        }
        is_json(&parts.headers)?;
        Ok(Self(parsed::<Option<T>>(&bytes)?.unwrap_or_default()))
    }
}

async fn body_of(headers: &HeaderMap, body: axum::body::Body) -> Answer<Bytes> {
    let too_large = || {
        let text = format!("a body has at most {MAX_BODY} bytes");
        Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", text)
    };
    let told = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
    if told.is_some_and(|length: u64| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    match to_bytes(body, MAX_BODY).await {
        Ok(bytes) => Ok(bytes),
        Err(error) if told.is_none() => {
            tracing::debug!(%error, "a body was not taken");
            Err(too_large())
        }
        Err(_) => Err(Refusal::malformed("", "the body ended before its length")),
    }
}

fn is_json(headers: &HeaderMap) -> Answer<()> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = kind.split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") {
        return Ok(());
    }
    let text = "the body must be JSON, with `Content-Type: application/json`";
    Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", text))
}

fn parsed<T: DeserializeOwned>(bytes: &[u8]) -> Answer<T> {
    // Every body is an object; the reader would also take its values in a row.
    if bytes.trim_ascii_start().starts_with(b"[") {
        return Err(Refusal::malformed("", "the body cannot be read: it must be an object, and is an array"));
    }
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value: T = serde_path_to_error::deserialize(&mut reader).map_err(|error| {
        let field = pointer(error.path());
        Refusal::malformed(field, format!("the body cannot be read: {}", error.inner()))
    })?;
    let rest = reader.end();
    rest.map_err(|error| Refusal::malformed("", format!("the body cannot be read: {error}")))?;
    Ok(value)
}

/// A JSON pointer without its leading slash.
fn pointer(path: &serde_path_to_error::Path) -> String {
    let mut parts = Vec::new();
    for segment in path {
        match segment {
            Segment::Seq { index } => parts.push(index.to_string()),
            Segment::Map { key } => parts.push(key.chars().take(80).collect()),
            Segment::Enum { .. } | Segment::Unknown => {}
        }
    }
    parts.join("/")
}

fn idempotency(parts: &Parts, body: &[u8]) -> Answer<Option<Idempotency>> {
    let mut keys = parts.headers.get_all("idempotency-key").iter();
    let Some(key) = keys.next() else { return Ok(None) };
    let text = key.to_str().unwrap_or("");
    if keys.next().is_some() {
        return Err(Refusal::malformed("Idempotency-Key", "the header Idempotency-Key is given twice"));
    }
    let mut content = format!("{}\n{}\n", parts.method, parts.uri.path()).into_bytes();
    content.extend_from_slice(body);
    Ok(Some(Idempotency::new(text, &content)?))
}

/// The answer to a command: 202 and where the task is, or 200 when it was so already.
pub(crate) fn accepted<T: Serialize>(
    record: T,
    task: Option<&hostler_core::tasks::Task>,
    replayed: bool,
) -> Response {
    let status = if task.is_some() { StatusCode::ACCEPTED } else { StatusCode::OK };
    let location =
        task.and_then(|task| HeaderValue::from_str(&format!("/hostler/v1/tasks/{}", task.id)).ok());
    let body = Accepted { record, task: task.map(types::Task::from) };
    let mut response = (status, axum::Json(body)).into_response();
    let headers = response.headers_mut();
    if let Some(location) = location {
        headers.insert(header::LOCATION, location);
    }
    if replayed {
        headers.insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// The answer when something new is there at once: 201 and where it is.
pub(crate) fn created<T: Serialize>(list: &str, id: Uuid, body: T) -> Response {
    let location = format!("/hostler/v1/{list}/{id}");
    (StatusCode::CREATED, [(header::LOCATION, location)], axum::Json(body)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::native::types::{MachineCreate, PowerChange};

    fn request(kind: Option<&str>, key: Option<&str>, body: &str) -> Request {
        let mut request = axum::http::Request::post("/machines");
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        request.body(body.to_owned().into()).unwrap()
    }

    async fn refusal(kind: Option<&str>, body: &str) -> String {
        let json = Posted::<MachineCreate>::from_request(request(kind, None, body), &()).await;
        format!("{:?}", json.unwrap_err())
    }

    #[tokio::test]
    async fn bodies_are_json_of_known_fields() {
        let kind = Some("application/json; charset=utf-8");
        let good = request(kind, None, r#"{"template":"micro"}"#);
        let json = Posted::<MachineCreate>::from_request(good, &()).await.unwrap();
        assert!(json.value.start && json.idempotency.is_none());
        for (kind, body, told) in [
            (None, "{}", "415"),
            (Some("text/plain"), "{}", "415"),
            (kind, "", "400"),
            (kind, "{", "400"),
            (kind, r#"{"template":"a"} x"#, "400"),
            (kind, r#"{"template":"a","vcpu":1}"#, r#"field: Some("vcpu")"#),
            (kind, r#"{"template":"a","ssh_keys":["a",7]}"#, r#"field: Some("ssh_keys/1")"#),
            (kind, &" ".repeat(MAX_BODY + 1), "413"),
        ] {
            let refusal = refusal(kind, body).await;
            assert!(refusal.contains(told), "{told} is not in {refusal}");
        }
    }

    #[tokio::test]
    async fn an_empty_body_may_stand_for_defaults() {
        let empty = OptionallyPosted::<PowerChange>::from_request(request(None, None, ""), &()).await;
        assert!(!empty.unwrap().0.force);
        let kind = Some("application/json");
        let force = request(kind, None, r#"{"force":true}"#);
        assert!(OptionallyPosted::<PowerChange>::from_request(force, &()).await.unwrap().0.force);
        let null = OptionallyPosted::<PowerChange>::from_request(request(kind, None, "null"), &()).await;
        assert!(!null.unwrap().0.force);
        let odd = request(kind, None, r#"{"force":"yes"}"#);
        assert!(OptionallyPosted::<PowerChange>::from_request(odd, &()).await.is_err());
    }

    #[tokio::test]
    async fn an_idempotency_key_belongs_to_one_body() {
        let kind = Some("application/json");
        let read = async |key, body| {
            let json = Posted::<MachineCreate>::from_request(request(kind, Some(key), body), &()).await;
            json.map(|json| json.idempotency.unwrap())
        };
        let first = read("k", r#"{"template":"a"}"#).await.unwrap();
        assert_eq!(first, read("k", r#"{"template":"a"}"#).await.unwrap());
        assert_ne!(first.request, read("k", r#"{"template":"b"}"#).await.unwrap().request);
        assert!(read("", r#"{"template":"a"}"#).await.is_err());
    }

    #[tokio::test]
    async fn parameters_are_given_once() {
        let read = async |uri: &str| {
            let (mut parts, ()) = axum::http::Request::get(uri).body(()).unwrap().into_parts();
            Parameters::from_request_parts(&mut parts, &()).await
        };
        let query = read("/x?bytes=12&b=%20c+d").await.unwrap();
        assert_eq!(query.0["b"], " c d");
        assert_eq!(query.number("bytes", 100).unwrap(), Some(12));
        assert!(query.number("bytes", 11).is_err());
        assert!(query.only(&["bytes"]).is_err());
        assert!(query.only(&["bytes", "b"]).is_ok());
        assert!(read("/x?a=1&a=2").await.is_err());
    }
}
