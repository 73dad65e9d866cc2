//! Bodies: JSON, however it is announced, and loosely typed.
//!
//! Quirks, each of which a client of the products needs: the `Content-Type` means nothing (curl's `-d` says form, the Go
//! client says nothing); an empty body, `null` and `{}` are the same; a property that is null is absent; numbers come as
//! text and booleans as `"on"` or `1`; unknown properties are ignored.

use crate::isp::refused::{Answer, Refused};
use axum::body::to_bytes;
use axum::extract::{FromRequest, Request};
use axum::http::{StatusCode, header};
use serde_json::{Map, Value};

/// Largest body of a request: 1 MiB.
const MAX_BODY: usize = 1 << 20;

/// The properties of a body, or of an object within one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    /// Where the object is, with a dot at the end; empty for the body itself.
    within: String,
    properties: Map<String, Value>,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Refused;

    async fn from_request(request: Request, _state: &S) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let told =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        if told.is_some_and(|length: u64| length > MAX_BODY as u64) {
            return Err(too_large());
        }
        match to_bytes(body, MAX_BODY).await {
            Ok(bytes) => Self::read(&bytes),
            Err(error) if told.is_none() => {
                tracing::debug!(%error, "a body was not taken");
                Err(too_large())
            }
            Err(_) => Err(Refused::bad_json("the body ended before its length")),
        }
    }
}

fn too_large() -> Refused {
    Refused::bare(StatusCode::PAYLOAD_TOO_LARGE, format!("a body has at most {MAX_BODY} bytes"))
}

impl Body {
    fn read(bytes: &[u8]) -> Answer<Self> {
        if bytes.trim_ascii().is_empty() {
            return Ok(Self::default());
        }
        match serde_json::from_slice(bytes) {
            Ok(Value::Object(properties)) => Ok(Self { within: String::new(), properties }),
            Ok(Value::Null) => Ok(Self::default()),
            Ok(_) => Err(Refused::bad_json("the body must be a JSON object")),
            // The parser's words quote nothing of the body, which may hold a password.
            Err(error) => Err(Refused::bad_json(format!(
                "the body is no JSON: line {}, column {}",
                error.line(),
                error.column()
            ))),
        }
    }

    /// The property, unless it is absent or null.
    pub(crate) fn value(&self, name: &str) -> Option<&Value> {
        self.properties.get(name).filter(|value| !value.is_null())
    }

    /// What is wrong with a property.
    pub(crate) fn wrong(&self, name: &str, wanted: &str) -> Refused {
        let name = format!("{}{name}", self.within);
        Refused::property(name.as_str(), format!("the property `{name}` must be {wanted}"))
    }

    /// A text.
    pub(crate) fn text(&self, name: &str) -> Answer<Option<&str>> {
        let read = |value: &Value| matches!(value, Value::String(_));
        match self.value(name) {
            None => Ok(None),
            Some(value) if read(value) => Ok(value.as_str()),
            Some(_) => Err(self.wrong(name, "a text")),
        }
    }

    /// A text that must be there.
    pub(crate) fn required_text(&self, name: &str) -> Answer<&str> {
        self.text(name)?.ok_or_else(|| self.wrong(name, "given, as a text"))
    }

    /// A whole number, as such or as text.
    pub(crate) fn number(&self, name: &str) -> Answer<Option<i64>> {
        let read = |value: &Value| match value {
            Value::String(text) => text.trim().parse().ok(),
            // `512.0` is how some languages write whole numbers.
            Value::Number(number) => {
                number.as_i64().or_else(|| number.to_string().strip_suffix(".0")?.parse().ok())
            }
            _ => None,
        };
        match self.value(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(name, "a whole number")),
        }
    }

    /// A whole number that must be there.
    pub(crate) fn required_number(&self, name: &str) -> Answer<i64> {
        self.number(name)?.ok_or_else(|| self.wrong(name, "given, as a whole number"))
    }

    /// Yes or no: `true`, `1`, `"true"`, `"on"`, `"yes"`, `"1"` and their opposites.
    pub(crate) fn flag(&self, name: &str) -> Answer<Option<bool>> {
        let read = |value: &Value| match value {
            Value::Bool(flag) => Some(*flag),
            Value::Number(number) => match number.as_i64() {
                Some(0) => Some(false),
                Some(1) => Some(true),
                _ => None,
            },
            Value::String(text) => match text.trim().to_ascii_lowercase().as_str() {
                "true" | "on" | "yes" | "1" => Some(true),
                "false" | "off" | "no" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        };
        match self.value(name) {
            None => Ok(None),
            Some(value) => read(value).map(Some).ok_or_else(|| self.wrong(name, "true or false")),
        }
    }

    /// An array of anything.
    pub(crate) fn list(&self, name: &str) -> Answer<Option<&[Value]>> {
        match self.value(name) {
            None => Ok(None),
            Some(Value::Array(values)) => Ok(Some(values)),
            Some(_) => Err(self.wrong(name, "an array")),
        }
    }

    /// An array of objects.
    pub(crate) fn parts(&self, name: &str) -> Answer<Option<Vec<Self>>> {
        let Some(values) = self.list(name)? else { return Ok(None) };
        let part = |(place, value): (usize, &Value)| match value {
            Value::Object(properties) => {
                let within = format!("{}{name}.{place}.", self.within);
                Ok(Self { within, properties: properties.clone() })
            }
            _ => Err(self.wrong(&format!("{name}.{place}"), "an object")),
        };
        values.iter().enumerate().map(part).collect::<Answer<_>>().map(Some)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(text: &str) -> Body {
        Body::read(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn a_body_is_json_whatever_it_is_said_to_be() {
        for kind in ["application/x-www-form-urlencoded", "application/octet-stream", "application/json"] {
            let request = axum::http::Request::post("/auth/v4/token").header(header::CONTENT_TYPE, kind);
            let request = request.body(r#"{"email":"a@b.c"}"#.into()).unwrap();
            let body = Body::from_request(request, &()).await.unwrap();
            assert_eq!(body.text("email").unwrap(), Some("a@b.c"), "{kind}");
        }
        let large = axum::http::Request::post("/x").body(" ".repeat(MAX_BODY + 1).into()).unwrap();
        let refused = format!("{:?}", Body::from_request(large, &()).await.unwrap_err());
        assert!(refused.contains("413"), "{refused}");
    }

    #[test]
    fn nothing_may_be_said_in_four_ways() {
        for text in ["", " \n", "null", "{}"] {
            assert!(body(text).properties.is_empty(), "{text:?}");
        }
        assert_eq!(body(r#"{"preset":null}"#).number("preset").unwrap(), None);
        for text in ["[]", "7", "{", r#"{"password":"s3cret"#, "{} {}", "\u{feff}{}"] {
            let refused = format!("{:?}", Body::read(text.as_bytes()).unwrap_err());
            assert!(refused.contains("4000") && !refused.contains("s3cret"), "{refused}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(Body::read(deep.as_bytes()).is_err());
    }

    #[test]
    fn values_are_loosely_typed() {
        let body = body(
            r#"{"n":"7","m":7,"f":512.0,"x":1.5,"t":"on","u":1,"v":"False","w":"maybe","s":"a","o":[{"p":[{"q":[]}]}]}"#,
        );
        let number = |name| body.number(name).ok().flatten();
        assert_eq!([number("n"), number("m"), number("f"), number("x")], [Some(7), Some(7), Some(512), None]);
        let flag = |name| body.flag(name).ok().flatten();
        assert_eq!(
            [flag("t"), flag("u"), flag("v"), flag("w"), flag("none")],
            [Some(true), Some(true), Some(false), None, None]
        );
        assert!(body.text("n").is_ok() && body.text("m").is_err() && body.required_text("none").is_err());
        assert!(body.required_number("s").is_err() && body.required_number("m").is_ok());
        let inner = body.parts("o").unwrap().unwrap().remove(0).parts("p").unwrap().unwrap().remove(0);
        let refused = format!("{:?}", inner.required_number("q").unwrap_err());
        assert!(refused.contains("o.0.p.0.q"), "{refused}");
        assert!(body.list("s").is_err());
    }
}
