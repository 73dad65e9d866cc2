//! `group` and `ssh-key`: accounts that are granted the same, and keys that guests know.

use crate::cli::Session;
use crate::cli::args::Listing;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Subcommand;
use hostler_doors::native::types::{Account, Group, GroupCreate, GroupEdit, SshKey, SshKeyCreate};
use reqwest::Method;
use std::path::PathBuf;

/// What can be done with groups.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum GroupCommand {
    /// List groups
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Show a group and who is in it
    Show {
        /// Id, number or name
        group: String,
    },
    /// Add a group
    #[command(after_help = "Example:\n  hostler group create operators")]
    Create {
        /// Its name
        name: String,
        /// What it is for
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
    },
    /// Change a group
    Change {
        /// Id, number or name
        group: String,
        /// A new name
        #[arg(long)]
        name: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Put an account into a group
    Add {
        /// Id, number or name
        group: String,
        /// Id, number, login name or e-mail address
        account: String,
    },
    /// Take an account out of a group
    Remove {
        /// Id, number or name
        group: String,
        /// Id, number, login name or e-mail address
        account: String,
    },
    /// Delete a group; the accounts in it stay
    #[command(visible_alias = "rm")]
    Delete {
        /// Id, number or name
        group: String,
    },
}

pub(in crate::cli) async fn group(session: &Session, command: GroupCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        GroupCommand::List(listing) => {
            let groups: Vec<Group> = client.list(&["groups"], &listing.query(), None).await?;
            session.show.list(&groups, &["number", "name", "description"], |group| {
                let words = [&group.name, &group.description].map(|text| units::plain(text).to_string());
                [vec![group.number.to_string()], words.to_vec()].concat()
            });
        }
        GroupCommand::Show { group } => {
            let found: Group = client.get(&["groups", &group]).await?;
            let members: Vec<Account> = client.get(&["groups", &group, "members"]).await?;
            show(session, &found, Some(&members));
        }
        GroupCommand::Create { name, description } => {
            let ask = GroupCreate { name, description };
            show(session, &client.post(&["groups"], &ask).await?, None);
        }
        GroupCommand::Change { group, name, description } => {
            let edit = GroupEdit { name, description };
            let request = client.request(Method::PATCH, &["groups", &group]).json(&edit);
            show(session, &client.json(request).await?, None);
        }
        GroupCommand::Add { group, account } => {
            let path = ["groups", &group, "members", &account];
            client.send(client.request(Method::PUT, &path)).await?;
            done(session, &format!("{account} is in {group}"));
        }
        GroupCommand::Remove { group, account } => {
            let path = ["groups", &group, "members", &account];
            client.send(client.request(Method::DELETE, &path)).await?;
            done(session, &format!("{account} is not in {group}"));
        }
        GroupCommand::Delete { group } => {
            client.send(client.request(Method::DELETE, &["groups", &group])).await?;
            done(session, &format!("the group {group} is deleted"));
        }
    }
    Ok(Exit::DONE)
}

/// What can be done with SSH keys.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SshKeyCommand {
    /// List SSH keys
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Keep a public key, which new machines of yours let in
    #[command(after_help = "Example:\n  hostler ssh-key add ~/.ssh/id_ed25519.pub")]
    Add {
        /// File with the public key
        file: PathBuf,
        /// Its name [default: the key's comment]
        #[arg(long, default_value = "", hide_default_value = true)]
        name: String,
    },
    /// Forget a public key; machines that have it keep it
    #[command(visible_alias = "rm")]
    Remove {
        /// Id, number or name
        key: String,
    },
}

pub(in crate::cli) async fn ssh_key(session: &Session, command: SshKeyCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        SshKeyCommand::List(listing) => {
            let keys: Vec<SshKey> = client.list(&["ssh-keys"], &listing.query(), None).await?;
            session.show.list(&keys, &["number", "name", "fingerprint", "created"], |key| {
                let name = units::plain(&key.name).to_string();
                vec![key.number.to_string(), name, key.fingerprint.clone(), units::ago(&key.created_at)]
            });
        }
        SshKeyCommand::Add { file, name } => {
            let public_key = std::fs::read_to_string(&file)
                .map_err(|error| Failure::because(format!("cannot read {}", file.display()), &error))?;
            if public_key.contains("PRIVATE KEY") {
                return Err(Failure::usage("this is a private key").hint("give the file that ends in .pub"));
            }
            let key: SshKey = client.post(&["ssh-keys"], &SshKeyCreate { name, public_key }).await?;
            session.show.said(&key, format_args!("kept {} {}", units::plain(&key.name), key.fingerprint));
        }
        SshKeyCommand::Remove { key } => {
            client.send(client.request(Method::DELETE, &["ssh-keys", &key])).await?;
            done(session, &format!("the SSH key {key} is forgotten"));
        }
    }
    Ok(Exit::DONE)
}

fn done(session: &Session, sentence: &str) {
    if !session.show.is_json() {
        output::line(sentence);
    }
}

fn show(session: &Session, group: &Group, members: Option<&[Account]>) {
    session.show.one(group, |group| {
        let mut lines = vec![
            ("name", units::plain(&group.name).to_string()),
            ("description", units::plain(&group.description).to_string()),
            ("number", group.number.to_string()),
            ("id", group.id.to_string()),
        ];
        if let Some(members) = members {
            let logins: Vec<&str> = members.iter().map(|account| account.login.as_str()).collect();
            lines.push(("members", logins.join(", ")));
        }
        lines
    });
}
