//! `machine console`: the serial console on this terminal.

use crate::cli::Session;
use crate::failure::Failure;
use crate::output;
use reqwest::{Method, Upgraded};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcsetattr};
use std::io::{IsTerminal, Read};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

/// Ctrl-], as telnet has it: leaves the console.
const LEAVE: u8 = 0x1d;

pub(super) async fn console(session: &Session, machine: &str) -> Result<(), Failure> {
    let request = session
        .client
        .request(Method::GET, &["machines", machine, "console", "serial"])
        .header("Connection", "Upgrade")
        .header("Upgrade", "hostler-stream");
    let response = session.client.send(request).await?;
    let stream = response.upgrade().await.map_err(|error| {
        Failure::because("the console does not open", &error)
            .hint("client and server may be of different versions")
    })?;
    let raw = std::io::stdin().is_terminal().then(RawTerminal::new).transpose();
    let raw = raw.map_err(|error| Failure::because("cannot use this terminal", &error))?;
    if raw.is_some() {
        output::note(format_args!("connected to the console of {machine}; Ctrl-] leaves it\r"));
    }
    let ended = talk(stream, raw.is_some()).await;
    drop(raw);
    output::note(format_args!("\n{}", ended?));
    Ok(())
}

/// Carries bytes both ways; answers why it ended.
async fn talk(mut stream: Upgraded, leave: bool) -> Result<&'static str, Failure> {
    let broken = |error: std::io::Error| Failure::because("the console is broken", &error);
    let mut keys = keys();
    let mut shown = [0; 16 * 1024];
    let mut input = true;
    loop {
        tokio::select! {
            count = stream.read(&mut shown) => match count.map_err(broken)? {
                0 => return Ok("the console was closed: the machine is off, or the server stops"),
                count => output::bytes(&shown[..count]),
            },
            typed = keys.recv(), if input => {
                // Without more to type we still listen.
                let Some(bytes) = typed else { input = false; continue };
                let end = bytes.iter().position(|byte| leave && *byte == LEAVE);
                stream.write_all(&bytes[..end.unwrap_or(bytes.len())]).await.map_err(broken)?;
                stream.flush().await.map_err(broken)?;
                if end.is_some() {
                    return Ok("left the console; the machine runs on");
                }
            }
        }
    }
}

/// What is typed, read by a thread of its own: nothing can interrupt a read of the terminal, so it ends with us.
fn keys() -> mpsc::Receiver<Vec<u8>> {
    let (sender, receiver) = mpsc::channel(16);
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        let mut stdin = std::io::stdin().lock();
        while let Ok(count @ 1..) = stdin.read(&mut buffer) {
            if sender.blocking_send(buffer[..count].to_vec()).is_err() {
                return;
            }
        }
    });
    receiver
}

/// A terminal that hands over every key as it is pressed, until dropped.
struct RawTerminal {
    before: Termios,
}

impl RawTerminal {
    fn new() -> rustix::io::Result<Self> {
        let before = tcgetattr(std::io::stdin())?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(std::io::stdin(), OptionalActions::Drain, &raw)?;
        Ok(Self { before })
    }
}

impl Drop for RawTerminal {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = tcsetattr(std::io::stdin(), OptionalActions::Drain, &self.before);
    }
}
