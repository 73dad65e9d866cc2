//! Who asks: a name and a password for tokens, a token for everything else, or nobody.

use super::settings::AuthStore;
use super::wire::{bad, denied, refused};
use crate::login::{Refused, address, by_password};
use crate::state::DoorState;
use axum::http::{Extensions, HeaderMap, StatusCode, header};
use axum::response::Response;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hostler_core::ErrorKind;
use hostler_core::access::{Caller, CredentialKind, Via};
use hostler_core::pools::Anonymous;
use hostler_core::secret::Secret;

/// The door's name in core and in the audit trail.
pub(super) const DOOR: &str = "vmpooler";
/// Where a token is.
const TOKEN: &str = "x-auth-token";

/// A request, as far as it says who asks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asking<'a> {
    pub(super) state: &'a DoorState,
    pub(super) headers: &'a HeaderMap,
    pub(super) extensions: &'a Extensions,
}

impl Asking<'_> {
    fn via(self) -> Via {
        Via { door: DOOR, address: address(self.extensions) }
    }

    /// Whether there are tokens at all.
    pub(super) fn has_store(self) -> bool {
        self.state.vmpooler().auth != AuthStore::None
    }

    /// Whoever asks: by its token if it has one, which must count then; else as nobody.
    pub(super) async fn anybody(self) -> Result<Caller, Response> {
        match self.headers.get(TOKEN).filter(|_| self.has_store()) {
            Some(token) => self.by(token.to_str().unwrap_or_default()).await,
            None => self.state.core().anonymous(self.via()).await.map_err(refused),
        }
    }

    /// Whoever looks: as nobody, whatever token there is; by a token where nobody may come in as nobody.
    pub(super) async fn looker(self) -> Result<Caller, Response> {
        match self.state.core().pool_rules().anonymous {
            Anonymous::Off => self.anybody().await,
            Anonymous::Full | Anonymous::Read => {
                self.state.core().anonymous(self.via()).await.map_err(refused)
            }
        }
    }

    /// Whoever asks: by its token, where there are tokens.
    pub(super) async fn somebody(self) -> Result<Caller, Response> {
        if self.has_store() && !self.headers.contains_key(TOKEN) {
            return Err(denied());
        }
        self.anybody().await
    }

    async fn by(self, token: &str) -> Result<Caller, Response> {
        let caller = self.state.core().caller_by(token, &[CredentialKind::Token], self.via()).await;
        caller.map_err(refused)
    }

    /// Whoever asks for tokens: by name and password.
    pub(super) async fn person(self) -> Result<Caller, Response> {
        let (name, password) = basic(self.headers).ok_or_else(denied)?;
        // A directory lets in whoever has no password, as nobody in particular.
        if password.expose().is_empty() {
            return Err(denied());
        }
        match by_password(self.state, self.extensions, &name, &password, DOOR).await {
            Ok(caller) => Ok(caller),
            Err(Refused::TooMany { retry_after_s }) => {
                let mut response = bad(StatusCode::TOO_MANY_REQUESTS, []);
                response.headers_mut().insert(header::RETRY_AFTER, retry_after_s.into());
                Err(response)
            }
            Err(Refused::By(error)) if error.kind == ErrorKind::Denied => Err(denied()),
            Err(Refused::By(error)) => Err(refused(error)),
        }
    }
}

/// Name and password of a `Basic` header.
fn basic(headers: &HeaderMap) -> Option<(String, Secret)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, encoded) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = String::from_utf8(BASE64_STANDARD.decode(encoded.trim()).ok()?).ok()?;
    let (name, password) = decoded.split_once(':')?;
    Some((name.to_owned(), Secret::new(password)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_and_password_are_read_from_a_basic_header() {
        let read = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
            basic(&headers).map(|(name, password)| (name, password.expose().to_owned()))
        };
        let encoded = BASE64_STANDARD.encode("jdoe:a:b");
        assert_eq!(read(&format!("basic {encoded}")), Some(("jdoe".into(), "a:b".into())));
        for wrong in ["Basic", "Basic !!", "Bearer abc", &format!("Basic {}", BASE64_STANDARD.encode("x"))] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
