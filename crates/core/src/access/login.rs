//! Coming in: by password, by what was made earlier, by a key, over the unix socket.

use super::credentials::hash_of;
use super::{Account, Attempted, Caller, Credential, CredentialKind, Footing, Member, Origin, Outcome, Via};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::ids::AccountId;
use crate::ports::StoreError;
use crate::query::{Filter, Select};
use crate::secret::Secret;

impl Core {
    /// The caller behind a login name or an e-mail address (their case is ignored) and a password. It has no
    /// credential yet: see [`Core::credential_make`].
    ///
    /// # Errors
    /// Unauthenticated, whatever the reason and after the same time, so that nothing is learnt from it. Invalid, for
    /// what cannot be a password. For names that no account of hostler itself has, what [`outside`](super::outside)
    /// says of a directory that does not answer, or of a person who may not come in.
    pub async fn log_in(&self, name: &str, password: &Secret, via: Via) -> Result<Caller> {
        let refused = || Error::unauthenticated("this login and password do not let anybody in");
        super::password::check_length(password.expose())?;
        let account = self.account_named(name).await?;
        let hash = account.as_ref().and_then(|account| account.password.clone());
        let verified = self.passwords().verify(password, hash).await?;
        let known = account.as_ref().map(|account| account.id);
        let found = match account {
            Some(account) if account.origin == Origin::Local => verified.then_some(account),
            other => match self.account_by_directory(name, password, other.as_ref()).await {
                Ok(found) => found,
                Err(error) => {
                    self.note_no_login(known, name, &via, &error.text).await;
                    return Err(error);
                }
            },
        };
        let Some(account) = found else {
            self.note_no_login(known, name, &via, "the login and password do not fit").await;
            return Err(refused());
        };
        match self.caller(account, None, via.clone()).await? {
            Some(caller) => Ok(caller),
            None => {
                self.note_no_login(known, name, &via, "the account is disabled").await;
                Err(refused())
            }
        }
    }

    /// Writes down that somebody was not let in.
    pub(crate) async fn note_no_login(
        &self,
        account: Option<AccountId>,
        login: &str,
        via: &Via,
        reason: &str,
    ) {
        let (action, object, outcome) = ("account.login", None, Outcome::Denied);
        self.note_refusal(&Attempted { account, login, action, object, via, outcome, reason }).await;
    }

    /// The account with this login name, else with this e-mail address; their case is ignored.
    pub(crate) async fn account_named(&self, name: &str) -> Result<Option<Account>> {
        let name = name.trim().to_lowercase();
        if name.is_empty() || name.len() > 254 || name.contains('\0') {
            return Ok(None);
        }
        match self.find_by("login", name.as_str()).await? {
            Some(account) => Ok(Some(account)),
            None => self.find_by("email", name).await,
        }
    }

    /// The credential behind a secret, and its account's login name, for whoever knows the secret; not a use of it.
    ///
    /// # Errors
    /// Not found, also when it is of another kind or no longer counts.
    pub async fn credential_known(&self, secret: &str, kind: CredentialKind) -> Result<(Credential, String)> {
        let missing = || Error::new(crate::error::ErrorKind::NotFound, "not_found", "there is no such token");
        let mut credential = self.credential_behind(secret).await?.ok_or_else(missing)?;
        let last = self.uses().last(credential.id);
        if credential.kind != kind || !credential.counts(last, self.now()) {
            return Err(missing());
        }
        credential.used_at = last.or(credential.used_at);
        let account: Account = self.find(credential.account.0).await?.ok_or_else(missing)?;
        Ok((credential, account.login))
    }

    /// The caller behind the secret of a credential that is of one of these kinds; notes its use.
    ///
    /// # Errors
    /// Unauthenticated, whatever the reason, so that nothing is learnt from it.
    pub async fn caller_by(&self, secret: &str, kinds: &[CredentialKind], via: Via) -> Result<Caller> {
        let refused = || Error::unauthenticated("this token is not known or no longer counts");
        let credential = self.credential_behind(secret).await?.ok_or_else(refused)?;
        let now = self.now();
        if !kinds.contains(&credential.kind) || !credential.counts(self.uses().last(credential.id), now) {
            return Err(refused());
        }
        let account: Account = self.find(credential.account.0).await?.ok_or_else(refused)?;
        let caller = self.caller(account, Some(&credential), via).await?.ok_or_else(refused)?;
        self.uses().note(credential.id, now);
        Ok(caller)
    }

    /// Whether a caller who came in may still, as the same: the account enabled, role and groups as they were, and the
    /// credential neither ended nor expired. Notes no use.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn still_counts(&self, caller: &Caller) -> Result<bool> {
        let credential: Option<Credential> = match caller.credential {
            Some(id) => self.find(id.0).await?,
            None => None,
        };
        let last = credential.as_ref().and_then(|credential| self.uses().last(credential.id));
        let counts = credential.as_ref().is_some_and(|credential| credential.counts(last, self.now()));
        if caller.credential.is_some() && !counts {
            return Ok(false);
        }
        let Some(account) = self.find::<Account>(caller.account.0).await? else { return Ok(false) };
        let now = self.caller(account, credential.as_ref(), caller.via.clone()).await?;
        // A new password ends credentials, which were looked at above.
        Ok(now.is_some_and(|now| Caller { footing: caller.footing, ..now } == *caller))
    }

    /// Burns a key and answers whom it lets in. Of several at the same time one gets in.
    ///
    /// # Errors
    /// Unauthenticated, whatever the reason, so that nothing is learnt from it.
    pub async fn key_redeem(&self, secret: &str, via: Via) -> Result<Caller> {
        let refused = || Error::unauthenticated("this key is not known, was used or no longer counts");
        let key = self.credential_behind(secret).await?.ok_or_else(refused)?;
        if key.kind != CredentialKind::Key || !key.counts(None, self.now()) {
            return Err(refused());
        }
        let mut changes = self.changes();
        changes.delete(&key);
        match self.commit(changes).await {
            Ok(_) => {}
            Err(StoreError::Stale { .. }) => return Err(refused()),
            Err(error) => return Err(error.into()),
        }
        let account: Account = self.find(key.account.0).await?.ok_or_else(refused)?;
        self.caller(account, None, via).await?.ok_or_else(refused)
    }

    /// The credential with this secret, whether it counts or not.
    pub(super) async fn credential_behind(&self, secret: &str) -> Result<Option<Credential>> {
        if let Some((number, rest)) = numbered(secret) {
            let found: Option<Credential> = self.find_by("hash", hash_of(rest)).await?;
            return Ok(found.filter(|credential| credential.number == number));
        }
        self.find_by("hash", hash_of(secret)).await
    }

    /// The first administrator, for connections over the unix socket of a peer that owns the data directory.
    ///
    /// # Errors
    /// Unauthenticated, when there is no enabled administrator.
    pub async fn local_administrator(&self) -> Result<Caller> {
        let filter = Filter::eq("role", "administrator").and(Filter::eq("enabled", true));
        let first = self.select::<Account>(Select::new(filter, 1)).await?.pop();
        let missing = || Error::unauthenticated("there is no enabled administrator");
        let via = Via { door: "native", address: None };
        self.caller(first.ok_or_else(missing)?, None, via).await?.ok_or_else(missing)
    }

    /// The caller behind an account that has come in with this; none when it may not come in.
    pub(crate) async fn caller(
        &self,
        account: Account,
        credential: Option<&Credential>,
        via: Via,
    ) -> Result<Option<Caller>> {
        if !account.enabled {
            return Ok(None);
        }
        let member: Vec<Member> = self.all(Filter::eq("account", account.id.0)).await?;
        Ok(Some(Caller {
            footing: credential.is_none().then(|| Footing::of(&account)),
            account: account.id,
            login: account.login,
            role: account.role,
            groups: member.into_iter().map(|member| member.group).collect(),
            credential: credential.map(|credential| credential.id),
            scope: credential.and_then(|credential| credential.scope.clone()).map(Into::into),
            via,
        }))
    }
}

/// The number in front of a secret, and the rest with its hyphen, where the secret has that form: `12-<uuid>`.
fn numbered(secret: &str) -> Option<(i64, &str)> {
    let hyphen = secret.find('-')?;
    let (number, rest) = secret.split_at(hyphen);
    let plain = !number.is_empty() && number.bytes().all(|c| c.is_ascii_digit());
    let is_uuid = rest.len() == 37 && uuid::Uuid::try_parse(&rest[1..]).is_ok();
    (plain && is_uuid).then(|| number.parse().ok()).flatten().map(|number| (number, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_before_a_uuid_is_split_off() {
        let uuid = "-0b7e6d1c-5a8f-4a53-9d7e-1f0f9a1b2c3d";
        assert_eq!(numbered(&format!("12{uuid}")), Some((12, uuid)));
        // A bare UUID may begin with eight digits.
        assert_eq!(numbered("12345678-5a8f-4a53-9d7e-1f0f9a1b2c3d"), None);
        for other in
            ["hst_0123", "", "-", uuid, "x-y", "99999999999999999999-0b7e6d1c-5a8f-4a53-9d7e-1f0f9a1b2c3d"]
        {
            assert_eq!(numbered(other), None, "{other}");
        }
    }
}
