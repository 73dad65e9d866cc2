//! `machine create`.

use super::args::Create;
use super::fields;
use crate::cli::Session;
use crate::cli::client::finish;
use crate::failure::Failure;
use crate::output;
use hostler_doors::native::types::{Accepted, Machine, MachineCreate};
use std::path::Path;

pub(super) async fn create(session: &Session, create: Create) -> Result<(), Failure> {
    let wait = create.wait;
    let accepted: Accepted<Machine> = session.client.post(&["machines"], &request(create)?).await?;
    if !session.show.is_json() {
        output::note(format_args!("machine {} is being made", accepted.record.name));
    }
    if finish(&session.client, accepted.task.clone(), wait).await? {
        let id = accepted.record.id.to_string();
        let machine: Machine = session.client.get(&["machines", &id]).await?;
        session.show.one(&machine, fields);
    } else if session.show.is_json() {
        output::json(&accepted);
    } else {
        output::line(&accepted.record.name);
    }
    Ok(())
}

fn request(create: Create) -> Result<MachineCreate, Failure> {
    let ssh_keys = match &create.ssh_keys[..] {
        _ if create.no_ssh_key => Vec::new(),
        [] => usual_keys(),
        named => {
            let keys: Result<Vec<_>, _> = named.iter().map(|key| keys_of(key)).collect();
            keys?.concat()
        }
    };
    let user_data = create.user_data.as_deref().map(read).transpose()?;
    Ok(MachineCreate {
        name: create.name,
        title: create.title,
        domain: create.domain,
        owner: create.owner,
        cluster: None,
        host: None,
        password: create.password_file.as_deref().map(password).transpose()?,
        template: create.template,
        vcpus: create.vcpus,
        memory_mib: create.memory,
        disk_mib: create.disk,
        network: create.network,
        addresses: create.addresses,
        ssh_keys,
        user_data,
        description: create.description,
        labels: create.labels.into_iter().collect(),
        start: !create.no_start,
    })
}

/// The key itself, or those in a file of this name. A private key is never sent.
fn keys_of(text: &str) -> Result<Vec<String>, Failure> {
    if text.split_whitespace().count() > 1 && !Path::new(text).exists() {
        return Ok(vec![text.trim().to_owned()]);
    }
    let content = std::fs::read_to_string(text)
        .map_err(|error| Failure::because(format!("cannot read the SSH key {text}"), &error))?;
    if content.contains("PRIVATE KEY") {
        return Err(Failure::usage(format!("{text} is a private key, which stays with you"))
            .hint(format!("name the public one: {text}.pub")));
    }
    Ok(lines(&content))
}

fn lines(content: &str) -> Vec<String> {
    let lines = content.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(str::to_owned).collect()
}

/// The public keys of the user who types, so that logging in just works.
fn usual_keys() -> Vec<String> {
    let Some(home) = std::env::home_dir() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(home.join(".ssh")) else { return Vec::new() };
    let files = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|end| end == "pub")).collect();
    files.sort();
    let keys = files.iter().filter_map(|path| std::fs::read_to_string(path).ok());
    // Certificates lie there as `-cert.pub`; those are not keys to let in.
    keys.flat_map(|content| lines(&content)).filter(|key| !key.contains("-cert-v01@")).collect()
}

/// The first line of a file.
fn password(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    let text = read
        .map_err(|error| Failure::because(format!("cannot read the password {}", path.display()), &error))?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn read(path: &Path) -> Result<String, Failure> {
    let read = if path == Path::new("-") {
        std::io::read_to_string(std::io::stdin())
    } else {
        std::fs::read_to_string(path)
    };
    read.map_err(|error| Failure::because(format!("cannot read the user data {}", path.display()), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_by_itself_or_by_its_file() {
        assert_eq!(keys_of("ssh-ed25519 AAAA me").unwrap(), ["ssh-ed25519 AAAA me"]);
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("id.pub");
        std::fs::write(&file, "# mine\nssh-ed25519 AAAA me\n\nssh-rsa BBBB me\n").unwrap();
        assert_eq!(keys_of(file.to_str().unwrap()).unwrap().len(), 2);
        std::fs::write(&file, "-----BEGIN OPENSSH PRIVATE KEY-----\n").unwrap();
        assert!(keys_of(file.to_str().unwrap()).unwrap_err().text.ends_with("which stays with you"));
        assert!(keys_of("nothing-there.pub").unwrap_err().text.starts_with("cannot read the SSH key"));
    }
}
