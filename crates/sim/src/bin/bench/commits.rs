//! How many commits a second the store makes durable: the figures of the store's own example, on either engine.

use crate::bed::Bed;
use crate::table::Figure;
use anyhow::{Context, Result, ensure};
use hostler_sim::postgres::{Care, Server};
use std::os::unix::fs::PermissionsExt;

/// Runs the example and takes over its lines: SQLite in the directory.
pub(crate) async fn sqlite(bed: &Bed) -> Result<Vec<Figure>> {
    bed.say("committing");
    measure(bed, None).await
}

/// The same on a PostgreSQL server of its own, over its unix socket, with its data in the directory.
pub(crate) async fn postgres(bed: &Bed) -> Result<Vec<Figure>> {
    if Server::installed().is_none() {
        return Ok(vec![Figure::new("SKIPPED", "PostgreSQL is not installed")]);
    }
    bed.say("committing to PostgreSQL");
    // The server has a user of its own.
    std::fs::set_permissions(&bed.folder, std::fs::Permissions::from_mode(0o711))?;
    let server = Server::start_in(&bed.folder, Care::Durable)?;
    measure(bed, Some(server.database(None)?)).await
}

async fn measure(bed: &Bed, url: Option<String>) -> Result<Vec<Figure>> {
    let output = bed.command(&bed.commits()).arg(&bed.folder).args(url).output().await?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let figures: Vec<Figure> = text
        .lines()
        .filter_map(|line| line.split_once(" clients: "))
        .map(|(clients, found)| {
            let words = if clients.trim() == "1" { "client" } else { "clients" };
            Figure::new(format!("{} {words}, each waits for its commit", clients.trim()), found.trim())
        })
        .collect();
    (!figures.is_empty()).then_some(figures).with_context(|| format!("it told no figures: {text}"))
}
