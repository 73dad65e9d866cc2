//! Runs the distribution's tools: cleared environment, bounded time, and failures that say what to do.

use hostler_core::ports::{DriverError, DriverErrorKind};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// No tool takes longer; a mirror that hangs does.
const PATIENCE: Duration = Duration::from_secs(600);

/// A tool with its arguments.
#[derive(Debug)]
pub(crate) struct Command {
    program: OsString,
    arguments: Vec<OsString>,
    directory: PathBuf,
}

impl Command {
    pub(crate) fn new(program: impl AsRef<OsStr>) -> Self {
        Self { program: program.as_ref().to_owned(), arguments: vec![], directory: "/".into() }
    }

    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    pub(crate) fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.as_ref().to_owned()));
        self
    }

    pub(crate) fn directory(mut self, directory: &Path) -> Self {
        directory.clone_into(&mut self.directory);
        self
    }

    /// As a person would type it, shortened.
    fn text(&self) -> String {
        let words = std::iter::once(&self.program).chain(&self.arguments);
        let text: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
        let mut text: String = text.join(" ").chars().take(200).collect();
        if text.len() >= 200 {
            text.push('…');
        }
        text
    }
}

/// Runs a tool to its end and returns what it wrote to its standard output.
pub(crate) async fn run(command: Command) -> Result<Vec<u8>, DriverError> {
    // Tools for file systems lie where only administrators look.
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places =
        std::env::split_paths(&path).chain(["/usr/sbin", "/sbin", "/usr/bin", "/bin"].map(PathBuf::from));
    let child = tokio::process::Command::new(&command.program)
        .args(&command.arguments)
        .current_dir(&command.directory)
        .env_clear()
        .env("PATH", std::env::join_paths(places).unwrap_or(path))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = match tokio::time::timeout(PATIENCE, child).await {
        Ok(Ok(output)) => output,
        Ok(Err(error)) => {
            let detail = format!("cannot run `{}`: {error}; is it installed?", command.text());
            return Err(DriverError::new(DriverErrorKind::Refused, detail));
        }
        Err(_) => return Err(DriverError::timeout(format!("`{}` took too long", command.text()))),
    };
    if output.status.success() {
        return Ok(output.stdout);
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it said nothing");
    let detail = format!("`{}` failed ({}): {}", command.text(), output.status, last.trim());
    Err(DriverError::new(DriverErrorKind::Refused, detail))
}
