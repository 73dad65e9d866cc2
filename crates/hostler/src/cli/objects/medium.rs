//! `medium`: ISO images that can be inserted into machines.

use super::source::{self, Origin};
use crate::cli::Session;
use crate::cli::args::{Listing, Wait};
use crate::cli::client::finish;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Subcommand;
use hostler_doors::native::types::{Accepted, Medium, MediumCreate};
use std::path::Path;

/// What can be done with media. A medium is named by name, number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MediumCommand {
    /// Make a medium from an ISO image: a file on the server's host, or an address
    #[command(after_help = "Example:\n  hostler medium import /srv/debian-12-netinst.iso")]
    Import {
        #[command(flatten)]
        origin: Origin,
        /// Name of the medium [default: the file's, without .iso]
        #[arg(long, short)]
        name: Option<String>,
        /// Words about it
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// List media
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Show everything about a medium
    Show {
        /// The medium
        medium: String,
    },
    /// Remove a medium; no machine may have it in its drive
    #[command(visible_alias = "rm")]
    Delete {
        /// The medium
        medium: String,
        #[command(flatten)]
        wait: Wait,
    },
}

pub(in crate::cli) async fn medium(session: &Session, command: MediumCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        MediumCommand::Import { origin, name, description, wait } => {
            let source = origin.source(None)?;
            let name = name.map_or_else(|| named_by(&source::shown(&source)), Ok)?;
            let ask = MediumCreate { name, source, description };
            let accepted: Accepted<Medium> = client.post(&["media"], &ask).await?;
            if finish(client, accepted.task.clone(), wait).await? {
                let medium: Medium = client.get(&["media", &accepted.record.id.to_string()]).await?;
                session.show.one(&medium, fields);
            } else {
                session.show.said(&accepted, &accepted.record.name);
            }
        }
        MediumCommand::List(listing) => {
            let media: Vec<Medium> = client.list(&["media"], &listing.query(), None).await?;
            let columns = ["name", "state", "size", "created", "reason"];
            session.show.list(&media, &columns, row);
        }
        MediumCommand::Show { medium } => {
            let medium: Medium = client.get(&["media", &medium]).await?;
            session.show.one(&medium, fields);
        }
        MediumCommand::Delete { medium, wait } => {
            let accepted: Accepted<Medium> = client.delete(&["media", &medium]).await?;
            let ended = finish(client, accepted.task.clone(), wait).await?;
            if session.show.is_json() {
                output::json(&accepted);
            } else if ended {
                output::line(format_args!("medium {} is gone", accepted.record.name));
            }
        }
    }
    Ok(Exit::DONE)
}

/// The end of a path or address, without what says how it is packed.
fn named_by(place: &str) -> Result<String, Failure> {
    let path = place.split(['?', '#']).next().unwrap_or_default();
    let mut name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or_default();
    for end in [".gz", ".xz", ".zst", ".bz2", ".iso", ".ISO"] {
        name = name.strip_suffix(end).unwrap_or(name);
    }
    if name.is_empty() {
        return Err(Failure::usage("this gives the medium no name").hint("say one with --name"));
    }
    Ok(name.to_owned())
}

fn size(medium: &Medium) -> String {
    medium.bytes.map(units::bytes).unwrap_or_default()
}

fn row(medium: &Medium) -> Vec<String> {
    vec![
        medium.name.clone(),
        medium.state.to_string(),
        size(medium),
        units::ago(&medium.created_at),
        medium.reason.clone().unwrap_or_default(),
    ]
}

fn fields(medium: &Medium) -> Vec<(&'static str, String)> {
    vec![
        ("name", medium.name.clone()),
        ("number", medium.number.to_string()),
        ("id", medium.id.to_string()),
        ("description", medium.description.clone()),
        ("state", medium.state.to_string()),
        ("reason", medium.reason.clone().unwrap_or_default()),
        ("source", medium.source.as_ref().map(source::shown).unwrap_or_default()),
        ("size", size(medium)),
        ("digest", medium.digest.clone().unwrap_or_default()),
        ("created", units::ago(&medium.created_at)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_are_named_by_their_files() {
        assert_eq!(named_by("/srv/debian-12.iso").unwrap(), "debian-12");
        assert_eq!(named_by("https://a.example/b/c.iso.xz?token=1").unwrap(), "c");
        assert!(named_by("/").is_err());
    }
}
