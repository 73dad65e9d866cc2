//! Runs a program for the host, without a shell, and reports how it ended.

use crate::base64;
use crate::wire::{Fault, Run};
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// Programs that may run at once.
const RUN_LIMIT: usize = 8;
/// Bytes kept of each output.
const OUTPUT_LIMIT: usize = 256 * 1024;
/// How long output is awaited after the program's end, when others still hold its pipes.
const DRAIN_PATIENCE: Duration = Duration::from_millis(500);

static RUNNING: AtomicUsize = AtomicUsize::new(0);

/// One of the places for running programs; given back when dropped.
#[derive(Debug)]
struct Place;

impl Place {
    fn take() -> Option<Self> {
        let taken =
            RUNNING.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |n| (n < RUN_LIMIT).then_some(n + 1));
        taken.ok().map(|_| Self)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        RUNNING.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Starts the program on a thread of its own; `done` is called there with the outcome.
pub(crate) fn start(
    command: Run,
    done: impl FnOnce(Result<Value, Fault>) + Send + 'static,
) -> Result<(), Fault> {
    let place =
        Place::take().ok_or_else(|| Fault::busy(format!("{RUN_LIMIT} programs are running already")))?;
    let work = move || {
        let outcome = carry_out(&command);
        drop(place);
        done(outcome);
    };
    Builder::new()
        .name("run".into())
        .spawn(work)
        .map_err(|error| Fault::busy(format!("no thread: {error}")))?;
    Ok(())
}

fn carry_out(command: &Run) -> Result<Value, Fault> {
    let until = Instant::now() + Duration::from_millis(command.deadline_ms.min(86_400_000));
    let stdin = base64::decode(&command.stdin).ok_or_else(|| Fault::bad_request("stdin is not base64"))?;
    let (program, arguments) =
        command.argv.split_first().ok_or_else(|| Fault::bad_request("argv is empty"))?;
    let mut child = Command::new(program)
        .args(arguments)
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        // A group of its own, so that the deadline reaches its children too.
        .process_group(0)
        .spawn()
        .map_err(|error| Fault::failed(format!("{program}: {error}")))?;
    let group = i32::try_from(child.id()).unwrap_or_default();
    let (stdout, stderr) = feed_and_collect(&mut child, stdin);
    let (status, timed_out) = wait(child, group, until)?;
    let (stdout, stdout_cut) = collected(&stdout, timed_out);
    let (stderr, stderr_cut) = collected(&stderr, timed_out);
    Ok(json!({
        "status": status.code(),
        "signal": status.signal(),
        "stdout": base64::encode(&stdout),
        "stderr": base64::encode(&stderr),
        "truncated": stdout_cut || stderr_cut,
        "timed_out": timed_out,
    }))
}

/// One piece of output; an empty one says that there was more than is kept.
type Pieces = Receiver<Vec<u8>>;

/// Three threads: one feeds the program, two take what it says, so that no pipe ever blocks it.
fn feed_and_collect(child: &mut Child, bytes: Vec<u8>) -> (Pieces, Pieces) {
    if let Some(mut stdin) = child.stdin.take() {
        // A program that does not read its input is free not to.
        let _ = Builder::new().spawn(move || stdin.write_all(&bytes));
    }
    (pieces(child.stdout.take()), pieces(child.stderr.take()))
}

fn pieces(source: Option<impl Read + Send + 'static>) -> Pieces {
    let (sender, receiver) = channel();
    if let Some(source) = source {
        let _ = Builder::new().spawn(move || pass_on(source, &sender));
    }
    receiver
}

/// Passes on what fits, then reads on and throws away.
fn pass_on(mut source: impl Read, sender: &Sender<Vec<u8>>) {
    let mut left = OUTPUT_LIMIT;
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = match source.read(&mut buffer) {
            Ok(0) => return,
            Ok(length) => length,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(_) => return,
        };
        let kept = length.min(left);
        if kept > 0 {
            left -= kept;
            let _ = sender.send(buffer[..kept].to_vec());
        }
        if kept < length {
            let _ = sender.send(Vec::new());
            // From now on only the first cut matters; the pipe is drained in silence.
            let _ = std::io::copy(&mut source, &mut std::io::sink());
            return;
        }
    }
}

/// What was said. A program may leave a daemon behind that keeps the pipe open for ever: that is not waited for.
fn collected(pieces: &Pieces, hurry: bool) -> (Vec<u8>, bool) {
    let mut all = Vec::new();
    let mut cut = false;
    let until = Instant::now() + if hurry { Duration::from_millis(50) } else { DRAIN_PATIENCE };
    loop {
        match pieces.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(piece) if piece.is_empty() => cut = true,
            Ok(piece) => all.extend_from_slice(&piece),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return (all, cut),
        }
        if cut {
            return (all, cut);
        }
    }
}

/// Waits for the end, at the deadline by force.
fn wait(mut child: Child, group: i32, until: Instant) -> Result<(ExitStatus, bool), Fault> {
    let (sender, ended) = channel();
    let wait = move || {
        let _ = sender.send(child.wait());
    };
    let no_thread = |error| {
        let _ = crate::sys::signal(-group, libc::SIGKILL);
        Fault::busy(format!("no thread: {error}"))
    };
    Builder::new().spawn(wait).map_err(no_thread)?;
    let mut timed_out = false;
    let status = match ended.recv_timeout(until.saturating_duration_since(Instant::now())) {
        Ok(status) => status,
        Err(_) => {
            timed_out = true;
            let _ = crate::sys::signal(-group, libc::SIGKILL);
            ended.recv_timeout(Duration::from_secs(5)).map_err(|_| Fault::failed("it cannot be killed"))?
        }
    };
    let status = status.map_err(|error| Fault::failed(format!("its end was not seen: {error}")))?;
    Ok((status, timed_out))
}

#[cfg(test)]
mod tests {
    use super::{OUTPUT_LIMIT, carry_out};
    use crate::base64;
    use crate::wire::Run;
    use std::time::{Duration, Instant};

    fn run(argv: &[&str], stdin: &[u8], deadline_ms: u64) -> serde_json::Value {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        carry_out(&Run { argv, stdin: base64::encode(stdin), deadline_ms }).unwrap()
    }

    #[test]
    fn a_program_reads_its_input_and_its_output_comes_back() {
        let outcome = run(&["cat"], b"hello", 10_000);
        assert_eq!(outcome["status"], 0);
        assert_eq!(outcome["stdout"], base64::encode(b"hello"));
        let outcome = run(&["sh", "-c", "echo no >&2; exit 3"], b"", 10_000);
        assert_eq!((&outcome["status"], &outcome["stderr"]), (&3.into(), &base64::encode(b"no\n").into()));
    }

    #[test]
    fn output_is_cut_at_its_limit() {
        let outcome = run(&["head", "-c", "1000000", "/dev/zero"], b"", 10_000);
        assert_eq!(outcome["truncated"], true);
        assert_eq!(base64::decode(outcome["stdout"].as_str().unwrap()).unwrap().len(), OUTPUT_LIMIT);
        assert_eq!(outcome["status"], 0);
    }

    #[test]
    fn the_deadline_ends_the_whole_group() {
        let start = Instant::now();
        let outcome = run(&["sh", "-c", "echo begun; sleep 60 | sleep 60"], b"", 200);
        assert!(start.elapsed() < Duration::from_secs(10));
        assert_eq!((&outcome["timed_out"], &outcome["signal"]), (&true.into(), &9.into()));
        assert_eq!(outcome["stdout"], base64::encode(b"begun\n"));
    }

    #[test]
    fn what_cannot_be_run_is_a_fault() {
        for argv in [vec![], vec!["/nowhere/at/all".to_owned()], vec!["a\0b".to_owned()]] {
            assert!(carry_out(&Run { argv, stdin: String::new(), deadline_ms: 1000 }).is_err());
        }
        let bad = Run { argv: vec!["true".to_owned()], stdin: "?".to_owned(), deadline_ms: 1000 };
        assert!(carry_out(&bad).is_err());
    }
}
