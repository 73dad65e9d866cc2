//! Sessions that `hostler login` keeps for later commands, one for each server, in a file that only its user can read.

use crate::failure::Failure;
use std::collections::BTreeMap;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// Where they are kept.
fn place() -> Result<PathBuf, Failure> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let config = absolute("XDG_CONFIG_HOME").or_else(|| Some(absolute("HOME")?.join(".config")));
    let config = config.ok_or_else(|| {
        Failure::new("there is nowhere to keep the session").hint("set XDG_CONFIG_HOME or HOME")
    })?;
    Ok(config.join("hostler/sessions.json"))
}

/// A server under one name, however its address is written.
fn server(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn read(place: &Path) -> Result<BTreeMap<String, String>, Failure> {
    match fs::read(place) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            Failure::because(format!("{} makes no sense", place.display()), &error)
                .hint("remove it and log in again")
        }),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(error) => Err(Failure::because(format!("cannot read {}", place.display()), &error)),
    }
}

fn write(place: &Path, all: &BTreeMap<String, String>) -> std::io::Result<()> {
    let directory = place.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    // A new file each time: whoever could open the old one cannot open this.
    let fresh = place.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(&serde_json::to_vec_pretty(all)?)?;
    file.sync_all()?;
    fs::rename(&fresh, place)
}

/// The secret of the session at this server, if there is one.
pub(super) fn secret(url: &str) -> Result<Option<String>, Failure> {
    match place() {
        Ok(place) => Ok(read(&place)?.remove(server(url))),
        // Whoever has no home has saved nothing.
        Err(_) => Ok(None),
    }
}

/// Keeps the session at this server, or forgets it.
pub(in crate::cli) fn keep(url: &str, secret: Option<String>) -> Result<(), Failure> {
    keep_in(&place()?, url, secret)
}

fn keep_in(place: &Path, url: &str, secret: Option<String>) -> Result<(), Failure> {
    let mut all = read(place)?;
    match secret {
        Some(secret) => all.insert(server(url).to_owned(), secret),
        None if !all.contains_key(server(url)) => return Ok(()),
        None => all.remove(server(url)),
    };
    write(place, &all).map_err(|error| Failure::because(format!("cannot write {}", place.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn sessions_are_kept_for_their_user_alone_and_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("hostler/sessions.json");
        keep_in(&place, "https://a.example/", Some("one".into())).unwrap();
        keep_in(&place, "https://b.example", Some("two".into())).unwrap();
        assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(place.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(read(&place).unwrap()[server("https://a.example")], "one");
        keep_in(&place, "https://a.example", None).unwrap();
        assert_eq!(read(&place).unwrap().into_keys().collect::<Vec<_>>(), ["https://b.example"]);
    }
}
