//! `import`: what other software was told becomes hostler's configuration.

use super::args::{Format, Global};
use super::client::Client;
use crate::failure::{Exit, Failure};
use crate::import::{self, Imported, MOST_BYTES, OldToken, Report};
use crate::output;
use clap::{Args, Subcommand};
use hostler_doors::native::types::{Password, TokenCreate, TokenCreated};
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
  hostler import vmpooler --tokens tokens.json                 once the server runs and people have accounts

The configuration goes to stdout, the report to stderr. Passwords and tokens are in neither.";

/// Options of `import vmpooler`.
#[derive(Args, Clone, Debug)]
pub(super) struct Vmpooler {
    /// vmpooler's configuration, of any version
    #[arg(value_name = "FILE", required_unless_present = "tokens")]
    file: Option<PathBuf>,
    /// What a template is called here; the last part of its path otherwise
    #[arg(long = "template", value_name = "OLD=NEW", value_parser = renamed, requires = "file")]
    templates: Vec<(String, String)>,
    /// Write the configuration to this new file
    #[arg(long, value_name = "FILE", requires = "file")]
    to: Option<PathBuf>,
    /// Write the report to this file
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Have the server take over vmpooler's tokens from its export; again, for those that it could not
    #[arg(long, value_name = "EXPORT")]
    tokens: Option<PathBuf>,
}

fn renamed(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((old, new)) if !old.is_empty() && !new.is_empty() => Ok((old.to_owned(), new.to_owned())),
        _ => Err("say OLD=NEW".to_owned()),
    }
}

pub(super) async fn import(command: &ImportCommand, global: &Global) -> Result<Exit, Failure> {
    let ImportCommand::Vmpooler(ask) = command;
    let imported = ask.file.as_deref().map(|file| configuration(file, &ask.templates)).transpose()?;
    let moved = match &ask.tokens {
        Some(path) => Some(tokens(path, &Client::new(global)?).await?),
        None => None,
    };
    let reports = [imported.as_ref().map(|imported| &imported.report), moved.as_ref()];
    let report = reports.into_iter().flatten().map(Report::to_string).collect::<Vec<_>>().join("\n");
    if let Some(path) = &ask.report {
        std::fs::write(path, &report)
            .map_err(|error| Failure::because(format!("cannot write {}", path.display()), &error))?;
    }
    if let (Some(imported), Some(path)) = (&imported, &ask.to) {
        create(path, &imported.config)?;
    } else if global.output == Format::Json {
        let config = imported.as_ref().map(|imported| &imported.config);
        output::json(
            &serde_json::json!({ "config": config, "reports": reports.into_iter().flatten().collect::<Vec<_>>() }),
        );
        return Ok(Exit::DONE);
    } else if let Some(imported) = &imported {
        output::bytes(imported.config.as_bytes());
    }
    if ask.report.is_none() {
        output::error_bytes(report.as_bytes());
    }
    Ok(Exit::DONE)
}

fn configuration(file: &Path, templates: &[(String, String)]) -> Result<Imported, Failure> {
    let text = read(file).map_err(|why| Failure::new(format!("cannot read {}: {why}", file.display())))?;
    let templates: BTreeMap<String, String> = templates.iter().cloned().collect();
    let folder = file.parent().unwrap_or(Path::new(""));
    let further = |name: &str| read(&folder.join(name));
    import::vmpooler(&file.display().to_string(), &text, &templates, &further)
        .map_err(|error| Failure::new(error.to_string()))
}

/// Has the server take over tokens, one by one. Whoever has no account yet keeps theirs for another time.
async fn tokens(path: &Path, client: &Client) -> Result<Report, Failure> {
    let text = read(path).map_err(|why| Failure::new(format!("cannot read {}: {why}", path.display())))?;
    let all = import::tokens(&text).map_err(|why| Failure::new(format!("{}:{why}", path.display())))?;
    let mut report = Report::default();
    if all.1 > 0 {
        report.left("tokens", format!("{} entries are no tokens, or name nobody", all.1));
    }
    for OldToken { secret, user, created } in all.0 {
        let made = if created.is_empty() { String::new() } else { format!(", made at {created}") };
        let ask = TokenCreate {
            description: format!("of vmpooler{made}").chars().take(100).collect(),
            account: Some(user.clone()),
            secret: Some(Password(secret)),
            ..TokenCreate::default()
        };
        let key = format!("a token of {user}");
        match client.post::<TokenCreated>(&["tokens"], &ask).await {
            Ok(_) => report.taken(&key, format!("it counts now{made}")),
            Err(failure) if failure.exit == Exit::NOT_FOUND => {
                let text = "there is no such account yet: make one, or let them log in once; then say --tokens again";
                report.due(&key, text);
            }
            Err(failure) if failure.exit == Exit::CONFLICT => report.left(&key, failure.text),
            // Of one token; anything else holds for all.
            Err(failure) if failure.exit == Exit::USAGE => report.left(&key, failure.text),
            Err(failure) => return Err(failure),
        }
    }
    Ok(report)
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
