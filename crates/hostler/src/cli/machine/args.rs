//! What can be asked for about machines.

use super::rules;
use crate::cli::args::{Listing, Wait};
use crate::cli::show::units;
use clap::{Args, Subcommand};
use hostler_doors::native::types::InboundRule;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// What can be done with machines. A machine is named by its name, number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum MachineCommand {
    /// Make a machine and start it
    Create(Box<Create>),
    /// List machines
    #[command(visible_alias = "ls")]
    List(List),
    /// Show everything about a machine
    Show {
        /// The machine
        machine: String,
    },
    /// Turn a machine on
    Start(Change),
    /// Ask a machine to turn itself off; cut its power if it does not
    Stop(Forceful),
    /// Stop a machine and start it again
    Restart(Forceful),
    /// Press the reset button
    Reset(Change),
    /// Let a machine stand still, keeping its memory
    Pause(Change),
    /// Let a paused machine go on
    Resume(Change),
    /// Remove machines for good, with their disks
    #[command(visible_alias = "rm")]
    Delete(Delete),
    /// Change description, labels or size
    Edit(Edit),
    /// Change CPUs and memory; a machine that is on can only grow
    Resize(Resize),
    /// Put a medium into the CD drive
    Insert(Insert),
    /// Empty the CD drive
    Eject(Forceful),
    /// Network cards
    #[command(subcommand)]
    Nic(NicCommand),
    /// Talk to a machine's serial console; Ctrl-] leaves it
    Console {
        /// The machine
        machine: String,
    },
    /// Print what a machine has written to its serial console
    Log(Log),
    /// Run a command inside a machine, through its agent
    #[command(
        after_help = "The exit code is the command's.\n\nExample:\n  hostler machine run web -- uname -a"
    )]
    Run(Run),
    /// Log in to a machine
    Ssh(Ssh),
}

/// Options of `machine create`.
#[derive(Args, Debug)]
#[command(after_help = "\
Examples:
  hostler machine create --template micro
  hostler machine create --name db --template debian-12 --vcpus 2 --memory 2G --disk 20G --label team=core")]
pub(in crate::cli) struct Create {
    /// Host name; one is made up when left out
    #[arg(long, short)]
    pub(super) name: Option<String>,
    /// What people call it [default: the host name]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) title: String,
    /// The full name asked for it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) domain: String,
    /// Account whose it shall be; for administrators
    #[arg(long, value_name = "ACCOUNT")]
    pub(super) owner: Option<String>,
    /// File with the administrator's password inside, for templates with cloud-init; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
    /// What it is made from: name, name@version, number or id
    #[arg(long, short)]
    pub(super) template: String,
    /// Virtual CPUs [default: the template's]
    #[arg(long, value_name = "COUNT")]
    pub(super) vcpus: Option<u32>,
    /// Memory, e.g. 512M or 2G [default: the template's]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    pub(super) memory: Option<u64>,
    /// Size of its disk, e.g. 20G [default: the template's]
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    pub(super) disk: Option<u64>,
    /// Network [default: the first one]
    #[arg(long)]
    pub(super) network: Option<String>,
    /// Address on it; repeatable, one of each family [default: the next free ones]
    #[arg(long = "address", value_name = "IP")]
    pub(super) addresses: Vec<IpAddr>,
    /// Public SSH key or a file with some; repeatable [default: ~/.ssh/*.pub]
    #[arg(long = "ssh-key", value_name = "FILE|KEY")]
    pub(super) ssh_keys: Vec<String>,
    /// Let in no SSH key
    #[arg(long, conflicts_with = "ssh_keys")]
    pub(super) no_ssh_key: bool,
    /// File with cloud-init user data; - for standard input
    #[arg(long, value_name = "FILE")]
    pub(super) user_data: Option<PathBuf>,
    /// Words about it
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(super) description: String,
    /// A label; repeatable
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(super) labels: Vec<(String, String)>,
    /// Do not start it
    #[arg(long)]
    pub(super) no_start: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Options of `machine list`.
#[derive(Args, Debug)]
pub(in crate::cli) struct List {
    /// Only machines with this in their name
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Only machines seen in this power state: on, off, paused, unknown
    #[arg(long, value_name = "STATE")]
    power: Option<String>,
    /// Only machines made from this template
    #[arg(long)]
    template: Option<String>,
    /// Also machines that are gone but still on record
    #[arg(long)]
    all: bool,
    /// At most so many
    #[arg(long, value_name = "COUNT")]
    pub(super) limit: Option<usize>,
    #[command(flatten)]
    listing: Listing,
}

impl List {
    /// The API's parameters for it.
    pub(super) fn filters(&self) -> Vec<(&'static str, String)> {
        let given = [("name", &self.name), ("observed", &self.power), ("template", &self.template)];
        let given = given.into_iter().filter_map(|(name, value)| Some((name, value.clone()?)));
        let given = given.chain(self.all.then(|| ("gone", "true".to_owned())));
        given.chain(self.listing.clone().query()).collect()
    }
}

/// Options of verbs that just change the power.
#[derive(Args, Debug)]
pub(in crate::cli) struct Change {
    /// The machine
    pub(super) machine: String,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Options of verbs that ask the guest first.
#[derive(Args, Debug)]
pub(in crate::cli) struct Forceful {
    /// The machine
    pub(super) machine: String,
    /// Cut the power at once instead of asking the guest
    #[arg(long, short)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Options of `machine delete`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Delete {
    /// The machines
    #[arg(required = true, value_name = "MACHINE")]
    pub(super) machines: Vec<String>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Options of `machine edit`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Edit {
    /// The machine
    pub(super) machine: String,
    /// What people call it; empty for the host name
    #[arg(long)]
    pub(super) title: Option<String>,
    /// The full name asked for it
    #[arg(long)]
    pub(super) domain: Option<String>,
    /// Words about it
    #[arg(long)]
    pub(super) description: Option<String>,
    /// A label; repeatable; replaces all it has
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = label)]
    pub(super) labels: Vec<(String, String)>,
    /// Take all labels away
    #[arg(long, conflicts_with = "labels")]
    pub(super) no_labels: bool,
    /// Virtual CPUs; only more while it is on
    #[arg(long, value_name = "COUNT")]
    pub(super) vcpus: Option<u32>,
    /// Memory, e.g. 2G; only more while it is on
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    pub(super) memory: Option<u64>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Options of `machine resize`.
#[derive(Args, Debug)]
#[command(after_help = "Example:\n  hostler machine resize web --vcpus 2 --memory 2G")]
pub(in crate::cli) struct Resize {
    /// The machine
    pub(super) machine: String,
    /// Virtual CPUs
    #[arg(long, value_name = "COUNT", required_unless_present = "memory")]
    pub(super) vcpus: Option<u32>,
    /// Memory, e.g. 2G; added in steps of 128M while it is on
    #[arg(long, value_name = "SIZE", value_parser = units::parse_mib)]
    pub(super) memory: Option<u64>,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// Options of `machine insert`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Insert {
    /// The machine
    pub(super) machine: String,
    /// The medium, in place of what is in the drive
    pub(super) medium: String,
    /// Also when the guest has locked the drive
    #[arg(long, short)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) wait: Wait,
}

/// What can be done with network cards.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NicCommand {
    /// Give a machine another card
    Add {
        /// The machine
        machine: String,
        /// Network [default: the first one]
        #[arg(long)]
        network: Option<String>,
        /// Its address [default: the next free one, on networks that give out addresses]
        #[arg(long)]
        address: Option<IpAddr>,
        /// Its MAC [default: one is made up]
        #[arg(long)]
        mac: Option<String>,
        #[command(flatten)]
        wait: Wait,
    },
    /// Take a card from a machine
    #[command(visible_alias = "rm")]
    Remove {
        /// The machine
        machine: String,
        /// The card's MAC
        mac: String,
        #[command(flatten)]
        wait: Wait,
    },
    /// Show or set what others may begin to send to a card on a bridge
    Inbound(Inbound),
}

/// Options of `machine nic inbound`.
#[derive(Args, Debug)]
#[command(after_help = "\
With neither rules nor --all nor --none it shows what holds. Answers always come through.
A rule is PROTOCOL[/PORT[-PORT]][@ADDRESS[/BITS]]; the protocol is tcp, udp or icmp.

Examples:
  hostler machine nic inbound web 52:54:00:12:34:56
  hostler machine nic inbound web 52:54:00:12:34:56 tcp/22@10.0.0.0/8 tcp/8000-8080 icmp
  hostler machine nic inbound web 52:54:00:12:34:56 --none")]
pub(in crate::cli) struct Inbound {
    /// The machine
    pub(super) machine: String,
    /// The card's MAC
    pub(super) mac: String,
    /// Let in what one of these rules says, and nothing else; they replace those before
    #[arg(value_name = "RULE", value_parser = rules::parse)]
    pub(super) rules: Vec<InboundRule>,
    /// Let everything in
    #[arg(long, conflicts_with = "rules")]
    pub(super) all: bool,
    /// Let nothing in but answers
    #[arg(long, conflicts_with_all = ["rules", "all"])]
    pub(super) none: bool,
}

/// Options of `machine log`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Log {
    /// The machine
    pub(super) machine: String,
    /// Only so many of the last bytes
    #[arg(long, value_name = "COUNT", default_value_t = 1 << 20, hide_default_value = true)]
    pub(super) bytes: u32,
    /// Go on with what it writes from now on
    #[arg(long, short)]
    pub(super) follow: bool,
}

/// Options of `machine run`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Run {
    /// The machine
    pub(super) machine: String,
    /// Give it our standard input, at most 256 KiB
    #[arg(long, short = 'i')]
    pub(super) stdin: bool,
    /// End it after this time, at most 10m
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = units::parse_duration)]
    pub(super) deadline: Duration,
    /// Program and arguments; no shell is involved
    #[arg(required = true, last = true, value_name = "COMMAND")]
    pub(super) argv: Vec<String>,
}

/// Options of `ssh`.
#[derive(Args, Debug)]
#[command(after_help = "\
The machine's host key is known beforehand, so nothing is trusted on first use. The exit code is ssh's.

Examples:
  hostler ssh web
  hostler ssh web -- systemctl status
  hostler ssh web -- -L 8080:localhost:80 -N")]
pub(in crate::cli) struct Ssh {
    /// The machine
    pub(super) machine: String,
    /// Log in as
    #[arg(long, short = 'l', default_value = "root", value_name = "USER")]
    pub(super) login: String,
    /// Private key to use [default: what ssh finds]
    #[arg(long, short = 'i', value_name = "FILE")]
    pub(super) identity: Option<PathBuf>,
    /// Command to run there, or further arguments of ssh
    #[arg(last = true, value_name = "COMMAND")]
    pub(super) arguments: Vec<String>,
}

fn label(text: &str) -> Result<(String, String), String> {
    let (key, value) =
        text.split_once('=').ok_or_else(|| format!("`{text}` is no label: write KEY=VALUE"))?;
    Ok((key.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(subcommand)]
        command: MachineCommand,
    }

    fn parse(line: &str) -> MachineCommand {
        Line::try_parse_from(line.split(' ')).unwrap().command
    }

    #[test]
    fn sizes_labels_and_waiting_are_understood() {
        let line = "machine create -t micro --memory 1G --label a=b --label c=d=e --no-wait --timeout 2m";
        let MachineCommand::Create(create) = parse(line) else { panic!("another command") };
        assert_eq!(create.memory, Some(1024));
        assert_eq!(create.labels, [("a".into(), "b".into()), ("c".into(), "d=e".into())]);
        assert!(!create.wait.wanted());
        let MachineCommand::Start(start) = parse("machine start a") else { panic!("another command") };
        assert!(start.wait.wanted());
    }

    #[test]
    fn what_comes_after_two_dashes_is_left_alone() {
        let line = "machine ssh web -l me -- -L 80:a:80 ls --all";
        let MachineCommand::Ssh(ssh) = parse(line) else { panic!("another command") };
        assert_eq!(ssh.login, "me");
        assert_eq!(ssh.arguments, ["-L", "80:a:80", "ls", "--all"]);
    }
}
