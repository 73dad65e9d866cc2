//! Owns the port: finds it, reads requests, sends answers.
//!
//! One thread reads; whatever takes time ([`run`](crate::run)) has a thread of its own and writes its answer itself.
//! Nobody may be connected at the other end for days: then the reader sleeps in the kernel and costs nothing. It is
//! woken by the first byte, also in a machine that was forked from a sleeping one.

use crate::wire::{self, Fault, Line, Lines, Request};
use crate::{NAME, Place, complain, facts, files, identity, power, run, sys};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Name of our port on the virtio-serial bus.
const PORT: &str = "org.hostler.0";
/// How long one answer may wait for the host to read it.
const WRITE_PATIENCE: Duration = Duration::from_secs(30);

/// Serves the port for ever.
pub(crate) fn run(place: Place) -> io::Result<()> {
    let port = open_port()?;
    let watch = sys::Watch::new(&port)?;
    let replies = Replies::new(port.try_clone()?);
    let mut state = identity::State::new(place);
    let mut lines = Lines::default();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match (&port).read(&mut buffer) {
            // Nobody is connected; what was begun will not be finished.
            Ok(0) => {
                lines.clear();
                watch.wait()?;
            }
            Ok(length) => {
                for line in lines.push(&buffer[..length]) {
                    answer(&line, &mut state, &replies);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => watch.wait()?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Carries out one line and sees to its answer.
fn answer(line: &Line, state: &mut identity::State, replies: &Arc<Replies>) {
    let (id, request) = match line {
        Line::Whole(line) => wire::parse(line),
        Line::TooLong => (None, Err(Fault::bad_request("the line is too long"))),
    };
    let outcome = match request {
        Ok(Request::Ping) => Ok(json!({})),
        Ok(Request::Sync { token }) => Ok(json!({ "token": token })),
        Ok(Request::Facts) => Ok(facts::gather()),
        Ok(Request::Identify(wanted)) => identity::take(state, &wanted),
        Ok(Request::Run(command)) => {
            let later = Arc::clone(replies);
            match run::start(command, move |outcome| later.send(id, &outcome)) {
                Ok(()) => return,
                Err(fault) => Err(fault),
            }
        }
        // The answer goes first: afterwards there may be nobody left to send it.
        Ok(Request::PowerOff) => return end(sys::Ending::PowerOff, id, state.place, replies),
        Ok(Request::Reboot) => return end(sys::Ending::Reboot, id, state.place, replies),
        Err(fault) => Err(fault),
    };
    replies.send(id, &outcome);
    state.finish();
}

fn end(how: sys::Ending, id: Option<u64>, place: Place, replies: &Replies) {
    replies.send(id, &Ok(json!({})));
    if let Err(error) = power::ask(how, place) {
        complain(&format!("{NAME}: cannot end the machine: {error}\n"));
    }
}

/// The sending side of the port, shared by all who answer.
#[derive(Debug)]
struct Replies {
    port: Mutex<Sender>,
}

#[derive(Debug)]
struct Sender {
    port: File,
    /// The last answer was cut short; the next one starts on a line of its own.
    torn: bool,
}

impl Replies {
    fn new(port: File) -> Arc<Self> {
        Arc::new(Self { port: Mutex::new(Sender { port, torn: false }) })
    }

    /// Sends one answer. Dropped when nobody reads it: the host asks again if it still wants to know.
    fn send(&self, id: Option<u64>, outcome: &Result<Value, Fault>) {
        let mut line = wire::render(id, outcome);
        let mut sender = self.port.lock().unwrap_or_else(PoisonError::into_inner);
        if sender.torn {
            line.insert(0, b'\n');
        }
        sender.torn = sender.write(&line).is_err();
    }
}

impl Sender {
    fn write(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.port.write(bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if !sys::wait_writable(&self.port, WRITE_PATIENCE)? {
                        return Err(io::ErrorKind::BrokenPipe.into());
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Opens our port as soon as there is one. Without the device (a machine that is not run by hostler) this waits for
/// ever, looking seldom.
fn open_port() -> io::Result<File> {
    let mut looks = 0_u32;
    loop {
        if let Some(path) = find_port() {
            let opened = File::options().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&path);
            match opened {
                Ok(port) => return Ok(port),
                Err(error) if looks > 100 => {
                    return Err(io::Error::new(error.kind(), format!("{}: {error}", path.display())));
                }
                Err(_) => {}
            }
        }
        looks = looks.saturating_add(1);
        // At boot the device appears within milliseconds of its driver, and every one of them counts.
        let pause = if looks < 1000 { Duration::from_millis(3) } else { Duration::from_secs(5) };
        std::thread::sleep(pause);
    }
}

/// Where the port is: under the name that udev gives it, or else (micro has no udev) found by asking each port.
fn find_port() -> Option<PathBuf> {
    let named = PathBuf::from(format!("/dev/virtio-ports/{PORT}"));
    if named.exists() {
        return Some(named);
    }
    let ports = fs::read_dir("/sys/class/virtio-ports").ok()?;
    let found = ports.flatten().find(|port| files::text(port.path().join("name")) == PORT)?;
    Some(PathBuf::from("/dev").join(found.file_name()))
}
