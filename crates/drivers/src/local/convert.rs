//! `qemu-img` as a child: told the format, held within limits, with nothing of ours in its environment.

use crate::durable::io_failed;
use crate::spawn::{Confinement, Limits, Reach, confined};
use hostler_core::ports::{DriverError, DriverErrorKind, Progress};
use hostler_core::templates::SourceFormat;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Address space of a child, a generous multiple of what conversions take.
pub(super) const MEMORY: u64 = 4 * GIB;
/// What we keep of its complaints.
const WORDS: u64 = 4096;

/// Copies an image that was inspected into a new qcow2 image. `source` is read through this very descriptor.
pub(super) async fn convert(
    qemu_img: &Path,
    source: File,
    format: SourceFormat,
    to: &Path,
    max_mib: u64,
    progress: &Progress,
) -> Result<(), DriverError> {
    progress.report(0.0, "converting the image");
    let Some(word) = qemu_word(format) else {
        return Err(DriverError::refused("an archive is no disk"));
    };
    let arguments = ["convert", "-p", "-f", word, "-O", "qcow2", "/proc/self/fd/0"].map(OsStr::new);
    let arguments: Vec<&OsStr> = arguments.into_iter().chain([to.as_os_str()]).collect();
    // Tables add less than an eighth, whatever the cluster size.
    let file_bytes =
        max_mib.saturating_mul(MIB).saturating_add(max_mib.saturating_mul(MIB / 8)).saturating_add(GIB);
    let limits = Limits {
        file_bytes: Some(file_bytes),
        memory_bytes: Some(MEMORY),
        cpu_s: Some(4 * 3600),
        files: None,
    };
    // By the descriptor: whatever its name stands for by now, the child reaches the file that was looked at.
    let readable = vec![format!("/proc/self/fd/{}", source.as_raw_fd()).into()];
    let reach = Reach { readable, writable: to.parent().map(Path::to_owned).into_iter().collect() };
    let kept = source.try_clone().map_err(|error| io_failed("cannot open the image", &error))?;
    let child = Child { stdin: Stdio::from(source), limits, reach, kept: Some(kept) };
    run(qemu_img, &arguments, child, |percent| {
        progress.report(0.9 * percent / 100.0, "converting the image");
    })
    .await
}

/// What `qemu-img -f` calls a format.
fn qemu_word(format: SourceFormat) -> Option<&'static str> {
    match format {
        SourceFormat::Raw => Some("raw"),
        SourceFormat::Qcow2 => Some("qcow2"),
        SourceFormat::Vmdk => Some("vmdk"),
        SourceFormat::Vhdx => Some("vhdx"),
        SourceFormat::Vhd => Some("vpc"),
        SourceFormat::Ova => None,
    }
}

/// Changes the virtual size of a volume of ours.
pub(super) async fn resize(qemu_img: &Path, volume: &Path, bytes: u64) -> Result<(), DriverError> {
    let size = bytes.to_string();
    let arguments =
        [OsStr::new("resize"), OsStr::new("-f"), OsStr::new("qcow2"), volume.as_os_str(), OsStr::new(&size)];
    let limits = Limits { memory_bytes: Some(MEMORY), cpu_s: Some(600), ..Limits::default() };
    run(qemu_img, &arguments, Child::on(volume, limits), |_| {}).await
}

/// What the child is given besides its arguments.
pub(super) struct Child {
    stdin: Stdio,
    limits: Limits,
    reach: Reach,
    /// Keeps a descriptor open that the reach names.
    kept: Option<File>,
}

impl Child {
    /// One that works on a volume of ours, and may read the images that volumes stand on.
    pub(super) fn on(volume: &Path, limits: Limits) -> Self {
        let root = volume.parent().and_then(Path::parent);
        let images = root.map(|root| root.join("images")).filter(|images| images.is_dir());
        let reach = Reach { readable: images.into_iter().collect(), writable: vec![volume.to_owned()] };
        Self { stdin: Stdio::null(), limits, reach, kept: None }
    }
}

/// Runs it to its end; killed when the caller gives up.
pub(super) async fn run(
    qemu_img: &Path,
    arguments: &[&OsStr],
    child: Child,
    report: impl FnMut(f64) + Send,
) -> Result<(), DriverError> {
    let Child { stdin, limits, reach, kept } = child;
    let confinement = Confinement { limits, reach: Some(reach), ..Confinement::default() };
    let mut command =
        confined(qemu_img, confinement).map_err(|error| io_failed("cannot confine qemu-img", &error))?;
    drop(kept);
    command.args(arguments).current_dir("/").stdin(stdin).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = tokio::process::Command::from(command)
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| io_failed(format!("cannot run {}", qemu_img.display()), &error))?;
    let (output, errors) = (child.stdout.take(), child.stderr.take());
    let ((), words, status) = tokio::join!(follow(output, report), collect(errors), child.wait());
    let status = status.map_err(|error| io_failed("lost qemu-img", &error))?;
    if status.success() { Ok(()) } else { Err(complaint(&words, &status.to_string())) }
}

/// `qemu-img -p` prints `    (12.34/100%)` again and again, with a carriage return between.
async fn follow(output: Option<impl AsyncRead + Unpin>, mut report: impl FnMut(f64)) {
    let Some(mut output) = output else { return };
    let (mut text, mut buffer, mut last) = (String::new(), [0; 256], -1.0);
    while let Ok(read @ 1..) = output.read(&mut buffer).await {
        text.push_str(&String::from_utf8_lossy(&buffer[..read]));
        if let Some(percent) = last_percent(&text).filter(|percent| *percent > last) {
            last = percent;
            report(percent);
        }
        // What follows the last carriage return may be half a number.
        text = text.rsplit('\r').next().filter(|rest| rest.len() < 64).unwrap_or_default().to_owned();
    }
}

fn last_percent(text: &str) -> Option<f64> {
    let (before, _) = text.rsplit_once("/100%)")?;
    let percent: f64 = before.rsplit_once('(')?.1.trim().parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent)
}

async fn collect(errors: Option<impl AsyncRead + Unpin>) -> String {
    let mut words = Vec::new();
    if let Some(mut errors) = errors {
        let _ = (&mut errors).take(WORDS).read_to_end(&mut words).await;
        // Read on, so that it does not hang on a full pipe.
        let _ = tokio::io::copy(&mut errors, &mut tokio::io::sink()).await;
    }
    String::from_utf8_lossy(&words).trim().replace('\n', "; ")
}

fn complaint(words: &str, status: &str) -> DriverError {
    let told = if words.is_empty() { format!("qemu-img ended with {status}") } else { words.to_owned() };
    if told.contains("No space left") || told.contains("Disk quota exceeded") {
        return DriverError::new(DriverErrorKind::Exhausted, format!("the storage is full: {told}"));
    }
    if told.contains("Failed to get") && told.contains("lock") {
        return DriverError::refused(format!("the volume is in use: {told}"));
    }
    DriverError::refused(told)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_qemu_img_prints() {
        assert_eq!(last_percent("    (0.00/100%)\r    (12.50/100%)\r"), Some(12.5));
        assert_eq!(last_percent("    (12.5"), None);
        assert_eq!(last_percent("(nan/100%)"), None);
    }

    /// The second fence: an image that got past the inspector still reads nothing of the host's.
    #[tokio::test]
    async fn the_child_reaches_no_other_file() {
        let Some(qemu_img) = crate::local::test_world::qemu_img() else { return };
        if let Some(why) = crate::spawn::landlock_problem() {
            eprintln!("SKIPPED: nothing fences children in: {why}");
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        let (inside, outside) = (directory.path().join("inside"), directory.path().join("outside"));
        std::fs::create_dir(&inside).unwrap();
        std::fs::write(&outside, vec![7; 1 << 20]).unwrap();
        let evil = directory.path().join("evil.qcow2");
        let backing = crate::local::overlay::Lower {
            path: outside.to_str().unwrap().into(),
            format: hostler_core::templates::ImageFormat::Raw,
        };
        let progress = Progress::ignored();
        for (backing, good) in [(Some(&backing), false), (None, true)] {
            std::fs::write(&evil, crate::local::overlay::empty_image(1 << 20, backing).unwrap()).unwrap();
            let source = File::open(&evil).unwrap();
            let to = inside.join("disk.qcow2");
            let done = convert(&qemu_img, source, SourceFormat::Qcow2, &to, 1, &progress).await;
            assert_eq!(done.is_ok(), good, "{done:?}");
        }
    }

    /// CVE-2026-24708: the format is what was decided, never what the first bytes say, before growing and after it.
    #[tokio::test]
    async fn a_header_at_the_beginning_of_a_raw_disk_is_only_bytes() {
        let Some(qemu_img) = crate::local::test_world::qemu_img() else { return };
        let directory = tempfile::tempdir().unwrap();
        let inside = directory.path().join("volumes");
        std::fs::create_dir(&inside).unwrap();
        let (evil, volume) = (directory.path().join("evil.raw"), inside.join("volume.qcow2"));
        std::fs::write(directory.path().join("secret"), vec![0x5e; 1 << 20]).unwrap();
        let backing = crate::local::overlay::Lower {
            path: directory.path().join("secret").to_str().unwrap().into(),
            format: hostler_core::templates::ImageFormat::Raw,
        };
        std::fs::write(&evil, crate::local::overlay::empty_image(1 << 20, Some(&backing)).unwrap()).unwrap();
        // The inspector refuses it earlier; this is what holds behind the inspector, with a fence or without.
        let source = File::open(&evil).unwrap();
        convert(&qemu_img, source, SourceFormat::Raw, &volume, 1, &Progress::ignored()).await.unwrap();
        resize(&qemu_img, &volume, 4 << 20).await.unwrap();
        let seen = directory.path().join("seen.raw");
        let mut read = crate::spawn::unconfined(&qemu_img);
        read.args(["convert", "-f", "qcow2", "-O", "raw"]).args([&volume, &seen]);
        assert!(read.status().unwrap().success());
        let seen = std::fs::read(seen).unwrap();
        assert_eq!(seen.len(), 4 << 20);
        assert!(seen.starts_with(&std::fs::read(&evil).unwrap()), "the header is no longer content");
        // What is no volume of ours is not taken for one, whatever a guess would make of it.
        let foreign = inside.join("foreign");
        std::fs::write(&foreign, vec![1; 1 << 20]).unwrap();
        let error = resize(&qemu_img, &foreign, 4 << 20).await.unwrap_err();
        assert!(error.detail.contains("qcow2"), "{error}");
        assert_eq!(foreign.metadata().unwrap().len(), 1 << 20);
    }

    #[test]
    fn a_full_disk_is_told_apart() {
        let full = "qemu-img: error while writing at byte 0: No space left on device";
        assert_eq!(complaint(full, "").kind, DriverErrorKind::Exhausted);
        assert_eq!(complaint("", "exit status: 1").kind, DriverErrorKind::Refused);
    }
}
