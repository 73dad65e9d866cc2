//! Passwords: argon2id in PHC form, few at a time.

use crate::error::{Error, Result};
use crate::secret::Secret;
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use std::sync::{Arc, OnceLock};
use tokio::sync::Semaphore;

/// Checked at the same time, at most. Each takes 19 MiB and one processor for tens of milliseconds.
const AT_ONCE: usize = 4;
/// Bytes of a password, at most.
const LONGEST: usize = 1024;

/// The hash of a password, with a fresh salt. Costs 19 MiB and tens of milliseconds: call it off the async threads.
///
/// # Errors
/// Invalid, when the password is empty or longer than 1024 bytes.
pub fn hash_password(password: &str) -> Result<String> {
    check_length(password)?;
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Error::internal(error.to_string()))
}

/// Refuses a password that can be none.
///
/// # Errors
/// Invalid, when it is empty or longer than 1024 bytes.
pub(super) fn check_length(password: &str) -> Result<()> {
    if password.is_empty() || password.len() > LONGEST {
        return Err(Error::invalid("password", "a password has 1 to 1024 bytes"));
    }
    Ok(())
}

/// Whether the password is the one behind the hash. As costly as making one.
pub fn verify_password(password: &str, hash: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
}

/// A hash that no password is behind, for accounts that do not exist or have no password: trying them costs as much.
fn nobodys() -> &'static str {
    static HASH: OnceLock<String> = OnceLock::new();
    HASH.get_or_init(|| hash_password("nobody comes in with this").unwrap_or_default())
}

/// Hashes and verifies off the async threads, so few at a time that a crowd neither fills the memory nor takes the
/// processors from other requests. Others wait.
#[derive(Debug)]
pub(crate) struct Passwords {
    turns: Arc<Semaphore>,
}

impl Default for Passwords {
    fn default() -> Self {
        // One processor stays with those who do not log in.
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self { turns: Arc::new(Semaphore::new(processors.saturating_sub(1).clamp(1, AT_ONCE))) }
    }
}

impl Passwords {
    /// The hash of a password.
    ///
    /// # Errors
    /// Invalid, when the password is empty or longer than 1024 bytes.
    pub(crate) async fn hash(&self, password: &Secret) -> Result<String> {
        check_length(password.expose())?;
        let password = password.clone();
        self.in_turn(move || hash_password(password.expose())).await?
    }

    /// Whether the password is the one behind the hash; without a hash it is not, and that takes as long.
    pub(crate) async fn verify(&self, password: &Secret, hash: Option<String>) -> Result<bool> {
        let password = password.clone();
        self.in_turn(move || {
            let right = verify_password(password.expose(), hash.as_deref().unwrap_or_else(|| nobodys()));
            right && hash.is_some()
        })
        .await
    }

    async fn in_turn<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let turn = Arc::clone(&self.turns).acquire_owned().await.map_err(Error::internal)?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept until the work has ended, even when nobody waits for it any more.
            let _turn = turn;
            work()
        });
        done.await.map_err(Error::internal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_password_verifies() {
        let hash = hash_password("correct horse").unwrap();
        assert!(hash.starts_with("$argon2id$"));
        assert!(verify_password("correct horse", &hash));
        assert!(!verify_password("wrong horse", &hash));
        assert!(!verify_password("correct horse", "garbage"));
        assert!(hash_password("").is_err());
        assert!(hash_password(&"x".repeat(1025)).is_err());
    }

    #[tokio::test]
    async fn without_a_hash_no_password_is_right() {
        let passwords = Passwords::default();
        let right = Secret::new("nobody comes in with this");
        assert!(!passwords.verify(&right, None).await.unwrap());
        let hash = passwords.hash(&right).await.unwrap();
        assert!(passwords.verify(&right, Some(hash)).await.unwrap());
    }
}
