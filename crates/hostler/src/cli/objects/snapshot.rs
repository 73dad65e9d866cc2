//! `snapshot`: states of machines that can be gone back to.

use crate::cli::Session;
use crate::cli::args::{Listing, Wait};
use crate::cli::client::finish;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Subcommand;
use hostler_doors::native::types::{Accepted, Snapshot, SnapshotCreate, SnapshotRevert};

/// What can be done with snapshots. A snapshot is named by its number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum SnapshotCommand {
    /// Take a snapshot of a machine
    #[command(after_help = "Example:\n  hostler snapshot create web --name before-upgrade --memory")]
    Create {
        /// The machine
        machine: String,
        /// Name for people
        #[arg(long, short)]
        name: String,
        /// Words about it
        #[arg(long, default_value = "", hide_default_value = true)]
        description: String,
        /// Keep memory, too: going back means running on from that moment
        #[arg(long, short)]
        memory: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// List snapshots
    #[command(visible_alias = "ls")]
    List {
        /// Only those of this machine
        machine: Option<String>,
        #[command(flatten)]
        listing: Listing,
    },
    /// Show everything about a snapshot
    Show {
        /// The snapshot
        snapshot: String,
    },
    /// Take the machine back to a snapshot; what it is now is lost
    Revert {
        /// The snapshot
        snapshot: String,
        /// Cut the power of a machine that is on, when the snapshot has no memory
        #[arg(long, short)]
        force: bool,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove a snapshot; its machine stays as it is
    #[command(visible_alias = "rm")]
    Delete {
        /// The snapshot
        snapshot: String,
        #[command(flatten)]
        wait: Wait,
    },
}

pub(in crate::cli) async fn snapshot(session: &Session, command: SnapshotCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        SnapshotCommand::Create { machine, name, description, memory, wait } => {
            let ask = SnapshotCreate { name, description, memory };
            let accepted: Accepted<Snapshot> =
                client.post(&["machines", &machine, "snapshots"], &ask).await?;
            if finish(client, accepted.task.clone(), wait).await? {
                let snapshot: Snapshot = client.get(&["snapshots", &accepted.record.id.to_string()]).await?;
                session.show.one(&snapshot, fields);
            } else {
                session.show.said(&accepted, accepted.record.number);
            }
        }
        SnapshotCommand::List { machine, listing } => {
            let query = listing.query();
            let snapshots: Vec<Snapshot> = match &machine {
                Some(machine) => client.list(&["machines", machine, "snapshots"], &query, None).await?,
                None => client.list(&["snapshots"], &query, None).await?,
            };
            let columns = ["number", "name", "state", "memory", "machine", "created", "id"];
            session.show.list(&snapshots, &columns, row);
        }
        SnapshotCommand::Show { snapshot } => {
            let snapshot: Snapshot = client.get(&["snapshots", &snapshot]).await?;
            session.show.one(&snapshot, fields);
        }
        SnapshotCommand::Revert { snapshot, force, wait } => {
            let path = ["snapshots", &snapshot, "revert"];
            let accepted: Accepted<Snapshot> = client.post(&path, &SnapshotRevert { force }).await?;
            let ended = finish(client, accepted.task.clone(), wait).await?;
            told(session, &accepted, ended, "gone back to");
        }
        SnapshotCommand::Delete { snapshot, wait } => {
            let accepted: Accepted<Snapshot> = client.delete(&["snapshots", &snapshot]).await?;
            let ended = finish(client, accepted.task.clone(), wait).await?;
            told(session, &accepted, ended, "gone");
        }
    }
    Ok(Exit::DONE)
}

fn told(session: &Session, accepted: &Accepted<Snapshot>, ended: bool, what: &str) {
    if session.show.is_json() {
        output::json(accepted);
    } else if ended {
        output::line(format_args!("snapshot {} is {what}", accepted.record.name));
    }
}

fn row(snapshot: &Snapshot) -> Vec<String> {
    vec![
        snapshot.number.to_string(),
        snapshot.name.clone(),
        snapshot.state.to_string(),
        kept_memory(snapshot),
        snapshot.machine.to_string(),
        units::ago(&snapshot.created_at),
        snapshot.id.to_string(),
    ]
}

fn kept_memory(snapshot: &Snapshot) -> String {
    if snapshot.memory { units::mib(snapshot.memory_mib) } else { String::new() }
}

fn fields(snapshot: &Snapshot) -> Vec<(&'static str, String)> {
    let volumes = snapshot.volumes.iter();
    let volumes = volumes.map(|kept| format!("{} {}", kept.volume, units::mib(kept.size_mib)));
    vec![
        ("name", snapshot.name.clone()),
        ("number", snapshot.number.to_string()),
        ("id", snapshot.id.to_string()),
        ("description", snapshot.description.clone()),
        ("state", snapshot.state.to_string()),
        ("reason", snapshot.reason.clone().unwrap_or_default()),
        ("memory", kept_memory(snapshot)),
        ("volumes", volumes.collect::<Vec<_>>().join("\n")),
        ("machine", snapshot.machine.to_string()),
        ("task", snapshot.task.map(|task| task.to_string()).unwrap_or_default()),
        ("owner", snapshot.owner.to_string()),
        ("created", units::ago(&snapshot.created_at)),
    ]
}
