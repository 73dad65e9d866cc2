//! Every route of every door, asked by everybody: without a credential, with one whose time is over, of a disabled
//! account, with the wrong role, for somebody else's object, and rightly.
//!
//! A route that is missing from the tables fails the test, and so does a row whose right request does not succeed. What is
//! refused changes nothing and, where it is a denial, is in the audit trail; what is done is there, too.

mod isp;
mod native;
mod scene;

use axum::http::{Method, StatusCode, header};
use hostler_core::access::{Deed, Outcome};
use hostler_core::core::ListAsk;
use hostler_core::ports::Store;
use hostler_doors::native::operations;
use hostler_sim::Mode;
use scene::{Answer, PEER, Scene, Who};
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// Whom a route is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom {
    /// Everybody, without a credential.
    Open,
    /// Every account, and nothing is changed but by who may.
    Account,
    /// Every account, for itself; not with a limited credential.
    Any,
    /// Every account but a reader's.
    Maker,
    /// Who may see the object.
    Seer,
    /// Its owner, and administrators.
    Owner,
    /// Its owner alone, not even administrators.
    Owning,
    /// The owner of what others cannot even see, and administrators.
    Mine,
    /// Administrators, for what everybody sees.
    Shared,
    /// Administrators and readers of everything.
    Overseer,
    /// Administrators.
    Administrator,
}

impl Whom {
    /// How somebody is refused; none when they are not.
    fn refuses(self, who: Who) -> Option<u16> {
        use Who::{Administrator, AdministratorLimited, Owner, OwnerLimited, Reader, Stranger};
        let (denied, hidden) = (Some(403), Some(404));
        match (self, who) {
            (Self::Open, _) => None,
            (_, Who::Expired | Who::Disabled) => Some(401),
            (Self::Account | Self::Any, _) => None,
            (Self::Owning, Administrator | AdministratorLimited | Reader) => denied,
            (_, Administrator | AdministratorLimited) => None,
            (Self::Maker, Reader) => denied,
            (Self::Maker, _) => None,
            (Self::Overseer, Reader) | (Self::Seer, Reader) => None,
            (Self::Seer | Self::Owner | Self::Owning | Self::Mine, Owner | OwnerLimited) => None,
            (Self::Seer | Self::Owner | Self::Owning | Self::Mine, Stranger) => hidden,
            (Self::Mine, _) => hidden,
            (_, _) => denied,
        }
    }

    /// Who asks rightly, with the least that this takes.
    fn right(self) -> Option<Who> {
        match self {
            Self::Open => None,
            Self::Overseer => Some(Who::Reader),
            Self::Shared | Self::Administrator => Some(Who::Administrator),
            _ => Some(Who::Owner),
        }
    }
}

/// What is known of one route.
#[derive(Clone, Debug)]
struct Row {
    /// Method and pattern.
    route: &'static str,
    whom: Whom,
    /// Of a request that is right.
    body: Value,
    /// Its name in the audit trail; empty when it leaves no line.
    deed: &'static str,
    /// What an administrator does beforehand.
    before: Vec<Before>,
}

#[derive(Clone, Debug)]
enum Before {
    /// This request.
    Ask(&'static str, Value),
    /// Something is left on the host that no record knows, for long.
    LeftOver,
    /// The machine has a card on a bridge, which is what is asked about.
    Bridge,
    /// There is a pool with ready machines.
    Pool,
    /// The owner has lent one of them, which is what is asked about.
    Lent,
    /// The owner waits for a machine of it.
    Requested,
    /// This is asked instead of the pattern.
    About(&'static str),
}

impl Row {
    fn also(mut self, before: Before) -> Self {
        self.before.push(before);
        self
    }

    fn before(self, request: &'static str, body: Value) -> Self {
        self.also(Before::Ask(request, body))
    }

    fn about(self, request: &'static str) -> Self {
        self.also(Before::About(request))
    }

    fn left_over(self) -> Self {
        self.also(Before::LeftOver)
    }

    fn on_bridge(self) -> Self {
        self.also(Before::Bridge)
    }

    fn of_pool(self) -> Self {
        self.also(Before::Pool)
    }

    fn of_lent(self) -> Self {
        self.of_pool().also(Before::Lent)
    }

    fn of_request(self) -> Self {
        self.of_pool().also(Before::Requested)
    }

    fn changes(&self) -> bool {
        !self.deed.is_empty()
    }
}

/// A path of the native door.
fn native_path(request: &str) -> String {
    request.replacen(' ', " /hostler/v1", 1)
}

/// Does what comes before, and answers the request that the row is about.
async fn prepared(scene: &Scene, row: &Row) -> String {
    let mut request = scene.filled(&native_path(row.route));
    for before in &row.before {
        match before {
            Before::Ask(path, body) => scene.prepare(&scene.filled(&native_path(path)), body).await,
            Before::About(other) => request = native_path(other),
            Before::LeftOver => {
                scene.world.leave_something().await.unwrap();
                scene.world.clock.advance(std::time::Duration::from_secs(24 * 3600));
            }
            Before::Pool => scene.pool().await,
            Before::Lent => {
                let ask = json!({"pools": {"p": 1}});
                let lent = scene.owns("/checkouts", ask).await;
                request = request.replace("a-checkout", lent["items"][0]["name"].as_str().unwrap());
            }
            Before::Requested => {
                scene.owns("/requests", json!({"key": "r", "pools": {"p": 1}})).await;
            }
            Before::Bridge => {
                let bridge = json!({"name": "br", "kind": "bridge", "uplink": {"to": "nat"},
                    "subnets": [{"gateway": "10.1.0.1", "prefix": 24}],
                    "ranges": [{"first": "10.1.0.2", "last": "10.1.0.9"}]});
                scene.prepare("POST /hostler/v1/networks", &bridge).await;
                scene.prepare("POST /hostler/v1/machines/m/nics", &json!({"network": "br"})).await;
                let machine = scene.ask(Some(Who::Owner), "GET /hostler/v1/machines/m", &Value::Null).await;
                let mac = machine.json()["nics"][1]["mac"].as_str().unwrap().to_owned();
                request = format!("PUT /hostler/v1/machines/m/nics/{mac}/inbound");
            }
        }
    }
    request
}

async fn trail(scene: &Scene) -> Vec<Deed> {
    let ask = ListAsk { limit: 10_000, ..ListAsk::default() };
    scene.world.core.audit_list(&scene.world.admin, ask).await.unwrap().items
}

fn is_refused(answer: &Answer, status: u16, asked: &str) {
    assert_eq!(answer.status.as_u16(), status, "{asked}: {}", answer.text);
    let code = match status {
        401 => "unauthenticated",
        403 => "denied",
        _ => "not_found",
    };
    assert_eq!(answer.json()["code"], code, "{asked}: {}", answer.text);
    assert_eq!(answer.headers[header::CONTENT_TYPE], "application/problem+json", "{asked}");
    assert!(!answer.text.contains("swordfish") && !answer.text.contains("hst_"), "{asked}: {}", answer.text);
}

/// Everybody who is refused; nothing may change by it, and each denial is told.
async fn refused(scene: &Scene, row: &Row, request: &str) {
    let before = scene.kept().await;
    if row.whom != Whom::Open {
        is_refused(&scene.ask(None, request, &row.body).await, 401, request);
        let made_up = vec![(header::AUTHORIZATION, format!("Bearer hst_{}", "0".repeat(64)))];
        is_refused(&scene.send(request, made_up, &row.body).await, 401, request);
    }
    let mut everybody: Vec<(Who, Option<u16>)> =
        [Who::Owner, Who::Stranger, Who::Reader, Who::Administrator, Who::Expired, Who::Disabled]
            .map(|who| (who, row.whom.refuses(who)))
            .to_vec();
    if matches!(row.whom, Whom::Owner | Whom::Shared) && row.changes() {
        everybody.push((Who::AdministratorLimited, Some(403)));
    }
    let shared = row.whom == Whom::Shared;
    if row.changes() && !shared && row.whom != Whom::Open && row.deed != "credential.end" {
        let limited = match row.whom.right() {
            Some(Who::Administrator) => Who::AdministratorLimited,
            _ => Who::OwnerLimited,
        };
        everybody.push((limited, Some(403)));
    }
    for (who, status) in everybody {
        let Some(status) = status else { continue };
        let told = trail(scene).await.len();
        let answer = scene.ask(Some(who), request, &row.body).await;
        is_refused(&answer, status, &format!("{request} by {who:?}"));
        let lines = trail(scene).await;
        let denials: Vec<&Deed> = lines[told..].iter().collect();
        if status == 403 {
            assert_eq!(denials.len(), 1, "{request} by {who:?}: {denials:?}");
            assert_eq!(denials[0].outcome, Outcome::Denied);
            assert!(denials[0].account.is_some() && denials[0].address.is_some(), "{:?}", denials[0]);
        } else {
            assert!(denials.is_empty(), "{request} by {who:?}: {denials:?}");
        }
    }
    assert_eq!(scene.kept().await, before, "{request}: what was refused has changed something");
}

/// Whoever may: it succeeds, and what it changes is told.
async fn granted(scene: &Scene, row: &Row, request: &str) {
    if !row.changes() {
        let all = [Who::Owner, Who::Stranger, Who::Reader, Who::Administrator];
        for who in all.into_iter().filter(|who| row.whom.refuses(*who).is_none()) {
            let answer = scene.ask(Some(who), request, &row.body).await;
            let good = answer.status.is_success() || answer.status.is_redirection();
            assert!(good, "{request} by {who:?}: {} {}", answer.status, answer.text);
        }
    }
    let told = trail(scene).await.len();
    let who = row.whom.right();
    let status = if request.contains("/console/") && row.changes() {
        opened(scene, request).await
    } else {
        let answer = scene.ask(who, request, &row.body).await;
        let good = answer.status.is_success() || answer.status.is_redirection();
        assert!(good, "{request} by {who:?}: {} {}", answer.status, answer.text);
        answer.status
    };
    let lines = trail(scene).await;
    let lines: Vec<&Deed> = lines[told..].iter().collect();
    if !row.changes() {
        assert!(lines.is_empty(), "{request} changes nothing: {lines:?}");
        return;
    }
    assert!(!lines.is_empty(), "{request} ({status}) left no line in the audit trail");
    for line in lines {
        assert_eq!((line.action.as_str(), line.outcome), (row.deed, Outcome::Done), "{request}: {line:?}");
        assert_eq!(line.door, "native", "{request}");
        let address = line.address.map(|address| address.to_string());
        let over_tcp = status == StatusCode::SWITCHING_PROTOCOLS;
        assert_eq!(address.as_deref(), Some(if over_tcp { "127.0.0.1" } else { PEER }), "{request}");
        assert!(line.account.is_some() && !line.login.is_empty(), "{request}: {line:?}");
        assert!(line.credential.is_some() || row.whom == Whom::Open, "{request}: {line:?}");
        assert!(!line.object_kind.is_empty(), "{request}: {line:?}");
    }
}

/// A console is opened over a real connection.
async fn opened(scene: &Scene, request: &str) -> StatusCode {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let service = scene.origin.clone().into_make_service_with_connect_info::<std::net::SocketAddr>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });
    let path = request.split_once(' ').unwrap().1;
    let (_stream, head) = crate::native::upgraded(address, path, scene.token(Who::Owner)).await;
    server.abort();
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    StatusCode::SWITCHING_PROTOCOLS
}

/// Neither records nor payloads of tasks, events or the audit trail have a secret in them that can be read.
async fn no_secret_is_kept(scene: &Scene) {
    let events = scene.world.store.events_after(0, 100_000).await.unwrap();
    let kept = [scene.kept().await.join("\n"), format!("{events:?}"), format!("{:?}", trail(scene).await)];
    for (place, text) in ["records", "events", "audit trail"].into_iter().zip(kept) {
        for secret in scene.secrets() {
            // Bytes may be shown as numbers.
            let numbers = secret.bytes().map(|byte| byte.to_string()).collect::<Vec<_>>().join(", ");
            assert!(
                !text.contains(secret) && !text.contains(&numbers),
                "{secret} is among the {place}: {text}"
            );
        }
    }
}

fn routes(table: &[Row]) -> BTreeSet<String> {
    table.iter().map(|row| row.route.to_owned()).collect()
}

#[tokio::test]
async fn every_native_route_lets_in_whom_it_is_for_and_tells_of_it() {
    let table = native::table();
    let known: BTreeSet<String> =
        operations().into_iter().map(|(method, path)| format!("{method} {path}")).collect();
    let mut walked = routes(&table);
    assert_eq!(walked.len(), table.len(), "a route is in the table twice");
    // Its request is the answer to another: it has a test of its own, below.
    walked.insert("GET /login/oidc/{provider}/callback".into());
    assert_eq!(walked, known, "routes and table are not the same");
    let mut wrong = Vec::new();
    for row in table {
        let route = row.route;
        let walked = tokio::spawn(async move {
            let scene = Scene::new().await;
            let request = prepared(&scene, &row).await;
            refused(&scene, &row, &request).await;
            granted(&scene, &row, &request).await;
            scene.world.run_tasks(Mode::Plain).await.unwrap();
            no_secret_is_kept(&scene).await;
        });
        // What is wrong with each was printed; the others are walked all the same.
        if walked.await.is_err() {
            wrong.push(route);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn operations_tell_everybody_and_change_nothing() {
    let scene = Scene::new().await;
    let before = scene.kept().await;
    for path in hostler_doors::ops::PATHS {
        for who in [None, Some(Who::Stranger), Some(Who::Expired), Some(Who::Disabled)] {
            let answer = scene.ask(who, &format!("GET {path}"), &Value::Null).await;
            assert_eq!(answer.status, StatusCode::OK, "{path} by {who:?}");
            assert!(!answer.text.contains("user-101") && !answer.text.contains("hst_"), "{}", answer.text);
        }
        for method in [Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = scene.ask(Some(Who::Administrator), &format!("{method} {path}"), &Value::Null).await;
            assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
    }
    assert_eq!(scene.kept().await, before);
}

/// How a browser comes back from the provider, with this cookie.
async fn come_back(scene: &Scene, query: &str, cookie: &str) -> Answer {
    let request = format!("GET /hostler/v1/login/oidc/sso/callback?{query}");
    scene.send(&request, vec![(header::COOKIE, cookie.to_owned())], &Value::Null).await
}

#[tokio::test]
async fn a_browser_that_was_sent_to_a_provider_comes_back_once() {
    let scene = Scene::new().await;
    let begun = scene.ask(None, "GET /hostler/v1/login/oidc/sso", &Value::Null).await;
    assert_eq!(begun.status, StatusCode::FOUND);
    let location = begun.headers[header::LOCATION].to_str().unwrap();
    let state = location.split_once("state=").unwrap().1.to_owned();
    let cookie = begun.headers[header::SET_COOKIE].to_str().unwrap();
    for part in ["hostler_login=", "Path=/hostler/v1/login/oidc/sso;", "HttpOnly", "SameSite=Lax", "Secure"] {
        assert!(cookie.contains(part), "{part} is not in {cookie}");
    }
    assert_eq!(begun.headers[header::CACHE_CONTROL], "no-store");
    let carried = cookie.split_once(';').unwrap().0.to_owned();
    let before = scene.kept().await;
    scene.provider.expect("c", crate::outside::person("ada"));
    let (right, wrong) = (format!("code=c&state={state}"), format!("code=c&state={}", "0".repeat(64)));
    for (query, cookie) in [
        (wrong.as_str(), carried.as_str()),
        ("code=c", &carried),
        (&format!("state={state}"), &carried),
        (&format!("error=access_denied&state={state}"), &carried),
        (&right, ""),
        (&right, "hostler_login=made-up"),
        (&right, "other=1"),
    ] {
        let told = trail(&scene).await.len();
        is_refused(&come_back(&scene, query, cookie).await, 401, query);
        let lines = trail(&scene).await;
        assert_eq!(lines.len(), told + 1, "{query}");
        assert_eq!((lines[told].action.as_str(), lines[told].outcome), ("account.login", Outcome::Denied));
    }
    assert_eq!(scene.kept().await, before, "a login that was refused has changed something");
    let came = come_back(&scene, &right, &carried).await;
    assert_eq!(came.status, StatusCode::OK, "{}", came.text);
    let over = came.headers[header::SET_COOKIE].to_str().unwrap();
    assert!(over.contains("hostler_login=;") && over.contains("Max-Age=0"), "{over}");
    assert_eq!(came.headers[header::REFERRER_POLICY], "no-referrer");
    let secret = came.json()["secret"].as_str().unwrap().to_owned();
    let session = vec![(header::AUTHORIZATION, format!("Bearer {secret}"))];
    let who = scene.send("GET /hostler/v1/whoami", session, &Value::Null).await;
    assert_eq!(who.json()["account"]["login"], "ada");
    let line = trail(&scene).await.pop().unwrap();
    assert_eq!((line.action.as_str(), line.login.as_str()), ("credential.make", "ada"));
    is_refused(&come_back(&scene, &right, &carried).await, 401, "the same once more");
    let kept = format!("{:?}", trail(&scene).await) + &scene.kept().await.join("");
    assert!(!kept.contains(&secret) && !kept.contains(&state) && !kept.contains(&carried));
}
