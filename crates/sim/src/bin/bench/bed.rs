//! Where the measurement takes place: this computer, the programs that were built, the directory for data.

use crate::table::{Figure, Runs, ms};
use anyhow::{Context, Result, ensure};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Instant;
use tokio::process::Command;

/// What every measurement needs to know.
#[derive(Debug)]
pub(crate) struct Bed {
    /// Data goes here.
    pub(crate) folder: PathBuf,
    /// Less of everything.
    pub(crate) quick: bool,
    programs: PathBuf,
    began: Instant,
}

impl Bed {
    /// Finds the programs that were built with this one.
    pub(crate) fn new(folder: PathBuf, quick: bool) -> Result<Self> {
        let own = std::env::current_exe()?;
        let programs = own.parent().context("this program is in no build directory")?;
        let bed = Self { folder, quick, programs: programs.to_owned(), began: Instant::now() };
        for needed in [bed.real(), bed.simulated(), bed.commits()] {
            ensure!(needed.is_file(), "{} is not built: run scripts/bench", needed.display());
        }
        Ok(bed)
    }

    /// `hostler`.
    pub(crate) fn real(&self) -> PathBuf {
        self.programs.join("hostler")
    }

    /// `hostler-sim`.
    pub(crate) fn simulated(&self) -> PathBuf {
        self.programs.join("hostler-sim")
    }

    /// The store's own example.
    pub(crate) fn commits(&self) -> PathBuf {
        self.programs.join("examples/commits")
    }

    /// The guest agent, where `scripts/build-agent` leaves it.
    pub(crate) fn agent(&self) -> PathBuf {
        self.programs.with_file_name("agent").join("hostler-agent")
    }

    /// One of two numbers.
    pub(crate) fn choose<T>(&self, whole: T, quick: T) -> T {
        if self.quick { quick } else { whole }
    }

    /// Says what is going on.
    pub(crate) fn say(&self, text: &str) {
        eprintln!("[{:>3}s] {text}", self.began.elapsed().as_secs());
    }

    /// A program to be run in the directory, with nothing of our environment but the path.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("RUST_BACKTRACE", "1").current_dir(&self.folder).kill_on_drop(true);
        command
    }

    /// What figures must be read with.
    pub(crate) async fn describe(&self) -> Vec<Figure> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let fsync = self.fsync().map_or_else(|error| error.to_string(), |runs| ms(runs.median()));
        vec![
            Figure::new("processor", format!("{cores} cores, {}", processor())),
            Figure::new("kernel", format!("Linux {}", line("/proc/sys/kernel/osrelease"))),
            Figure::new("rustc", self.version("rustc", "unknown").await),
            Figure::new("QEMU", self.version("qemu-system-x86_64", "not installed").await),
            Figure::new("load average before", load()),
            Figure::new("fsync of 4 KiB", fsync),
        ]
    }

    /// Durable writes of a page in the directory.
    pub(crate) fn fsync(&self) -> Result<Runs> {
        let path = self.folder.join("fsync");
        let file = std::fs::File::create(&path)?;
        file.set_len(1024 * 1024)?;
        file.write_all_at(&[0; 1024 * 1024], 0)?;
        file.sync_all()?;
        let mut runs = Runs::default();
        for place in 0..100 {
            let began = Instant::now();
            file.write_all_at(&[1; 4096], place * 4096)?;
            file.sync_data()?;
            runs.push(began.elapsed());
        }
        std::fs::remove_file(&path)?;
        Ok(runs)
    }

    /// The first line of what a program says to `--version`.
    async fn version(&self, program: &str, missing: &str) -> String {
        let mut command = self.command(Path::new(program));
        // rustup's rustc looks for its toolchain below it.
        command.envs(
            ["HOME", "RUSTUP_HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))),
        );
        match command.arg("--version").output().await {
            Ok(output) if output.status.success() => {
                String::from_utf8_lossy(&output.stdout).lines().next().unwrap_or(missing).to_owned()
            }
            _ => missing.to_owned(),
        }
    }
}

/// The three load averages.
pub(crate) fn load() -> String {
    line("/proc/loadavg").split(' ').take(3).collect::<Vec<_>>().join(" ")
}

fn line(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn processor() -> String {
    let all = line("/proc/cpuinfo");
    let model = all.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or("unknown", |(_, model)| model).to_owned()
}
