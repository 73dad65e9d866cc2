//! Passwords: argon2id in PHC form.

use crate::error::{Error, Result};
use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};

/// The hash of a password, with a fresh salt. Costs 19 MiB and tens of milliseconds: call it off the async threads.
///
/// # Errors
/// Invalid, when the password is empty or longer than 1024 bytes.
pub fn hash_password(password: &str) -> Result<String> {
    if password.is_empty() || password.len() > 1024 {
        return Err(Error::invalid("password", "a password has 1 to 1024 bytes"));
    }
    let hash = Argon2::default().hash_password(password.as_bytes());
    hash.map(|hash| hash.to_string()).map_err(|error| Error::internal(error.to_string()))
}

/// Whether the password is the one behind the hash. As costly as making one.
pub fn verify_password(password: &str, hash: &str) -> bool {
    Argon2::default().verify_password(password.as_bytes(), hash).is_ok()
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
    }
}
