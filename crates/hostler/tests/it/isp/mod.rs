//! The service `auth` of VMmanager and DCImanager: over the router with a set clock, and through the real program with
//! the requests of the products' guides.

mod access;
mod credentials;
mod guides;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, header};
use hostler_core::access::{Account, AccountAsk, Role};
use hostler_core::secret::Secret;
use hostler_doors::{DoorState, LocalPeer, OverTls, router};
use hostler_sim::World;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

pub(super) const PASSWORD: &str = "correct horse 7f3a";
pub(super) const UNAUTHORIZED: &str = r#"{"error":{"code":3001,"msg":"Unauthorized"}}"#;

/// Whoami's refusal with this code.
pub(super) fn whoami(code: u16) -> String {
    format!(
        r#"{{"error":{{"code":{code},"msg":"Whoami verifired error","value":{{"code":3002,"msg":"Session not found"}}}}}}"#
    )
}

/// An answer.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
    pub(super) body: Value,
}

/// A world with an administrator (`root@example.org`) and a user (`ann@example.org`), and its doors.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) world: World,
    router: Router,
}

/// How a request comes.
#[derive(Clone, Copy, Debug)]
pub(super) enum From {
    Address([u8; 4]),
    Tls,
    Socket,
}

pub(super) const HERE: From = From::Address([192, 0, 2, 1]);

impl Origin {
    pub(super) async fn new() -> Self {
        let world = World::new().await.unwrap();
        let router = router(DoorState::new(world.core.clone(), CancellationToken::new()));
        let origin = Self { world, router };
        origin.account("root", Role::Administrator).await;
        origin.account("ann", Role::User).await;
        origin
    }

    pub(super) async fn account(&self, login: &str, role: Role) -> Account {
        let ask = AccountAsk {
            login: login.into(),
            email: format!("{login}@example.org"),
            full_name: String::new(),
            password: Some(Secret::new(PASSWORD)),
            role,
            enabled: true,
        };
        self.world.core.account_create(&self.world.admin, ask).await.unwrap()
    }

    /// A request; bodies go without a content type, as some clients send them.
    pub(super) async fn ask(
        &self,
        from: From,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Told {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "panel.example");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request = match from {
            From::Address(ip) => request.extension(ConnectInfo(SocketAddr::from((ip, 4711)))),
            From::Tls => {
                request.extension(ConnectInfo(SocketAddr::from(([192, 0, 2, 9], 4711)))).extension(OverTls)
            }
            From::Socket => request.extension(LocalPeer { uid: 7, server_uid: 7 }),
        };
        let request = request.body(Body::from(body.to_owned())).unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, 1 << 22).await.unwrap();
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        let body = serde_json::from_str(&text).unwrap_or(Value::Null);
        Told { status: parts.status.as_u16(), headers: parts.headers, text, body }
    }

    pub(super) async fn get(&self, path: &str, token: &str) -> Told {
        self.ask(HERE, "GET", path, &[("x-xsrf-token", token)], "").await
    }

    pub(super) async fn post(&self, path: &str, token: &str, body: Value) -> Told {
        self.ask(HERE, "POST", path, &[("x-xsrf-token", token)], &body.to_string()).await
    }

    pub(super) async fn delete(&self, path: &str, token: &str) -> Told {
        self.ask(HERE, "DELETE", path, &[("x-xsrf-token", token)], "").await
    }

    /// A token of this account.
    pub(super) async fn token(&self, login: &str) -> String {
        let body = json!({ "email": format!("{login}@example.org"), "password": PASSWORD });
        let told = self.ask(HERE, "POST", "/auth/v4/public/token", &[], &body.to_string()).await;
        assert_eq!(told.status, 201, "{}", told.text);
        told.body["token"].as_str().unwrap().to_owned()
    }

    /// A session of this account.
    pub(super) async fn session(&self, login: &str) -> String {
        let body = json!({ "email": format!("{login}@example.org"), "password": PASSWORD });
        let told = self.ask(HERE, "POST", "/auth/v3/auth", &[], &body.to_string()).await;
        assert_eq!(told.status, 200, "{}", told.text);
        told.body["session"].as_str().unwrap().to_owned()
    }

    /// A key for this account.
    pub(super) async fn key(&self, login: &str) -> String {
        let root = self.token("root").await;
        let told = self.post(&format!("/auth/v4/user/{login}@example.org/key"), &root, json!({})).await;
        assert_eq!(told.status, 201, "{}", told.text);
        told.body["key"].as_str().unwrap().to_owned()
    }
}
