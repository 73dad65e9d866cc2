//! `config` and `completions`: what needs no server.

use super::args::{Cli, Format, Global};
use crate::config::{self, Config, Variables};
use crate::failure::{Exit, Failure};
use crate::output;
use crate::serve::{self, DriverFactory};
use clap::{CommandFactory, Subcommand};
use serde::Serialize;
use std::path::PathBuf;

/// What can be asked of the configuration.
#[derive(Clone, Copy, Debug, Subcommand)]
pub(super) enum ConfigCommand {
    /// Print a complete example with comments; every value in it is the default
    #[command(after_help = "Example:\n  hostler config example > hostler.toml")]
    Example,
    /// Check the configuration, environment included, and say what counts
    Check,
}

#[derive(Serialize)]
struct Checked {
    data_dir: PathBuf,
    config: Config,
}

pub(super) fn config(
    command: &ConfigCommand,
    global: &Global,
    drivers: &dyn DriverFactory,
) -> Result<Exit, Failure> {
    match command {
        ConfigCommand::Example => output::bytes(config::EXAMPLE.as_bytes()),
        ConfigCommand::Check => {
            let (config, data_dir) = config::load(&global.overrides(None), &Variables::of_process())?;
            drivers.check(&config)?;
            let database = config.database()?;
            serve::check_tls(&config.tls)?;
            serve::check_outside(&config, &Variables::of_process())?;
            match global.output {
                Format::Json => output::json(&Checked { data_dir, config }),
                Format::Table => {
                    output::line("the configuration is fine");
                    output::line(format_args!("listen    {}", config.listen));
                    output::line(format_args!("data_dir  {}", data_dir.display()));
                    if let Some(database) = database {
                        output::line(format_args!("store     {database}"));
                    }
                    for oidc in &config.oidc {
                        output::line(format_args!("oidc      {} at {}", oidc.name, oidc.issuer));
                    }
                    for ldap in &config.ldap {
                        output::line(format_args!("ldap      {} at {}", ldap.name, ldap.url));
                    }
                }
            }
        }
    }
    Ok(Exit::DONE)
}

pub(super) fn completions(shell: clap_complete::Shell, program: &str) {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), program, &mut script);
    output::bytes(&script);
}
