//! Secrets: held so that they do not show by accident, and sealed before they reach the store.
//!
//! A [`Secret`] has neither a text for logs nor a form for the store. What is stored is [`Sealed`]: encrypted under a
//! key that derives from the installation's key file, bound to the record and the field it stands in, so that it
//! cannot be copied into another. It names the key it was sealed under. The key for guests' identities derives from
//! the same file in another way (`machines/identity.rs`), and neither tells anything of the other.

use crate::core::Core;
use crate::error::{Error, Result};
use crate::record::Kind;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::fmt;
use uuid::Uuid;
use zeroize::Zeroizing;

/// Begins every sealed text, and says in which way it is sealed.
const FORM: &str = "sealed-1";
const NONCE: usize = 24;

/// A text that is never logged, stored or sent by accident, and is wiped from memory when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes a text; whoever still has a copy must see to that.
    pub fn new(text: impl Into<String>) -> Self {
        Self(Zeroizing::new(text.into()))
    }

    /// The text, for the one place that needs it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// A secret as it is stored: `sealed-1:<key>:<nonce and text, base64>`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sealed(String);

impl Sealed {
    /// The text in letters that a cookie may have.
    pub(crate) fn portable(&self) -> Secret {
        Secret::new(URL_SAFE_NO_PAD.encode(&self.0))
    }

    /// What came back; whether it is good shows when it is opened.
    pub(crate) fn carried(text: &str) -> Self {
        let bytes = URL_SAFE_NO_PAD.decode(text).unwrap_or_default();
        Self(String::from_utf8(bytes).unwrap_or_default())
    }
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

/// Where a sealed secret stands. It cannot be opened anywhere else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    pub(crate) record: Uuid,
    pub(crate) field: &'static str,
}

impl Place {
    fn bytes(self) -> Vec<u8> {
        format!("{}/{}/{}", self.kind.word(), self.record, self.field).into_bytes()
    }
}

/// Seals and opens.
pub(crate) struct SealingKey {
    /// Tells keys apart and nothing about them.
    name: String,
    cipher: XChaCha20Poly1305,
}

impl SealingKey {
    /// From the installation's key.
    pub(crate) fn derived(key: &[u8; 32]) -> Self {
        let part = |purpose: &[u8]| {
            Zeroizing::new(<[u8; 32]>::from(Sha256::new_with_prefix(purpose).chain_update(key).finalize()))
        };
        let name = part(b"hostler sealing key name 1");
        let cipher = XChaCha20Poly1305::new((&*part(b"hostler sealing key 1")).into());
        Self { name: hex::encode(&name[..6]), cipher }
    }

    /// `chance` must never come twice; random bytes of this length do not.
    fn seal(&self, place: Place, chance: [u8; NONCE], secret: &Secret) -> Result<Sealed> {
        let nonce = XNonce::from(chance);
        let payload = Payload { msg: secret.expose().as_bytes(), aad: &place.bytes() };
        let sealed = self.cipher.encrypt(&nonce, payload);
        let sealed = sealed.map_err(|_| Error::internal("a secret cannot be sealed"))?;
        let text = STANDARD_NO_PAD.encode([&chance[..], &sealed].concat());
        Ok(Sealed(format!("{FORM}:{}:{text}", self.name)))
    }

    fn open(&self, place: Place, sealed: &Sealed) -> Result<Secret> {
        let broken = |why: &str| {
            Error::internal(format!("{} of {} {} {why}", place.field, place.kind.word(), place.record))
        };
        let mut parts = sealed.0.splitn(3, ':');
        let (Some(FORM), Some(name), Some(text)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(broken("is not sealed in a way that is known"));
        };
        if name != self.name {
            return Err(broken("was sealed under another key"));
        }
        let bytes = STANDARD_NO_PAD.decode(text).unwrap_or_default();
        let Some((nonce, text)) = bytes.split_first_chunk::<NONCE>() else {
            return Err(broken("is damaged"));
        };
        let payload = Payload { msg: text, aad: &place.bytes() };
        let opened = self.cipher.decrypt(&XNonce::from(*nonce), payload).map_err(|_| broken("is damaged"))?;
        String::from_utf8(opened).map(Secret::new).map_err(|_| broken("is no text"))
    }
}

impl Core {
    pub(crate) fn seal(&self, place: Place, secret: &Secret) -> Result<Sealed> {
        let chance = self.ids().secret();
        let nonce = chance.first_chunk::<NONCE>().copied().unwrap_or_default();
        self.sealing().seal(place, nonce, secret)
    }

    pub(crate) fn unseal(&self, place: Place, sealed: &Sealed) -> Result<Secret> {
        self.sealing().open(place, sealed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { kind: Kind::Machine, record: Uuid::nil(), field: "user_data" };

    #[test]
    fn what_is_sealed_opens_where_it_stands_and_nowhere_else() {
        let key = SealingKey::derived(&[7; 32]);
        let secret = Secret::new("password: swordfish");
        let sealed = key.seal(PLACE, [1; NONCE], &secret).unwrap();
        assert!(!sealed.0.contains("swordfish") && !sealed.0.contains(&STANDARD_NO_PAD.encode("swordfish")));
        assert_eq!(key.open(PLACE, &sealed).unwrap(), secret);
        let elsewhere = [
            Place { record: Uuid::max(), ..PLACE },
            Place { field: "password", ..PLACE },
            Place { kind: Kind::Host, ..PLACE },
        ];
        for place in elsewhere {
            assert!(key.open(place, &sealed).is_err(), "{place:?}");
        }
        assert_ne!(key.seal(PLACE, [2; NONCE], &secret).unwrap(), sealed);
    }

    #[test]
    fn another_key_and_damage_are_told_apart() {
        let key = SealingKey::derived(&[7; 32]);
        let sealed = key.seal(PLACE, [1; NONCE], &Secret::new("x")).unwrap();
        let told = |key: &SealingKey, sealed: &Sealed| key.open(PLACE, sealed).unwrap_err().chain();
        let other = SealingKey::derived(&[8; 32]);
        assert!(told(&other, &sealed).contains("another key"));
        let mut damaged = sealed.clone();
        damaged.0.replace_range(30..31, if &damaged.0[30..31] == "A" { "B" } else { "A" });
        assert!(told(&key, &damaged).contains("is damaged"));
        assert!(told(&key, &Sealed("sealed-2:x:y".into())).contains("not sealed in a way"));
        assert!(told(&key, &Sealed("plain".into())).contains("not sealed in a way"));
    }

    #[test]
    fn secrets_do_not_show() {
        let secret = Secret::new("swordfish");
        let sealed = SealingKey::derived(&[7; 32]).seal(PLACE, [1; NONCE], &secret).unwrap();
        assert_eq!(format!("{secret:?} {sealed:?}"), "Secret Sealed");
    }
}
