//! A world in which there is one of everything, and everybody who may come: the owner, a stranger, a reader of
//! everything, an administrator, and those whose credentials count no longer.

use crate::outside::person;
use crate::rights::account;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use hostler_core::access::outside::{LinkedDirectory, LinkedProvider, Mapping, Outside};
use hostler_core::access::{Caller, CredentialAsk, CredentialKind, Role, Via, hash_password};
use hostler_core::ports::{Alteration, Commit, Store};
use hostler_core::query::{Filter, Select};
use hostler_core::reconcile::PoolKeeper;
use hostler_core::record::{Kind, Record};
use hostler_doors::{DoorState, router};
use hostler_sim::memory::{SimDirectory, SimProvider};
use hostler_sim::{Mode, World};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

/// Where all requests come from.
pub(super) const PEER: &str = "192.0.2.9";
/// The owner's password.
pub(super) const PASSWORD: &str = "swordfish-of-the-owner";
const VIA: Via = Via { door: "native", address: None };

/// Somebody with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// Owns the objects.
    Owner,
    /// Owns none of them.
    Stranger,
    /// Sees everything, changes nothing.
    Reader,
    /// May everything.
    Administrator,
    /// The owner, by a token that is limited to nothing.
    OwnerLimited,
    /// The administrator, by such a token.
    AdministratorLimited,
    /// The owner, by a token whose time is over.
    Expired,
    /// An administrator whose account is disabled.
    Disabled,
}

/// An answer, read to its end unless it is a stream.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) text: String,
}

impl Answer {
    pub(super) fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_default()
    }
}

pub(super) struct Scene {
    pub(super) world: World,
    pub(super) origin: Router,
    pub(super) provider: SimProvider,
    tokens: BTreeMap<Who, String>,
    /// What stands for the parameters of paths.
    values: BTreeMap<&'static str, String>,
}

impl Scene {
    pub(super) async fn new() -> Self {
        let mut world = World::with_template().await.unwrap();
        world.medium("iso").await.unwrap();
        let provider = SimProvider::new("sso", world.faults.clone());
        world.core = world.core.clone().with_outside(outside(&world, &provider));
        let state = DoorState::new(world.core.clone(), CancellationToken::new());
        let (origin, tokens, values) = (router(state), BTreeMap::new(), BTreeMap::new());
        let mut scene = Self { world, origin, provider, tokens, values };
        scene.people().await;
        scene.things().await;
        scene
    }

    async fn people(&mut self) {
        let world = &self.world;
        let owner = account(world, 101, Role::User).await;
        let mut record = world.core.account_get(&owner, "user-101").await.unwrap();
        record.password = Some(hash_password(PASSWORD).unwrap());
        let alterations = vec![Alteration::Update(record.document().unwrap())];
        world.store.commit(Commit { alterations, ..Commit::default() }).await.unwrap();
        let stranger = account(world, 102, Role::User).await;
        let reader = account(world, 103, Role::ReadOnly).await;
        let disabled = account(world, 104, Role::Administrator).await;
        let administrator = world.admin.clone();
        let soon = Some(world.core.clock().now().plus(Duration::from_secs(1)));
        let whole = CredentialAsk::default;
        let limited = || CredentialAsk { scope: Some(Vec::new()), ..whole() };
        for (who, caller, ask) in [
            (Who::Owner, &owner, whole()),
            (Who::Stranger, &stranger, whole()),
            (Who::Reader, &reader, whole()),
            (Who::Administrator, &administrator, whole()),
            (Who::OwnerLimited, &owner, limited()),
            (Who::AdministratorLimited, &administrator, limited()),
            (Who::Expired, &owner, CredentialAsk { expires_at: soon, ..whole() }),
            (Who::Disabled, &disabled, whole()),
        ] {
            let secret = made(world, caller, ask).await.1;
            self.tokens.insert(who, secret);
        }
        self.world.clock.advance(Duration::from_secs(2));
        let session = CredentialAsk { kind: CredentialKind::Session, ..whole() };
        let (session, _) = made(&self.world, &owner, session).await;
        let (token, _) = made(&self.world, &owner, whole()).await;
        self.values.extend([("session", session), ("token", token)]);
        self.prepare("PATCH /hostler/v1/accounts/user-104", &json!({"enabled": false})).await;
    }

    async fn things(&mut self) {
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJiJqp2JGL4oVHFGBhYm4p8IiNE0VzJOmwPEk4hXk7tM ann@home";
        let ranges = json!([{"first": "10.9.0.1", "last": "10.9.0.9"}]);
        self.prepare("POST /hostler/v1/groups", &json!({"name": "ops"})).await;
        self.prepare("PUT /hostler/v1/groups/ops/members/user-101", &Value::Null).await;
        self.prepare("POST /hostler/v1/networks", &json!({"name": "lan", "ranges": ranges})).await;
        self.prepare("POST /hostler/v1/networks/lan/addresses", &json!({"ip": "10.9.0.2"})).await;
        self.owns("/ssh-keys", json!({"name": "home", "public_key": key})).await;
        let machine =
            json!({"name": "m", "template": "micro", "user_data": "#cloud-config swordfish-of-a-guest"});
        let machine = self.owns("/machines", machine).await;
        self.world.run_tasks(Mode::Plain).await.unwrap();
        let volume = self.owns("/volumes", json!({"name": "data", "size_mib": 8})).await;
        let snapshot = self.owns("/machines/m/snapshots", json!({"name": "s"})).await;
        self.world.run_tasks(Mode::Plain).await.unwrap();
        // This one stays queued, to be looked at and cancelled.
        let queued = self.owns("/volumes", json!({"name": "queued", "size_mib": 8})).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let host = self.world.core.local_hosts()[0].hypervisor.host().to_string();
        self.values.extend([
            ("machine", "m".into()),
            ("mac", text(&machine["record"]["nics"][0]["mac"])),
            ("volume", text(&volume["record"]["id"])),
            ("snapshot", text(&snapshot["record"]["id"])),
            ("task", text(&queued["task"]["id"])),
            ("account", "user-101".into()),
            ("group", "ops".into()),
            ("key", "home".into()),
            ("network", "lan".into()),
            ("ip", "10.9.0.2".into()),
            ("template", "micro".into()),
            ("medium", "iso".into()),
            ("host", host),
            ("directory", "company".into()),
            ("provider", "sso".into()),
            ("pool", "p".into()),
            ("checkout", "a-checkout".into()),
            ("request", "r".into()),
            ("kind", "machine".into()),
            ("object", "m".into()),
            ("subject_kind", "account".into()),
            ("subject", "user-102".into()),
        ]);
    }

    /// Fills a pool.
    pub(super) async fn pool(&self) {
        self.prepare("POST /hostler/v1/pools", &json!({"name": "p", "template": "micro", "size": 2})).await;
        let mut keeper = PoolKeeper::new(self.world.core.clone());
        for _ in 0..20 {
            let counts = self.world.core.pool_counts().await.unwrap();
            if counts.iter().all(|counts| counts.ready == 2) {
                return;
            }
            keeper.round().await;
            self.world.run_tasks(Mode::Plain).await.unwrap();
        }
        panic!("the pool is not filled");
    }

    /// Makes something that the owner owns.
    pub(super) async fn owns(&self, list: &str, body: Value) -> Value {
        let answer = self.ask(Some(Who::Owner), &format!("POST /hostler/v1{list}"), &body).await;
        assert!(answer.status.is_success(), "{list}: {}", answer.text);
        answer.json()
    }

    /// Has an administrator do something beforehand, with its tasks.
    pub(super) async fn prepare(&self, request: &str, body: &Value) {
        let answer = self.ask(Some(Who::Administrator), request, body).await;
        assert!(answer.status.is_success(), "{request}: {}", answer.text);
        self.world.run_tasks(Mode::Plain).await.unwrap();
    }

    pub(super) fn token(&self, who: Who) -> &str {
        &self.tokens[&who]
    }

    /// A pattern with what stands in this scene for its parameters.
    pub(super) fn filled(&self, pattern: &str) -> String {
        let mut path = pattern.to_owned();
        for (name, value) in &self.values {
            path = path.replace(&format!("{{{name}}}"), value);
        }
        assert!(!path.contains('{'), "nothing stands for a parameter of {path}");
        path
    }

    /// Sends `METHOD /path` with a JSON body, unless that is null.
    pub(super) async fn ask(&self, who: Option<Who>, request: &str, body: &Value) -> Answer {
        let authorization = who.map(|who| (header::AUTHORIZATION, format!("Bearer {}", self.token(who))));
        self.send(request, authorization.into_iter().collect(), body).await
    }

    /// The same with these headers.
    pub(super) async fn send(
        &self,
        request: &str,
        headers: Vec<(header::HeaderName, String)>,
        body: &Value,
    ) -> Answer {
        let (method, path) = request.split_once(' ').unwrap();
        let peer: SocketAddr = format!("{PEER}:40000").parse().unwrap();
        let mut request = Request::builder().method(method.parse::<Method>().unwrap()).uri(path);
        request = request.extension(ConnectInfo(peer));
        if path.ends_with("/serial") || path.ends_with("/display") {
            request = request.header(header::CONNECTION, "upgrade").header(header::UPGRADE, "hostler-stream");
        }
        for (name, value) in headers {
            request = request.header(name, value);
        }
        let body = match body {
            Value::Null => Body::empty(),
            body => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(body.to_string())
            }
        };
        let answer = self.origin.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = answer.into_parts();
        let stream = parts.headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind == "text/event-stream");
        let bytes = if stream { axum::body::Bytes::new() } else { to_bytes(body, 1 << 22).await.unwrap() };
        Answer { status: parts.status, headers: parts.headers, text: String::from_utf8_lossy(&bytes).into() }
    }

    /// Every secret that somebody came with, or told.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &str> {
        self.tokens.values().map(String::as_str).chain(["swordfish"])
    }

    /// All that is kept but the audit trail.
    pub(super) async fn kept(&self) -> Vec<String> {
        let mut kept = Vec::new();
        for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Deed) {
            let all = self.world.store.list(kind, Select::new(Filter::All, 10_000)).await.unwrap();
            kept.extend(all.into_iter().map(|document| format!("{kind:?} {document:?}")));
        }
        kept
    }
}

/// Makes a credential, and answers its key and its secret.
async fn made(world: &World, caller: &Caller, ask: CredentialAsk) -> (String, String) {
    let (made, secret) = world.core.credential_make(&caller.clone().through(VIA), ask).await.unwrap();
    (made.id.to_string(), secret.expose().to_owned())
}

fn outside(world: &World, provider: &SimProvider) -> Outside {
    let mapping = Mapping { role: Some(Role::User), rules: Vec::new() };
    let directory = SimDirectory::new(world.faults.clone());
    directory.set(vec![person("ada")]);
    let linked = LinkedDirectory {
        directory: Arc::new(directory),
        mapping: mapping.clone(),
        interval: None,
        import: true,
    };
    let providers = vec![LinkedProvider { provider: Arc::new(provider.clone()), mapping }];
    Outside { directories: vec![linked], providers }
}
