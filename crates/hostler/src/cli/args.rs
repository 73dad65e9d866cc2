//! The shape of the command line. What single objects can be asked for stands beside the code that asks.

use super::import::ImportCommand;
use super::machine::{MachineCommand, Ssh};
use super::objects::{
    AccountCommand, AddressCommand, AuditArgs, DirectoryCommand, GrantCommand, GroupCommand, HostCommand,
    LoginCommand, MaintenanceCommand, MediumCommand, NetworkCommand, QuotaCommand, SnapshotCommand,
    SshKeyCommand, StorageCommand, TaskCommand, TemplateCommand, TokenCommand, VolumeCommand,
};
use super::pools::{Checkout, Extend, PoolCommand, Return, Tag};
use super::settings::ConfigCommand;
use super::show::units;
use super::state::{BackupFile, StoreCommand};
use crate::config::{Listen, Overrides};
use clap::{Args, Parser, Subcommand, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

const EXAMPLES: &str = "\
Examples:
  hostler serve                                     start the server
  hostler template build micro                      make the smallest template
  hostler machine create --name web --template micro
  hostler ssh web
  hostler pool create ci --template micro --size 3  keep three machines ready
  hostler checkout ci                               have one of them, at once
  hostler doctor                                    what is wrong, and what to do

Exit codes: 0 done, 1 failed, 2 usage, 3 not found, 4 denied, 5 conflict or busy, 6 no capacity";

/// Creates, keeps, lends and takes back virtual machines.
#[derive(Debug, Parser)]
#[command(name = "hostler", version, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) global: Global,
    #[command(subcommand)]
    pub(super) command: Command,
}

/// Options of every command.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Global {
    /// Configuration file [env: HOSTLER_CONFIG] [default: hostler.toml, if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the server keeps everything; its socket is there, too [env: HOSTLER_DATA_DIR]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Ask the server at this address instead of the local one
    #[arg(long, global = true, value_name = "URL", env = "HOSTLER_URL", hide_env_values = true)]
    pub(crate) url: Option<String>,
    /// Token for --url; other users of this computer can see it, so better use the variable or a file
    #[arg(long, global = true, value_name = "TOKEN", env = "HOSTLER_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// File with the token for --url; wins over --token
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// File with the certificates (PEM) that vouch for the server at --url, in place of this computer's
    #[arg(long, global = true, value_name = "FILE", env = "HOSTLER_CA", hide_env_values = true)]
    pub(crate) ca: Option<PathBuf>,
    /// SHA-256 fingerprint of the certificate of the server at --url, which no one else need vouch for
    #[arg(long, global = true, value_name = "HEX", env = "HOSTLER_FINGERPRINT", hide_env_values = true)]
    pub(crate) fingerprint: Option<String>,
    /// How results are shown
    #[arg(long, short, global = true, value_enum, default_value_t, value_name = "FORMAT")]
    pub(crate) output: Format,
}

impl Global {
    /// What the flags say of the configuration.
    pub(crate) fn overrides(&self, listen: Option<Listen>) -> Overrides {
        Overrides { config: self.config.clone(), data_dir: self.data_dir.clone(), listen }
    }
}

/// How results are shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people.
    #[default]
    Table,
    /// For programs: what the API answered.
    Json,
}

/// Whether and how long a command waits for the task it has caused.
#[derive(Args, Clone, Copy, Debug)]
pub(crate) struct Wait {
    /// Wait until it is done (the default)
    #[arg(long, overrides_with = "no_wait")]
    wait: bool,
    /// Do not wait until it is done
    #[arg(long, overrides_with = "wait")]
    no_wait: bool,
    /// Stop waiting after this time, e.g. 90s or 10m; the work goes on
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub(crate) timeout: Option<Duration>,
}

impl Wait {
    /// Whether to wait.
    pub(crate) fn wanted(self) -> bool {
        !self.no_wait
    }
}

/// Which of a list, and in which order.
#[derive(Args, Clone, Debug, Default)]
pub(crate) struct Listing {
    /// Only those that this holds for, e.g. "name CP 'web-%' AND NOT host.name EQ main"
    #[arg(long = "where", value_name = "FILTER")]
    filter: Option<String>,
    /// By these fields, e.g. "host.name desc, name"
    #[arg(long, value_name = "FIELDS")]
    order_by: Option<String>,
}

impl Listing {
    /// The API's parameters for it.
    pub(crate) fn query(self) -> Vec<(&'static str, String)> {
        let given = [("where", self.filter), ("order_by", self.order_by)];
        given.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
    }

    /// The same, in the order of this column unless another is asked for.
    pub(crate) fn query_or(self, order: &str) -> Vec<(&'static str, String)> {
        let order = self.order_by.is_none().then(|| ("order", order.to_owned()));
        self.query().into_iter().chain(order).collect()
    }
}

/// Options of `serve`.
#[derive(Args, Debug)]
pub(super) struct Serve {
    /// Where to listen, HOST:PORT; port 0 means any free one [env: HOSTLER_LISTEN] [default: 127.0.0.1:8889]
    #[arg(long, value_name = "ADDR")]
    pub(super) listen: Option<Listen>,
}

const DOCTOR_EXAMPLES: &str = "\
Examples:
  hostler doctor                      what is wrong
  hostler doctor --dry-run            what --repair would do
  hostler doctor --repair             do it, after asking
  hostler doctor --repair --yes       do it, in a script";

/// Options of `doctor`.
#[derive(Args, Debug)]
pub(super) struct Doctor {
    /// Repair what can be repaired safely, after showing it and asking
    #[arg(long)]
    pub(super) repair: bool,
    /// Only show what would be repaired
    #[arg(long, conflicts_with_all = ["repair", "yes"])]
    pub(super) dry_run: bool,
    /// Do not ask
    #[arg(long, short, requires = "repair")]
    pub(super) yes: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// What can be done.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Start the server
    Serve(Serve),
    /// Say what is wrong and what to do about it
    #[command(after_help = DOCTOR_EXAMPLES)]
    Doctor(Doctor),
    /// Machines: create, start, stop, look at, log in
    #[command(subcommand)]
    Machine(MachineCommand),
    /// Log in to a machine (short for `machine ssh`)
    Ssh(Ssh),
    /// Have machines of pools lent to you
    Checkout(Checkout),
    /// List the machines that are lent to you; an administrator sees everybody's
    Checkouts(Listing),
    /// Give machines back to their pools; they are removed with their disks
    Return(Return),
    /// Have a machine lent to you for longer
    Extend(Extend),
    /// Put tags on a machine that is lent to you
    Tag(Tag),
    /// Pools: machines that stand ready to be lent
    #[command(subcommand)]
    Pool(PoolCommand),
    /// What machines are made from
    #[command(subcommand)]
    Template(TemplateCommand),
    /// ISO images that can be inserted into machines
    #[command(subcommand)]
    Medium(MediumCommand),
    /// Virtual disks
    #[command(subcommand)]
    Volume(VolumeCommand),
    /// States of machines that can be gone back to
    #[command(subcommand)]
    Snapshot(SnapshotCommand),
    /// Networks
    #[command(subcommand)]
    Network(NetworkCommand),
    /// Addresses of networks
    #[command(subcommand)]
    Address(AddressCommand),
    /// Computers that run machines
    #[command(subcommand)]
    Host(HostCommand),
    /// Where images and volumes lie
    #[command(subcommand)]
    Storage(StorageCommand),
    /// Work in the background
    #[command(subcommand)]
    Task(TaskCommand),
    /// Who may come in
    #[command(subcommand)]
    Account(AccountCommand),
    /// Accounts that are granted the same
    #[command(subcommand)]
    Group(GroupCommand),
    /// Public SSH keys that new machines let in
    #[command(subcommand)]
    SshKey(SshKeyCommand),
    /// Tokens for the HTTP API
    #[command(subcommand)]
    Token(TokenCommand),
    /// Who may do what with single objects
    #[command(subcommand)]
    Grant(GrantCommand),
    /// How much anybody may have
    #[command(subcommand)]
    Quota(QuotaCommand),
    /// List who did what
    #[command(
        after_help = "Example:\n  hostler audit --action machine.delete --where \"created_at > '2026-01-01'\""
    )]
    Audit(AuditArgs),
    /// Let nobody change anything for a while
    #[command(subcommand)]
    Maintenance(MaintenanceCommand),
    /// Log in to the server at --url; later commands with that --url need no token
    Login(LoginCommand),
    /// Log out of the server at --url
    Logout,
    /// Directories whose people may come in
    #[command(subcommand)]
    Directory(DirectoryCommand),
    /// Say who the server takes you for
    Whoami,
    /// Show what happens, as it happens
    Events,
    /// Write everything hostler knows to one file, also while the server runs
    #[command(after_help = "Example:\n  hostler backup /backup/hostler-$(date +%F)")]
    Backup(BackupFile),
    /// Fill an empty installation from a backup; no server may be running
    Restore(BackupFile),
    /// Databases
    #[command(subcommand)]
    Store(StoreCommand),
    /// The configuration
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Move from other software
    #[command(subcommand)]
    Import(ImportCommand),
    /// Print a completion script for a shell
    #[command(
        after_help = "Example:\n  hostler completions bash > ~/.local/share/bash-completion/completions/hostler"
    )]
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
}
