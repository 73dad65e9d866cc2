//! The first start: what a fresh installation is called and who its administrator is.

use super::data_dir::write_private;
use crate::config::Variables;
use crate::failure::Failure;
use hostler_core::access::hash_password;
use hostler_core::hosts::FirstStart;
use std::path::Path;

/// Letters and digits that nobody confuses when reading them aloud; 32 of them, so a byte maps without bias.
const ALPHABET: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// Where a password that was made up is written.
const PASSWORD_FILE: &str = "initial-admin-password";

/// What the environment says of the first administrator.
///
/// Without a password one is made up and written to a file that only we may read, before the installation exists:
/// a crash between the two loses nothing.
pub(super) fn first_start(data_dir: &Path, variables: &Variables) -> Result<FirstStart, Failure> {
    let text = |name: &str| variables.get(name).map(|value| value.to_string_lossy().into_owned());
    let email = text("HOSTLER_ADMIN_EMAIL").unwrap_or_else(|| "admin@localhost".into());
    if !email.contains('@') || email.chars().any(char::is_whitespace) || email.len() > 254 {
        return Err(Failure::new(format!("HOSTLER_ADMIN_EMAIL: `{email}` is no e-mail address")));
    }
    let password = match text("HOSTLER_ADMIN_PASSWORD") {
        Some(password) => password,
        None => {
            let path = data_dir.join(PASSWORD_FILE);
            let password = make_up()?;
            write_private(&path, &format!("{password}\n"))?;
            tracing::info!(email, file = %path.display(), "made the administrator; the password is in the file");
            password
        }
    };
    let password = hash_password(&password)
        .map_err(|error| Failure::new(format!("HOSTLER_ADMIN_PASSWORD: {}", error.text)))?;
    Ok(FirstStart { email, password })
}

fn make_up() -> Result<String, Failure> {
    let mut bytes = [0; 24];
    getrandom::fill(&mut bytes)
        .map_err(|error| Failure::because("the system gives no random bytes", &error))?;
    Ok(bytes.iter().map(|byte| char::from(ALPHABET[usize::from(byte % 32)])).collect())
}

/// Takes the made-up password back: another process has made the installation, with an administrator of its own.
pub(super) fn forget(data_dir: &Path) {
    if let Err(error) = std::fs::remove_file(data_dir.join(PASSWORD_FILE))
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "{PASSWORD_FILE} counts for nothing, but cannot be removed");
    }
}

/// What this computer calls itself.
pub(super) fn host_name() -> String {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    if name.is_empty() { "localhost".into() } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_made_up_password_is_written_for_our_eyes_only() {
        let directory = tempfile::tempdir().unwrap();
        let first = first_start(directory.path(), &Variables::default()).unwrap();
        assert_eq!(first.email, "admin@localhost");
        let path = directory.path().join("initial-admin-password");
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        let password = std::fs::read_to_string(&path).unwrap();
        assert_eq!(password.trim().len(), 24);
        assert!(hostler_core::access::verify_password(password.trim(), &first.password));
    }

    #[test]
    fn the_environment_names_the_administrator() {
        let directory = tempfile::tempdir().unwrap();
        let variables = Variables::from_iter([
            ("HOSTLER_ADMIN_EMAIL", "root@example.org"),
            ("HOSTLER_ADMIN_PASSWORD", "correct horse"),
        ]);
        let first = first_start(directory.path(), &variables).unwrap();
        assert_eq!(first.email, "root@example.org");
        assert!(!directory.path().join("initial-admin-password").exists());
        let wrong = Variables::from_iter([("HOSTLER_ADMIN_EMAIL", "root")]);
        assert!(first_start(directory.path(), &wrong).unwrap_err().text.contains("is no e-mail address"));
    }
}
