//! Requests that are wrong: a problem that says why, and nothing has changed.

use crate::server::{DEADLINE, Program, Server};
use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// Sends bytes as they are and reads the answer to its end; answers status and body.
async fn send(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    head: &str,
    body: &[u8],
) -> Result<(u16, Value)> {
    let head =
        format!("{head}\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n\r\n", body.len());
    let talk = async {
        stream.write_all(head.as_bytes()).await?;
        // A body that is refused by its length alone is not read to its end.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        anyhow::Ok(answer)
    };
    let answer = tokio::time::timeout(DEADLINE, talk).await.context("no answer")??;
    let text = String::from_utf8_lossy(&answer).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").with_context(|| format!("no answer but `{text}`"))?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    // Long answers come in chunks; problems do not.
    Ok((status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned()))))
}

/// What must not change.
async fn everything(server: &Server) -> Result<BTreeMap<&'static str, Value>> {
    let mut all = BTreeMap::new();
    for list in ["/machines?gone=true", "/volumes", "/templates", "/tasks", "/networks", "/tokens"] {
        let mut found = server.get(list).await?;
        // When a token was last used does change by using it.
        for item in found["items"].as_array_mut().into_iter().flatten() {
            item.as_object_mut().map(|item| item.remove("used_at"));
        }
        all.insert(list, found);
    }
    Ok(all)
}

struct Wrong {
    what: &'static str,
    request: (&'static str, String),
    body: Value,
    status: u16,
    code: &'static str,
    /// Must be in the problem's text or its field.
    says: &'static str,
}

fn wrong(
    what: &'static str,
    (method, path): (&'static str, &str),
    body: Value,
    (status, code): (u16, &'static str),
    says: &'static str,
) -> Wrong {
    Wrong { what, request: (method, path.to_owned()), body, status, code, says }
}

const MACHINES: (&str, &str) = ("POST", "/machines");

fn bodies() -> Vec<Wrong> {
    let labels: BTreeMap<String, String> =
        (0..65).map(|number| (format!("l{number}"), String::new())).collect();
    let machine = |more: Value| {
        let mut body = json!({ "name": "new", "template": "micro" });
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        body
    };
    let long = "x".repeat(64);
    vec![
        wrong(
            "a name that is taken",
            MACHINES,
            machine(json!({ "name": "taken" })),
            (409, "name_taken"),
            "taken",
        ),
        wrong("an API version as name", MACHINES, machine(json!({ "name": "v3" })), (422, "invalid"), "v3"),
        wrong(
            "a number as name",
            MACHINES,
            machine(json!({ "name": "42" })),
            (422, "invalid"),
            "mistaken for an id",
        ),
        wrong("a path as name", MACHINES, machine(json!({ "name": "../a" })), (422, "invalid"), "../a"),
        wrong(
            "a long name",
            MACHINES,
            machine(json!({ "name": long })),
            (422, "invalid"),
            "1 to 63 characters",
        ),
        wrong(
            "too much memory",
            MACHINES,
            machine(json!({ "memory_mib": 1_u64 << 40 })),
            (507, "no_capacity"),
            "MiB is more than host",
        ),
        wrong(
            "no memory",
            MACHINES,
            machine(json!({ "memory_mib": 1 })),
            (422, "invalid"),
            "at least 32 MiB",
        ),
        wrong("no processor", MACHINES, machine(json!({ "vcpus": 0 })), (422, "invalid"), "virtual CPUs"),
        wrong("a tiny disk", MACHINES, machine(json!({ "disk_mib": 1 })), (422, "invalid"), "too small"),
        wrong(
            "an endless disk",
            MACHINES,
            machine(json!({ "disk_mib": 1_u64 << 40 })),
            (422, "invalid"),
            "at most",
        ),
        wrong(
            "no such template",
            MACHINES,
            machine(json!({ "template": "none" })),
            (404, "not_found"),
            "template none",
        ),
        wrong(
            "no such network",
            MACHINES,
            machine(json!({ "network": "none" })),
            (404, "not_found"),
            "network none",
        ),
        wrong(
            "too many labels",
            MACHINES,
            machine(json!({ "labels": labels })),
            (422, "invalid"),
            "at most 64 labels",
        ),
        wrong(
            "a bad key",
            MACHINES,
            machine(json!({ "ssh_keys": ["ssh-ed25519 nonsense"] })),
            (422, "invalid"),
            "ssh_keys/0",
        ),
        wrong("an unknown field", MACHINES, machine(json!({ "vcpu": 1 })), (400, "malformed"), "vcpu"),
        wrong("a wrong type", MACHINES, machine(json!({ "vcpus": "two" })), (400, "malformed"), "vcpus"),
        wrong("a negative number", MACHINES, machine(json!({ "vcpus": -1 })), (400, "malformed"), "vcpus"),
        wrong("no object", MACHINES, json!([1]), (400, "malformed"), "the body cannot be read"),
        wrong("an unknown verb", ("POST", "/machines/taken/explode"), json!({}), (404, "not_found"), ""),
        wrong("a wrong method", ("PUT", "/machines/taken"), json!({}), (405, "method_not_allowed"), "PUT"),
        wrong(
            "no such machine",
            ("POST", "/machines/none/start"),
            json!({}),
            (404, "not_found"),
            "machine none",
        ),
        wrong(
            "resuming what runs not",
            ("POST", "/machines/taken/resume"),
            json!({}),
            (409, "wrong_state"),
            "off",
        ),
        wrong(
            "a volume without size",
            ("POST", "/volumes"),
            json!({ "name": "v", "size_mib": 0 }),
            (422, "invalid"),
            "at least 1 MiB",
        ),
        wrong(
            "an endless volume",
            ("POST", "/volumes"),
            json!({ "name": "v", "size_mib": u64::MAX }),
            (422, "invalid"),
            "at most",
        ),
        wrong(
            "an unknown recipe",
            ("POST", "/templates"),
            json!({ "name": "t", "source": { "from": "recipe", "recipe": "cake" } }),
            (422, "invalid"),
            "cake",
        ),
        wrong(
            "a relative path",
            ("POST", "/templates"),
            json!({ "name": "t", "source": { "from": "file", "path": "a.raw", "format": "raw" } }),
            (422, "invalid"),
            "absolute path",
        ),
        wrong(
            "a template in use",
            ("DELETE", "/templates/micro"),
            Value::Null,
            (409, "in_use"),
            "1 machines",
        ),
        wrong("a bad cursor", ("GET", "/machines?after=nonsense"), Value::Null, (400, "malformed"), "after"),
        wrong("an endless page", ("GET", "/machines?limit=1001"), Value::Null, (400, "malformed"), "limit"),
        wrong("an unknown order", ("GET", "/machines?order=luck"), Value::Null, (400, "malformed"), "order"),
        wrong(
            "an unknown parameter",
            ("GET", "/machines?colour=red"),
            Value::Null,
            (400, "malformed"),
            "colour",
        ),
    ]
}

async fn stage(folder: &std::path::Path) -> Result<Server> {
    let server = Server::start(Program::Simulated, &folder.join("data"), &[]).await?;
    server.micro().await?;
    let body = json!({ "name": "taken", "template": "micro", "start": false });
    server.carry_out("POST", "/machines", Some(body)).await?;
    Ok(server)
}

#[tokio::test]
async fn wrong_requests_say_why_and_change_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let server = stage(folder.path()).await.unwrap();
    let before = everything(&server).await.unwrap();
    for Wrong { what, request: (method, path), body, status, code, says } in bodies() {
        let body = Some(body).filter(|body| !body.is_null());
        let (answered, problem) = server.request(method, &path, body).await.unwrap();
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{what}: {problem}");
        assert_eq!(problem["status"], status, "{what}: {problem}");
        assert!(problem["request_id"].is_string() && problem["type"].is_string(), "{what}: {problem}");
        let told = format!("{} {}", problem["detail"], problem["field"]);
        assert!(told.contains(says), "{what}: `{says}` is not in {problem}");
    }
    assert_eq!(everything(&server).await.unwrap(), before);
    assert_eq!(server.stop().await.unwrap(), Some(0));
}

#[tokio::test]
async fn bodies_that_are_no_json_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let server = stage(folder.path()).await.unwrap();
    let before = everything(&server).await.unwrap();
    let (json, large) = ("content-type: application/json", vec![b' '; 2 << 20]);
    for (what, header, body, status, code) in [
        ("half an object", json, &b"{\"template\":"[..], 400, "malformed"),
        ("two objects", json, br#"{"template":"micro"}{}"#, 400, "malformed"),
        ("nothing", json, b"", 400, "malformed"),
        ("bytes", json, b"\xff\xfe\x00", 400, "malformed"),
        ("deep nesting", json, &[b'['; 100_000], 400, "malformed"),
        ("a form", "content-type: application/x-www-form-urlencoded", b"template=micro", 415, "not_json"),
        ("no type", "x-nothing: 1", br#"{"template":"micro"}"#, 415, "not_json"),
        ("two MiB", json, &large, 413, "too_large"),
    ] {
        let socket = UnixStream::connect(server.data.join("hostler.sock")).await.unwrap();
        let head = format!("POST /hostler/v1/machines HTTP/1.1\r\n{header}");
        let (answered, problem) = send(socket, &head, body).await.with_context(|| what.to_owned()).unwrap();
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{what}: {problem}");
    }
    assert_eq!(everything(&server).await.unwrap(), before);
    assert_eq!(server.stop().await.unwrap(), Some(0));
}

#[tokio::test]
async fn an_idempotency_key_is_for_one_request_only() {
    let folder = tempfile::tempdir().unwrap();
    let server = stage(folder.path()).await.unwrap();
    let body = |name: &str| Some(json!({ "name": name, "template": "micro", "start": false }));
    let ask = async |key: &str, name| {
        server.door.send("POST", "/machines", &[("idempotency-key", key)], body(name)).await.unwrap()
    };
    let (status, first) = ask("k", "one").await;
    assert_eq!(status, 202, "{first}");
    server.done(&first).await.unwrap();
    let (status, again) = ask("k", "one").await;
    assert_eq!((status, &again["record"]["id"]), (202, &first["record"]["id"]), "{again}");
    let before = everything(&server).await.unwrap();
    let (status, problem) = ask("k", "two").await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("idempotency_mismatch")), "{problem}");
    for key in ["", "a\u{7f}", &"k".repeat(256)] {
        let socket = UnixStream::connect(server.data.join("hostler.sock")).await.unwrap();
        let head = format!(
            "POST /hostler/v1/machines HTTP/1.1\r\ncontent-type: application/json\r\nidempotency-key: {key}"
        );
        let (status, problem) =
            send(socket, &head, body("three").unwrap().to_string().as_bytes()).await.unwrap();
        assert!(matches!(status, 400 | 422), "{key}: {status} {problem}");
    }
    assert_eq!(everything(&server).await.unwrap(), before);
    assert_eq!(server.stop().await.unwrap(), Some(0));
}

#[tokio::test]
async fn nobody_comes_in_over_tcp_without_a_token() {
    let folder = tempfile::tempdir().unwrap();
    let server = stage(folder.path()).await.unwrap();
    let address = server.url.strip_prefix("http://").unwrap().to_owned();
    let ask = async |head: String| {
        let stream = TcpStream::connect(&address).await?;
        send(stream, &head, b"").await
    };
    let secret = server.post("/tokens", json!({ "description": "mine" })).await.unwrap();
    let secret = secret["secret"].as_str().unwrap().to_owned();
    let before = everything(&server).await.unwrap();
    let tokens = |line: &str| format!("GET /hostler/v1/tokens HTTP/1.1\r\n{line}");
    let (status, problem) = ask(tokens("x-nothing: 1")).await.unwrap();
    assert_eq!((status, problem["code"].as_str()), (401, Some("unauthenticated")), "{problem}");
    for garbage in ["Bearer hst_0000", "Bearer", "Basic cm9vdDpyb290", &format!("Bearer {secret}0")] {
        let (status, problem) = ask(tokens(&format!("authorization: {garbage}"))).await.unwrap();
        assert_eq!(status, 401, "{garbage}: {problem}");
    }
    for path in [
        "/hostler/v1/machines/../tokens",
        "/hostler/v1/machines/%2e%2e/tokens",
        "//hostler//v1///tokens/",
        "/livez/../hostler/v1/tokens",
        "/hostler/openapi.json/../v1/tokens",
        "/hostler/v1/machines%2f..%2ftokens",
        "/hostler/v1/machines/%252e%252e/tokens",
        "/hostler\\v1\\tokens",
        "/hostler/v1/tokens;a=b",
        "/HOSTLER/v1/tokens",
    ] {
        let (status, answer) = ask(format!("GET {path} HTTP/1.1\r\nx-nothing: 1")).await.unwrap();
        assert!(matches!(status, 400 | 401 | 404 | 429), "{path}: {status} {answer}");
    }
    let tries = async {
        for number in 0..12 {
            let (status, problem) = ask(tokens(&format!("authorization: Bearer hst_{number}"))).await?;
            if status == 429 {
                return anyhow::Ok(problem);
            }
            ensure!(status == 401, "{status} {problem}");
        }
        anyhow::bail!("twelve wrong tokens were answered alike")
    };
    assert_eq!(tries.await.unwrap()["code"], "too_many");
    // Who has a token is not locked out by others who guess.
    let (status, _) = ask(tokens(&format!("authorization: Bearer {secret}"))).await.unwrap();
    assert_eq!(status, 200);
    assert_eq!(everything(&server).await.unwrap(), before);
    assert_eq!(server.stop().await.unwrap(), Some(0));
}
