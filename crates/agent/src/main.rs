//! The guest's side of hostler: a small static program that answers one virtio-serial port.
//!
//! A machine gets its identity (name, keys, addresses, clock, randomness) from the host that runs it, over a channel
//! of its own and never over the network. This program is the guest's end of that channel. It also is the first
//! process of the "micro" template, where there is nothing else that could mount file systems or obey the power
//! button.
//!
//! * [`serve`] owns the port; [`wire`] says what goes over it.
//! * [`facts`], [`identity`] (with [`network`], [`dhcp`], [`ssh`], [`login`]) and [`run`] are what it can be asked for.
//! * [`init`] is the first process of micro; it starts this program again as its child, which may fail and be
//!   started anew, while the first process may not.
//! * [`root`] is the first process of templates with a system on their disk: it finds the disk and hands over.
//! * [`sys`] holds every system call that Rust's library does not offer, and all `unsafe` code.
//!
//! What comes over the port is trusted to be the host's, but never to be well formed: garbage is answered with an
//! error and skipped.

mod base64;
mod cloud;
mod dhcp;
mod facts;
mod files;
mod identity;
mod init;
mod login;
mod netlink;
mod network;
mod power;
mod root;
mod run;
mod serve;
mod ssh;
mod sys;
mod wire;

use std::process::ExitCode;

/// Name that the agent gives itself.
pub(crate) const NAME: &str = "hostler-agent";
/// Version of the agent.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Where the agent runs, which decides what it must take care of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A system with an init of its own, which starts the SSH server and obeys the power button.
    System,
    /// The micro template: whatever is needed, we start it.
    Micro,
}

fn main() -> ExitCode {
    let word = std::env::args().nth(1);
    let program = std::env::args().next().unwrap_or_default();
    let first = std::process::id() == 1;
    let outcome = match word.as_deref() {
        Some("init") => init::run(),
        // The kernel passes words of its command line that it does not know to the first process.
        _ if first && program.ends_with("init") => init::run(),
        Some("micro") => serve::run(Place::Micro),
        None | Some("serve") => serve::run(Place::System),
        Some("--version") => {
            say(&format!("{NAME} {VERSION}\n"));
            return ExitCode::SUCCESS;
        }
        Some(other) => {
            Err(std::io::Error::other(format!("unknown word {other:?}; use serve, micro or init")))
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("{NAME}: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to the standard output; on micro that is the console.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    // A console that nobody reads is no reason to stop.
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}

/// Writes to the standard error.
pub(crate) fn complain(text: &str) {
    use std::io::Write;
    let _ = std::io::stderr().write_all(text.as_bytes());
}
