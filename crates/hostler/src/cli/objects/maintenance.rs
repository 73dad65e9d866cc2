//! `maintenance`: nobody may change anything for a while.

use crate::cli::Session;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use clap::Subcommand;
use hostler_doors::native::types::{Maintenance, MaintenanceSet};
use reqwest::Method;

/// What can be done about maintenance.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MaintenanceCommand {
    /// Answer every request with "not now", on all hosts; what has begun goes on to its end
    #[command(after_help = "Example:\n  hostler maintenance on --reason 'new disks, back at ten'")]
    On {
        /// Shown to everybody who is turned away
        #[arg(long, default_value = "", hide_default_value = true)]
        reason: String,
    },
    /// Take requests again
    Off,
    /// Say whether it is on
    Status,
}

pub(in crate::cli) async fn maintenance(
    session: &Session,
    command: MaintenanceCommand,
) -> Result<Exit, Failure> {
    let client = &session.client;
    let path = ["maintenance"];
    let set = async |on, reason| {
        let ask = MaintenanceSet { on, reason };
        client.json::<Maintenance>(client.request(Method::PUT, &path).json(&ask)).await
    };
    let now = match command {
        MaintenanceCommand::On { reason } => set(true, reason).await?,
        MaintenanceCommand::Off => set(false, String::new()).await?,
        MaintenanceCommand::Status => client.get(&path).await?,
    };
    session.show.said(&now, words(&now));
    Ok(Exit::DONE)
}

fn words(now: &Maintenance) -> String {
    let (Some(since), Some(by)) = (&now.since, &now.by) else { return "maintenance is off".to_owned() };
    let reason = now.reason.as_deref().filter(|reason| !reason.is_empty());
    let reason = reason.map(|reason| format!(": {}", units::plain(reason))).unwrap_or_default();
    format!("maintenance is on since {} by {}{reason}", units::ago(since), units::plain(by))
}
