//! Problems: every error of the native door as `application/problem+json` (RFC 9457).
//!
//! A handler answers with a [`Refusal`]; the outermost layer renders it, because only there the request's id is
//! known and an internal cause can be logged beside it, once.

use crate::native::types::Problem;
use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hostler_core::query::language::Malformed;
use hostler_core::{Error, ErrorKind};
use uuid::Uuid;

/// A refusal on its way out. Boxed, because every handler's result has room for one.
#[derive(Clone, Debug)]
pub struct Refusal(Box<Why>);

#[derive(Clone, Debug)]
struct Why {
    status: StatusCode,
    code: &'static str,
    detail: String,
    field: Option<String>,
    position: Option<usize>,
    hint: Option<String>,
    task: Option<Uuid>,
    retry_after_s: Option<u64>,
    /// For the log only.
    log: Option<String>,
}

impl Refusal {
    /// A refusal with status, stable code and public text.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Why {
            status,
            code,
            detail: detail.into(),
            field: None,
            position: None,
            hint: None,
            task: None,
            retry_after_s: None,
            log: None,
        }))
    }

    /// The request is malformed; `field` names the part.
    pub(crate) fn malformed(field: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut refusal = Self::new(StatusCode::BAD_REQUEST, "malformed", detail);
        refusal.0.field = Some(field.into()).filter(|field| !field.is_empty());
        refusal
    }

    /// A filter or an order makes no sense; `field` names the parameter.
    pub(crate) fn misread(field: &'static str, error: &Malformed) -> Self {
        let mut refusal = Self::malformed(field, error.to_string());
        refusal.0.position = Some(error.position);
        refusal
    }

    /// Too many failed logins.
    pub(crate) fn too_many(retry_after_s: u64) -> Self {
        let text = "too many failed logins from this address";
        let mut refusal = Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many", text);
        refusal.0.retry_after_s = Some(retry_after_s);
        refusal
    }

    /// It took too long; it may have been done all the same.
    pub(crate) fn timed_out() -> Self {
        let text = "hostler did not answer in time; what was asked may have been done";
        let mut refusal = Self::new(StatusCode::SERVICE_UNAVAILABLE, "timed_out", text);
        refusal.0.retry_after_s = Some(1);
        refusal
    }

    #[must_use]
    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    /// Writes the problem into `response`, which keeps its other headers.
    pub(crate) fn rendered(self, mut response: Response, request_id: &str) -> Response {
        let why = *self.0;
        if let Some(cause) = &why.log {
            tracing::error!(code = why.code, cause, "refused for an internal reason");
        }
        let problem = Problem {
            kind: format!("/hostler/problems/{}", why.code),
            title: why.status.canonical_reason().unwrap_or("Error").to_owned(),
            status: why.status.as_u16(),
            detail: why.detail,
            code: why.code.to_owned(),
            field: why.field,
            position: why.position,
            hint: why.hint,
            task: why.task,
            request_id: Some(request_id.to_owned()),
        };
        let body = serde_json::to_vec(&problem).unwrap_or_default();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CONTENT_LENGTH, body.len().into());
        if let Some(seconds) = why.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        if why.status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"hostler\""));
        }
        *response.body_mut() = Body::from(body);
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = self.0.status.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let (status, field, task, retry_after_s) = match &error.kind {
            ErrorKind::NotFound => (StatusCode::NOT_FOUND, None, None, None),
            ErrorKind::Denied => (StatusCode::FORBIDDEN, None, None, None),
            ErrorKind::Unauthenticated => (StatusCode::UNAUTHORIZED, None, None, None),
            ErrorKind::Invalid { field } => {
                let field = Some(field.clone()).filter(|field| !field.is_empty());
                (StatusCode::UNPROCESSABLE_ENTITY, field, None, None)
            }
            ErrorKind::Conflict => (StatusCode::CONFLICT, None, None, None),
            ErrorKind::Busy { task } => (StatusCode::CONFLICT, None, Some(task.0), None),
            ErrorKind::NoCapacity => (StatusCode::INSUFFICIENT_STORAGE, None, None, None),
            ErrorKind::Unsupported => (StatusCode::NOT_IMPLEMENTED, None, None, None),
            ErrorKind::Unavailable { retry_after_s } => {
                (StatusCode::SERVICE_UNAVAILABLE, None, None, Some(u64::from(*retry_after_s)))
            }
            ErrorKind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, None, None, None),
        };
        let worth_logging = status == StatusCode::INTERNAL_SERVER_ERROR || error.cause.is_some();
        let log = worth_logging.then(|| error.chain());
        let (code, detail, hint) = (error.code, error.text, error.hint);
        let position = None;
        Self(Box::new(Why { status, code, detail, field, position, hint, task, retry_after_s, log }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hostler_core::ids::TaskId;

    async fn problem(error: Error) -> (Response, serde_json::Value) {
        let refusal = Refusal::from(error);
        let response = refusal.clone().into_response();
        let (parts, body) = refusal.rendered(response, "r-1").into_parts();
        let bytes = axum::body::to_bytes(body, 65_536).await.unwrap();
        (Response::from_parts(parts, Body::empty()), serde_json::from_slice(&bytes).unwrap())
    }

    #[tokio::test]
    async fn every_outcome_has_its_status() {
        let task = TaskId(Uuid::from_u128(7));
        for (error, status, code) in [
            (Error::not_found("machine", "a"), 404, "not_found"),
            (Error::denied("no"), 403, "denied"),
            (Error::unauthenticated("who"), 401, "unauthenticated"),
            (Error::invalid("name", "bad"), 422, "invalid"),
            (Error::conflict("name_taken", "taken"), 409, "name_taken"),
            (Error::busy("machine a", task), 409, "busy"),
            (Error::no_capacity("full"), 507, "no_capacity"),
            (Error::unsupported("cannot"), 501, "unsupported"),
            (Error::unavailable("later"), 503, "unavailable"),
            (Error::internal("secret detail"), 500, "internal"),
        ] {
            let (response, body) = problem(error).await;
            assert_eq!(response.status().as_u16(), status, "{code}");
            assert_eq!(response.headers()[header::CONTENT_TYPE], "application/problem+json");
            assert_eq!((body["status"].as_u64(), &body["code"]), (Some(status.into()), &code.into()));
            assert_eq!(body["type"], format!("/hostler/problems/{code}"));
            assert_eq!(body["request_id"], "r-1");
            assert_eq!(response.headers().contains_key(header::WWW_AUTHENTICATE), status == 401);
            assert_eq!(response.headers().contains_key(header::RETRY_AFTER), status == 503);
            assert!(!body.to_string().contains("secret detail"));
        }
    }

    #[tokio::test]
    async fn what_helps_the_caller_is_told() {
        let task = TaskId(Uuid::from_u128(7));
        let (_, busy) = problem(Error::busy("machine a", task)).await;
        assert_eq!(busy["task"], task.to_string());
        assert!(busy["hint"].as_str().unwrap().contains("task watch"));
        let (_, invalid) = problem(Error::invalid("ssh_keys/0", "bad")).await;
        assert_eq!(invalid["field"], "ssh_keys/0");
    }
}
