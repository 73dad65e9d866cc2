//! Figures of the real programs, beside the budgets they are meant to keep.
//!
//! `scripts/bench` builds what is measured and runs this as `bench DIRECTORY [--quick]`. Nothing here is asserted: a
//! shared machine would make liars of such tests. A missed budget is a line of the table; only a benchmark that could
//! not be carried out ends with an error.
//!
//! Everything is kept in DIRECTORY, and every program is started with its working directory inside it, so that whoever
//! cleans up after an interruption finds both data and processes by that one name.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program whose purpose is to print figures")]

mod bed;
mod churn;
mod commits;
mod fleet;
mod forks;
mod guests;
mod imports;
mod load;
mod logins;
mod names;
mod pools;
mod reads;
mod rights;
mod server;
mod start;
mod table;
mod takeover;

use anyhow::{Context, Result, bail};
use bed::Bed;
use std::path::PathBuf;
use std::process::ExitCode;
use table::{Figure, Table};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let measured = async {
        let mut terminate = signal(SignalKind::terminate())?;
        // Programs that still run are killed when the measurement is dropped.
        tokio::select! {
            measured = measure() => measured,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
            _ = terminate.recv() => bail!("interrupted"),
        }
    };
    match measured.await {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures everything and prints the table; answers whether all of it could be measured.
async fn measure() -> Result<bool> {
    let mut folder = None;
    let mut quick = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => quick = true,
            path if folder.is_none() && !path.starts_with('-') => folder = Some(PathBuf::from(path)),
            other => bail!("unknown argument `{other}`; usage: bench DIRECTORY [--quick]"),
        }
    }
    let folder = std::path::absolute(folder.context("usage: bench DIRECTORY [--quick]")?)?;
    std::fs::create_dir_all(&folder)?;
    // The client library looks for one even where nothing is encrypted.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bed = Bed::new(folder, quick)?;

    let mut table = Table::default();
    table.heading("the machine");
    table.add(bed.describe().await);
    table.heading("start and memory");
    table.add_or("empty data directory", start::empty(&bed).await);
    let fleet = fleet::make(&bed).await.context("filling the database")?;
    table.add_or("full data directory", start::full(&bed, &fleet).await);
    table.heading("reads");
    table.add_or("reads", reads::measure(&bed, &fleet).await);
    table.heading("reads by users, who see what is theirs");
    table.add_or("reads by users", rights::measure(&bed, &fleet).await);
    table.heading("logins");
    table.add_or("logins", logins::measure(&bed, &fleet).await);
    fleet.remove()?;
    table.heading("simulated machines made and removed over HTTP");
    table.add_or("machines", churn::measure(&bed).await);
    table.heading("pools");
    table.add_or("pools", pools::measure(&bed).await);
    table.heading("durable commits: SQLite");
    table.add_or("commits", commits::sqlite(&bed).await);
    table.heading("durable commits: PostgreSQL");
    table.add_or("commits", commits::postgres(&bed).await);
    table.heading("two processes on one PostgreSQL");
    match takeover::missing() {
        Some(why) => {
            bed.say(&format!("SKIPPED: no process is killed: {why}"));
            table.add(vec![Figure::new("SKIPPED", why)]);
        }
        None => table.add_or("take-over", takeover::measure(&bed).await),
    }
    table.heading("real machines");
    match guests::missing(&bed) {
        Some(why) => {
            bed.say(&format!("SKIPPED: nothing is measured with QEMU: {why}"));
            table.add(vec![Figure::new("SKIPPED", why)]);
        }
        None => {
            table.add_or("guests", guests::measure(&bed).await);
            table.heading("images");
            table.add_or("images", imports::measure(&bed).await);
            table.heading("names");
            match names::missing() {
                Some(why) => {
                    bed.say(&format!("SKIPPED: no name is asked for: {why}"));
                    table.add(vec![Figure::new("SKIPPED", why)]);
                }
                None => table.add_or("names", names::measure(&bed).await),
            }
        }
    }
    table.heading("afterwards");
    table.add(vec![Figure::new("load average", bed::load())]);
    println!("{table}");
    Ok(!table.is_broken())
}
