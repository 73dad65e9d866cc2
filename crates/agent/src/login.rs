//! Who may log in by which keys.
//!
//! On micro the machine's keys are all there is. A system with an owner of its own may have been given further keys by
//! cloud-init or by hand: there ours stand between two lines, and only what stands between them is replaced.

use crate::{Place, files};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::lchown;
use std::path::{Path, PathBuf};

/// Names of those who may log in beside the administrator, one a line; templates write it.
const USERS: &str = "/etc/hostler/users";
const MOST_USERS: usize = 16;
/// Larger files are not ours to rewrite.
const MOST_BYTES: u64 = 1 << 20;
const BEGIN: &str = "# Keys from hostler. What stands up to the end of them is replaced at each start.";
const END: &str = "# End of the keys from hostler.";

/// Lets the owners of these keys log in, and nobody by keys that an earlier identity had.
pub(crate) fn authorize(keys: &[String], place: Place) -> io::Result<()> {
    let root = Account { home: "/root".into(), user: 0, group: 0 };
    write_keys(&root, keys, place)?;
    if place == Place::Micro {
        return Ok(());
    }
    let accounts = files::text("/etc/passwd");
    for name in files::text(USERS).lines().take(MOST_USERS) {
        if let Some(account) = account(&accounts, name.trim()) {
            write_keys(&account, keys, place)?;
        }
    }
    Ok(())
}

#[derive(Debug, PartialEq, Eq)]
struct Account {
    home: PathBuf,
    user: u32,
    group: u32,
}

/// Finds a user in passwd(5).
fn account(passwd: &str, name: &str) -> Option<Account> {
    let fields = passwd.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let fields = fields.into_iter().find(|fields| fields.len() >= 7 && fields[0] == name)?;
    let home = PathBuf::from(fields[5]);
    let sensible = home.is_absolute() && home != Path::new("/");
    sensible.then_some(Account { home, user: fields[2].parse().ok()?, group: fields[3].parse().ok()? })
}

fn write_keys(account: &Account, keys: &[String], place: Place) -> io::Result<()> {
    let directory = account.home.join(".ssh");
    // The directory is its user's: it must not lead our writing elsewhere.
    if fs::symlink_metadata(&directory).is_ok_and(|facts| !facts.is_dir()) {
        return Err(io::Error::other(format!("{} is no directory", directory.display())));
    }
    files::directory(&directory, 0o700)?;
    let path = directory.join("authorized_keys");
    let text = match place {
        Place::Micro => lines(keys),
        Place::System => with_keys(&present(&path)?, keys),
    };
    files::write(&path, text.as_bytes(), 0o600)?;
    for owned in [&directory, &path] {
        lchown(owned, Some(account.user), Some(account.group))?;
    }
    Ok(())
}

fn present(path: &Path) -> io::Result<String> {
    match fs::symlink_metadata(path) {
        Ok(facts) if !facts.is_file() || facts.len() > MOST_BYTES => {
            return Err(io::Error::other(format!("{} is no small file", path.display())));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(String::new()),
        other => other?,
    };
    let mut bytes = Vec::new();
    File::open(path)?.take(MOST_BYTES).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn lines(keys: &[String]) -> String {
    keys.iter().map(|key| format!("{}\n", key.trim())).collect()
}

/// The same text with our part replaced, or put at its end.
fn with_keys(old: &str, keys: &[String]) -> String {
    let (mut text, mut ours) = (String::new(), false);
    for line in old.lines() {
        match line.trim() {
            BEGIN => ours = true,
            END => ours = false,
            _ if !ours => {
                text.push_str(line);
                text.push('\n');
            }
            _ => {}
        }
    }
    text.push_str(&format!("{BEGIN}\n{}{END}\n", lines(keys)));
    text
}

#[cfg(test)]
mod tests {
    use super::{BEGIN, END, account, with_keys};
    use std::path::Path;

    #[test]
    fn keys_of_others_stay_and_ours_are_replaced() {
        let first = with_keys("ssh-rsa theirs\n", &["ssh-ed25519 one".into(), " ssh-ed25519 two\n".into()]);
        assert_eq!(first, format!("ssh-rsa theirs\n{BEGIN}\nssh-ed25519 one\nssh-ed25519 two\n{END}\n"));
        let added = format!("{first}ssh-rsa later\n");
        let second = with_keys(&added, &["ssh-ed25519 new".into()]);
        assert_eq!(second, format!("ssh-rsa theirs\nssh-rsa later\n{BEGIN}\nssh-ed25519 new\n{END}\n"));
        assert_eq!(with_keys(&second, &["ssh-ed25519 new".into()]), second);
    }

    #[test]
    fn an_end_that_somebody_removed_lets_no_old_key_in() {
        let torn = format!("{BEGIN}\nssh-ed25519 old\n");
        assert!(!with_keys(&torn, &[]).contains("old"));
    }

    #[test]
    fn users_are_found_with_their_homes() {
        let passwd =
            "root:x:0:0:root:/root:/bin/sh\ndebian:x:1000:1001::/home/debian:/bin/bash\nodd:x:1:1::/:/bin/sh";
        let found = account(passwd, "debian").unwrap();
        assert_eq!((found.user, found.group), (1000, 1001));
        assert_eq!(found.home, Path::new("/home/debian"));
        for name in ["", "nobody", "odd", "debian:x"] {
            assert_eq!(account(passwd, name), None, "{name}");
        }
    }
}
