//! `host` and `storage`: where machines run and where their disks lie.

use crate::cli::Session;
use crate::cli::args::Listing;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use clap::Subcommand;
use hostler_doors::native::types::{Host, Storage};

/// What can be asked of hosts. A host is named by its name, number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum HostCommand {
    /// List hosts
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Show everything about a host
    Show {
        /// The host
        host: String,
    },
}

/// What can be asked of storages.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum StorageCommand {
    /// List storages
    #[command(visible_alias = "ls")]
    List(Listing),
}

pub(in crate::cli) async fn host(session: &Session, command: HostCommand) -> Result<Exit, Failure> {
    match command {
        HostCommand::List(listing) => {
            let hosts: Vec<Host> = session.client.list(&["hosts"], &listing.query(), None).await?;
            session.show.list(
                &hosts,
                &["name", "accelerator", "cpus", "memory", "hypervisor", "seen", "door"],
                row,
            );
        }
        HostCommand::Show { host } => {
            let host: Host = session.client.get(&["hosts", &host]).await?;
            session.show.one(&host, fields);
        }
    }
    Ok(Exit::DONE)
}

pub(in crate::cli) async fn storage(session: &Session, command: StorageCommand) -> Result<Exit, Failure> {
    let StorageCommand::List(listing) = command;
    let storages: Vec<Storage> = session.client.list(&["storages"], &listing.query(), None).await?;
    session.show.list(&storages, &["name", "free", "total", "path"], |storage| {
        let size = |mib: Option<u64>| mib.map(units::mib).unwrap_or_else(|| "?".into());
        let path = storage.path.clone().unwrap_or_default();
        vec![storage.name.clone(), size(storage.free_mib), size(storage.total_mib), path]
    });
    Ok(Exit::DONE)
}

fn seen(host: &Host) -> String {
    let ago = host.seen_at.as_deref().map(units::ago).unwrap_or_default();
    if host.living { ago } else { format!("{ago}, not heard of") }
}

fn row(host: &Host) -> Vec<String> {
    let unknown = || vec![host.name.clone(), "not looked at yet".into()];
    let Some(facts) = &host.facts else { return unknown() };
    let accelerator = facts.accelerator.as_ref();
    vec![
        host.name.clone(),
        accelerator.map_or_else(|| "none".into(), |found| found.name.clone()),
        facts.cpus.to_string(),
        units::mib(facts.memory_mib),
        facts.version.clone(),
        seen(host),
        host.door.clone().unwrap_or_default(),
    ]
}

fn fields(host: &Host) -> Vec<(&'static str, String)> {
    let mut fields =
        vec![("name", host.name.clone()), ("number", host.number.to_string()), ("id", host.id.to_string())];
    if let Some(facts) = &host.facts {
        let accelerator = facts.accelerator.as_ref();
        let how =
            accelerator.map(|found| format!("{} with CPU model {} ({})", found.name, found.cpu, found.why));
        fields.extend([
            ("accelerator", how.unwrap_or_else(|| "none: no guest can run here".into())),
            ("cpus", facts.cpus.to_string()),
            ("memory", units::mib(facts.memory_mib)),
            ("hypervisor", facts.version.clone()),
            ("kernel", facts.kernel.clone()),
            ("problems", facts.problems.join("\n")),
        ]);
    }
    fields.push(("seen", seen(host)));
    fields.push(("door", host.door.clone().unwrap_or_default()));
    fields.push(("created", units::ago(&host.created_at)));
    fields
}
