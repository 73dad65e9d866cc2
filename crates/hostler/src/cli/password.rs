//! Passwords come from the terminal, from standard input or from a file; never from the arguments, which other users
//! of the computer can see.

use crate::failure::Failure;
use crate::output;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{BufRead, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

/// More is no password.
const MOST: u64 = 4096;

/// Where a password comes from.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct PasswordFrom {
    /// File with the password, its first line; - is standard input [default: ask on the terminal]
    #[arg(long, value_name = "FILE")]
    pub(super) password_file: Option<PathBuf>,
}

impl PasswordFrom {
    /// The password; one that is asked for on the terminal does not show there.
    pub(super) fn read(&self, prompt: &str) -> Result<String, Failure> {
        let unread = |error: std::io::Error| Failure::because("cannot read the password", &error);
        let stdin = std::io::stdin();
        match self.password_file.as_deref() {
            Some(path) if path != Path::new("-") => {
                first_line(std::fs::File::open(path).map_err(unread)?).map_err(unread)
            }
            None if stdin.is_terminal() => {
                // On stderr, so that what is piped on is not disturbed.
                let _ = write!(std::io::stderr(), "{prompt}: ");
                let hidden = Hidden::begin();
                let line = first_line(stdin.lock());
                drop(hidden);
                output::note("");
                line.map_err(unread)
            }
            _ => first_line(stdin.lock()).map_err(unread),
        }
    }
}

fn first_line(from: impl Read) -> std::io::Result<String> {
    let mut line = String::new();
    std::io::BufReader::new(from.take(MOST)).read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// The terminal does not show what is typed, until this is dropped.
struct Hidden(Option<Termios>);

impl Hidden {
    fn begin() -> Self {
        let stdin = std::io::stdin();
        let Ok(before) = tcgetattr(&stdin) else { return Self(None) };
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        let _ = tcsetattr(&stdin, OptionalActions::Now, &quiet);
        Self(Some(before))
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        if let Some(before) = &self.0 {
            let _ = tcsetattr(std::io::stdin(), OptionalActions::Now, before);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::first_line;

    #[test]
    fn the_first_line_counts_without_its_end() {
        assert_eq!(first_line(&b"swordfish \r\nmore"[..]).unwrap(), "swordfish ");
        assert_eq!(first_line(&b""[..]).unwrap(), "");
    }
}
