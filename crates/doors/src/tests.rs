//! The whole origin over a database that does not answer: what must hold without it.

use crate::{DoorState, LocalPeer, isp_routes, native, router};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use hostler_core::Core;
use hostler_core::core::{Parts, Settings};
use hostler_core::events::Event;
use hostler_core::ids::{HostId, TaskId};
use hostler_core::ports::{Claim, Claimed, Clock, Commit, Committed, Ids, Store, StoreError, StoreFacts};
use hostler_core::query::{Filter, Select};
use hostler_core::record::{Document, Kind, Value};
use hostler_core::time::Timestamp;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::broadcast;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

/// A database that does not answer.
struct Absent;

fn absent<T>() -> Result<T, StoreError> {
    Err(StoreError::Unavailable("it is not there".into()))
}

#[async_trait::async_trait]
impl Store for Absent {
    async fn commit(&self, _: Commit) -> Result<Committed, StoreError> {
        absent()
    }
    async fn get(&self, _: Kind, _: Uuid) -> Result<Option<Document>, StoreError> {
        absent()
    }
    async fn find(&self, _: Kind, _: &'static str, _: Value) -> Result<Option<Document>, StoreError> {
        absent()
    }
    async fn list(&self, _: Kind, _: Select) -> Result<Vec<Document>, StoreError> {
        absent()
    }
    async fn count(&self, _: Kind, _: Filter) -> Result<u64, StoreError> {
        absent()
    }
    async fn sum(&self, _: Kind, _: &'static str, _: Filter) -> Result<i64, StoreError> {
        absent()
    }
    async fn claim(&self, _: Claim) -> Result<Vec<Claimed>, StoreError> {
        absent()
    }
    async fn renew(&self, _: Vec<(TaskId, i64)>, _: Timestamp) -> Result<Vec<TaskId>, StoreError> {
        absent()
    }
    async fn disown(&self, _: String) -> Result<u64, StoreError> {
        absent()
    }
    async fn next_due(&self, _: Vec<HostId>) -> Result<Option<Timestamp>, StoreError> {
        absent()
    }
    async fn events_after(&self, _: i64, _: u32) -> Result<Vec<Event>, StoreError> {
        absent()
    }
    async fn event_bounds(&self) -> Result<(i64, i64), StoreError> {
        absent()
    }
    async fn prune_events(&self, _: Timestamp, _: u32) -> Result<u64, StoreError> {
        absent()
    }
    fn subscribe(&self) -> broadcast::Receiver<Arc<Event>> {
        broadcast::channel(1).1
    }
    async fn recount(&self, _: bool) -> Result<Vec<Kind>, StoreError> {
        absent()
    }
    async fn facts(&self, _: bool) -> Result<StoreFacts, StoreError> {
        absent()
    }
}

struct Still;

#[async_trait::async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp(1_700_000_000_000)
    }
    async fn sleep(&self, _: Duration) {
        std::future::pending::<()>().await;
    }
}

impl Ids for Still {
    fn uuid(&self) -> Uuid {
        Uuid::nil()
    }
    fn secret(&self) -> [u8; 32] {
        [0; 32]
    }
}

fn origin() -> Router {
    let parts = Parts {
        store: Arc::new(Absent),
        clock: Arc::new(Still),
        ids: Arc::new(Still),
        hosts: Vec::new(),
        key: [0; 32],
        settings: Settings::default(),
    };
    router(DoorState::new(Core::new(parts), CancellationToken::new()))
}

async fn ask(origin: &Router, method: Method, path: &str) -> Response<Body> {
    let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
    origin.clone().oneshot(request).await.unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(to_bytes(response.into_body(), 1 << 20).await.unwrap().to_vec()).unwrap()
}

fn is_problem(response: &Response<Body>) -> bool {
    response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/problem+json")
}

#[tokio::test]
async fn the_first_segment_decides_whose_errors_are_answered() {
    let origin = origin();
    for (method, path, status, problem) in [
        (Method::GET, "/nothing", 404, false),
        (Method::GET, "/hostlers", 404, false),
        (Method::GET, "/hostler/v1/nothing", 404, true),
        (Method::GET, "/hostler", 404, true),
        (Method::GET, "/hostler/v2/machines", 404, true),
        (Method::PUT, "/livez", 405, false),
        (Method::POST, "/hostler/openapi.json", 405, true),
        (Method::GET, "/hostler/v1/a%2fb", 400, true),
        (Method::GET, "/a%2fb", 400, false),
    ] {
        let response = ask(&origin, method.clone(), path).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        assert_eq!(is_problem(&response), problem, "{method} {path}");
        assert_eq!(response.headers().contains_key(header::ALLOW), status == 405, "{method} {path}");
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert!(response.headers().contains_key("x-request-id"));
    }
    // A method that a route of the native door does not have needs no credential to be refused.
    let response = ask(&origin, Method::PUT, "/hostler/v1/machines").await;
    assert!(is_problem(&response));
}

#[tokio::test]
async fn the_services_of_both_products_refuse_in_their_envelope() {
    let origin = origin();
    for (method, path, status, code) in [
        (Method::GET, "/auth/v4/nothing", 404, 1106),
        (Method::GET, "/auth/v5/whoami", 404, 1106),
        (Method::POST, "/api/dci/v4/server", 404, 1106),
        (Method::GET, "/vm/v4/host", 404, 1106),
        (Method::DELETE, "/api/ldap/v3/x", 404, 1106),
        (Method::GET, "/dnsproxy/v3/domain", 404, 1106),
        (Method::GET, "/auth", 404, 1106),
        (Method::PUT, "/auth/v4/whoami", 405, 405),
        (Method::PATCH, "/auth/v4/nothing", 405, 405),
        (Method::DELETE, "/auth/v4/whoami", 405, 405),
        (Method::GET, "/auth/v4/user/a%2fb", 400, 400),
        (Method::GET, "/api/auth/v4/user/%zz", 400, 400),
    ] {
        let response = ask(&origin, method.clone(), path).await;
        assert_eq!(response.status().as_u16(), status, "{method} {path}");
        let allowed = response.headers().get(header::ALLOW).map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(allowed.as_deref(), (status == 405).then_some("GET, POST, DELETE"), "{method} {path}");
        assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json", "{method} {path}");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store", "{method} {path}");
        let body: serde_json::Value = serde_json::from_str(&text(response).await).unwrap();
        assert_eq!(body["error"]["code"], code, "{method} {path}: {body}");
        assert!(body["error"]["msg"].as_str().is_some_and(|msg| !msg.is_empty()), "{body}");
    }
    // vmpooler's machines are below /vm as well.
    let response = ask(&origin, Method::GET, "/vm/nothing").await;
    assert_eq!(response.headers()[header::CONTENT_TYPE], "application/json");
    assert!(text(response).await.starts_with("{\n  \"ok\": false"));
    let response = ask(&origin, Method::OPTIONS, "/auth/v4/public/token").await;
    assert_eq!(
        (response.status(), response.headers().len()),
        (StatusCode::OK, 6),
        "{:?}",
        response.headers()
    );
    assert_eq!(text(response).await, "{}");
}

#[tokio::test]
async fn no_function_lets_anybody_in_without_a_credential() {
    let unauthorized = r#"{"error":{"code":3001,"msg":"Unauthorized"}}"#;
    let whoami = r#"{"error":{"code":1114,"msg":"Whoami verifired error","value":{"code":3002,"msg":"Session not found"}}}"#;
    let origin = origin();
    let mut met = 0;
    for (method, pattern, access) in isp_routes() {
        if access == "public" {
            continue;
        }
        let path = pattern.replace(['{', '}'], "");
        for wrong in
            [None, Some(("internal-auth", "on")), Some(("isp-box-instance", "true")), Some(("ses6", "x"))]
        {
            let mut request = Request::builder().method(method.clone()).uri(&path);
            if let Some((name, value)) = wrong {
                request = request.header(name, value).header(header::HOST, "instance-1");
            }
            let response = origin.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
            assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
            let own = ["/auth/", "/vm/", "/ip/", "/api/vm/"].iter().any(|first| path.starts_with(first));
            assert_eq!(text(response).await, if own { whoami } else { unauthorized }, "{method} {path}");
        }
        met += 1;
    }
    assert!(met > 30, "{met}");
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_told_in_the_envelope() {
    let origin = origin();
    let request = Request::post("/auth/v4/public/token")
        .body(Body::from(r#"{"email":"a@b.c","password":"x-y-z-1-2"}"#));
    let response = origin.clone().oneshot(request.unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    let body = text(response).await;
    assert!(
        body.starts_with(r#"{"error":{"code":503,"msg":""#) && !body.contains("it is not there"),
        "{body}"
    );
}

#[tokio::test]
async fn every_spelling_of_a_path_reaches_the_same_route() {
    let origin = origin();
    for path in ["/livez", "//livez", "/livez/", "/./livez", "/x/../livez", "/x/%2e%2e/livez", "/%6civez"] {
        assert_eq!(ask(&origin, Method::GET, path).await.status(), StatusCode::OK, "{path}");
    }
    let response = ask(&origin, Method::GET, "/livez/../hostler//v1/./machines").await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&origin, Method::GET, "/livez%2f..%2fhostler").await.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn no_operation_lets_anybody_in_without_a_credential() {
    let origin = origin();
    for (method, pattern) in native::operations() {
        // The ways in themselves.
        if pattern == "/login" || pattern.starts_with("/login/") {
            continue;
        }
        let path = pattern.replace(['{', '}'], "");
        let response = ask(&origin, method.clone(), &format!("/hostler/v1{path}")).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{method} {path}");
        assert!(is_problem(&response), "{method} {path}");
        assert_eq!(response.headers()[header::WWW_AUTHENTICATE], "Bearer realm=\"hostler\"");
        assert_eq!(response.headers()[header::CACHE_CONTROL], "no-store");
    }
}

#[tokio::test]
async fn a_peer_of_another_user_is_nobody() {
    let origin = origin();
    for (uid, status) in [(1001, 401), (1000, 503), (0, 503)] {
        let peer = LocalPeer { uid, server_uid: 1000 };
        let request = Request::get("/hostler/v1/account").extension(peer).body(Body::empty()).unwrap();
        let response = origin.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{uid}");
    }
}

#[tokio::test]
async fn a_database_that_does_not_answer_is_told_with_a_pause() {
    let origin = origin();
    let request = Request::get("/hostler/v1/machines")
        .header(header::AUTHORIZATION, "Bearer hst_0")
        .header("x-request-id", "mine-1");
    let response = origin.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(response.headers()[header::RETRY_AFTER], "1");
    assert_eq!(response.headers()["x-request-id"], "mine-1");
    let body = text(response).await;
    assert!(body.contains(r#""request_id":"mine-1""#) && !body.contains("it is not there"), "{body}");
}

#[tokio::test]
async fn operations_tell_whether_the_database_answers() {
    let origin = origin();
    assert_eq!(ask(&origin, Method::GET, "/livez").await.status(), StatusCode::OK);
    let response = ask(&origin, Method::GET, "/readyz").await;
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(response).await.contains("the store fails"));
    assert_eq!(ask(&origin, Method::GET, "/metrics").await.status(), StatusCode::SERVICE_UNAVAILABLE);
}

#[tokio::test]
async fn the_root_leads_to_the_dashboard_and_the_description_is_served() {
    let origin = origin();
    let root = ask(&origin, Method::GET, "/").await;
    assert_eq!(
        (root.status(), &root.headers()[header::LOCATION]),
        (StatusCode::FOUND, &"/dashboard/".parse().unwrap())
    );
    let request = Request::get("/hostler/openapi.json").header(header::ACCEPT_ENCODING, "gzip");
    let packed = origin.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
    let plain = text(ask(&origin, Method::GET, "/hostler/openapi.json").await).await;
    let document: serde_json::Value = serde_json::from_str(&plain).unwrap();
    assert!(document["paths"]["/machines"]["post"].is_object());
}
