//! Requests as the agent reads them, and answers as we believe them.
//!
//! One JSON object a line: `{"id":7,"verb":"ping"}` is answered by `{"id":7,"ok":{…}}` or
//! `{"id":7,"error":{"kind":"…","detail":"…"}}`; bytes are base64.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hostler_core::ports::{CommandOutput, DriverError, DriverErrorKind, GuestCommand, GuestFacts, Identity};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::IpAddr;

/// Longest text taken from a guest, characters.
const TEXT_LIMIT: usize = 256;
/// Cards of a guest that are believed.
const CARD_LIMIT: usize = 32;
/// Addresses of one card that are believed.
const ADDRESS_LIMIT: usize = 32;
/// Bytes kept of each output, as documented at [`CommandOutput`].
const OUTPUT_LIMIT: usize = 256 * 1024;

/// An answer.
#[derive(Debug, Deserialize)]
pub(super) struct Reply {
    /// To which request; none when the agent could not read it.
    pub(super) id: Option<u64>,
    ok: Option<Value>,
    error: Option<Fault>,
}

#[derive(Debug, Deserialize)]
struct Fault {
    kind: String,
    detail: String,
}

/// Reads an answer; none when it is not one.
pub(super) fn reply(line: &[u8]) -> Option<Reply> {
    serde_json::from_slice(line).ok()
}

impl Reply {
    /// What was answered, or the agent's complaint as a driver's error.
    pub(super) fn outcome(self) -> Result<Value, DriverError> {
        match (self.ok, self.error) {
            (Some(value), None) => Ok(value),
            (None, Some(fault)) => Err(fault.into_error()),
            _ => Err(DriverError::new(
                DriverErrorKind::Protocol,
                "the guest's agent sent an answer without sense",
            )),
        }
    }
}

impl Fault {
    fn into_error(self) -> DriverError {
        let kind = match self.kind.as_str() {
            "failed" => DriverErrorKind::Refused,
            "busy" => DriverErrorKind::Exhausted,
            "unsupported" => DriverErrorKind::Unsupported,
            _ => DriverErrorKind::Protocol,
        };
        let error = DriverError::new(kind, format!("the guest's agent: {}", clean(&self.detail)));
        DriverError { retryable: kind == DriverErrorKind::Exhausted, ..error }
    }
}

/// Text of a guest that may be shown: one line, bounded, nothing that steers a terminal.
fn clean(text: &str) -> String {
    let shown = |character: char| if character.is_control() { ' ' } else { character };
    text.chars().take(TEXT_LIMIT).map(shown).collect::<String>().trim().to_owned()
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, DriverError> {
    let error = |error| {
        let detail =
            format!("the guest's agent sent an answer without sense: {}", clean(&format!("{error}")));
        DriverError::new(DriverErrorKind::Protocol, detail)
    };
    serde_json::from_value(answer).map_err(|cause: serde_json::Error| error(cause))
}

/// The facts, cleaned and bounded.
pub(super) fn facts(answer: Value) -> Result<GuestFacts, DriverError> {
    #[derive(Deserialize)]
    struct Said {
        agent: String,
        version: String,
        host_name: String,
        os: String,
        kernel: String,
        addresses: BTreeMap<String, Vec<IpAddr>>,
    }
    let said: Said = read(answer)?;
    let bounded = |(card, mut addresses): (String, Vec<IpAddr>)| {
        addresses.truncate(ADDRESS_LIMIT);
        (clean(&card), addresses)
    };
    Ok(GuestFacts {
        agent: clean(&said.agent),
        version: clean(&said.version),
        host_name: clean(&said.host_name),
        os: clean(&said.os),
        kernel: clean(&said.kernel),
        addresses: said.addresses.into_iter().take(CARD_LIMIT).map(bounded).collect(),
    })
}

/// The request that gives a guest its identity.
pub(super) fn identify(identity: &Identity) -> Value {
    // The guest would need a tenth of a second of emulated time to find the public half itself.
    let key = ssh_key::private::Ed25519Keypair::from_seed(&identity.ssh_host_key);
    let addresses =
        identity.addresses.iter().map(|(address, prefix)| json!({ "address": address, "prefix": prefix }));
    json!({
        "verb": "identify",
        "host_name": identity.host_name,
        "machine_id": identity.machine_id,
        "mac": identity.mac,
        "addresses": addresses.collect::<Vec<_>>(),
        "gateways": identity.gateways,
        "resolvers": identity.resolvers,
        "domain": identity.domain,
        "ssh_host_key": { "seed": STANDARD.encode(identity.ssh_host_key), "public": STANDARD.encode(key.public.0) },
        "authorized_keys": identity.authorized_keys,
        "entropy": STANDARD.encode(identity.entropy),
        "time_ns": identity.time_ns,
    })
}

/// Remarks with which the guest took its identity.
pub(super) fn notes(answer: Value) -> Result<Vec<String>, DriverError> {
    #[derive(Deserialize)]
    struct Said {
        #[serde(default)]
        notes: Vec<String>,
    }
    let said: Said = read(answer)?;
    Ok(said.notes.iter().take(ADDRESS_LIMIT).map(|note| clean(note)).collect())
}

/// The request that runs a command.
pub(super) fn run(command: &GuestCommand) -> Value {
    let deadline_ms = u64::try_from(command.deadline.as_millis()).unwrap_or(u64::MAX);
    json!({ "verb": "run", "argv": command.argv, "stdin": STANDARD.encode(&command.stdin), "deadline_ms": deadline_ms })
}

/// How a command ended.
pub(super) fn output(answer: Value) -> Result<CommandOutput, DriverError> {
    #[derive(Deserialize)]
    struct Said {
        status: Option<i32>,
        stdout: String,
        stderr: String,
        truncated: bool,
        timed_out: bool,
    }
    let said: Said = read(answer)?;
    let (stdout, stdout_cut) = bytes(&said.stdout)?;
    let (stderr, stderr_cut) = bytes(&said.stderr)?;
    let truncated = said.truncated || stdout_cut || stderr_cut;
    Ok(CommandOutput { status: said.status, stdout, stderr, truncated, timed_out: said.timed_out })
}

/// Output, and whether it was more than is kept.
fn bytes(text: &str) -> Result<(Vec<u8>, bool), DriverError> {
    let error =
        |_| DriverError::new(DriverErrorKind::Protocol, "the guest's agent sent output that is not base64");
    let mut bytes = STANDARD.decode(text).map_err(error)?;
    let cut = bytes.len() > OUTPUT_LIMIT;
    bytes.truncate(OUTPUT_LIMIT);
    Ok((bytes, cut))
}

/// Everything that an answer may be taken for.
pub(crate) fn fuzz(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n') {
        let Some(Ok(answer)) = reply(line).map(Reply::outcome) else { continue };
        let _ = (facts(answer.clone()), notes(answer.clone()), output(answer));
    }
}
