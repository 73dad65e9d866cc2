//! A fake guest at the other end of a socket pair, in all moods.

use super::AgentLink;
use super::lines::LINE_LIMIT;
use hostler_core::ports::{DriverErrorKind, GuestCommand, Identity};
use proptest::prelude::*;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

const PATIENCE: Duration = Duration::from_secs(5);

/// A guest that answers each request by what this function says, as raw bytes.
fn guest(mut answer: impl FnMut(&Value) -> Vec<u8> + Send + 'static) -> AgentLink {
    let (ours, theirs) = UnixStream::pair().unwrap();
    tokio::spawn(async move {
        let (reading, mut writing) = theirs.into_split();
        let mut lines = BufReader::new(reading).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            if line.is_empty() {
                continue;
            }
            let request: Value = serde_json::from_str(&line).unwrap();
            if writing.write_all(&answer(&request)).await.is_err() {
                return;
            }
        }
    });
    AgentLink::over(ours)
}

fn ok(request: &Value, value: &Value) -> Vec<u8> {
    format!("{}\n", json!({ "id": request["id"], "ok": value })).into_bytes()
}

/// Answers `sync` as it should be, and everything else by the function.
fn honest_at_first(mut other: impl FnMut(&Value) -> Vec<u8> + Send + 'static) -> AgentLink {
    guest(move |request| match request["verb"].as_str() {
        Some("sync") => ok(request, &json!({ "token": request["token"] })),
        _ => other(request),
    })
}

fn command() -> GuestCommand {
    GuestCommand { argv: vec!["x".into()], stdin: b"in".to_vec(), deadline: Duration::from_secs(1) }
}

#[tokio::test]
async fn facts_are_cleaned_and_bounded() {
    let mut link = honest_at_first(|request| {
        let addresses: serde_json::Map<String, Value> =
            (0..100).map(|n| (format!("eth{n}"), json!(vec!["10.0.0.1"; 100]))).collect();
        let long = "\u{1b}[2Jx\n".repeat(1000);
        ok(
            request,
            &json!({"agent": "a", "version": "1", "host_name": long, "os": "o", "kernel": "k", "addresses": addresses}),
        )
    });
    let facts = link.facts(PATIENCE).await.unwrap();
    assert!(facts.host_name.len() <= 256 && !facts.host_name.chars().any(char::is_control));
    assert_eq!((facts.addresses.len(), facts.addresses["eth0"].len()), (32, 32));
}

#[tokio::test]
async fn an_identity_has_both_halves_of_the_host_key() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut link = honest_at_first(move |request| {
        sender.send(request.clone()).unwrap();
        ok(request, &json!({ "notes": ["all well"] }))
    });
    // Test vector 1 of RFC 8032, section 7.1.
    let seed = hex::decode("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60").unwrap();
    let identity = Identity {
        host_name: "m".into(),
        machine_id: "0".repeat(32),
        mac: None,
        addresses: vec![("fd00::2".parse().unwrap(), 64)],
        gateways: vec![],
        resolvers: vec![],
        domain: None,
        ssh_host_key: seed.try_into().unwrap(),
        authorized_keys: vec![],
        entropy: [0; 32],
        time_ns: u64::MAX,
    };
    link.identify(&identity).await.unwrap();
    let request = receiver.recv().unwrap();
    assert_eq!(request["ssh_host_key"]["public"], "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    assert_eq!(request["addresses"], json!([{"address": "fd00::2", "prefix": 64}]));
    assert_eq!(request["time_ns"], u64::MAX);
}

#[tokio::test]
async fn garbage_is_a_protocol_error_and_the_next_call_recovers() {
    let mut first = true;
    let mut link = honest_at_first(move |request| match std::mem::take(&mut first) {
        true => b"\xff\xfe not json\n{\"half\":".to_vec(),
        false => [b"\n".to_vec(), ok(request, &json!({}))].concat(),
    });
    let error = link.ping(PATIENCE).await.unwrap_err();
    assert_eq!(error.kind, DriverErrorKind::Protocol);
    // The half line swallows the answer to the first sync; the second one is heard.
    link.ping(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_flood_ends_the_call_without_filling_memory() {
    for flood in [vec![b'x'; 4 * LINE_LIMIT], b"{\"id\":1,\"ok\":{}}\n".repeat(1 << 20)] {
        let mut link = honest_at_first(move |_| flood.clone());
        let error = link.ping(PATIENCE).await.unwrap_err();
        assert_eq!(error.kind, DriverErrorKind::Protocol, "{error}");
    }
    // The same while we ask for our token.
    let mut link = guest(|_| b"nothing to see here\n".repeat(1 << 18));
    assert_eq!(link.ping(PATIENCE).await.unwrap_err().kind, DriverErrorKind::Protocol);
}

#[tokio::test]
async fn answers_to_others_are_dropped() {
    let mut link = honest_at_first(|request| {
        let wrong = json!({ "id": request["id"].as_u64().unwrap() + 1 });
        let nobody = br#"{"id":null,"error":{"kind":"bad_request","detail":"x"}}"#;
        [ok(&wrong, &json!({"status": 9})), nobody.to_vec(), b"\n".to_vec(), ok(request, &json!({}))].concat()
    });
    link.ping(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn a_late_answer_is_not_taken_for_the_next_one() {
    let mut held = None;
    let mut link = honest_at_first(move |request| match held.take() {
        None => {
            held = Some(ok(
                request,
                &json!({"status": 1, "stdout": "", "stderr": "", "truncated": false, "timed_out": false}),
            ));
            vec![]
        }
        Some(late) => {
            let good =
                json!({"status": 2, "stdout": "b2s=", "stderr": "", "truncated": false, "timed_out": false});
            [late, ok(request, &good)].concat()
        }
    });
    assert_eq!(link.ping(Duration::from_millis(50)).await.unwrap_err().kind, DriverErrorKind::Timeout);
    let output = link.run(&command()).await.unwrap();
    assert_eq!((output.status, output.stdout.as_slice()), (Some(2), &b"ok"[..]));
}

#[tokio::test]
async fn half_an_answer_and_then_nobody_is_told_as_such() {
    let (ours, mut theirs) = UnixStream::pair().unwrap();
    let mut link = AgentLink::over(ours);
    theirs.write_all(b"{\"id\":1,").await.unwrap();
    drop(theirs);
    assert_eq!(link.ping(PATIENCE).await.unwrap_err().kind, DriverErrorKind::Unreachable);
    let nowhere = std::path::Path::new("/nonexistent/agent.sock");
    let error = AgentLink::connect(nowhere, Duration::from_millis(30)).await.unwrap_err();
    assert!(error.kind == DriverErrorKind::Unreachable && error.retryable);
}

#[tokio::test]
async fn a_silent_guest_runs_out_of_time() {
    let mut link = guest(|_| vec![]);
    assert_eq!(link.ping(Duration::from_millis(30)).await.unwrap_err().kind, DriverErrorKind::Timeout);
}

#[tokio::test]
async fn complaints_of_the_agent_keep_their_kind() {
    for (word, kind) in [
        ("failed", DriverErrorKind::Refused),
        ("busy", DriverErrorKind::Exhausted),
        ("?", DriverErrorKind::Protocol),
    ] {
        let mut link = honest_at_first(move |request| {
            format!("{}\n", json!({"id": request["id"], "error": {"kind": word, "detail": "no\u{7}"}}))
                .into_bytes()
        });
        let error = link.run(&command()).await.unwrap_err();
        assert_eq!((error.kind, error.detail.as_str()), (kind, "the guest's agent: no"));
    }
}

proptest! {
    #[test]
    fn nothing_a_guest_says_makes_us_panic(bytes: Vec<u8>, json in "[\\[\\]{}\":,a-z0-9]{0,60}") {
        for line in [bytes.as_slice(), json.as_bytes(), format!("{{\"id\":1,\"ok\":{json}}}").as_bytes()] {
            if let Some(Ok(value)) = super::wire::reply(line).map(super::wire::Reply::outcome) {
                let _ = super::wire::facts(value.clone());
                let _ = super::wire::notes(value.clone());
                let _ = super::wire::output(value);
            }
        }
    }
}
