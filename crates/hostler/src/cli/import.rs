//! `import`: what other software was told becomes hostler's configuration.

use super::args::{Format, Global};
use crate::failure::{Exit, Failure};
use crate::import::{self, MOST_BYTES};
use crate::output;
use clap::{Args, Subcommand};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What can be moved from.
#[derive(Clone, Debug, Subcommand)]
pub(super) enum ImportCommand {
    /// Turn vmpooler.yaml into hostler's configuration, and say what became of each part
    #[command(after_help = VMPOOLER)]
    Vmpooler(Vmpooler),
}

const VMPOOLER: &str = "\
Examples:
  hostler import vmpooler vmpooler.yaml                        see what would become of it
  hostler import vmpooler vmpooler.yaml --to hostler.toml --report moved.txt
  hostler import vmpooler vmpooler.yaml --template templates/debian-12-x86_64=debian-12
  hostler config check --config hostler.toml

The configuration goes to stdout, the report to stderr. Passwords are in neither.";

/// Options of `import vmpooler`.
#[derive(Args, Clone, Debug)]
pub(super) struct Vmpooler {
    /// vmpooler's configuration, of any version
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// What a template is called here; the last part of its path otherwise
    #[arg(long = "template", value_name = "OLD=NEW", value_parser = renamed)]
    templates: Vec<(String, String)>,
    /// Write the configuration to this new file
    #[arg(long, value_name = "FILE")]
    to: Option<PathBuf>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
}

fn renamed(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("say OLD=NEW".to_owned()),
    }
}

pub(super) fn import(command: &ImportCommand, global: &Global) -> Result<Exit, Failure> {
    let ImportCommand::Vmpooler(ask) = command;
    let text =
        read(&ask.file).map_err(|why| Failure::new(format!("cannot read {}: {why}", ask.file.display())))?;
    let templates: BTreeMap<String, String> = ask.templates.iter().cloned().collect();
    let folder = ask.file.parent().unwrap_or(Path::new(""));
    let further = |name: &str| read(&folder.join(name));
    let imported = import::vmpooler(&ask.file.display().to_string(), &text, &templates, &further)
        .map_err(|error| Failure::new(error.to_string()))?;
    if let Some(path) = &ask.report {
        std::fs::write(path, imported.report.to_string())
            .map_err(|error| Failure::because(format!("cannot write {}", path.display()), &error))?;
    }
    match (&ask.to, global.output) {
        (Some(path), _) => create(path, &imported.config)?,
        (None, Format::Json) => {
            output::json(&imported);
            return Ok(Exit::DONE);
        }
        (None, Format::Table) => output::bytes(imported.config.as_bytes()),
    }
    if ask.report.is_none() {
        output::error_bytes(imported.report.to_string().as_bytes());
    }
    Ok(Exit::DONE)
}

/// A file of somebody else's, as far as it may be read at all.
fn read(path: &Path) -> Result<String, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    file.take(MOST_BYTES as u64 + 1).read_to_end(&mut bytes).map_err(|error| error.to_string())?;
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// A new file, since a configuration that is there may be in use.
fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let made = File::options().write(true).create_new(true).mode(0o640).open(path);
    made.and_then(|mut file| file.write_all(text.as_bytes())).map_err(|error| {
        let failure = Failure::because(format!("cannot write {}", path.display()), &error);
        match error.kind() {
            ErrorKind::AlreadyExists => failure.hint("name a file that is not there yet"),
            _ => failure,
        }
    })
}
