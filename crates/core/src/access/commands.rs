//! Coming in: tokens, and what callers ask about them.

use super::{Account, Caller, Credential, CredentialKind, Member, Replay, Via};
use crate::core::{Core, ListAsk, Page};
use crate::error::{Error, Result};
use crate::ids::CredentialId;
use crate::ports::StoreError;
use crate::query::Filter;
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

/// A key that makes a creation safe to repeat: the same key with the same request gets the first answer again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idempotency {
    /// The caller's key, 1 to 255 printable characters.
    pub key: String,
    /// SHA-256 over method, path and body, hexadecimal.
    pub request: String,
}

impl Idempotency {
    /// A checked key for a request with this content.
    ///
    /// # Errors
    /// Invalid, when the key is empty, too long or not printable.
    pub fn new(key: &str, content: &[u8]) -> Result<Self> {
        if key.is_empty() || key.len() > 255 || !key.bytes().all(|c| (0x20..0x7f).contains(&c)) {
            return Err(Error::invalid(
                "Idempotency-Key",
                "an idempotency key has 1 to 255 printable ASCII characters",
            ));
        }
        Ok(Self { key: key.to_owned(), request: hex::encode(Sha256::digest(content)) })
    }
}

fn hash_of(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

impl Core {
    /// The caller behind a token's secret.
    ///
    /// # Errors
    /// Unauthenticated, whatever the reason, so that nothing is learnt from it.
    pub async fn caller_by_token(&self, secret: &str) -> Result<Caller> {
        let refused = || Error::unauthenticated("this token is not known or no longer counts");
        let token: Credential = self.find_by("hash", hash_of(secret)).await?.ok_or_else(refused)?;
        if token.kind != CredentialKind::Token || !token.counts(None, self.now()) {
            return Err(refused());
        }
        let account: Account = self.find(token.account.0).await?.ok_or_else(refused)?;
        self.caller(account, Some(&token)).await?.ok_or_else(refused)
    }

    /// The first administrator, for connections over the unix socket of a peer that owns the data directory.
    ///
    /// # Errors
    /// Unauthenticated, when there is no enabled administrator.
    pub async fn local_administrator(&self) -> Result<Caller> {
        let filter = Filter::eq("role", "administrator").and(Filter::eq("enabled", true));
        let first = self.select::<Account>(crate::query::Select::new(filter, 1)).await?.pop();
        let missing = || Error::unauthenticated("there is no enabled administrator");
        self.caller(first.ok_or_else(missing)?, None).await?.ok_or_else(missing)
    }

    /// The caller behind an account that has come in with this; none when it may not come in.
    async fn caller(&self, account: Account, credential: Option<&Credential>) -> Result<Option<Caller>> {
        if !account.enabled {
            return Ok(None);
        }
        let member: Vec<Member> = self.all(Filter::eq("account", account.id.0)).await?;
        Ok(Some(Caller {
            account: account.id,
            login: account.login,
            role: account.role,
            groups: member.into_iter().map(|member| member.group).collect(),
            credential: credential.map(|credential| credential.id),
            scope: credential.and_then(|credential| credential.scope.clone()).map(Into::into),
            via: Via { door: "native", address: None },
        }))
    }

    /// The caller's own account.
    pub async fn account_own(&self, caller: &Caller) -> Result<Account> {
        self.get(caller.account.0).await
    }

    /// Makes a token for the caller. The secret is in the answer and nowhere else.
    ///
    /// # Errors
    /// Invalid, for an empty or overlong description or a lifetime beyond ten years.
    pub async fn token_create(
        &self,
        caller: &Caller,
        description: &str,
        lifetime: Option<Duration>,
    ) -> Result<(Credential, String)> {
        if description.len() > 200 {
            return Err(Error::invalid("description", "a description has at most 200 characters"));
        }
        if lifetime.is_some_and(|time| time.is_zero() || time > Duration::from_secs(10 * 366 * 86400)) {
            return Err(Error::invalid("lifetime_s", "a token lives between one second and ten years"));
        }
        let secret = format!("hst_{}", hex::encode(self.ids().secret()));
        let now = self.now();
        let mut token = Credential {
            id: CredentialId(self.ids().uuid()),
            number: 0,
            rev: 0,
            kind: CredentialKind::Token,
            account: caller.account,
            hash: hash_of(&secret),
            sealed: None,
            description: description.to_owned(),
            door: caller.via.door.to_owned(),
            scope: None,
            object: None,
            expires_at: lifetime.map(|time| now.plus(time)),
            idle_s: None,
            used_at: None,
            created_at: now,
        };
        let mut changes = self.changes();
        changes.insert(&token)?;
        let stamp = self.commit(changes).await?.stamps[0];
        (token.number, token.rev) = (stamp.number, stamp.rev);
        Ok((token, secret))
    }

    /// The caller's tokens; an administrator sees everybody's.
    pub async fn token_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Credential>> {
        ask.filter = ask.filter.and(Filter::eq("kind", CredentialKind::Token.word()));
        if !caller.is_administrator() {
            ask.filter = ask.filter.and(Filter::eq("account", caller.account.0));
        }
        self.page(ask).await
    }

    /// Ends a token at once.
    ///
    /// # Errors
    /// Not found, also when it is somebody else's.
    pub async fn token_revoke(&self, caller: &Caller, id: CredentialId) -> Result<()> {
        let token: Credential = self.find(id.0).await?.ok_or_else(|| Error::not_found("token", id))?;
        caller.may_use(token.account, "token", id)?;
        let mut changes = self.changes();
        changes.delete(&token);
        match self.commit(changes).await {
            // Tokens are never updated, so it can only have been revoked by somebody else.
            Ok(_) | Err(StoreError::Stale { .. }) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether a request under this key was answered before, so that a door can say so.
    ///
    /// # Errors
    /// Conflict `idempotency_mismatch`, when the earlier request was another one.
    pub async fn answered_before(&self, caller: &Caller, idempotency: &Idempotency) -> Result<bool> {
        Ok(self.replayed(caller, Some(idempotency)).await?.is_some())
    }

    /// What an earlier request under this key made, if there was one.
    ///
    /// # Errors
    /// Conflict `idempotency_mismatch`, when the earlier request was another one.
    pub(crate) async fn replayed(
        &self,
        caller: &Caller,
        idempotency: Option<&Idempotency>,
    ) -> Result<Option<Replay>> {
        let Some(asked) = idempotency else { return Ok(None) };
        let filter = Filter::eq("key", asked.key.as_str()).and(Filter::eq("account", caller.account.0));
        let found = self.select::<Replay>(crate::query::Select::new(filter, 1)).await?.pop();
        if found.as_ref().is_some_and(|replay| replay.request != asked.request) {
            let text = format!("the idempotency key `{}` was used for another request", asked.key);
            return Err(Error::conflict("idempotency_mismatch", text).hint("use a new key for a new request"));
        }
        Ok(found)
    }

    /// The record that remembers the answer to a request under a key.
    pub(crate) fn replay(
        &self,
        caller: &Caller,
        asked: &Idempotency,
        subject: Uuid,
        task: Option<Uuid>,
    ) -> Replay {
        Replay {
            id: self.ids().uuid(),
            number: 0,
            rev: 0,
            account: caller.account,
            key: asked.key.clone(),
            request: asked.request.clone(),
            subject,
            task,
            created_at: self.now(),
        }
    }
}
