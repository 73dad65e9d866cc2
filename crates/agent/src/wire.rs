//! What goes over the port: one JSON object a line, each way.
//!
//! A request is `{"id":7,"verb":"ping"}` with the verb's own fields beside; its answer is `{"id":7,"ok":{…}}` or
//! `{"id":7,"error":{"kind":"…","detail":"…"}}`. Answers may come in another order than requests, because commands
//! run beside. A line that cannot be read is answered with the id `null`. After a doubt (half a line, an answer that
//! came late) the host sends an empty line and `sync` with a token it never used before, and drops everything up to
//! the answer with that token.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::net::IpAddr;

/// Longest line accepted from the host, bytes.
pub(crate) const LINE_LIMIT: usize = 1 << 20;
/// Longest token that `sync` repeats.
const TOKEN_LIMIT: usize = 256;

/// What the host may ask for.
#[derive(Debug, Deserialize)]
#[serde(tag = "verb", rename_all = "snake_case")]
pub(crate) enum Request {
    /// Are you there?
    Ping,
    /// Repeat this token.
    Sync { token: String },
    /// Who are you?
    Facts,
    /// Be this machine.
    Identify(Box<Identify>),
    /// Run a program.
    Run(Run),
    /// Turn the machine off in order.
    PowerOff,
    /// Start the machine again in order.
    Reboot,
}

/// What makes this guest one machine and no other.
#[derive(Debug, Deserialize)]
pub(crate) struct Identify {
    pub(crate) host_name: String,
    pub(crate) machine_id: String,
    #[serde(default)]
    pub(crate) mac: Option<String>,
    #[serde(default)]
    pub(crate) addresses: Vec<Address>,
    #[serde(default)]
    pub(crate) gateways: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) resolvers: Vec<IpAddr>,
    #[serde(default)]
    pub(crate) domain: Option<String>,
    #[serde(default)]
    pub(crate) ssh_host_key: Option<HostKey>,
    #[serde(default)]
    pub(crate) authorized_keys: Vec<String>,
    /// 32 bytes, base64.
    pub(crate) entropy: String,
    pub(crate) time_ns: u64,
}

/// An address with its prefix length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Address {
    pub(crate) address: IpAddr,
    pub(crate) prefix: u8,
}

/// Ed25519 host key: both halves, because the public one is dear to compute here and free on the host.
#[derive(Deserialize)]
pub(crate) struct HostKey {
    /// 32 bytes, base64. Secret.
    pub(crate) seed: String,
    /// 32 bytes, base64.
    pub(crate) public: String,
}

impl std::fmt::Debug for HostKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "HostKey({})", self.public)
    }
}

/// A program to run.
#[derive(Debug, Deserialize)]
pub(crate) struct Run {
    pub(crate) argv: Vec<String>,
    /// Base64.
    #[serde(default)]
    pub(crate) stdin: String,
    pub(crate) deadline_ms: u64,
}

/// Why a request was not carried out.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    /// `bad_request`, `busy`, `unsupported` or `failed`.
    kind: &'static str,
    detail: String,
}

impl Fault {
    /// The request makes no sense.
    pub(crate) fn bad_request(detail: impl Into<String>) -> Self {
        Self { kind: "bad_request", detail: detail.into() }
    }

    /// Too much is going on already.
    pub(crate) fn busy(detail: impl Into<String>) -> Self {
        Self { kind: "busy", detail: detail.into() }
    }

    /// It was tried and did not work.
    pub(crate) fn failed(detail: impl Into<String>) -> Self {
        Self { kind: "failed", detail: detail.into() }
    }
}

/// Reads one line: the id to answer to, and the request or what is wrong with it.
pub(crate) fn parse(line: &[u8]) -> (Option<u64>, Result<Request, Fault>) {
    let value: Value = match serde_json::from_slice(line) {
        Ok(value) => value,
        Err(error) => return (None, Err(Fault::bad_request(format!("not JSON: {error}")))),
    };
    let Some(id) = value.get("id").and_then(Value::as_u64) else {
        return (None, Err(Fault::bad_request("no id")));
    };
    let request = match serde_json::from_value(value) {
        Ok(Request::Sync { token }) if token.len() > TOKEN_LIMIT => {
            Err(Fault::bad_request("the token is too long"))
        }
        Ok(request) => Ok(request),
        Err(error) => Err(Fault::bad_request(error.to_string())),
    };
    (Some(id), request)
}

/// Writes one answer, with its newline.
pub(crate) fn render(id: Option<u64>, outcome: &Result<Value, Fault>) -> Vec<u8> {
    let answer = match outcome {
        Ok(value) => serde_json::json!({ "id": id, "ok": value }),
        Err(fault) => serde_json::json!({ "id": id, "error": fault }),
    };
    let mut line = answer.to_string().into_bytes();
    line.push(b'\n');
    line
}

/// A line cut out of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line {
    /// Without its newline.
    Whole(Vec<u8>),
    /// Longer than the limit; what it was is gone.
    TooLong,
}

/// Cuts a stream of bytes into lines, never holding more than the limit.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    started: Vec<u8>,
    skipping: bool,
}

impl Lines {
    /// Adds bytes and returns the lines that they complete. Empty lines are dropped.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Vec<Line> {
        let mut lines = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ends) = match piece.split_last() {
                Some((b'\n', text)) => (text, true),
                _ => (piece, false),
            };
            if !self.skipping && self.started.len() + text.len() > LINE_LIMIT {
                self.skipping = true;
                self.started = Vec::new();
            }
            if !self.skipping {
                self.started.extend_from_slice(text);
            }
            if ends {
                let line = std::mem::take(&mut self.started);
                if std::mem::take(&mut self.skipping) {
                    lines.push(Line::TooLong);
                } else if !line.is_empty() {
                    lines.push(Line::Whole(line));
                }
            }
        }
        lines
    }

    /// Forgets what was started; the other end hung up.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::{Fault, LINE_LIMIT, Line, Lines, Request, parse, render};
    use proptest::prelude::*;

    #[test]
    fn a_request_is_read_with_its_id() {
        let (id, request) = parse(br#"{"id":7,"verb":"sync","token":"x"}"#);
        assert_eq!(id, Some(7));
        assert!(matches!(request, Ok(Request::Sync { token }) if token == "x"));
    }

    #[test]
    fn a_wrong_request_is_answered_to_its_id() {
        for line in [r#"{"id":7,"verb":"dance"}"#, r#"{"id":7}"#, r#"{"id":7,"verb":"run","argv":3}"#] {
            let (id, request) = parse(line.as_bytes());
            assert_eq!(id, Some(7), "{line}");
            assert!(request.is_err(), "{line}");
        }
        for line in ["", "null", "{}", "[", r#"{"id":-1,"verb":"ping"}"#, r#"{"id":"7","verb":"ping"}"#] {
            let (id, request) = parse(line.as_bytes());
            assert_eq!(id, None, "{line}");
            assert!(request.is_err(), "{line}");
        }
    }

    #[test]
    fn an_answer_is_one_line() {
        let line = render(Some(3), &Err(Fault::failed("two\nlines")));
        assert_eq!(line, b"{\"error\":{\"detail\":\"two\\nlines\",\"kind\":\"failed\"},\"id\":3}\n");
    }

    #[test]
    fn a_line_beyond_the_limit_is_dropped_and_the_next_one_read() {
        let mut lines = Lines::default();
        let flood = vec![b'x'; LINE_LIMIT];
        assert_eq!(lines.push(&flood), []);
        assert_eq!(lines.push(b"xx"), []);
        assert!(lines.started.capacity() < LINE_LIMIT);
        assert_eq!(lines.push(b"y\nping\n\n"), [Line::TooLong, Line::Whole(b"ping".to_vec())]);
    }

    proptest! {
        #[test]
        fn no_line_makes_the_parser_panic(line: Vec<u8>) {
            let _ = parse(&line);
        }

        #[test]
        fn no_json_makes_the_parser_panic(verb in "[a-z_]{0,9}", rest in "[\\[\\]{}\":,a-z0-9]{0,40}") {
            let _ = parse(format!(r#"{{"id":1,"verb":"{verb}",{rest}}}"#).as_bytes());
        }

        #[test]
        fn lines_do_not_depend_on_how_they_arrive(bytes in proptest::collection::vec(0u8..16, 0..200), cut in 1usize..20) {
            let whole = Lines::default().push(&bytes);
            let mut lines = Lines::default();
            let pieces: Vec<Line> = bytes.chunks(cut).flat_map(|chunk| lines.push(chunk)).collect();
            prop_assert_eq!(whole, pieces);
        }
    }
}
