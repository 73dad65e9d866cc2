//! `volume`: virtual disks.

use crate::cli::Session;
use crate::cli::args::{Listing, Wait};
use crate::cli::client::finish;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::Subcommand;
use hostler_doors::native::types::{Accepted, Volume, VolumeAttach, VolumeCreate, VolumeGrow, VolumeLimits};

/// What can be done with volumes. A volume is named by its number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum VolumeCommand {
    /// Make an empty volume
    #[command(after_help = "Example:\n  hostler volume create --name data --size 20G")]
    Create {
        /// Name for people
        #[arg(long, short)]
        name: String,
        /// Size, e.g. 20G
        #[arg(long, short, value_name = "SIZE", value_parser = units::parse_mib)]
        size: u64,
        /// Storage that it shall lie on [default: that of the host that is asked]
        #[arg(long)]
        storage: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// List volumes
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Show everything about a volume
    Show {
        /// The volume
        volume: String,
    },
    /// Give a volume to a machine, on or off
    Attach {
        /// The volume
        volume: String,
        /// The machine
        machine: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Take a volume from its machine; a guest that runs must let go of it
    Detach {
        /// The volume
        volume: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Make a volume larger; its machine may be on
    Grow {
        /// The volume
        volume: String,
        /// New size, e.g. 40G
        #[arg(value_parser = units::parse_mib)]
        size: u64,
        #[command(flatten)]
        wait: Wait,
    },
    /// Limit what a volume may do each second; what is left out is without limit
    #[command(after_help = "Example:\n  hostler volume limit 7 --iops 500 --rate 20M")]
    Limit {
        /// The volume
        volume: String,
        /// Reads and writes together
        #[arg(long, value_name = "COUNT")]
        iops: Option<u64>,
        /// What is read and written together, in MiB: e.g. 20M
        #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
        rate: Option<u64>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Remove a volume for good
    #[command(visible_alias = "rm")]
    Delete {
        /// The volume
        volume: String,
        #[command(flatten)]
        wait: Wait,
    },
}

pub(in crate::cli) async fn volume(session: &Session, command: VolumeCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        VolumeCommand::Create { name, size, storage, wait } => {
            let accepted: Accepted<Volume> =
                client.post(&["volumes"], &VolumeCreate { name, size_mib: size, storage }).await?;
            if finish(client, accepted.task.clone(), wait).await? {
                let volume: Volume = client.get(&["volumes", &accepted.record.id.to_string()]).await?;
                session.show.one(&volume, fields);
            } else {
                session.show.said(&accepted, accepted.record.number);
            }
        }
        VolumeCommand::List(listing) => {
            let volumes: Vec<Volume> = client.list(&["volumes"], &listing.query(), None).await?;
            let columns = ["number", "name", "state", "size", "machine", "position", "created", "id"];
            session.show.list(&volumes, &columns, row);
        }
        VolumeCommand::Show { volume } => {
            let volume: Volume = client.get(&["volumes", &volume]).await?;
            session.show.one(&volume, fields);
        }
        VolumeCommand::Attach { volume, machine, wait } => {
            change(session, &volume, "attach", &VolumeAttach { machine }, wait).await?;
        }
        VolumeCommand::Detach { volume, wait } => {
            change(session, &volume, "detach", &serde_json::json!({}), wait).await?;
        }
        VolumeCommand::Grow { volume, size, wait } => {
            change(session, &volume, "grow", &VolumeGrow { size_mib: size }, wait).await?;
        }
        VolumeCommand::Limit { volume, iops, rate, wait } => {
            let limits = VolumeLimits { iops, bytes: rate.map(|mib| mib << 20) };
            change(session, &volume, "limit", &limits, wait).await?;
        }
        VolumeCommand::Delete { volume, wait } => {
            let accepted: Accepted<Volume> = client.delete(&["volumes", &volume]).await?;
            let ended = finish(client, accepted.task.clone(), wait).await?;
            if session.show.is_json() {
                output::json(&accepted);
            } else if ended {
                output::line(format_args!("volume {} is gone", accepted.record.name));
            }
        }
    }
    Ok(Exit::DONE)
}

/// Asks for a change and shows the volume as it is after it.
async fn change<B: serde::Serialize>(
    session: &Session,
    volume: &str,
    verb: &str,
    body: &B,
    wait: Wait,
) -> Result<(), Failure> {
    let client = &session.client;
    let accepted: Accepted<Volume> = client.post(&["volumes", volume, verb], body).await?;
    if finish(client, accepted.task.clone(), wait).await? {
        let volume: Volume = client.get(&["volumes", &accepted.record.id.to_string()]).await?;
        session.show.one(&volume, fields);
    } else {
        session.show.said(&accepted, accepted.record.number);
    }
    Ok(())
}

fn limits(volume: &Volume) -> String {
    let iops = volume.limits.iops.map(|iops| format!("{iops} operations"));
    let bytes = volume.limits.bytes.map(|bytes| format!("{bytes} bytes"));
    let each: Vec<String> = iops.into_iter().chain(bytes).collect();
    if each.is_empty() { String::new() } else { format!("{} each second", each.join(", ")) }
}

fn row(volume: &Volume) -> Vec<String> {
    let position = volume.machine.map(|_| volume.position.to_string());
    vec![
        volume.number.to_string(),
        volume.name.clone(),
        volume.state.to_string(),
        units::mib(volume.size_mib),
        volume.machine.map(|machine| machine.to_string()).unwrap_or_default(),
        position.unwrap_or_default(),
        units::ago(&volume.created_at),
        volume.id.to_string(),
    ]
}

fn fields(volume: &Volume) -> Vec<(&'static str, String)> {
    let text = |id: Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let position = volume.machine.map(|_| volume.position.to_string());
    vec![
        ("name", volume.name.clone()),
        ("number", volume.number.to_string()),
        ("id", volume.id.to_string()),
        ("state", volume.state.to_string()),
        ("reason", volume.reason.clone().unwrap_or_default()),
        ("size", units::mib(volume.size_mib)),
        ("format", volume.format.to_string()),
        ("machine", text(volume.machine)),
        ("position", position.unwrap_or_default()),
        ("limits", limits(volume)),
        ("goes", if volume.with_machine { "with its machine".into() } else { String::new() }),
        ("template", text(volume.template)),
        ("task", text(volume.task)),
        ("storage", volume.storage.to_string()),
        ("owner", volume.owner.to_string()),
        ("created", units::ago(&volume.created_at)),
    ]
}
