//! Serves a new pair when its files change.
//!
//! Both files are rarely replaced at one instant: what is new is read once it has not changed between two looks.

use super::pair::Pair;
use super::{Files, Tls};
use hostler_core::Core;
use hostler_core::doctor::Finding;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Between two looks at the files.
const PAUSE: Duration = Duration::from_secs(1);

/// How a file can be told from the one before: device, inode, size, and times in nanoseconds. None while it is missing.
type Mark = Option<(u64, u64, u64, (i64, i64), (i64, i64))>;

/// Looks whether the files have changed, until it is told to stop.
pub(crate) struct Keeper {
    tls: Tls,
    core: Core,
    /// As the files were when what is served, or the last refusal, was read.
    read: [Mark; 2],
    /// As they were at the last look.
    seen: [Mark; 2],
    /// What was read last cannot be served; the doctor has been told.
    broken: bool,
}

impl Keeper {
    pub(crate) fn new(tls: Tls, core: Core) -> Self {
        let marks = marks(&tls.files);
        let keeper = Self { tls, core, read: marks, seen: marks, broken: false };
        keeper.tell();
        keeper
    }

    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.core.clock().sleep(PAUSE) => self.look(),
            }
        }
    }

    fn tell(&self) {
        if !self.broken {
            self.core.doctor_note(self.tls.finding(self.core.clock().now()));
        }
    }

    fn look(&mut self) {
        let marks = marks(&self.tls.files);
        let settled = marks == self.seen;
        self.seen = marks;
        if !settled || marks == self.read {
            // A certificate runs out without a change of its file.
            return self.tell();
        }
        self.read = marks;
        match Pair::read(&self.tls.files) {
            Ok(pair) => {
                self.tls.served.replace(pair);
                tracing::info!(fingerprint = self.tls.fingerprint(), "serving a new certificate");
                self.broken = false;
                self.tell();
            }
            Err(failure) => {
                tracing::error!(error = failure.text, causes = ?failure.causes, "the new certificate cannot be used; the old one goes on");
                let hint = "put both files right; they are read again when they change";
                let why = failure.causes.join(": ");
                let finding = Finding::problem("tls", failure.text).hint(hint);
                self.broken = true;
                self.core.doctor_note(if why.is_empty() { finding } else { finding.because(why) });
            }
        }
    }
}

fn marks(files: &Files) -> [Mark; 2] {
    [mark(&files.certificate), mark(&files.key)]
}

fn mark(path: &Path) -> Mark {
    let meta = std::fs::metadata(path).ok()?;
    let (changed, inner) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    Some((meta.dev(), meta.ino(), meta.size(), changed, inner))
}
