//! vmpooler's dialect over the router, with a set clock and simulated machines: what its guide shows, what 3.9.1 answered,
//! what its clients send and need.

mod clients;
mod figures;
mod guide;
mod odd;
mod parts;
mod refusals;
mod requests;
mod settings;
mod transcript;

use crate::pools::scene::Scene;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, header};
use base64::Engine;
use hostler_core::access::{AccountAsk, Role};
use hostler_core::pools::{PoolRules, PoolSpec};
use hostler_core::secret::Secret;
use hostler_doors::vmpooler::Settings;
use hostler_doors::{DoorState, TrustedProxies, router};
use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const PASSWORD: &str = "correct horse 7f3a";

/// An answer.
#[derive(Debug)]
struct Told {
    status: u16,
    headers: HeaderMap,
    text: String,
    body: Value,
}

/// Pools that are filled, and the doors; `jdoe` is a user, `root` an administrator.
struct Door {
    scene: Scene,
    router: Router,
}

/// The pools of the recorded conversation.
fn pools(size: u32) -> Vec<PoolSpec> {
    let pool = |name: &str, aliases: &[&str]| PoolSpec {
        aliases: aliases.iter().map(|alias| (*alias).to_owned()).collect(),
        domain: Some("company.com".to_owned()),
        ..PoolSpec::new(name, "micro", size)
    };
    vec![pool("debian-7-i386", &["debian-7-32"]), pool("debian-7-x86_64", &["debian-7-64", "debian-7-amd64"])]
}

impl Door {
    async fn new() -> Self {
        Self::set(Settings::default(), PoolRules::default(), 4).await
    }

    async fn set(settings: Settings, rules: PoolRules, size: u32) -> Self {
        Self::with(settings, rules, &pools(size)).await
    }

    async fn with(settings: Settings, rules: PoolRules, pools: &[PoolSpec]) -> Self {
        let scene = Scene::under(rules, pools).await.unwrap();
        for (login, role) in [("jdoe", Role::User), ("root", Role::Administrator)] {
            let ask = AccountAsk {
                login: login.into(),
                email: format!("{login}@example.org"),
                full_name: String::new(),
                password: Some(Secret::new(PASSWORD)),
                role,
                enabled: true,
            };
            scene.world.core.account_create(&scene.world.admin, ask).await.unwrap();
        }
        let proxies = TrustedProxies::default();
        let state = DoorState::set(scene.world.core.clone(), CancellationToken::new(), proxies, settings);
        Self { scene, router: router(state) }
    }

    /// A request; bodies go as a form, as curl and Faraday send them.
    async fn ask(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Told {
        let mut request =
            Request::builder().method(method).uri(path).header(header::HOST, "vmpooler.example");
        request = request.header(header::CONTENT_TYPE, "application/x-www-form-urlencoded");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let text = String::from_utf8(to_bytes(body, 1 << 22).await.unwrap().to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Told { status: parts.status.as_u16(), headers: parts.headers, text, body }
    }

    async fn get(&self, path: &str) -> Told {
        self.ask("GET", path, &[], "").await
    }

    /// A request with a token; without, when that is empty.
    async fn by(&self, token: &str, method: &str, path: &str, body: &str) -> Told {
        let header = [("X-AUTH-TOKEN", token)];
        self.ask(method, path, if token.is_empty() { &[] } else { &header }, body).await
    }

    async fn log_in(&self, login: &str, method: &str, path: &str) -> Told {
        self.ask(method, path, &[("authorization", &basic(login, PASSWORD))], "").await
    }

    async fn token(&self, login: &str) -> String {
        let told = self.log_in(login, "POST", "/api/v3/token").await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.body["token"].as_str().unwrap().to_owned()
    }

    /// The bare name of a machine that is lent with this token, or without.
    async fn lent(&self, token: &str) -> String {
        let told = self.by(token, "POST", "/vm/debian-7-i386", "").await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.body["debian-7-i386"]["hostname"].as_str().unwrap().to_owned()
    }
}

fn basic(login: &str, password: &str) -> String {
    let both = base64::engine::general_purpose::STANDARD.encode(format!("{login}:{password}"));
    format!("Basic {both}")
}

impl Told {
    /// `{"ok": false}` with this status and nothing else.
    fn is_bare(&self, status: u16) {
        assert_eq!((self.status, self.text.as_str()), (status, "{\n  \"ok\": false\n}"));
        self.is_json();
        if status == 401 {
            assert_eq!(self.headers["www-authenticate"], "Basic realm=\"Authentication required\"");
        }
    }

    fn is_json(&self) {
        assert_eq!(self.headers["content-type"], "application/json");
        assert_eq!(self.headers["x-content-type-options"], "nosniff");
    }

    fn is(&self, status: u16, body: &Value) {
        assert_eq!((self.status, &self.body), (status, body));
        self.is_json();
    }
}
