//! A real PostgreSQL for tests: a cluster of its own in a temporary directory, on a unix socket, started and stopped
//! at will. It ends with the process that started it, however that ends.
//!
//! Its default collation is that of a language where the server can do so, and never that of bytes: a store that
//! relies on the database's own order is found out.

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Where Debian keeps the servers, one directory for each version.
const INSTALLED: &str = "/usr/lib/postgresql";
/// The server's superuser.
const USER: &str = "postgres";
/// Waits until nobody holds its standard input any more, then leaves nothing behind. Stopped processes do not hear that
/// they shall end, so that the server and its children are let go on first.
const GUARD: &str = r#"read -r _
read -r server < "$2/postmaster.pid" && kill -CONT "$server"
for stat in /proc/[0-9]*/stat; do
    read -r process < "$stat" && case "$process" in
        *") "?" $server "*) kill -CONT "${process%% *}" ;;
    esac
done
"$0"/pg_ctl -D "$2" -m immediate -s -w stop; rm -rf "$2"; rm -rf "$1""#;

/// Whether commits wait for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Care {
    /// They do, as in production.
    Durable,
    /// They do not, which is enough for most tests.
    Fleeting,
}

/// A server that is ours alone.
#[derive(Debug)]
pub struct Server {
    programs: PathBuf,
    /// Its socket and its log.
    home: PathBuf,
    data: PathBuf,
    /// Whom it runs as, where we are root: it refuses to be.
    user: Option<(u32, u32)>,
    databases: AtomicU64,
    /// Ends the server when this is dropped, or when our process ends.
    guard: Mutex<Option<(Child, ChildStdin)>>,
}

impl Server {
    /// The newest server installed here, by its directory of programs.
    pub fn installed() -> Option<PathBuf> {
        let versions = std::fs::read_dir(INSTALLED).ok()?.filter_map(|entry| {
            let path = entry.ok()?.path();
            let version: u32 = path.file_name()?.to_str()?.parse().ok()?;
            path.join("bin/initdb").exists().then(|| (version, path.join("bin")))
        });
        versions.max().map(|(_, programs)| programs)
    }

    /// Makes a cluster and starts it. Blocks for a second or two.
    ///
    /// # Errors
    /// No server is installed, or it does not start; its log is in the error.
    pub fn start(care: Care) -> Result<Self> {
        Self::start_in(&std::env::temp_dir(), care)
    }

    /// The same with its data in a new directory in this one, which all users may pass.
    ///
    /// # Errors
    /// As for [`Server::start`].
    pub fn start_in(place: &Path, care: Care) -> Result<Self> {
        let programs = Self::installed().context("PostgreSQL is not installed")?;
        let user = if rustix::process::geteuid().is_root() { Some(owner()?) } else { None };
        // Names of sockets must be short.
        let home = directory(&std::env::temp_dir(), "postgres")?;
        let data = directory(place, "postgres-data")?;
        for directory in [&home, &data] {
            std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))?;
            if let Some((uid, gid)) = user {
                chown(directory, Some(uid), Some(gid))?;
            }
        }
        let databases = AtomicU64::new(0);
        let server = Self { programs, home, data, user, databases, guard: Mutex::new(None) };
        *server.guard() = Some(server.watch()?);
        server.make(care)?;
        server.start_again()?;
        Ok(server)
    }

    /// The address of a database of this name.
    pub fn url(&self, database: &str) -> String {
        self.url_as(USER, database)
    }

    /// The same for another user, who may have a password: `name:password`.
    pub fn url_as(&self, user: &str, database: &str) -> String {
        format!("postgres://{user}@localhost/{database}?host={}", self.home.display())
    }

    /// A new database, empty or a copy of another, which nobody may be using; answers its address.
    ///
    /// # Errors
    /// What the server says.
    pub fn database(&self, template: Option<&str>) -> Result<String> {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        self.create(&name, template)?;
        Ok(self.url(&name))
    }

    /// A new database of this name.
    ///
    /// # Errors
    /// What the server says.
    pub fn create(&self, name: &str, template: Option<&str>) -> Result<()> {
        // Not template1: nothing else may be connected to it, and who asks twice at once would be.
        let template = template.unwrap_or("template0");
        self.execute("postgres", &format!("CREATE DATABASE {name} TEMPLATE {template}")).map(drop)
    }

    /// Runs a statement as superuser; answers its rows as lines.
    ///
    /// # Errors
    /// What the server says.
    pub fn execute(&self, database: &str, statement: &str) -> Result<String> {
        let mut psql = self.command("psql");
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-U", USER, "-h"]).arg(&self.home);
        output(psql.args(["-d", database, "-c", statement]))
    }

    /// Stops it as a crash would: no checkpoint, no goodbye.
    ///
    /// # Errors
    /// It was not running.
    pub fn stop_at_once(&self) -> Result<()> {
        self.control(&["-m", "immediate", "-w", "stop"])
    }

    /// Starts it again, and waits until it lets clients in.
    ///
    /// # Errors
    /// It does not start; its log is in the error.
    pub fn start_again(&self) -> Result<()> {
        let log = self.home.join("log");
        let started = self.control(&["-w", "-t", "60", "-l", &log.display().to_string(), "start"]);
        started.with_context(|| std::fs::read_to_string(&log).unwrap_or_default())
    }

    /// Stops the time of all its processes: connections stay open and nobody answers.
    ///
    /// # Errors
    /// It is not running.
    pub fn pause(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Lets a paused server go on.
    ///
    /// # Errors
    /// It is not running.
    pub fn go_on(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    /// A setting of the server, from now on.
    ///
    /// # Errors
    /// What the server says.
    pub fn set(&self, setting: &str) -> Result<()> {
        self.execute("postgres", &format!("ALTER SYSTEM SET {setting}"))?;
        self.control(&["reload"])
    }

    /// Who must give a password: everybody who has one of these names.
    ///
    /// # Errors
    /// What the system says.
    pub fn ask_for_password(&self, users: &[&str]) -> Result<()> {
        let rules = format!("local all {} scram-sha-256\nlocal all all trust\n", users.join(","));
        std::fs::write(self.data.join("pg_hba.conf"), rules)?;
        self.control(&["reload"])
    }

    fn make(&self, care: Care) -> Result<()> {
        let mut initdb = self.command("initdb");
        initdb.args(["-N", "-A", "trust", "-U", USER, "-E", "UTF8", "--no-instructions", "-D"]);
        initdb.arg(&self.data).arg("--locale=C.UTF-8");
        let version: u32 = self.version().unwrap_or(0);
        if version >= 15 {
            initdb.args(["--locale-provider=icu", "--icu-locale=en"]);
        }
        output(&mut initdb)?;
        let durable = if care == Care::Durable { "on" } else { "off" };
        let settings = format!(
            "listen_addresses = ''\nunix_socket_directories = '{}'\nmax_connections = 200\n\
             shared_buffers = 32MB\nautovacuum_naptime = 5s\nfsync = {durable}\nsynchronous_commit = {durable}\n\
             full_page_writes = {durable}\n",
            self.home.display()
        );
        let path = self.data.join("postgresql.conf");
        let known = std::fs::read_to_string(&path)?;
        Ok(std::fs::write(&path, known + &settings)?)
    }

    fn version(&self) -> Option<u32> {
        self.programs.parent()?.file_name()?.to_str()?.parse().ok()
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let mut control = self.command("pg_ctl");
        // The server keeps what it inherits, and whoever reads the other end would wait for it.
        control.arg("-s").arg("-D").arg(&self.data).args(arguments).stdout(Stdio::null());
        let errors = self.home.join("errors");
        let status = control.stderr(std::fs::File::create(&errors)?).stdin(Stdio::null()).status()?;
        ensure!(status.success(), "pg_ctl {}: {}", arguments.join(" "), std::fs::read_to_string(&errors)?);
        Ok(())
    }

    /// The first line of the pid file is the server's; all others are its children.
    fn signal(&self, signal: Signal) -> Result<()> {
        let file = std::fs::read_to_string(self.data.join("postmaster.pid"))?;
        let server: i32 = file.lines().next().unwrap_or_default().parse()?;
        for entry in std::fs::read_dir("/proc")? {
            let name = entry?.file_name();
            let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
            if (pid == server || parent(pid) == Some(server))
                && let Some(pid) = Pid::from_raw(pid)
            {
                // It may have ended meanwhile.
                let _ = kill_process(pid, signal);
            }
        }
        Ok(())
    }

    fn watch(&self) -> Result<(Child, ChildStdin)> {
        let mut guard = self.plain(Path::new("/bin/sh"));
        // A group of its own, so that Ctrl-C ends us and not the guard.
        guard.arg("-c").arg(GUARD).arg(&self.programs).arg(&self.home).arg(&self.data).process_group(0);
        let mut guard = guard.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let stdin = guard.stdin.take().context("the guard has no standard input")?;
        Ok((guard, stdin))
    }

    fn guard(&self) -> std::sync::MutexGuard<'_, Option<(Child, ChildStdin)>> {
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn command(&self, program: &str) -> Command {
        self.plain(&self.programs.join(program))
    }

    #[expect(clippy::disallowed_methods, reason = "the environment is cleared here")]
    fn plain(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        command.current_dir("/");
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some((mut guard, stdin)) = self.guard().take() {
            drop(stdin);
            let _ = guard.wait();
        }
    }
}

/// The owner of Debian's own cluster, or nobody.
fn owner() -> Result<(u32, u32)> {
    if let Ok(facts) = std::fs::metadata("/var/lib/postgresql")
        && facts.uid() != 0
    {
        return Ok((facts.uid(), facts.gid()));
    }
    Ok((65534, 65534))
}

fn directory(place: &Path, name: &str) -> Result<PathBuf> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = place.join(format!("hostler-{name}-{}-{count}", std::process::id()));
        match std::fs::create_dir(&path) {
            Ok(()) => return Ok(path),
            // Left by a process that was killed and had our number.
            Err(cause) if cause.kind() == std::io::ErrorKind::AlreadyExists => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// The parent of a process: the second field after its name, which may hold anything but ends with the last bracket.
fn parent(pid: i32) -> Option<i32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    fields.split_whitespace().nth(1)?.parse().ok()
}

fn output(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output()?;
    if !output.status.success() {
        bail!("{}: {}", command.get_program().display(), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Care, Server};
    use anyhow::Context;
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    use rustix::process::{Pid, PidfdFlags, pidfd_open};

    #[test]
    fn a_server_that_stands_still_is_ended_too() -> anyhow::Result<()> {
        if Server::installed().is_none() {
            eprintln!("SKIPPED: PostgreSQL is not installed");
            assert!(std::env::var_os("CI").is_none(), "CI must have PostgreSQL");
            return Ok(());
        }
        let server = Server::start(Care::Fleeting)?;
        let file = std::fs::read_to_string(server.data.join("postmaster.pid"))?;
        let pid = Pid::from_raw(file.lines().next().unwrap_or_default().parse()?).context("a process")?;
        let process = pidfd_open(pid, PidfdFlags::empty())?;
        let (home, data) = (server.home.clone(), server.data.clone());
        server.pause()?;
        drop(server);
        assert!(!home.exists() && !data.exists());
        // It removes its files shortly before it ends.
        let patience = Timespec { tv_sec: 60, tv_nsec: 0 };
        assert_eq!(poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience))?, 1);
        Ok(())
    }
}
