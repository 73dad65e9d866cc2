//! `backup`, `restore` and `store copy`: everything hostler knows, read and written without a server.
//!
//! A backup reads the database itself, as it is at one moment, and does not mind a server that goes on writing. The
//! other two want the database for themselves.

use super::args::Global;
use crate::backup::{self, FILES, File, Writer};
use crate::config::{self, Variables, address_in};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::serve::{DataDir, SystemClock, write_private};
use clap::{Args, Subcommand};
use hostler_core::ports::Clock;
use hostler_store::Address;
use hostler_store::state::{Counts, Place, Source, StateError, Target};
use indicatif::{ProgressBar, ProgressStyle};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Options of `backup` and `restore`.
#[derive(Args, Clone, Debug)]
pub(super) struct BackupFile {
    /// The backup; `backup` replaces an older one of this name
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What can be done with databases.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum StoreCommand {
    /// Copy everything from one database to another, empty one; no server may be using them
    #[command(after_help = COPY)]
    Copy {
        /// Where it is: a file of SQLite, a data directory, postgres://… without a password, or @FILE with the address
        #[arg(long, value_name = "DATABASE")]
        from: String,
        /// Where it goes
        #[arg(long, value_name = "DATABASE")]
        to: String,
    },
}

const COPY: &str = "\
Examples:
  hostler store copy --from /var/lib/hostler/hostler.db --to @/etc/hostler/database
  hostler store copy --from postgres://hostler@db.example/hostler --to /tmp/hostler.db

It happens entirely or not at all: what was cut off is simply tried again. Ids, numbers and events stay; tasks go on.
The data directory's other files stay where they are.";

pub(super) async fn backup(global: &Global, file: &BackupFile) -> Result<Exit, Failure> {
    let (place, data_dir) = configured(global)?;
    let files =
        FILES.iter().filter_map(|name| kept(&data_dir, name).transpose()).collect::<Result<_, _>>()?;
    let mut source =
        Source::open(&place, false).await.map_err(|error| failed("cannot be read", &place, &error))?;
    let mut writer = Writer::new(&file.file, SystemClock.now(), files)?;
    let bar = bar(source.counts());
    while let Some(item) = source.next().await.map_err(|error| failed("cannot be read", &place, &error))? {
        writer.put(item)?;
        bar.inc(1);
    }
    let told = told(source.counts());
    source.close().await;
    writer.finish()?;
    bar.finish_and_clear();
    output::line(format_args!("{told} of {place} are in {}", file.file.display()));
    output::note(
        "note: images and volumes are files of their own; whoever reads the backup can log in as anybody",
    );
    Ok(Exit::DONE)
}

pub(super) async fn restore(global: &Global, file: &BackupFile) -> Result<Exit, Failure> {
    let (place, data_dir) = configured(global)?;
    let checked = backup::check(&file.file)?;
    // Its lock tells whether a server is running.
    let held = DataDir::take(&data_dir)?;
    for file in &checked.files {
        refuse_other(held.path(), file)?;
    }
    let mut target =
        Target::open(&place).await.map_err(|error| failed("cannot be filled", &place, &error))?;
    let bar = ProgressBar::new(checked.items).with_style(style());
    for item in backup::items(&file.file, &checked)? {
        target.put(item?).await.map_err(|error| failed("cannot be filled", &place, &error))?;
        bar.inc(1);
    }
    for file in &checked.files {
        write_private(&held.path().join(&file.name), &file.text)?;
    }
    let counts = target.finish().await.map_err(|error| failed("cannot be filled", &place, &error))?;
    bar.finish_and_clear();
    let made = &checked.header.made_at;
    output::line(format_args!("{} as of {made} are in {place}", told(&counts)));
    output::note(
        "note: images and volumes must be where they were, in the data directory, before the server starts",
    );
    Ok(Exit::DONE)
}

pub(super) async fn store(command: &StoreCommand) -> Result<Exit, Failure> {
    let StoreCommand::Copy { from, to } = command;
    let (from, to) = (named(from)?, named(to)?);
    let mut held: Vec<DataDir> = Vec::new();
    for place in [&from, &to] {
        if let Place::File(path) = place {
            let directory = std::path::absolute(path.parent().unwrap_or(Path::new(".")))
                .map_err(|error| Failure::because(format!("cannot use {place}"), &error))?;
            if !held.iter().any(|held| held.path() == directory) {
                held.push(DataDir::take(&directory)?);
            }
        }
    }
    let mut source =
        Source::open(&from, true).await.map_err(|error| failed("cannot be read", &from, &error))?;
    let mut target = Target::open(&to).await.map_err(|error| failed("cannot be filled", &to, &error))?;
    let bar = bar(source.counts());
    while let Some(item) = source.next().await.map_err(|error| failed("cannot be read", &from, &error))? {
        target.put(item).await.map_err(|error| failed("cannot be filled", &to, &error))?;
        bar.inc(1);
    }
    let counts = target.finish().await.map_err(|error| failed("cannot be filled", &to, &error))?;
    bar.finish_and_clear();
    if counts != *source.counts() {
        return Err(Failure::new(format!("{to} does not hold what {from} does")).hint("this is a defect"));
    }
    source.close().await;
    output::line(format_args!("{} were copied from {from} to {to}", told(&counts)));
    Ok(Exit::DONE)
}

/// The database of the configuration, and the data directory.
fn configured(global: &Global) -> Result<(Place, PathBuf), Failure> {
    let (config, data_dir) = config::load(&global.overrides(None), &Variables::of_process())?;
    let place = match config.database()? {
        Some(address) => Place::Server(address),
        None => Place::File(data_dir.join("hostler.db")),
    };
    Ok((place, data_dir))
}

/// A database as an argument names it.
fn named(text: &str) -> Result<Place, Failure> {
    if let Some(path) = text.strip_prefix('@') {
        return Ok(Place::Server(address_in(Path::new(path))?));
    }
    if !text.contains("://") {
        let path = PathBuf::from(text);
        return Ok(Place::File(if path.is_dir() { path.join("hostler.db") } else { path }));
    }
    if Address::has_password(text) {
        return Err(Failure::usage(
            "an address with a password is no argument: others on this computer see it",
        )
        .hint("write it to a file that only you may read, and name that: @FILE"));
    }
    text.parse()
        .map(Place::Server)
        .map_err(|error: hostler_store::OpenError| Failure::usage(error.to_string()))
}

fn kept(data_dir: &Path, name: &str) -> Result<Option<File>, Failure> {
    let path = data_dir.join(name);
    match std::fs::read_to_string(&path) {
        Ok(text) => Ok(Some(File { name: name.to_owned(), text })),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Failure::because(format!("cannot read {}", path.display()), &error)),
    }
}

/// A file that is there already must be the same: another key would make what derives from it useless.
fn refuse_other(data_dir: &Path, file: &File) -> Result<(), Failure> {
    match kept(data_dir, &file.name)? {
        Some(there) if there != *file => {
            let path = data_dir.join(&file.name);
            Err(Failure::new(format!("{} is not that of the backup", path.display()))
                .cause("the data directory belongs to another installation")
                .hint("name an empty one with --data-dir"))
        }
        _ => Ok(()),
    }
}

fn failed(what: &str, place: &Place, error: &StateError) -> Failure {
    Failure::because(format!("{place} {what}"), error)
}

fn told(counts: &Counts) -> String {
    let events = counts.get("event").copied().unwrap_or(0);
    let records = counts.values().sum::<u64>() - events;
    format!("{records} records and {events} events")
}

fn bar(counts: &Counts) -> ProgressBar {
    ProgressBar::new(counts.values().sum()).with_style(style())
}

fn style() -> ProgressStyle {
    ProgressStyle::with_template("{bar:40} {pos}/{len} {elapsed}")
        .unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_no_argument() {
        for text in ["postgres://a:secret@db/x", "postgres://db/x?password=secret", "postgres://a:p@ss@db/x"]
        {
            let failure = named(text).unwrap_err();
            assert!(
                failure.text.contains("no argument") && !failure.to_string().contains("secret"),
                "{failure}"
            );
        }
        assert_eq!(named("postgres://a@db:6000/x").unwrap().to_string(), "x at db:6000");
        assert_eq!(named("./some.db").unwrap().to_string(), "./some.db");
        assert!(named("mysql://db/x").is_err());
    }
}
