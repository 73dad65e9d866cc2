//! The command line: starts the server, or talks to a running one as any client does.
//!
//! Every command but `serve`, `backup`, `restore`, `store`, `config`, `import`, `completions` and, when no server runs, `doctor` is a few requests to the
//! native HTTP API: over the unix socket of the data directory, or to `--url`. Errors go to stderr as `error:`,
//! `cause:` and `hint:`; [`Exit`] lists the exit codes.

mod args;
mod client;
mod doctor;
mod import;
mod machine;
mod objects;
mod password;
mod pools;
mod settings;
mod show;
mod state;

use crate::config::{self, Variables};
use crate::failure::{Exit, Failure};
use crate::serve::DriverFactory;
use crate::{output, serve};
use args::{Cli, Command, Global};
use clap::error::ErrorKind;
use clap::{CommandFactory, FromArgMatches};
use client::Client;
use show::Show;
use std::process::ExitCode;

/// What a command that asks a server works with.
pub(crate) struct Session {
    pub(crate) client: Client,
    pub(crate) show: Show,
}

/// The whole program: parses the arguments, does what they say, and answers with an exit code.
pub fn main_with(drivers: &dyn DriverFactory) -> ExitCode {
    // Only one provider is linked in, but it has to be chosen; an error means that somebody did already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match parse(drivers.program()) {
        Ok(cli) => match run(cli, drivers) {
            Ok(exit) => exit.into(),
            Err(failure) => {
                output::note(&failure);
                failure.exit.into()
            }
        },
        Err(error) => {
            let usage = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
            // Nobody is left to be told when it cannot be printed.
            let _ = error.print();
            if usage { Exit::USAGE.into() } else { Exit::DONE.into() }
        }
    }
}

fn parse(program: &'static str) -> Result<Cli, clap::Error> {
    let matches = Cli::command().name(program).bin_name(program).try_get_matches()?;
    Cli::from_arg_matches(&matches)
}

fn run(cli: Cli, drivers: &dyn DriverFactory) -> Result<Exit, Failure> {
    let Cli { global, command } = cli;
    match command {
        Command::Serve(serve) => {
            let variables = Variables::of_process();
            let (config, data_dir) = config::load(&global.overrides(serve.listen), &variables)?;
            serve::serve(&config, &data_dir, &variables, drivers)?;
            Ok(Exit::DONE)
        }
        Command::Config(command) => settings::config(&command, &global, drivers),
        Command::Import(command) => block_on(import::import(&command, &global)),
        Command::Completions { shell } => {
            settings::completions(shell, drivers.program());
            Ok(Exit::DONE)
        }
        Command::Backup(file) => block_on(state::backup(&global, &file)),
        Command::Restore(file) => block_on(state::restore(&global, &file)),
        Command::Store(command) => block_on(state::store(&command)),
        Command::Doctor(ask) => block_on(doctor::doctor(&global, &ask, drivers)),
        command => block_on(async { ask(command, &global).await }),
    }
}

async fn ask(command: Command, global: &Global) -> Result<Exit, Failure> {
    let session = Session { client: Client::new(global)?, show: Show::new(global.output) };
    match command {
        Command::Machine(command) => machine::run(&session, command).await,
        Command::Ssh(ssh) => machine::ssh(&session, ssh).await,
        Command::Pool(command) => pools::pool(&session, command).await,
        Command::Checkout(ask) => pools::checkout(&session, ask).await,
        Command::Checkouts(listing) => pools::checkouts(&session, listing).await,
        Command::Return(ask) => pools::give_back(&session, ask).await,
        Command::Extend(ask) => pools::extend(&session, ask).await,
        Command::Tag(ask) => pools::tag(&session, ask).await,
        Command::Template(command) => objects::template(&session, command).await,
        Command::Medium(command) => objects::medium(&session, command).await,
        Command::Volume(command) => objects::volume(&session, command).await,
        Command::Snapshot(command) => objects::snapshot(&session, command).await,
        Command::Network(command) => objects::network(&session, command).await,
        Command::Address(command) => objects::address(&session, command).await,
        Command::Host(command) => objects::host(&session, command).await,
        Command::Storage(command) => objects::storage(&session, command).await,
        Command::Task(command) => objects::task(&session, command).await,
        Command::Login(command) => objects::login(&session, global, command).await,
        Command::Logout => objects::logout(&session, global).await,
        Command::Account(command) => objects::account(&session, command).await,
        Command::Group(command) => objects::group(&session, command).await,
        Command::SshKey(command) => objects::ssh_key(&session, command).await,
        Command::Token(command) => objects::token(&session, command).await,
        Command::Grant(command) => objects::grant(&session, command).await,
        Command::Quota(command) => objects::quota(&session, command).await,
        Command::Audit(args) => objects::audit(&session, args).await,
        Command::Maintenance(command) => objects::maintenance(&session, command).await,
        Command::Directory(command) => objects::directory(&session, command).await,
        Command::Whoami => objects::whoami(&session).await,
        Command::Events => objects::events(&session).await,
        Command::Serve(_)
        | Command::Backup(_)
        | Command::Restore(_)
        | Command::Store(_)
        | Command::Config(_)
        | Command::Import(_)
        | Command::Completions { .. }
        | Command::Doctor(_) => Ok(Exit::DONE),
    }
}

/// Runs a client's command. A read of the terminal may still hang at the end; nobody waits for it.
fn block_on(command: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::because("cannot start", &error))?;
    let done = runtime.block_on(command);
    runtime.shutdown_background();
    done
}

#[cfg(test)]
mod tests;
