//! The envelope of a refusal: `{"error": {"code": …, "msg": …, "value": …}}`, always JSON.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hostler_core::query::language::Malformed;
use hostler_core::{Error, ErrorKind};
use serde_json::{Value, json};

/// What handlers answer.
pub(crate) type Answer<T> = Result<T, Refused>;

/// How a refused credential is told: the guides of the two products disagree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// DCImanager's: `Unauthorized`.
    Unauthorized,
    /// VMmanager's: `Whoami verifired error`, and in it what was wrong.
    Whoami,
}

/// A request that is not carried out.
#[derive(Clone, Debug)]
pub(crate) struct Refused {
    status: StatusCode,
    code: u16,
    msg: String,
    value: Option<Value>,
    retry_after_s: Option<u64>,
}

/// The codes that clients may meet. Those from 4000 up are hostler's own: the products do not document theirs.
mod code {
    pub(super) const UNKNOWN_TOKEN: u16 = 1000;
    pub(super) const NO_SUCH_FUNCTION: u16 = 1106;
    pub(super) const WHOAMI: u16 = 1114;
    pub(super) const UNAUTHORIZED: u16 = 3001;
    pub(super) const NO_SESSION: u16 = 3002;
    pub(super) const BAD_JSON: u16 = 4000;
    pub(super) const BAD_PROPERTY: u16 = 4001;
    pub(super) const BAD_FILTER: u16 = 4002;
    pub(super) const NO_ENTITY: u16 = 4004;
    pub(super) const TAKEN: u16 = 4009;
    pub(super) const WRONG_STATE: u16 = 4010;
    pub(super) const USED_UP: u16 = 4011;
}

impl Refused {
    fn new(status: StatusCode, code: u16, msg: impl Into<String>) -> Self {
        Self { status, code, msg: msg.into(), value: None, retry_after_s: None }
    }

    fn with(self, value: Value) -> Self {
        Self { value: Some(value), ..self }
    }

    /// A status that has no code of its own: the code is the same number.
    pub(crate) fn bare(status: StatusCode, msg: impl Into<String>) -> Self {
        Self::new(status, status.as_u16(), msg)
    }

    /// There is no such service, version or function.
    pub(crate) fn no_such_function() -> Self {
        Self::new(StatusCode::NOT_FOUND, code::NO_SUCH_FUNCTION, "there is no such function")
    }

    /// The body cannot be read.
    pub(crate) fn bad_json(text: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code::BAD_JSON, text)
    }

    /// A property of the body is missing or wrong.
    pub(crate) fn property(name: impl Into<String>, text: impl Into<String>) -> Self {
        let refused = Self::new(StatusCode::BAD_REQUEST, code::BAD_PROPERTY, text);
        refused.with(json!({ "property": name.into() }))
    }

    /// `where`, `orderby` or `limit` makes no sense at this place.
    pub(crate) fn filter(name: &'static str, malformed: &Malformed) -> Self {
        let refused = Self::new(StatusCode::BAD_REQUEST, code::BAD_FILTER, malformed.to_string());
        refused.with(json!({ "filter": name, "position": malformed.position }))
    }

    /// An element with this key does not exist, or the caller may not see it.
    pub(crate) fn no_entity(key: &str) -> Self {
        let key: String = key.chars().take(80).collect();
        let id = key.parse::<i64>().map_or_else(|_| Value::from(key.as_str()), Value::from);
        let refused = Self::new(StatusCode::NOT_FOUND, code::NO_ENTITY, format!("there is no entity {key}"));
        refused.with(json!({ "id": id }))
    }

    /// The caller is known, and the role does not allow it.
    pub(crate) fn not_this_role() -> Self {
        Self::new(StatusCode::FORBIDDEN, code::UNAUTHORIZED, "Unauthorized")
    }

    /// The credential does not count: 401 in the style of the service. `by_header` tells whether a header of the
    /// dialect's own carried one.
    pub(crate) fn credential(style: Style, by_header: bool) -> Self {
        match style {
            Style::Unauthorized => Self::unauthorized(),
            Style::Whoami => {
                let code = if by_header { code::UNKNOWN_TOKEN } else { code::WHOAMI };
                Self { code, ..Self::whoami(StatusCode::UNAUTHORIZED) }
            }
        }
    }

    /// v4's refusal of a password or a key.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code::UNAUTHORIZED, "Unauthorized")
    }

    /// v3's refusal of a password or a key.
    ///
    /// Quirk: 403, because the `vmmanager6` client for Node.js waits for ever when a login is answered with 401.
    pub(crate) fn session() -> Self {
        Self::whoami(StatusCode::FORBIDDEN)
    }

    fn whoami(status: StatusCode) -> Self {
        // Spelt so by the product.
        let inner = json!({ "code": code::NO_SESSION, "msg": "Session not found" });
        Self::new(status, code::WHOAMI, "Whoami verifired error").with(inner)
    }

    /// Too many failures from this address.
    pub(crate) fn too_many(retry_after_s: u64) -> Self {
        let msg = format!("too many failed logins; try again in {retry_after_s} s");
        let refused = Self::bare(StatusCode::TOO_MANY_REQUESTS, msg);
        Self { retry_after_s: Some(retry_after_s), ..refused }
    }

    /// What is told instead of "not found" when the caller named the element itself.
    pub(crate) fn about(self, key: &str) -> Self {
        if self.code == code::NO_ENTITY { Self::no_entity(key) } else { self }
    }
}

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let text = match &error.hint {
            Some(hint) => format!("{}; {hint}", error.text),
            None => error.text.clone(),
        };
        match &error.kind {
            ErrorKind::NotFound => Self::new(StatusCode::NOT_FOUND, code::NO_ENTITY, text),
            ErrorKind::Denied => Self::not_this_role().with(json!({ "reason": text })),
            ErrorKind::Unauthenticated => Self::unauthorized(),
            ErrorKind::Invalid { field } => Self::property(field.replace('/', "."), text),
            ErrorKind::Conflict => {
                let code = if error.code.contains("taken") { code::TAKEN } else { code::WRONG_STATE };
                Self::new(StatusCode::CONFLICT, code, text)
            }
            ErrorKind::Busy { .. } => Self::new(StatusCode::CONFLICT, code::WRONG_STATE, text),
            ErrorKind::NoCapacity => Self::new(StatusCode::CONFLICT, code::USED_UP, text),
            ErrorKind::Unsupported => Self::new(StatusCode::BAD_REQUEST, code::WRONG_STATE, text),
            ErrorKind::Unavailable { retry_after_s } => {
                if error.cause.is_some() {
                    tracing::warn!(error = %error.chain(), "a request found something unavailable");
                }
                let refused = Self::bare(StatusCode::SERVICE_UNAVAILABLE, text);
                Self { retry_after_s: Some(u64::from(*retry_after_s)), ..refused }
            }
            ErrorKind::Internal => {
                tracing::error!(error = %error.chain(), "a request failed inside");
                Self::bare(StatusCode::INTERNAL_SERVER_ERROR, text)
            }
        }
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let mut inner = json!({ "code": self.code, "msg": self.msg });
        if let Some(value) = self.value {
            inner["value"] = value;
        }
        let mut response = (self.status, Json(json!({ "error": inner }))).into_response();
        if let Some(pause) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(pause));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::body::to_bytes;
    use hostler_core::ids::TaskId;
    use uuid::Uuid;

    async fn shown(refused: Refused) -> (u16, String) {
        let response = refused.into_response();
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 4096).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn refused_credentials_are_told_word_for_word() {
        let unauthorized = r#"{"error":{"code":3001,"msg":"Unauthorized"}}"#;
        let whoami = |code: u16| {
            format!(
                r#"{{"error":{{"code":{code},"msg":"Whoami verifired error","value":{{"code":3002,"msg":"Session not found"}}}}}}"#
            )
        };
        for (refused, status, body) in [
            (Refused::credential(Style::Unauthorized, false), 401, unauthorized.to_owned()),
            (Refused::credential(Style::Unauthorized, true), 401, unauthorized.to_owned()),
            (Refused::credential(Style::Whoami, false), 401, whoami(1114)),
            (Refused::credential(Style::Whoami, true), 401, whoami(1000)),
            (Refused::session(), 403, whoami(1114)),
            (Refused::unauthorized(), 401, unauthorized.to_owned()),
            (Refused::not_this_role(), 403, unauthorized.to_owned()),
        ] {
            assert_eq!(shown(refused).await, (status, body));
        }
    }

    #[tokio::test]
    async fn every_kind_of_error_has_its_code() {
        let task = TaskId(Uuid::from_u128(1));
        for (error, status, code) in [
            (Error::not_found("machine", 7), 404, 4004),
            (Error::denied("no"), 403, 3001),
            (Error::unauthenticated("no"), 401, 3001),
            (Error::invalid("name", "no"), 400, 4001),
            (Error::conflict("name_taken", "no"), 409, 4009),
            (Error::conflict("last_administrator", "no"), 409, 4010),
            (Error::busy("m", task), 409, 4010),
            (Error::no_capacity("no"), 409, 4011),
            (Error::unsupported("no"), 400, 4010),
            (Error::unavailable("no"), 503, 503),
            (Error::internal("the secret cause"), 500, 500),
        ] {
            let (told, body) = shown(error.into()).await;
            assert_eq!(told, status, "{body}");
            assert!(body.contains(&format!("\"code\":{code},")), "{body}");
            assert!(!body.contains("secret"), "{body}");
        }
        assert_eq!(
            Refused::from(Error::unavailable("x")).into_response().headers()[header::RETRY_AFTER],
            "1"
        );
        assert_eq!(Refused::too_many(9).into_response().headers()[header::RETRY_AFTER], "9");
        let (_, body) = shown(Refused::from(Error::invalid("disks/0/size", "no")).about("9")).await;
        assert!(body.contains(r#""value":{"property":"disks.0.size"}"#), "{body}");
        let (_, body) = shown(Refused::from(Error::not_found("host", 9)).about("9")).await;
        assert!(body.contains(r#""value":{"id":9}"#), "{body}");
    }
}
