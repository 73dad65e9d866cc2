//! Who asks in which version: the carriers of credentials, and what each version calls a machine.

use super::DOOR;
use super::wire::{Answer, Refused};
use crate::login;
use crate::state::DoorState;
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{Extensions, HeaderMap, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostler_core::ErrorKind;
use hostler_core::access::{Caller, Via};
use hostler_core::pools::Pool;
use hostler_core::secret::Secret;

/// The header of tokens.
const TOKEN: &str = "x-auth-token";

/// What a path says of the version that its client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// Version 1, and paths without a version: bare host names, and their domain beside them.
    ///
    /// Quirk: litmus and vanagon write `hostname + "." + domain`, so both must be there.
    Bare,
    /// Versions 2 and 3: full names. vmfloaty takes a name as full where no domain is beside it.
    Full,
}

impl Version {
    /// Of two prefixes the last counts: beaker writes its own after a base that has one.
    pub(super) fn of(path: &str) -> Self {
        let mut rest = path;
        let mut last = "v1";
        while let Some((version, more)) = rest.strip_prefix("/api/").and_then(|path| path.split_once('/')) {
            last = version;
            rest = &rest[rest.len() - more.len() - 1..];
        }
        if last == "v1" { Self::Bare } else { Self::Full }
    }

    /// A host name as checkouts show it.
    pub(super) fn host_name(self, name: &str, domain: Option<&str>) -> String {
        match (self, domain) {
            (Self::Full, Some(domain)) => format!("{name}.{domain}"),
            _ => name.to_owned(),
        }
    }

    /// The machine that a path names: what stands before the first dot.
    ///
    /// Quirk: version 1 does not know the one and clients of 2 and 3 are told that there can be no such name.
    pub(super) fn short_name(self, name: &str) -> Answer<&str> {
        let allowed = |c: u8| c.is_ascii_alphanumeric() || c == b'-' || c == b'.';
        let short = name.split('.').next().unwrap_or_default();
        if name.len() <= 253 && name.bytes().all(allowed) && !short.is_empty() {
            return Ok(short);
        }
        Err(match self {
            Self::Bare => Refused::not_found(),
            Self::Full => Refused::wrong("Invalid hostname format"),
        })
    }
}

/// What a request says of whoever sends it.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) version: Version,
    headers: HeaderMap,
    extensions: Extensions,
}

impl<S: Send + Sync> FromRequestParts<S> for Asked {
    type Rejection = Refused;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Answer<Self> {
        Ok(Self {
            version: Version::of(parts.uri.path()),
            headers: parts.headers.clone(),
            extensions: parts.extensions.clone(),
        })
    }
}

impl Asked {
    fn via(&self) -> Via {
        Via { door: DOOR, address: login::address(&self.extensions) }
    }

    /// Whether a token is there, good or not: an empty header is a token that is not good.
    pub(super) fn has_token(&self) -> bool {
        self.headers.contains_key(TOKEN)
    }

    /// Whoever only looks: nobody needs a token for that, unless nobody may come in without one.
    pub(super) async fn looking(&self, state: &DoorState) -> Answer<Caller> {
        match state.core().anonymous(self.via()).await {
            Err(error) if error.kind == ErrorKind::Unauthenticated => self.by_token(state).await,
            other => Ok(other?),
        }
    }

    /// Whoever needs no token, but whose token must be good if there is one.
    pub(super) async fn perhaps(&self, state: &DoorState) -> Answer<Caller> {
        if self.has_token() {
            self.with_token(state).await
        } else {
            Ok(state.core().anonymous(self.via()).await?)
        }
    }

    /// Whoever needs no token, and whose token does no harm when it is not good.
    pub(super) async fn best(&self, state: &DoorState) -> Answer<Caller> {
        if self.has_token() && state.vmpooler().auth {
            match self.by_token(state).await {
                Err(refused) if refused.is_credential() => {}
                other => return other,
            }
        }
        self.looking(state).await
    }

    /// Whoever needs a token. Without an account store tokens mean nothing, and nobody needs one.
    pub(super) async fn with_token(&self, state: &DoorState) -> Answer<Caller> {
        if state.vmpooler().auth {
            return self.by_token(state).await;
        }
        Ok(state.core().anonymous(self.via()).await?)
    }

    async fn by_token(&self, state: &DoorState) -> Answer<Caller> {
        let token = self.headers.get(TOKEN).and_then(|value| value.to_str().ok()).map(str::trim);
        let token = token.filter(|token| (1..=512).contains(&token.len())).ok_or_else(Refused::credential)?;
        let (session, _) = login::by_any(state, &self.extensions, &[token], DOOR).await?;
        Ok(session.caller)
    }

    /// Whoever comes with login name and password; 404 where there is no account store.
    pub(super) async fn by_password(&self, state: &DoorState) -> Answer<Caller> {
        if !state.vmpooler().auth {
            return Err(Refused::not_found());
        }
        let (name, password) = basic(&self.headers).ok_or_else(Refused::credential)?;
        login::by_password(state, &self.extensions, &name, &password, DOOR).await.map_err(|refused| {
            match refused {
                // Nothing that cannot be a password is one.
                login::Refused::By(error) if matches!(error.kind, ErrorKind::Invalid { .. }) => {
                    Refused::credential()
                }
                login::Refused::By(error) => error.into(),
                login::Refused::TooMany { retry_after_s } => Refused::too_many(retry_after_s),
            }
        })
    }
}

/// Login name and password of the `Authorization` header.
fn basic(headers: &HeaderMap) -> Option<(String, Secret)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
    let (name, password) = text.split_once(':')?;
    Some((name.to_owned(), Secret::new(password)))
}

/// The domain that machines of a pool are in.
pub(super) fn domain_of<'a>(state: &'a DoorState, pool: Option<&'a Pool>) -> Option<&'a str> {
    let own = pool.and_then(|pool| pool.spec.domain.as_deref());
    own.or(state.vmpooler().domain.as_deref()).filter(|domain| !domain.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_prefix_says_how_names_are_written() {
        for (path, version) in [
            ("/vm", Version::Bare),
            ("/api/v1/vm", Version::Bare),
            ("/api/v2/vm/x", Version::Full),
            ("/api/v3/vm", Version::Full),
            ("/api/v3/api/v1/vm/x/disk/8", Version::Bare),
            ("/api/v1/api/v3/vm", Version::Full),
        ] {
            assert_eq!(Version::of(path), version, "{path}");
        }
        assert_eq!(Version::Full.host_name("a", Some("b.c")), "a.b.c");
        assert_eq!(Version::Full.host_name("a", None), "a");
        assert_eq!(Version::Bare.host_name("a", Some("b.c")), "a");
    }

    #[test]
    fn a_full_name_is_cut_and_an_odd_one_refused() {
        for version in [Version::Bare, Version::Full] {
            assert_eq!(version.short_name("a-1.b.c").unwrap(), "a-1");
            for odd in ["a_b", ".a", "", "a b", &"a".repeat(254)] {
                assert!(version.short_name(odd).is_err(), "{odd}");
            }
        }
        assert!(Version::Bare.short_name("a_b").unwrap_err().is_not_found());
        assert!(!Version::Full.short_name("a_b").unwrap_err().is_not_found());
    }

    #[test]
    fn a_password_may_have_colons_and_other_schemes_have_none() {
        let of =
            |value: &str| basic(&HeaderMap::from_iter([(header::AUTHORIZATION, value.parse().unwrap())]));
        let (name, password) = of("Basic amRvZTpwOnc=").unwrap();
        assert_eq!((name.as_str(), password.expose()), ("jdoe", "p:w"));
        for other in ["Bearer amRvZTpwOnc=", "Basic", "Basic !!", "Basic amRvZQ=="] {
            assert!(of(other).is_none(), "{other}");
        }
    }
}
