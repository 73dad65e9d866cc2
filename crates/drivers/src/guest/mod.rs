//! The host's end of the channel to our agent inside a guest.
//!
//! The channel is a unix socket of the hypervisor; what comes out of it was written by the guest, and a guest belongs
//! to a tenant. So lines are bounded, floods end the conversation, answers nobody waits for are dropped, and text is
//! cleaned before anyone reads it ([`wire`]). That it is *this* machine that speaks is known from the socket alone,
//! never from what it says.
//!
//! A conversation may be left in the middle: a call runs out of time, its future is dropped, hostler restarts. The
//! link then is *in doubt*; the next call first sends `sync` with a token never used before and drops everything up
//! to the answer with that token.
//!
//! The types are written down a second time here, apart from the agent's own, so that one misunderstanding cannot
//! hide in both.

mod lines;
mod wire;

pub(crate) use wire::fuzz;

#[cfg(test)]
mod tests;

use hostler_core::ports::{CommandOutput, DriverError, DriverErrorKind, GuestCommand, GuestFacts, Identity};
use lines::{Line, Lines};
use serde_json::{Value, json};
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::path::Path;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout_at};

/// Bytes that a guest may say beside the answer, within one call.
const NOISE_LIMIT: usize = 8 << 20;
/// How long the first `sync` waits for its answer before another is sent; each waits twice as long as the one before.
/// What is sent before the agent has opened its port is lost.
const SYNC_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_SYNC_PAUSE: Duration = Duration::from_secs(1);
/// How long a guest may take for its identity; a slow DHCP server is in it.
const IDENTIFY_PATIENCE: Duration = Duration::from_secs(30);
/// How long a guest may take beyond a command's own deadline.
const RUN_PATIENCE: Duration = Duration::from_secs(10);
/// How long a guest may take to say that it will turn itself off.
const POWER_PATIENCE: Duration = Duration::from_secs(5);
/// Bytes of standard input that fit on the agent's line.
const STDIN_LIMIT: usize = 512 * 1024;

/// A connection to the agent of one guest. One call at a time; a hypervisor's channel has one client at a time.
#[derive(Debug)]
pub struct AgentLink {
    stream: UnixStream,
    lines: Lines,
    last_id: u64,
    /// Something was asked and its answer not read.
    in_doubt: bool,
}

impl AgentLink {
    /// Connects to the channel's socket and waits until the agent answers, at most `patience` for both. The socket
    /// need not be there yet, nor the guest be booted.
    pub async fn connect(socket: &Path, patience: Duration) -> Result<Self, DriverError> {
        let until = Instant::now() + patience;
        let stream = loop {
            let error = match timeout_at(until, UnixStream::connect(socket)).await {
                Ok(Ok(stream)) => break stream,
                Ok(Err(error)) => error,
                Err(_) => io::ErrorKind::TimedOut.into(),
            };
            let may_come = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused);
            if !may_come || Instant::now() >= until {
                let detail = format!("cannot reach the agent's channel: {error}");
                return Err(DriverError::new(DriverErrorKind::Unreachable, detail));
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        let mut link = Self::over(stream);
        link.sync(until).await?;
        Ok(link)
    }

    /// A link over a connected channel; the first call finds out whether anybody is there.
    fn over(stream: UnixStream) -> Self {
        // Numbers begin where no other connection of ours began, so that the answer to a command which the last
        // connection started is nobody's. The end of such an id is random.
        let [a, b, c, d, ..] = chance().to_le_bytes();
        let start = u64::from(u32::from_be_bytes([a, b, c, d])) << 16;
        Self { stream, lines: Lines::default(), last_id: start, in_doubt: true }
    }

    /// Whether the agent is there.
    pub async fn ping(&mut self, patience: Duration) -> Result<(), DriverError> {
        self.call(json!({ "verb": "ping" }), patience).await.map(drop)
    }

    /// What the guest says of itself.
    pub async fn facts(&mut self, patience: Duration) -> Result<GuestFacts, DriverError> {
        let answer = self.call(json!({ "verb": "facts" }), patience).await?;
        wire::facts(answer)
    }

    /// Gives the guest its identity; returns when it has taken it.
    pub async fn identify(&mut self, identity: &Identity) -> Result<(), DriverError> {
        let answer = self.call(wire::identify(identity), IDENTIFY_PATIENCE).await?;
        for note in wire::notes(answer)? {
            tracing::warn!(
                machine.name = identity.host_name,
                note,
                "the guest took its identity with a remark"
            );
        }
        Ok(())
    }

    /// Runs a command in the guest and waits for its end, at most ten seconds beyond its own deadline.
    pub async fn run(&mut self, command: &GuestCommand) -> Result<CommandOutput, DriverError> {
        if command.stdin.len() > STDIN_LIMIT {
            return Err(DriverError::refused(format!("standard input is limited to {STDIN_LIMIT} bytes")));
        }
        let answer = self.call(wire::run(command), command.deadline.saturating_add(RUN_PATIENCE)).await?;
        wire::output(answer)
    }

    /// Asks the guest to turn itself off in order; returns when it said that it will.
    pub async fn power_off(&mut self) -> Result<(), DriverError> {
        self.call(json!({ "verb": "power_off" }), POWER_PATIENCE).await.map(drop)
    }

    /// Asks the guest to start again in order; returns when it said that it will.
    pub async fn reboot(&mut self) -> Result<(), DriverError> {
        self.call(json!({ "verb": "reboot" }), POWER_PATIENCE).await.map(drop)
    }

    /// One question and its answer.
    async fn call(&mut self, mut request: Value, patience: Duration) -> Result<Value, DriverError> {
        // A patience beyond what the clock can count is a year.
        let year = Duration::from_secs(365 * 86400);
        let until = Instant::now() + patience.min(year);
        if self.in_doubt {
            self.sync(until).await?;
        }
        self.last_id += 1;
        request["id"] = self.last_id.into();
        self.in_doubt = true;
        self.send(&request, until).await?;
        let mut noise = 0;
        loop {
            let line = match self.line(until).await? {
                Some(Line::Whole(line)) => line,
                Some(Line::TooLong) => {
                    return Err(protocol("the guest's agent sent a line that is too long"));
                }
                None => return Err(DriverError::timeout("the guest's agent did not answer in time")),
            };
            let reply = wire::reply(&line).ok_or_else(|| protocol("the guest's agent sent garbage"))?;
            if reply.id == Some(self.last_id) {
                self.in_doubt = false;
                return reply.outcome();
            }
            count_noise(&mut noise, line.len())?;
        }
    }

    /// Sends tokens until one comes back; what comes before it is dropped, whatever it is.
    async fn sync(&mut self, until: Instant) -> Result<(), DriverError> {
        self.in_doubt = true;
        let (mut noise, mut pause) = (0, SYNC_PAUSE);
        loop {
            self.last_id += 1;
            let token = fresh_token();
            let request = json!({ "id": self.last_id, "verb": "sync", "token": token });
            let again = until.min(Instant::now() + pause);
            pause = (pause * 2).min(LONGEST_SYNC_PAUSE);
            self.send(&request, until).await?;
            while let Some(line) = self.line(again).await? {
                let Line::Whole(line) = line else {
                    count_noise(&mut noise, lines::LINE_LIMIT)?;
                    continue;
                };
                count_noise(&mut noise, line.len())?;
                let reply = wire::reply(&line).filter(|reply| reply.id == Some(self.last_id));
                if reply.is_some_and(|reply| reply.outcome().is_ok_and(|value| value["token"] == token)) {
                    self.in_doubt = false;
                    return Ok(());
                }
            }
            if Instant::now() >= until {
                let silent = noise == 0;
                return Err(if silent {
                    DriverError::timeout("the guest's agent did not answer in time")
                } else {
                    protocol("the guest's agent does not answer what it is asked")
                });
            }
        }
    }

    async fn send(&mut self, request: &Value, until: Instant) -> Result<(), DriverError> {
        // The newline before ends whatever was left unfinished; the agent drops empty lines.
        let line = format!("\n{request}\n");
        match timeout_at(until, self.stream.write_all(line.as_bytes())).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(closed(&error)),
            Err(_) => Err(DriverError::timeout("the guest's agent does not read what it is sent")),
        }
    }

    /// The next line; none when the time is over.
    async fn line(&mut self, until: Instant) -> Result<Option<Line>, DriverError> {
        match timeout_at(until, self.lines.next(&mut self.stream)).await {
            Ok(Ok(line)) => Ok(Some(line)),
            Ok(Err(error)) => Err(closed(&error)),
            Err(_) => Ok(None),
        }
    }
}

/// Something that no earlier connection had. Nothing secret: the guest sees it anyway.
fn fresh_token() -> String {
    format!("{:016x}{:016x}", chance(), chance())
}

/// The standard library seeds its hashers with what the system calls random.
fn chance() -> u64 {
    std::hash::RandomState::new().build_hasher().finish()
}

fn protocol(detail: &str) -> DriverError {
    DriverError::new(DriverErrorKind::Protocol, detail)
}

fn closed(error: &io::Error) -> DriverError {
    DriverError::new(DriverErrorKind::Unreachable, format!("the agent's channel is closed: {error}"))
}

fn count_noise(noise: &mut usize, length: usize) -> Result<(), DriverError> {
    // A line costs something even when it is short.
    *noise += length + 64;
    if *noise > NOISE_LIMIT { Err(protocol("the guest's agent floods the channel")) } else { Ok(()) }
}
