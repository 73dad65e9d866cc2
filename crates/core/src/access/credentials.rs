//! Making, listing and ending credentials.

use super::{Account, Caller, Credential, CredentialKind, Footing};
use crate::core::{Attempt, Changes, Core, ListAsk, Page, decided};
use crate::error::{Error, Result};
use crate::ids::{AccountId, CredentialId};
use crate::ports::StoreError;
use crate::query::Filter;
use crate::record::Kind;
use crate::secret::{Place, Secret};
use crate::time::Timestamp;
use sha2::{Digest, Sha256};
use std::time::Duration;
use uuid::Uuid;

/// No credential has an end further away.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 86400);

/// How a secret is written: each dialect's clients expect theirs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SecretForm {
    /// `hst_` and 64 hexadecimal digits: 256 bits.
    #[default]
    Native,
    /// The credential's number, a hyphen and a random UUID: 122 bits.
    Numbered,
    /// 24 upper-case hexadecimal digits: 96 bits.
    Hex24,
    /// 32 characters of `a`–`z` and `0`–`9`: 165 bits. Also kept sealed, since its owner may list it again.
    Pool,
}

/// What a credential shall be.
#[derive(Clone, Debug, Default)]
pub struct CredentialAsk {
    /// What it is for.
    pub kind: CredentialKind,
    /// Whom it lets in, when not the caller: for administrators only.
    pub account: Option<AccountId>,
    /// Words of the owner, at most 200 bytes.
    pub description: String,
    /// When it stops to count, used or not; within ten years.
    pub expires_at: Option<Timestamp>,
    /// How long it counts without being used, in seconds.
    pub idle_s: Option<u32>,
    /// The actions it is limited to, by their words; none means all that its account may do.
    pub scope: Option<Vec<String>>,
    /// The one object that it is good for.
    pub object: Option<Uuid>,
    /// How its secret is written.
    pub form: SecretForm,
    /// A secret that it has already, of the form [`SecretForm::Pool`]: for administrators only.
    pub given: Option<Secret>,
}

/// SHA-256 of a secret, by which it is looked up. Enough for what nobody can guess; passwords are another matter.
pub(super) fn hash_of(secret: &str) -> String {
    hex::encode(Sha256::digest(secret.as_bytes()))
}

/// Whether a secret is one of [`SecretForm::Pool`], as vmpooler made them: too long to be guessed.
fn is_of_pool(secret: &str) -> bool {
    secret.len() == 32 && secret.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

/// The part of a secret that is hashed, made of chance.
fn written(form: SecretForm, chance: &[u8; 32]) -> String {
    match form {
        SecretForm::Native => format!("hst_{}", hex::encode(chance)),
        SecretForm::Numbered => {
            let (first, _) = chance.split_first_chunk::<16>().unwrap_or((&[0; 16], &[]));
            format!("-{}", uuid::Builder::from_random_bytes(*first).into_uuid())
        }
        SecretForm::Hex24 => hex::encode_upper(&chance[..12]),
        SecretForm::Pool => {
            // 256 bits in base 36 make 49 digits; the last 32 of them are as good as even.
            const DIGITS: &[u8; 36] = b"abcdefghijklmnopqrstuvwxyz0123456789";
            let mut number = *chance;
            let mut text = String::with_capacity(32);
            for _ in 0..32 {
                let mut rest = 0_u32;
                for byte in &mut number {
                    let value = rest << 8 | u32::from(*byte);
                    *byte = u8::try_from(value / 36).unwrap_or(0);
                    rest = value % 36;
                }
                text.push(char::from(DIGITS[rest as usize]));
            }
            text
        }
    }
}

impl CredentialAsk {
    fn check(&self, now: Timestamp) -> Result<()> {
        if self.description.len() > 200 || self.description.contains('\0') {
            return Err(Error::invalid("description", "a description has at most 200 characters"));
        }
        if self.expires_at.is_some_and(|end| end <= now || end > now.plus(LONGEST)) {
            let text = "a credential counts for at least a moment and at most ten years";
            return Err(Error::invalid("expires_at", text));
        }
        if self.idle_s.is_some_and(|idle| idle == 0 || u64::from(idle) > LONGEST.as_secs()) {
            let text = "a credential may be unused for at least one second and at most ten years";
            return Err(Error::invalid("idle_s", text));
        }
        for (place, word) in self.scope.iter().flatten().enumerate() {
            let actions = super::Action::ALL.iter().map(|action| action.word());
            let known: Vec<&str> = actions.chain(["create"]).collect();
            if !known.contains(&word.as_str()) {
                let text = format!("a scope is made of these words: {}", known.join(", "));
                return Err(Error::invalid(format!("scope/{place}"), text));
            }
        }
        Ok(())
    }
}

impl Core {
    /// Makes a credential. The secret is in the answer and, but for its hash, nowhere else.
    ///
    /// # Errors
    /// Invalid, for an overlong description, times that make no sense or an unknown word in the scope. Denied, when it
    /// is for somebody else and the caller is no administrator, or when the caller's own credential is limited: it
    /// could otherwise make itself one that is not. Not found, when there is no such account. Conflict, when a given
    /// secret is there already.
    pub async fn credential_make(&self, caller: &Caller, ask: CredentialAsk) -> Result<(Credential, Secret)> {
        ask.check(self.now())?;
        if caller.scope.is_some() {
            let text = "a token that is limited to some actions makes no others";
            return Err(self.deny(caller, "credential.make", None, text).await);
        }
        let owner = ask.account.unwrap_or(caller.account);
        if owner != caller.account {
            self.administers(caller, "credential.make", "make credentials for others").await?;
        }
        let (form, text) = match &ask.given {
            Some(secret) => (SecretForm::Pool, self.given(caller, secret).await?),
            None => (ask.form, written(ask.form, &self.ids().secret())),
        };
        let id = CredentialId(self.ids().uuid());
        let sealed = match form {
            SecretForm::Pool => {
                let place = Place { kind: Kind::Credential, record: id.0, field: "sealed" };
                Some(self.seal(place, &Secret::new(text.as_str()))?)
            }
            _ => None,
        };
        let now = self.now();
        let mut credential = Credential {
            id,
            number: 0,
            rev: 0,
            kind: ask.kind,
            account: owner,
            hash: hash_of(&text),
            sealed,
            description: ask.description,
            door: caller.via.door.to_owned(),
            scope: ask.scope,
            object: ask.object,
            expires_at: ask.expires_at,
            idle_s: ask.idle_s,
            used_at: None,
            created_at: now,
        };
        self.credential_keep(caller, &mut credential).await?;
        let secret = match form {
            SecretForm::Numbered => Secret::new(format!("{}{text}", credential.number)),
            _ => Secret::new(text),
        };
        Ok((credential, secret))
    }

    /// A secret from elsewhere, if the caller may bring one.
    async fn given(&self, caller: &Caller, secret: &Secret) -> Result<String> {
        self.administers(caller, "credential.make", "bring secrets from elsewhere").await?;
        if !is_of_pool(secret.expose()) {
            let text = "a secret from elsewhere has 32 characters of a-z and 0-9, as vmpooler's tokens have";
            return Err(Error::invalid("secret", text));
        }
        match self.credential_behind(secret.expose()).await? {
            Some(_) => Err(Error::conflict("known", "there is a token with this secret already")),
            None => Ok(secret.expose().to_owned()),
        }
    }

    /// Stores a new credential, if its account is there and enabled at that moment.
    async fn credential_keep(&self, caller: &Caller, credential: &mut Credential) -> Result<()> {
        let wanted = &*credential;
        let stamp = decided(async || {
            let account: Account = self.get(wanted.account.0).await?;
            if !account.enabled {
                return Err(Error::conflict(
                    "disabled",
                    format!("the account {} is disabled", account.login),
                )
                .into());
            }
            let mut changes = self.changes();
            changes.unchanged(&account);
            self.still_stands(caller, &account, &mut changes).await?;
            changes.insert(wanted)?;
            let about = ("credential", wanted.id.0, wanted.description.as_str());
            self.deed_about(&mut changes, caller, "credential.make", about)?;
            let stamps = self.commit(changes).await?.stamps;
            Ok::<_, Attempt>(stamps[0])
        })
        .await?;
        (credential.number, credential.rev) = (stamp.number, stamp.rev);
        Ok(())
    }

    /// Whoever came in may have lost meanwhile what it came in with: a password that was changed, a token that was
    /// ended. Nothing new comes of that.
    async fn still_stands(&self, caller: &Caller, account: &Account, changes: &mut Changes) -> Result<()> {
        let ended = || Error::unauthenticated("what you came in with no longer counts").hint("log in again");
        if let Some(id) = caller.credential {
            changes.unchanged(&self.find::<Credential>(id.0).await?.ok_or_else(ended)?);
        }
        let own = account.id == caller.account;
        match caller.footing {
            Some(footing) if own && footing != Footing::of(account) => Err(ended()),
            _ => Ok(()),
        }
    }

    /// Credentials of the caller; an administrator sees everybody's. Their last use is as recent as this process
    /// knows.
    ///
    /// # Errors
    /// When the store does not answer.
    pub async fn credential_list(&self, caller: &Caller, mut ask: ListAsk) -> Result<Page<Credential>> {
        if !caller.is_administrator() {
            ask.filter = ask.filter.and(Filter::eq("account", caller.account.0));
        }
        let mut page: Page<Credential> = self.page(ask).await?;
        for credential in &mut page.items {
            credential.used_at = self.uses().last(credential.id).or(credential.used_at);
        }
        Ok(page)
    }

    /// The secret of a credential whose owner may read it again.
    ///
    /// # Errors
    /// Not found, when it is another's; unsupported, when only its hash is kept.
    pub fn credential_secret(&self, caller: &Caller, credential: &Credential) -> Result<Secret> {
        if credential.account != caller.account {
            return Err(Error::not_found("credential", credential.id));
        }
        let Some(sealed) = &credential.sealed else {
            return Err(Error::unsupported("the secret of this credential cannot be shown again"));
        };
        let place = Place { kind: Kind::Credential, record: credential.id.0, field: "sealed" };
        self.unseal(place, sealed)
    }

    /// Ends a credential at once. It is named by its id, its number or its secret. One's own; an administrator
    /// anybody's.
    ///
    /// # Errors
    /// Not found, also when it is somebody else's. The text does not repeat what may be a secret.
    pub async fn credential_end(&self, caller: &Caller, key: &str) -> Result<()> {
        let missing = || {
            let text = "there is no such credential, or it is another's";
            Error::new(crate::error::ErrorKind::NotFound, "not_found", text)
        };
        let found: Option<Credential> = match (key.parse::<Uuid>(), key.parse::<i64>()) {
            (Ok(id), _) => self.find(id).await?,
            (_, Ok(number)) => self.find_by("number", number).await?,
            _ => self.credential_behind(key).await?,
        };
        let found = found.ok_or_else(missing)?;
        if found.account != caller.account {
            if !caller.is_administrator() {
                return Err(missing());
            }
            self.administers(caller, "credential.end", "end credentials of others").await?;
        }
        decided(async || {
            // Its last use may be written meanwhile; then it is ended as it is now.
            let Some(credential) = self.find::<Credential>(found.id.0).await? else { return Ok(()) };
            let mut changes = self.changes();
            changes.delete(&credential);
            let about = ("credential", credential.id.0, credential.description.as_str());
            self.deed_about(&mut changes, caller, "credential.end", about)?;
            self.commit(changes).await?;
            Ok::<_, Attempt>(())
        })
        .await
    }

    /// Removes credentials that no longer count: `now` is the housekeeper's.
    pub(crate) async fn credentials_tidy(&self, now: Timestamp) -> Result<()> {
        // Other processes may have noted uses that are not written yet.
        const GRACE: Duration = Duration::from_secs(120);
        let over = Filter::Is("expires_at", crate::query::Compare::Le, now.0.into());
        for credential in self.select::<Credential>(crate::query::Select::new(over, 200)).await? {
            let ended = credential.expires_at.is_some_and(|end| end <= now);
            if !ended && credential.counts(self.uses().last(credential.id), now.minus(GRACE)) {
                continue;
            }
            let mut changes = self.changes();
            changes.delete(&credential);
            match self.commit(changes).await {
                Ok(_) | Err(StoreError::Stale { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_as_its_clients_expect() {
        let chance: [u8; 32] = std::array::from_fn(|place| u8::try_from((place * 7 + 200) & 0xff).unwrap());
        let native = written(SecretForm::Native, &chance);
        assert!(native.len() == 68 && native.starts_with("hst_"));
        let numbered = written(SecretForm::Numbered, &chance);
        assert!(numbered.len() == 37 && numbered.as_bytes()[15] == b'4', "{numbered}");
        let short = written(SecretForm::Hex24, &chance);
        assert!(short.len() == 24 && short.bytes().all(|c| b"0123456789ABCDEF".contains(&c)), "{short}");
        let pool = written(SecretForm::Pool, &chance);
        assert!(
            pool.len() == 32 && pool.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
            "{pool}"
        );
        assert_ne!(written(SecretForm::Pool, &[1; 32]), pool);
    }
}
