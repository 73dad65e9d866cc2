//! How many commits a second the store makes durable: the figures of the store's own example.

use crate::bed::Bed;
use crate::table::Figure;
use anyhow::{Context, Result, ensure};

/// Runs the example and takes over its lines.
pub(crate) async fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    bed.say("committing");
    let output = bed.command(&bed.commits()).arg(&bed.folder).output().await?;
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
