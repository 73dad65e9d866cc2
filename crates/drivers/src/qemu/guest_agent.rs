//! The client for QEMU's own guest agent, for images that do not have ours.
//!
//! The guest is not trusted: lines are bounded, answers are cut, and nothing it says decides anything. A reply to an
//! older question may still be in the channel, so the talk begins with a synchronisation.

use crate::lines::Lines;
use hostler_core::ports::{DriverError, DriverErrorKind, GuestFacts};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::net::IpAddr;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::{Instant, timeout, timeout_at};

const LINE_LIMIT: usize = 64 << 10;
const MOST_CARDS: usize = 32;
const MOST_ADDRESSES: usize = 32;
const MOST_TEXT: usize = 256;
/// The agent may not run yet when we first ask, and what was sent before its start may be lost.
const ASK_AGAIN: Duration = Duration::from_secs(1);

#[derive(Serialize)]
struct Request<'a> {
    execute: &'a str,
    #[serde(skip_serializing_if = "Value::is_null")]
    arguments: Value,
}

#[derive(Deserialize)]
struct Reply {
    #[serde(rename = "return")]
    result: Option<Value>,
    error: Option<Refusal>,
}

#[derive(Deserialize)]
struct Refusal {
    desc: String,
}

#[derive(Deserialize)]
struct Info {
    version: String,
}

#[derive(Deserialize)]
struct HostNameReply {
    #[serde(rename = "host-name")]
    name: String,
}

#[derive(Default, Deserialize)]
struct OsInfo {
    #[serde(rename = "pretty-name")]
    pretty_name: Option<String>,
    #[serde(rename = "kernel-release")]
    kernel_release: Option<String>,
}

#[derive(Deserialize)]
struct Card {
    name: String,
    #[serde(rename = "ip-addresses", default)]
    addresses: Vec<CardAddress>,
}

#[derive(Deserialize)]
struct CardAddress {
    #[serde(rename = "ip-address")]
    address: String,
}

/// Waits up to `patience` for the agent behind this socket and asks who the guest is.
pub(super) async fn facts(socket: &Path, patience: Duration) -> Result<GuestFacts, DriverError> {
    let until = Instant::now() + patience;
    let connecting = timeout_at(until, UnixStream::connect(socket)).await.map_err(|_| silent())?;
    let stream = connecting.map_err(|error| {
        DriverError::new(DriverErrorKind::Unreachable, format!("the guest agent's channel: {error}"))
    })?;
    let mut link = Link { lines: Lines::new(stream, LINE_LIMIT) };
    timeout_at(until, link.synchronise(fresh_number())).await.map_err(|_| silent())??;
    timeout(patience.max(Duration::from_secs(2)), link.facts()).await.map_err(|_| silent())?
}

/// Differs from one talk to the next, which is all it has to do.
fn fresh_number() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(1);
    (u64::from(std::process::id()) << 20) + NEXT.fetch_add(1000, Ordering::Relaxed)
}

struct Link<S> {
    lines: Lines<S>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Link<S> {
    /// Asks until the agent echoes the number of one of our questions; whatever comes before that is stale.
    async fn synchronise(&mut self, first: u64) -> Result<(), DriverError> {
        for number in first.. {
            // The byte 255 is never part of JSON: it makes the agent drop half a question of somebody before us.
            self.send(&[0xff], "guest-sync-delimited", json!({ "id": number })).await?;
            if let Ok(answered) = timeout(ASK_AGAIN, self.echo(first..=number)).await {
                return answered;
            }
        }
        Err(silent())
    }

    async fn echo(&mut self, expected: std::ops::RangeInclusive<u64>) -> Result<(), DriverError> {
        loop {
            let line = self.line().await?;
            // Everything up to the last byte 255 is the rest of an older answer.
            let answer = line.rsplit(|byte| *byte == 0xff).next().unwrap_or_default();
            let reply: Option<Reply> = serde_json::from_slice(answer).ok();
            let number = reply.and_then(|reply| reply.result).and_then(|value| value.as_u64());
            if number.is_some_and(|number| expected.contains(&number)) {
                return Ok(());
            }
        }
    }

    /// Only the ping must work; what an agent does not know stays empty.
    async fn facts(&mut self) -> Result<GuestFacts, DriverError> {
        self.ask::<Value>("guest-ping").await?;
        let version = self.ask_gently::<Info>("guest-info").await?.map(|info| info.version);
        let host_name =
            self.ask_gently::<HostNameReply>("guest-get-host-name").await?.map(|reply| reply.name);
        let os = self.ask_gently::<OsInfo>("guest-get-osinfo").await?.unwrap_or_default();
        let cards = self.ask_gently::<Vec<Card>>("guest-network-get-interfaces").await?.unwrap_or_default();
        Ok(GuestFacts {
            agent: "qemu-guest-agent".into(),
            version: cut(version),
            host_name: cut(host_name),
            os: cut(os.pretty_name),
            kernel: cut(os.kernel_release),
            addresses: cards
                .into_iter()
                .take(MOST_CARDS)
                .map(|card| (cut(Some(card.name)), addresses(&card.addresses)))
                .collect(),
        })
    }

    async fn ask<T: DeserializeOwned>(&mut self, command: &str) -> Result<T, DriverError> {
        self.send(&[], command, Value::Null).await?;
        loop {
            let line = self.line().await?;
            let reply: Reply = serde_json::from_slice(&line).map_err(|error| nonsense(command, &error))?;
            return match reply {
                // The echo of a synchronisation asked twice.
                Reply { result: Some(Value::Number(_)), .. } => continue,
                Reply { error: Some(refusal), .. } => {
                    Err(DriverError::refused(format!("{command}: {}", cut(Some(refusal.desc)))))
                }
                Reply { result, .. } => serde_json::from_value(result.unwrap_or(Value::Null))
                    .map_err(|error| nonsense(command, &error)),
            };
        }
    }

    /// None when the agent refuses or does not know the command.
    async fn ask_gently<T: DeserializeOwned>(&mut self, command: &str) -> Result<Option<T>, DriverError> {
        match self.ask(command).await {
            Ok(value) => Ok(Some(value)),
            Err(error) if error.kind == DriverErrorKind::Refused => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn send(&mut self, before: &[u8], execute: &str, arguments: Value) -> Result<(), DriverError> {
        let request = serde_json::to_vec(&Request { execute, arguments })
            .map_err(|error| DriverError::internal(error.to_string()))?;
        let bytes = [before, &request, b"\n"].concat();
        self.lines.stream().write_all(&bytes).await.map_err(|error| lost(&error))
    }

    async fn line(&mut self) -> Result<Vec<u8>, DriverError> {
        match self.lines.next().await {
            Ok(Some(line)) => Ok(line),
            Ok(None) => Err(DriverError::new(DriverErrorKind::Unreachable, "the guest agent hung up")),
            Err(error) => Err(lost(&error)),
        }
    }
}

fn addresses(given: &[CardAddress]) -> Vec<IpAddr> {
    given.iter().take(MOST_ADDRESSES).filter_map(|given| given.address.parse().ok()).collect()
}

/// Text of a guest: bounded, and without characters that do things on a terminal.
fn cut(text: Option<String>) -> String {
    text.unwrap_or_default().chars().filter(|c| !c.is_control()).take(MOST_TEXT).collect()
}

fn silent() -> DriverError {
    DriverError::timeout("no agent answers in the guest")
}

fn lost(error: &std::io::Error) -> DriverError {
    DriverError::new(DriverErrorKind::Unreachable, format!("the guest agent: {error}"))
}

fn nonsense(command: &str, error: &serde_json::Error) -> DriverError {
    DriverError::new(
        DriverErrorKind::Protocol,
        format!("the guest agent answers {command} with nonsense: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncBufReadExt, BufReader};
    use tokio::net::UnixListener;

    /// An agent with an old answer in its pipe that starts to listen late.
    async fn serve(listener: UnixListener) {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        stream.get_mut().write_all(b"{\"return\": \"stale\"}\n{\"half").await.unwrap();
        let mut asked = 0;
        loop {
            let mut line = Vec::new();
            if stream.read_until(b'\n', &mut line).await.unwrap() == 0 {
                return;
            }
            let line = line.strip_prefix(&[0xff]).unwrap_or(&line);
            let request: Value = serde_json::from_slice(line).unwrap();
            let answer = match request["execute"].as_str().unwrap() {
                "guest-sync-delimited" => {
                    asked += 1;
                    if asked == 1 {
                        continue;
                    }
                    stream.get_mut().write_all(&[0xff]).await.unwrap();
                    json!({ "return": request["arguments"]["id"] })
                }
                "guest-ping" => json!({ "return": {} }),
                "guest-info" => json!({ "return": { "version": "7.2.22", "supported_commands": [] } }),
                "guest-get-host-name" => json!({ "return": { "host-name": "we\u{1b}b-1" } }),
                "guest-network-get-interfaces" => json!({ "return": [
                    { "name": "eth0", "ip-addresses": [
                        { "ip-address": "10.0.2.15", "ip-address-type": "ipv4", "prefix": 24 },
                        { "ip-address": "nonsense" } ] },
                    { "name": "none" } ] }),
                _ => json!({ "error": { "class": "CommandNotFound", "desc": "unknown" } }),
            };
            stream.get_mut().write_all(format!("{answer}\n").as_bytes()).await.unwrap();
        }
    }

    #[tokio::test]
    async fn facts_are_asked_for_after_synchronising() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("qga.sock");
        let server = tokio::spawn(serve(UnixListener::bind(&socket).unwrap()));
        let facts = facts(&socket, Duration::from_secs(20)).await.unwrap();
        assert_eq!((facts.version.as_str(), facts.host_name.as_str()), ("7.2.22", "web-1"));
        assert_eq!(facts.addresses["eth0"], ["10.0.2.15".parse::<IpAddr>().unwrap()]);
        assert_eq!(facts.os, "");
        server.await.unwrap();
    }

    #[tokio::test]
    async fn silence_ends_when_patience_does() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("qga.sock");
        let _listener = UnixListener::bind(&socket).unwrap();
        let error = facts(&socket, Duration::from_millis(50)).await.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Timeout);
    }
}
