//! The native door over a real store and simulated hosts.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use hostler_core::access::CredentialAsk;
use hostler_doors::{DoorState, LocalPeer, router};
use hostler_sim::{Mode, World};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// The native door of a world, asked as its local administrator or with a token.
pub(crate) struct Door {
    origin: Router,
    token: Option<String>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: axum::http::HeaderMap,
    pub(crate) body: Value,
}

impl Door {
    pub(crate) fn of(world: &World) -> Self {
        Self { origin: router(DoorState::new(world.core.clone(), CancellationToken::new())), token: None }
    }

    /// The same, asked with a token.
    pub(crate) fn with_token(world: &World, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..Self::of(world) }
    }

    pub(crate) async fn raw(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Response<Body> {
        let mut request = Request::builder().method(method).uri(format!("/hostler/v1{path}"));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match &self.token {
            Some(token) => request.header(header::AUTHORIZATION, format!("Bearer {token}")),
            None => request.extension(LocalPeer { uid: 7, server_uid: 7 }),
        };
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
            None => Body::empty(),
        };
        self.origin.clone().oneshot(request.body(body).unwrap()).await.unwrap()
    }

    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Option<&Value>,
    ) -> Answer {
        let response = self.raw(method, path, headers, body).await;
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 22).await.unwrap();
        let body = serde_json::from_slice(&bytes).unwrap_or(Value::Null);
        Answer { status: parts.status, headers: parts.headers, body }
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], None).await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask(Method::POST, path, &[], Some(&body)).await
    }
}

#[tokio::test]
async fn a_machine_is_made_switched_and_removed() {
    let world = World::with_template().await.unwrap();
    let door = Door::of(&world);
    let made =
        door.post("/machines", json!({"name": "web-1", "template": "micro", "labels": {"a": "b"}})).await;
    assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
    let task = made.body["task"]["id"].as_str().unwrap();
    assert_eq!(made.headers[header::LOCATION], format!("/hostler/v1/tasks/{task}"));
    assert_eq!(made.body["record"]["life"], "creating");
    let busy = door.post("/machines/web-1/stop", json!({})).await;
    assert_eq!((busy.status, &busy.body["code"]), (StatusCode::CONFLICT, &json!("busy")));
    assert_eq!(busy.body["task"], task);

    world.run_tasks(Mode::Plain).await.unwrap();
    let ended = door.get(&format!("/tasks/{task}?wait_s=30")).await;
    assert_eq!(ended.body["state"], "done", "{}", ended.body);
    let machine = door.get("/machines/web-1").await.body;
    assert_eq!(machine["observed"]["power"], "on", "{machine}");
    assert_eq!(machine["template"]["name"], "micro");
    assert!(machine["ssh_host_key"].as_str().unwrap().starts_with("ssh-ed25519 "));
    for path in ["/machines/web-1/stop?force=true", "/machines/web-1/start?x"] {
        assert_eq!(door.ask(Method::POST, path, &[], None).await.status, StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(door.get("/storages?x=1").await.body["field"], "x");
    let again = door.ask(Method::POST, "/machines/web-1/start", &[], None).await;
    assert_eq!((again.status, &again.body["task"]), (StatusCode::OK, &Value::Null));

    let gone = door.ask(Method::DELETE, "/machines/web-1", &[], None).await;
    assert_eq!(gone.status, StatusCode::ACCEPTED);
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(door.get("/machines").await.body["items"], json!([]));
    assert_eq!(door.get("/machines?gone=true").await.body["items"][0]["name"], "web-1");
    assert_eq!(door.get("/machines?life=gone").await.body["items"].as_array().unwrap().len(), 1);
    let number = machine["number"].as_i64().unwrap();
    let twice = door.ask(Method::DELETE, &format!("/machines/{number}"), &[], None).await;
    assert_eq!(twice.status, StatusCode::OK);
}

#[tokio::test]
async fn a_snapshot_is_taken_gone_back_to_and_removed() {
    let world = World::with_template().await.unwrap();
    let door = Door::of(&world);
    let made = door.post("/machines", json!({"name": "web-1", "template": "micro"})).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    let volume = door.get("/machines/web-1").await.body["volumes"][0].as_str().unwrap().to_owned();
    let data = door.post("/volumes", json!({"name": "data", "size_mib": 8})).await.body;
    world.run_tasks(Mode::Plain).await.unwrap();
    let data = format!("/volumes/{}", data["record"]["id"].as_str().unwrap());
    door.post("/machines/web-1/stop", json!({"force": true})).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    let attached = door.post(&format!("{data}/attach"), json!({"machine": "web-1"})).await;
    assert_eq!(attached.status, StatusCode::OK, "{}", attached.body);

    let path = "/machines/web-1/snapshots";
    let of_memory = door.post(path, json!({"name": "s", "memory": true})).await;
    assert_eq!((of_memory.status, &of_memory.body["code"]), (StatusCode::CONFLICT, &json!("wrong_state")));
    assert_eq!(door.post(path, json!({"name": ""})).await.body["field"], "name");
    let taken = door.post(path, json!({"name": "first"})).await;
    assert_eq!(taken.status, StatusCode::ACCEPTED, "{}", taken.body);
    assert_eq!(taken.body["record"]["state"], "creating");
    assert_eq!(door.post(path, json!({"name": "second"})).await.body["code"], "busy");
    assert_eq!(door.post("/machines/web-1/start", json!({})).await.body["code"], "busy");
    world.run_tasks(Mode::Plain).await.unwrap();
    let id = taken.body["record"]["id"].as_str().unwrap();
    let snapshot = door.get(&format!("/snapshots/{id}")).await.body;
    assert_eq!((&snapshot["state"], &snapshot["task"]), (&json!("present"), &Value::Null));
    assert_eq!(snapshot["volumes"].as_array().unwrap().len(), 2);
    assert_eq!(snapshot["volumes"][0]["volume"], volume);

    // What is part of it stays; what has grown is as small again.
    let refused = door.post(&format!("{data}/detach"), json!({})).await;
    assert_eq!((refused.status, &refused.body["code"]), (StatusCode::CONFLICT, &json!("has_snapshots")));
    door.post(&format!("{data}/grow"), json!({"size_mib": 16})).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    let back = door.ask(Method::POST, &format!("/snapshots/{id}/revert"), &[], None).await;
    assert_eq!(back.status, StatusCode::ACCEPTED, "{}", back.body);
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(door.get(&data).await.body["size_mib"], 8);
    world.check_whole().await.unwrap();

    let number = snapshot["number"].as_i64().unwrap();
    let removed = door.ask(Method::DELETE, &format!("/snapshots/{number}"), &[], None).await;
    assert_eq!(removed.status, StatusCode::ACCEPTED);
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(door.get(&format!("/snapshots/{id}")).await.status, StatusCode::NOT_FOUND);
    for number in 0..65 {
        let taken = door.post(path, json!({"name": format!("n{number}")})).await;
        let expected = if number < 64 { StatusCode::ACCEPTED } else { StatusCode::INSUFFICIENT_STORAGE };
        assert_eq!(taken.status, expected, "{}", taken.body);
        world.run_tasks(Mode::Plain).await.unwrap();
    }
    assert_eq!(door.get("/snapshots?limit=1000").await.body["items"].as_array().unwrap().len(), 64);
    let machine = made.body["record"]["id"].as_str().unwrap();
    door.ask(Method::DELETE, &format!("/machines/{machine}"), &[], None).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(door.get("/snapshots").await.body["items"], json!([]));
    assert_eq!(door.get(&data).await.body["machine"], Value::Null);
    // The volume that stays has no past that nobody can go back to.
    world.check_whole().await.unwrap();
}

#[tokio::test]
async fn every_list_answers_in_every_order_page_by_page() {
    let world = World::with_template().await.unwrap();
    let door = Door::of(&world);
    for name in ["c", "a", "b"] {
        door.post("/machines", json!({"name": name, "template": "micro"})).await;
        door.post("/volumes", json!({"name": name, "size_mib": 8})).await;
        let source = json!({"from": "url", "url": "https://example.org/x.iso"});
        door.post("/media", json!({"name": name, "source": source})).await;
        door.post("/tokens", json!({"description": name})).await;
        let ranges = json!([{"first": "10.0.0.1", "last": "10.0.0.9"}]);
        let added = door.post("/networks", json!({"name": name, "ranges": ranges})).await;
        assert_eq!(added.status, StatusCode::CREATED, "{}", added.body);
        assert_eq!(
            door.post("/networks/a/addresses", json!({"note": name})).await.status.is_success(),
            name != "c"
        );
    }
    world.run_tasks(Mode::Plain).await.unwrap();
    for (list, orders) in [
        (
            "/machines",
            &["id", "number", "name", "life", "observed", "created_at", "updated_at", "memory_mib", "vcpus"]
                [..],
        ),
        ("/templates", &["id", "number", "name", "version", "created_at"]),
        ("/volumes", &["id", "number", "name", "size_mib", "created_at"]),
        ("/media", &["id", "number", "name", "created_at"]),
        ("/networks", &["id", "number", "name", "created_at"]),
        ("/networks/a/addresses", &["id", "number", "created_at"]),
        ("/hosts", &["id", "number", "name", "created_at"]),
        ("/tasks", &["id", "number", "kind", "state", "due", "created_at"]),
        ("/tokens", &["id", "number", "created_at"]),
    ] {
        let all = door.get(list).await;
        assert_eq!(all.status, StatusCode::OK, "{list}: {}", all.body);
        let count = all.body["items"].as_array().unwrap().len();
        assert!(count > 0, "{list}");
        for order in orders {
            for sign in ["", "-"] {
                let mut seen = std::collections::BTreeSet::new();
                let mut path = format!("{list}?limit=1&order={sign}{order}");
                loop {
                    let page = door.get(&path).await;
                    assert_eq!(page.status, StatusCode::OK, "{path}: {}", page.body);
                    for item in page.body["items"].as_array().unwrap() {
                        assert!(seen.insert(item["id"].to_string()), "{path}: twice");
                    }
                    let Some(next) = page.body["next"].as_str() else { break };
                    path = format!("{list}?limit=1&order={sign}{order}&after={next}");
                }
                assert_eq!(seen.len(), count, "{list} {sign}{order}");
            }
        }
    }
    for (path, count) in [
        ("/machines?name=A", 1),
        ("/machines?template=micro", 3),
        ("/machines?template=micro@1&observed=on,off&wanted=on&life=present,creating", 3),
        ("/machines?template=none", 0),
        ("/machines?host=1", 3),
        ("/volumes?machine=a", 1),
        ("/volumes?name=b&state=present", 2),
        ("/tasks?kind=machine.create&state=done&open=false", 3),
        ("/templates?state=ready&name=mic", 1),
        ("/media?state=ready&name=b", 1),
        ("/storages", 1),
        ("/clusters", 1),
    ] {
        let page = door.get(path).await;
        assert_eq!(page.body["items"].as_array().map(Vec::len), Some(count), "{path}: {}", page.body);
    }
}

#[tokio::test]
async fn a_repeated_creation_is_answered_as_before() {
    let world = World::with_template().await.unwrap();
    let door = Door::of(&world);
    let key = [("idempotency-key", "k-1")];
    let body = json!({"template": "micro"});
    let first = door.ask(Method::POST, "/machines", &key, Some(&body)).await;
    let second = door.ask(Method::POST, "/machines", &key, Some(&body)).await;
    assert_eq!(first.body["record"]["id"], second.body["record"]["id"]);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(second.headers["idempotent-replayed"], "true");
    let other =
        door.ask(Method::POST, "/machines", &key, Some(&json!({"template": "micro", "vcpus": 2}))).await;
    assert_eq!(other.body["code"], "idempotency_mismatch");
}

#[tokio::test]
async fn a_token_comes_in_until_it_is_revoked() {
    let world = World::new().await.unwrap();
    let mut door = Door::of(&world);
    let made = door.post("/tokens", json!({"description": "ci", "lifetime_s": 60})).await;
    let secret = made.body["secret"].as_str().unwrap().to_owned();
    let id = made.body["token"]["id"].as_str().unwrap().to_owned();
    door.token = Some(secret);
    assert_eq!(door.get("/account").await.body["login"], "admin");
    let info = door.get("/info").await;
    assert_eq!(info.body["apis"], json!(["v1"]));
    assert_eq!(door.get("/doctor").await.status, StatusCode::OK);
    let revoked = door.ask(Method::DELETE, &format!("/tokens/{id}"), &[], None).await;
    assert_eq!(revoked.status, StatusCode::NO_CONTENT);
    for _ in 0..10 {
        assert_eq!(door.get("/account").await.status, StatusCode::UNAUTHORIZED);
    }
    let eleventh = door.get("/account").await;
    assert_eq!(eleventh.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(eleventh.headers.contains_key(header::RETRY_AFTER));
}

/// Reads frames until one is of this event, and answers all their positions.
async fn positions_until(response: Response<Body>, last: &str) -> Vec<i64> {
    use futures_util::StreamExt;
    let mut chunks = response.into_body().into_data_stream();
    let mut positions = Vec::new();
    loop {
        let chunk = chunks.next().await.unwrap().unwrap();
        let text = String::from_utf8(chunk.to_vec()).unwrap();
        let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().parse().unwrap();
        if text.contains("event: ") {
            positions.push(id);
        }
        if text.contains(last) {
            return positions;
        }
    }
}

#[tokio::test]
async fn events_resume_without_gap_or_duplicate() {
    let world = World::with_template().await.unwrap();
    let door = Door::of(&world);
    let live = door.raw(Method::GET, "/events?kind=machine", &[], None).await;
    assert_eq!(live.headers()[header::CONTENT_TYPE], "text/event-stream");
    door.post("/machines", json!({"name": "web-1", "template": "micro"})).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    let seen = positions_until(live, r#""ready":true"#).await;
    let resumed =
        door.raw(Method::GET, "/events?kind=machine", &[("last-event-id", &seen[0].to_string())], None).await;
    assert_eq!(positions_until(resumed, r#""ready":true"#).await, seen[1..]);
    let lost = door.raw(Method::GET, "/events", &[("last-event-id", "999999")], None).await;
    assert_eq!(positions_until(lost, "event: reset").await.len(), 1);
}

#[tokio::test]
async fn metrics_and_readiness_are_told() {
    let world = World::with_template().await.unwrap();
    let door = Door::of(&world);
    door.get("/machines").await;
    let request = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    let ready = door.origin.clone().oneshot(request("/readyz")).await.unwrap();
    assert_eq!(ready.status(), StatusCode::OK);
    let metrics = door.origin.clone().oneshot(request("/metrics")).await.unwrap();
    let text = to_bytes(metrics.into_body(), 1 << 20).await.unwrap();
    let text = String::from_utf8(text.to_vec()).unwrap();
    for line in [
        "hostler_tasks_open 0",
        r#"hostler_machines{observed="on"} 0"#,
        r#"hostler_http_requests_total{method="GET",route="/hostler/v1/machines",status="200"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

/// Sends a request over a real connection and answers the connection and the head of the answer.
pub(crate) async fn upgraded(address: std::net::SocketAddr, path: &str, token: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Accept-Encoding: gzip\r\nConnection: upgrade\r\nUpgrade: hostler-stream\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    (stream, String::from_utf8(head).unwrap())
}

#[tokio::test]
async fn a_console_is_a_stream_until_the_server_shuts_down() {
    let world = World::with_template().await.unwrap();
    world.core.machine_create(&world.admin, &World::machine("web-1"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    let (_, secret) = world.core.credential_make(&world.admin, CredentialAsk::default()).await.unwrap();
    let secret = secret.expose().to_owned();
    let shutdown = CancellationToken::new();
    let state = DoorState::new(world.core.clone(), shutdown.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = router(state.clone()).into_make_service_with_connect_info::<std::net::SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, origin).await });

    let (mut display, head) = upgraded(address, "/hostler/v1/machines/web-1/console/display", &secret).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_lowercase().contains("upgrade: hostler-stream"), "{head}");
    let mut greeting = [0; 12];
    display.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"RFB 003.008\n");
    let (_, missing) = upgraded(address, "/hostler/v1/machines/none/console/serial", &secret).await;
    assert!(missing.starts_with("HTTP/1.1 404 "), "{missing}");
    let door = Door { origin: router(state.clone()), token: Some(secret) };
    let plain = door.get("/machines/web-1/console/serial").await;
    assert_eq!(plain.status, StatusCode::UPGRADE_REQUIRED);

    shutdown.cancel();
    let mut rest = Vec::new();
    let _ = display.read_to_end(&mut rest).await;
    state.streams().close();
    state.streams().wait().await;
    server.abort();
}
