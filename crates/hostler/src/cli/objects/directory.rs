//! `directory`: people from outside.

use crate::cli::Session;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Subcommand;
use hostler_doors::native::types::{Directory, DirectoryChecked, DirectorySynced, Page};

/// What can be done with directories.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum DirectoryCommand {
    /// List directories, with their last synchronization
    #[command(visible_alias = "ls")]
    List,
    /// Connect to a directory and say what was found
    #[command(after_help = "Example:\n  hostler directory check company")]
    Check {
        /// Its name in the configuration
        directory: String,
    },
    /// Have accounts follow a directory now; whose person has gone is disabled
    Sync {
        /// Its name in the configuration
        directory: String,
    },
}

pub(in crate::cli) async fn directory(session: &Session, command: DirectoryCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        DirectoryCommand::List => {
            let directories = client.get::<Page<Directory>>(&["directories"]).await?.items;
            session.show.list(
                &directories,
                &["name", "address", "synced", "people", "problem"],
                |directory| {
                    let synced = directory.synced_at.as_deref().map_or_else(|| "never".into(), units::ago);
                    let people = directory.synced.as_ref().map(|synced| synced.people.to_string());
                    let problem = directory.problem.clone().unwrap_or_default();
                    let (name, address) = (directory.name.clone(), directory.address.clone());
                    vec![name, address, synced, people.unwrap_or_default(), problem]
                },
            );
        }
        DirectoryCommand::Check { directory } => {
            let found: DirectoryChecked = client.post(&["directories", &directory, "check"], &()).await?;
            session.show.said(&found, &found.found);
        }
        DirectoryCommand::Sync { directory } => {
            let synced: DirectorySynced = client.post(&["directories", &directory, "sync"], &()).await?;
            let text = format!(
                "{} people: {} accounts made, {} changed, {} disabled",
                synced.people, synced.created, synced.changed, synced.disabled
            );
            session.show.said(&synced, &text);
            if !session.show.is_json() {
                for refused in &synced.refused {
                    output::line(format_args!("refused: {refused}"));
                }
            }
        }
    }
    Ok(Exit::DONE)
}
