//! Logging in at an OpenID provider: from the button to the account.
//!
//! Nothing is remembered here between the two requests of a browser. What ties them together goes along in a cookie,
//! sealed: any process on the store can take the answer, and a browser that was not sent by us has no such cookie.

use super::{LinkedProvider, failed};
use crate::access::{Caller, Origin, Via};
use crate::core::Core;
use crate::error::{Error, ErrorKind, Result};
use crate::ports::{Attempt, DriverErrorKind};
use crate::record::Kind;
use crate::secret::{Place, Sealed, Secret};
use crate::time::Timestamp;
use serde::{Deserialize, Serialize};
use std::time::Duration;
use uuid::Uuid;

/// How long somebody may take to log in at the provider.
const PATIENCE: Duration = Duration::from_secs(600);
const PLACE: Place = Place { kind: Kind::Account, record: Uuid::nil(), field: "login at a provider" };
/// No code or state of a provider is longer.
const LONGEST: usize = 4096;

/// A provider, as it is offered to people who are not logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderListed {
    /// Its name, part of paths.
    pub name: String,
    /// What buttons call it.
    pub title: String,
}

/// A login that has begun.
#[derive(Clone, Debug)]
pub struct Begun {
    /// Where to send the browser.
    pub address: String,
    /// What the browser must bring back.
    pub cookie: Secret,
    /// For how long the cookie is good.
    pub patience: Duration,
    /// Whether the cookie is for encrypted connections only.
    pub secure: bool,
}

/// What a browser brings back from a provider.
#[derive(Clone, Debug, Default)]
pub struct ProviderAnswer {
    /// Redeemed for the person.
    pub code: Option<String>,
    /// What we sent along.
    pub state: Option<String>,
    /// Who answers (RFC 9207), where the provider says so.
    pub issuer: Option<String>,
    /// Why the provider refused.
    pub error: Option<String>,
}

/// What is in the cookie.
#[derive(Serialize, Deserialize)]
struct Baggage {
    provider: String,
    state: String,
    nonce: String,
    verifier: String,
    ends: Timestamp,
}

impl Core {
    /// The providers that people may log in at.
    pub fn provider_list(&self) -> Vec<ProviderListed> {
        let listed = |linked: &LinkedProvider| ProviderListed {
            name: linked.provider.name().to_owned(),
            title: linked.provider.title().to_owned(),
        };
        self.outside().providers.iter().map(listed).collect()
    }

    /// Begins a login at a provider.
    ///
    /// # Errors
    /// Not found; unavailable when the provider does not answer.
    pub async fn provider_begin(&self, name: &str) -> Result<Begun> {
        let linked = self.provider(name)?;
        let chance = || hex::encode(self.ids().secret());
        let attempt = Attempt { state: chance(), nonce: chance(), verifier: Secret::new(chance()) };
        let address = linked.provider.begin(&attempt).await.map_err(|error| {
            tracing::warn!(provider = name, %error, "a provider cannot be used");
            failed(&format!("the provider {name}"), &error)
        })?;
        let baggage = Baggage {
            provider: name.to_owned(),
            state: attempt.state,
            nonce: attempt.nonce,
            verifier: attempt.verifier.expose().to_owned(),
            ends: self.now().plus(PATIENCE),
        };
        let text = Secret::new(serde_json::to_string(&baggage).map_err(Error::internal)?);
        let cookie = self.seal(PLACE, &text)?.portable();
        Ok(Begun { address, cookie, patience: PATIENCE, secure: linked.provider.is_secure() })
    }

    /// The caller that a person becomes who comes back from a provider with this answer and this cookie. It has no
    /// credential yet: see [`Core::credential_make`].
    ///
    /// # Errors
    /// Unauthenticated when the answer is not to what this browser asked, or is not good; denied and conflict as when
    /// a directory vouches; unavailable when the provider does not answer.
    pub async fn provider_finish(
        &self,
        name: &str,
        answer: &ProviderAnswer,
        cookie: &str,
        via: Via,
    ) -> Result<Caller> {
        let found = self.provider_vouches(name, answer, cookie, via.clone()).await;
        if let Err(error) = &found
            && error.kind != ErrorKind::NotFound
        {
            // Who it was that came back is not known.
            self.note_no_login(None, "", &via, &format!("{name}: {}", error.text)).await;
        }
        found
    }

    async fn provider_vouches(
        &self,
        name: &str,
        answer: &ProviderAnswer,
        cookie: &str,
        via: Via,
    ) -> Result<Caller> {
        let linked = self.provider(name)?;
        let attempt = self.attempt(name, answer, cookie)?;
        if answer.issuer.as_ref().is_some_and(|issuer| issuer != linked.provider.issuer()) {
            return Err(Error::unauthenticated("somebody else than the provider answers"));
        }
        if let Some(error) = &answer.error {
            let error: String = error.chars().filter(char::is_ascii_graphic).take(64).collect();
            return Err(Error::unauthenticated(format!("the provider lets nobody in: {error}")));
        }
        let code = answer.code.as_deref().filter(|code| !code.is_empty() && code.len() <= LONGEST);
        let code = code.ok_or_else(|| Error::unauthenticated("the provider's answer has no code"))?;
        let person = linked.provider.finish(code, &attempt).await.map_err(|error| {
            tracing::warn!(provider = name, %error, "a login at a provider is not good");
            match error.kind {
                DriverErrorKind::Refused | DriverErrorKind::Protocol => {
                    Error::unauthenticated("what the provider says is not good").caused_by(error)
                }
                _ => failed(&format!("the provider {name}"), &error),
            }
        })?;
        let origin =
            Origin::Oidc { issuer: linked.provider.issuer().to_owned(), subject: person.key.clone() };
        let account = self.admit(&linked.mapping, origin, &person).await?;
        let refused = || Error::unauthenticated("this account may not come in");
        self.caller(account, None, via).await?.ok_or_else(refused)
    }

    /// What this browser began, if the answer is to that.
    fn attempt(&self, name: &str, answer: &ProviderAnswer, cookie: &str) -> Result<Attempt> {
        let refused = || {
            Error::unauthenticated("this browser has begun no login that this answers, or too long ago")
                .hint("log in again, from the beginning")
        };
        if cookie.len() > LONGEST {
            return Err(refused());
        }
        let opened = self.unseal(PLACE, &Sealed::carried(cookie)).map_err(|_| refused())?;
        let baggage: Baggage = serde_json::from_str(opened.expose()).map_err(|_| refused())?;
        let answered = answer.state.as_deref() == Some(baggage.state.as_str());
        if baggage.provider != name || !answered || self.now() >= baggage.ends {
            return Err(refused());
        }
        Ok(Attempt { state: baggage.state, nonce: baggage.nonce, verifier: Secret::new(baggage.verifier) })
    }

    fn provider(&self, name: &str) -> Result<&LinkedProvider> {
        let found = self.outside().providers.iter().find(|linked| linked.provider.name() == name);
        found.ok_or_else(|| Error::not_found("provider", name))
    }
}
