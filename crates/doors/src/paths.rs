//! One spelling for each path, before routing and before rights.
//!
//! Slashes are collapsed, percent-encoding is decoded once, dot segments are resolved; then the path is encoded
//! again, so that a route's parameters hold what the caller meant. An encoded slash never makes a new segment: such
//! a path is refused, because nothing here has a slash in its name.
//!
//! Quirk: a slash at the end means nothing. People type it, and no door gives it a meaning of its own.

use crate::closed::Dialect;
use axum::extract::Request;
use axum::http::uri::PathAndQuery;
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::Response;
use std::borrow::Cow;

/// Why a path has no uniform spelling.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadPath {
    /// A percent sign without two hexadecimal digits.
    Encoding,
    /// It does not decode to UTF-8.
    Utf8,
    /// A slash, backslash or control character within a segment.
    Forbidden,
}

impl BadPath {
    fn text(self) -> &'static str {
        match self {
            Self::Encoding => "the path has a percent sign without two hexadecimal digits",
            Self::Utf8 => "the path does not decode to UTF-8",
            Self::Forbidden => "the path has an encoded slash, a backslash or a control character",
        }
    }
}

/// The uniform spelling of a path that begins with a slash.
///
/// # Errors
/// For what cannot be decoded or would be taken for more than one segment.
pub(crate) fn uniform_path(path: &str) -> Result<Cow<'_, str>, BadPath> {
    let plain = !path.contains(['%', '\\'])
        && !path.contains("//")
        && !path.contains("/.")
        && (path == "/" || !path.ends_with('/'));
    if plain {
        return Ok(Cow::Borrowed(path));
    }
    let mut segments: Vec<String> = Vec::new();
    for raw in path.split('/').filter(|raw| !raw.is_empty()) {
        let segment = decoded(raw)?;
        match segment.as_str() {
            "." => {}
            ".." => {
                segments.pop();
            }
            _ => segments.push(segment),
        }
    }
    let mut spelled = String::with_capacity(path.len());
    for segment in &segments {
        spelled.push('/');
        encode(segment, &mut spelled);
    }
    if spelled.is_empty() {
        spelled.push('/');
    }
    Ok(Cow::Owned(spelled))
}

fn decoded(raw: &str) -> Result<String, BadPath> {
    let mut bytes = Vec::with_capacity(raw.len());
    let mut rest = raw.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || rest.next().and_then(|c| char::from(c).to_digit(16)).ok_or(BadPath::Encoding);
        let value = digit()? * 16 + digit()?;
        bytes.push(u8::try_from(value).map_err(|_| BadPath::Encoding)?);
    }
    let text = String::from_utf8(bytes).map_err(|_| BadPath::Utf8)?;
    if text.contains(['/', '\\']) || text.chars().any(char::is_control) {
        return Err(BadPath::Forbidden);
    }
    Ok(text)
}

/// Leaves what RFC 3986 allows in a segment (`pchar`) and encodes the rest.
fn encode(segment: &str, into: &mut String) {
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte) {
            into.push(char::from(byte));
        } else {
            into.push('%');
            for digit in [byte >> 4, byte & 15] {
                into.push(char::from(b"0123456789ABCDEF"[usize::from(digit)]));
            }
        }
    }
}

/// Gives the request its uniform path.
pub(crate) async fn uniform(mut request: Request, next: Next) -> Response {
    let uri = request.uri();
    // `OPTIONS *` has no path.
    if !uri.path().starts_with('/') {
        return next.run(request).await;
    }
    let path = match uniform_path(uri.path()) {
        Ok(Cow::Borrowed(_)) => return next.run(request).await,
        Ok(Cow::Owned(path)) => path,
        Err(bad) => return refused(uri.path(), bad),
    };
    match with_path(uri, &path) {
        Some(uri) => {
            *request.uri_mut() = uri;
            next.run(request).await
        }
        None => refused(request.uri().path(), BadPath::Encoding),
    }
}

fn with_path(uri: &Uri, path: &str) -> Option<Uri> {
    let path_and_query = match uri.query() {
        Some(query) => format!("{path}?{query}"),
        None => path.to_owned(),
    };
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(path_and_query).ok()?);
    Uri::from_parts(parts).ok()
}

fn refused(path: &str, bad: BadPath) -> Response {
    Dialect::of(path).answer(StatusCode::BAD_REQUEST, "malformed_path", bad.text())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_spelling_becomes_one() {
        for (raw, uniform) in [
            ("/", "/"),
            ("//", "/"),
            ("/a", "/a"),
            ("/a/", "/a"),
            ("//a///b//", "/a/b"),
            ("/a/./b", "/a/b"),
            ("/a/../b", "/b"),
            ("/../../b", "/b"),
            ("/a/%2e%2e/b", "/b"),
            ("/a/%2E/b", "/a/b"),
            ("/a/.%2e/b", "/b"),
            ("/a/..", "/"),
            ("/a/..b", "/a/..b"),
            ("/%61", "/a"),
            ("/a%20b", "/a%20b"),
            ("/%c3%a4", "/%C3%A4"),
            ("/hostler/v1/networks/lan/addresses/fd00::1", "/hostler/v1/networks/lan/addresses/fd00::1"),
        ] {
            assert_eq!(uniform_path(raw).as_deref(), Ok(uniform), "{raw}");
        }
    }

    #[test]
    fn encoding_is_undone_once_only() {
        assert_eq!(uniform_path("/a/%252e%252e/b").as_deref(), Ok("/a/%252e%252e/b"));
        assert_eq!(uniform_path("/%2541").as_deref(), Ok("/%2541"));
    }

    #[test]
    fn an_encoded_slash_makes_no_segment() {
        assert_eq!(uniform_path("/a%2fb"), Err(BadPath::Forbidden));
        assert_eq!(uniform_path("/a%5Cb"), Err(BadPath::Forbidden));
        assert_eq!(uniform_path("/a\\b"), Err(BadPath::Forbidden));
        assert_eq!(uniform_path("/a%00"), Err(BadPath::Forbidden));
        assert_eq!(uniform_path("/a%2"), Err(BadPath::Encoding));
        assert_eq!(uniform_path("/a%zz"), Err(BadPath::Encoding));
        assert_eq!(uniform_path("/a%ff"), Err(BadPath::Utf8));
    }

    proptest! {
        #[test]
        fn a_uniform_path_stays_as_it_is(raw in "/[a-z%./0-9]{0,20}") {
            if let Ok(once) = uniform_path(&raw) {
                let again = uniform_path(&once);
                prop_assert_eq!(again.as_deref(), Ok(once.as_ref()));
                prop_assert!(once.starts_with('/') && !once.contains("//"));
                prop_assert!(!once.split('/').any(|segment| segment == "." || segment == ".."));
            }
        }
    }
}
