//! `mmdebstrap` as a child: followed while it works, ended with all of its own children when nobody waits any more.

use super::sources::Sources;
use crate::durable::io_failed;
use crate::micro::failed;
use crate::spawn::{end_with_us, resolve_binary, unconfined};
use hostler_core::ports::{DriverError, DriverErrorKind, Progress};
use rustix::process::{Pid, Signal};
use std::collections::VecDeque;
use std::ffi::OsString;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// A slow mirror and an emulated processor together take less.
const PATIENCE: Duration = Duration::from_secs(2 * 3600);
/// What is shown of the words of a build that failed.
const LAST_LINES: usize = 12;
const LONGEST_LINE: usize = 400;

/// What the system consists of beside Debian's essential packages.
const PACKAGES: [&str; 18] = [
    "ca-certificates",
    "cloud-init",
    "dbus",
    "e2fsprogs",
    "iproute2",
    "iputils-ping",
    "kmod",
    "less",
    "libpam-systemd",
    "linux-image-cloud-amd64",
    "netbase",
    "openssh-server",
    "procps",
    "qemu-guest-agent",
    "sudo",
    "systemd-resolved",
    "systemd-sysv",
    "udev",
];
/// Texts that nobody reads in a guest; licences stay.
const LEFT_OUT: [&str; 5] = [
    "path-exclude=/usr/share/man/*",
    "path-exclude=/usr/share/locale/*",
    "path-include=/usr/share/locale/locale.alias",
    "path-exclude=/usr/share/doc/*",
    "path-include=/usr/share/doc/*/copyright",
];
const SETUP: &str = include_str!("setup.sh");

/// Tools with the packages that bring them; `fakeroot` and `newuidmap` only for who is not root.
const TOOLS: [(&str, &str, bool); 5] = [
    ("mmdebstrap", "mmdebstrap", false),
    ("mke2fs", "e2fsprogs", false),
    ("qemu-img", "qemu-utils", false),
    ("fakeroot", "fakeroot", true),
    ("newuidmap", "uidmap", true),
];

/// Refuses early, naming all that is missing.
pub(super) fn examine() -> Result<(), DriverError> {
    let root = rustix::process::geteuid().is_root();
    let is_there = |tool: &str| {
        let places = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(Path::new);
        places.iter().any(|place| place.join(tool).is_file()) || resolve_binary(Path::new(tool)).is_absolute()
    };
    let wanted = TOOLS.iter().filter(|(_, _, only_without_root)| !(root && *only_without_root));
    let missing: Vec<&str> =
        wanted.filter(|(tool, _, _)| !is_there(tool)).map(|(_, package, _)| *package).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(DriverError::unsupported(format!(
        "the build needs Debian packages that are not installed: {}",
        missing.join(", ")
    )))
}

/// One run.
#[derive(Debug)]
pub(super) struct Bootstrap<'a> {
    pub(super) suite: &'a str,
    /// The static agent.
    pub(super) agent: &'a Path,
    /// The archive to be made.
    pub(super) archive: &'a Path,
    /// A directory for what is needed meanwhile.
    pub(super) work: &'a Path,
}

impl Bootstrap<'_> {
    /// Runs it. Progress goes from 0 to 0.8.
    pub(super) async fn run(&self, sources: &Sources, progress: &Progress) -> Result<(), DriverError> {
        let root = rustix::process::geteuid().is_root();
        let setup = self.work.join("setup.sh");
        let cache = self.work.parent().unwrap_or(self.work).join(".cache").join(self.suite);
        let prepared = std::fs::write(&setup, SETUP).and_then(|()| std::fs::create_dir_all(&cache));
        prepared.map_err(|error| failed(self.work, &error))?;
        let mut command = if root {
            // Alone in its room: whoever it starts ends when it does.
            let mut command = unconfined(Path::new("unshare"));
            command.args(["--pid", "--fork", "--kill-child=KILL", "mmdebstrap"]);
            command.env("TMPDIR", self.work);
            command
        } else {
            unconfined(Path::new("mmdebstrap"))
        };
        command.args(self.arguments(root, sources, &setup, &cache)?);
        command.env("HOME", "/nonexistent").current_dir("/");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let end = if root { Signal::KILL } else { Signal::TERM };
        end_with_us(&mut command, end);
        let mut child = tokio::process::Command::from(command)
            .spawn()
            .map(|child| Child { child, end })
            .map_err(|error| io_failed("cannot run mmdebstrap", &error))?;
        let mut words = Words::default();
        let stderr = child.child.stderr.take();
        let followed = async {
            follow(stderr, &mut words, progress).await;
            child.child.wait().await
        };
        let status = tokio::time::timeout(PATIENCE, followed)
            .await
            .map_err(|_| DriverError::timeout("mmdebstrap took longer than two hours"))?
            .map_err(|error| io_failed("lost mmdebstrap", &error))?;
        if status.success() { Ok(()) } else { Err(words.complaint(&status.to_string())) }
    }

    fn arguments(
        &self,
        root: bool,
        sources: &Sources,
        setup: &Path,
        cache: &Path,
    ) -> Result<Vec<OsString>, DriverError> {
        let mut arguments: Vec<String> = vec![
            "--verbose".into(),
            format!("--mode={}", if root { "root" } else { "unshare" }),
            "--variant=minbase".into(),
            "--format=tar".into(),
            format!("--include={}", PACKAGES.join(",")),
            "--aptopt=APT::Install-Recommends \"false\"".into(),
            "--aptopt=Acquire::Languages \"none\"".into(),
            "--aptopt=Acquire::Retries \"3\"".into(),
        ];
        arguments.extend(sources.settings.iter().map(|setting| format!("--aptopt={setting}")));
        arguments.extend(LEFT_OUT.iter().map(|option| format!("--dpkgopt={option}")));
        // Packages of earlier builds go in before, all that were used come out after.
        let (agent, setup, cache) = (quoted(self.agent)?, quoted(setup)?, quoted(cache)?);
        arguments.extend([
            "--skip=download/empty".into(),
            "--skip=essential/unlink".into(),
            "--setup-hook=mkdir -p \"$1/var/cache/apt/archives\"".into(),
            format!("--setup-hook=sync-in {cache} /var/cache/apt/archives"),
            format!("--customize-hook=upload {agent} /usr/sbin/hostler-agent"),
            format!("--customize-hook=upload {setup} /root/setup"),
            "--customize-hook=chroot \"$1\" sh /root/setup".into(),
            format!("--customize-hook=sync-out /var/cache/apt/archives {cache}"),
            "--".into(),
            self.suite.into(),
        ]);
        let mut arguments: Vec<OsString> = arguments.into_iter().map(Into::into).collect();
        arguments.push(self.archive.into());
        arguments.extend(sources.lines.iter().map(Into::into));
        Ok(arguments)
    }
}

/// A word for the shell that reads hooks.
fn quoted(path: &Path) -> Result<String, DriverError> {
    let text = path.to_str().filter(|text| !text.contains('\n'));
    let text = text.ok_or_else(|| DriverError::refused("the data directory's path is not plain text"))?;
    Ok(format!("'{}'", text.replace('\'', "'\\''")))
}

/// Ends it when dropped. In a room of its own all its children end with it; without one it has to clean up itself.
#[derive(Debug)]
struct Child {
    child: tokio::process::Child,
    end: Signal,
}

impl Drop for Child {
    fn drop(&mut self) {
        // None once it has been waited for.
        let Some(pid) = self.child.id().and_then(|id| i32::try_from(id).ok()) else { return };
        if let Some(pid) = Pid::from_raw(pid) {
            let _ = rustix::process::kill_process(pid, self.end);
        }
    }
}

/// Its last lines, and how far it is.
#[derive(Debug, Default)]
struct Words {
    last: VecDeque<String>,
    packages: usize,
    done: usize,
    fraction: f64,
}

impl Words {
    /// Takes note of a line; answers what it is at now, if that has changed.
    fn hear(&mut self, line: &str) -> Option<(f64, String)> {
        let line: String = line.trim().chars().filter(|c| !c.is_control()).take(LONGEST_LINE).collect();
        if line.is_empty() {
            return None;
        }
        let step = self.step(&line);
        self.last.push_back(line);
        if self.last.len() > LAST_LINES {
            self.last.pop_front();
        }
        let (fraction, message) = step?;
        // Some steps come twice; a bar that goes back says nothing.
        self.fraction = self.fraction.max(fraction);
        Some((self.fraction, message))
    }

    fn step(&mut self, line: &str) -> Option<(f64, String)> {
        if let Some(said) = line.strip_prefix("I: ") {
            let steps = [
                ("running apt-get update", 0.02, "asking for packages"),
                ("downloading packages", 0.05, "fetching packages"),
                ("extracting archives", 0.1, "unpacking the essential packages"),
                ("installing essential", 0.12, "installing the essential packages"),
                ("installing remaining", 0.2, "installing packages"),
                ("running special hook: upload", 0.7, "making a guest of it"),
                ("cleaning package lists", 0.74, "cleaning up"),
                ("creating tarball", 0.76, "writing the archive"),
            ];
            let (_, fraction, message) = steps.iter().find(|(start, _, _)| said.starts_with(start))?;
            return Some((*fraction, (*message).to_owned()));
        }
        if let Some(count) =
            line.split_once(" newly installed").and_then(|(before, _)| before.rsplit(' ').next())
        {
            self.packages = count.parse().unwrap_or(0);
            self.done = 0;
            return None;
        }
        let (fetched, unpacked, set_up) =
            (line.starts_with("Get:"), line.starts_with("Unpacking "), line.starts_with("Setting up "));
        if self.packages == 0 || !(fetched || unpacked || set_up) || self.fraction < 0.2 {
            return None;
        }
        self.done += 1;
        let part = (self.done as f64 / (3 * self.packages) as f64).min(1.0);
        let name = line.split_whitespace().nth(if set_up { 2 } else { 1 }).unwrap_or_default();
        let message = match (fetched, unpacked) {
            (true, _) => "fetching packages".to_owned(),
            (_, true) => format!("unpacking {name}"),
            _ => format!("setting up {name}"),
        };
        Some((0.2 + 0.5 * part, message))
    }

    fn complaint(&self, status: &str) -> DriverError {
        let last: Vec<&str> = self.last.iter().map(String::as_str).collect();
        let told = last.join("\n");
        let kind = if told.contains("No space left on device") {
            DriverErrorKind::Exhausted
        } else {
            DriverErrorKind::Refused
        };
        DriverError::new(kind, format!("mmdebstrap failed ({status}); its last words:\n{told}"))
    }
}

async fn follow(output: Option<impl AsyncRead + Unpin>, words: &mut Words, progress: &Progress) {
    let Some(output) = output else { return };
    let mut output = BufReader::new(output);
    let mut line = Vec::new();
    loop {
        line.clear();
        match output.read_until(b'\n', &mut line).await {
            Ok(1..) => {}
            _ => return,
        }
        if let Some((fraction, message)) = words.hear(&String::from_utf8_lossy(&line)) {
            progress.report(fraction, &message);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_is_said_and_never_goes_back() {
        let mut words = Words::default();
        let said = [
            "I: running apt-get update...",
            "I: installing remaining packages inside the chroot...",
            "0 upgraded, 2 newly installed, 0 to remove and 0 not upgraded.",
            "Get:1 http://mirror.example a",
            "Unpacking a (1) ...",
            "Setting up a (1) ...",
            "I: downloading packages with apt...",
            "I: creating tarball...",
        ];
        let heard: Vec<(f64, String)> = said.iter().filter_map(|line| words.hear(line)).collect();
        assert!(heard.is_sorted_by(|a, b| a.0 <= b.0), "{heard:?}");
        assert_eq!(heard.len(), 7);
        assert!(heard.iter().any(|(_, message)| message == "setting up a"));
    }

    #[test]
    fn a_failure_has_the_last_words() {
        let mut words = Words::default();
        for number in 0..100 {
            words.hear(&format!("line {number}\u{1b}"));
        }
        words.hear("E: mmdebstrap failed to run");
        let error = words.complaint("exit status: 1");
        assert!(error.detail.ends_with("line 99\nE: mmdebstrap failed to run"), "{error}");
        assert!(!error.detail.contains("line 50"));
    }

    #[test]
    fn no_path_becomes_a_command() {
        assert_eq!(quoted(Path::new("/a b/'; rm -rf /")).unwrap(), "'/a b/'\\''; rm -rf /'");
        assert!(quoted(Path::new("/a\nb")).is_err());
    }
}
