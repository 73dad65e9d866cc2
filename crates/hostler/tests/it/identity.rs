//! Who may come in, and when they no longer may.

use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::{Method, Request, StatusCode, header};
use hostler_core::ErrorKind;
use hostler_core::access::{
    Account, AccountAsk, AccountChange, Action, Caller, CredentialAsk, CredentialKind, GroupAsk, Role,
    SecretForm, SshKeyAsk, Via,
};
use hostler_core::core::ListAsk;
use hostler_core::ports::Store;
use hostler_core::query::Filter;
use hostler_core::reconcile::Housekeeper;
use hostler_core::record::Kind;
use hostler_core::secret::Secret;
use hostler_core::volumes::VolumeAsk;
use hostler_doors::{DoorState, router};
use hostler_sim::{Mode, World};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

const VIA: Via = Via { door: "native", address: None };
const PASSWORD: &str = "correct horse 7f3a";

async fn account(world: &World, login: &str, role: Role) -> Account {
    let ask = AccountAsk {
        login: login.into(),
        email: format!("{login}@Example.org"),
        full_name: String::new(),
        password: Some(Secret::new(PASSWORD)),
        role,
        enabled: true,
    };
    world.core.account_create(&world.admin, ask).await.unwrap()
}

async fn come_in(world: &World, login: &str) -> Caller {
    world.core.log_in(login, &Secret::new(PASSWORD), VIA).await.unwrap()
}

async fn credential(world: &World, caller: &Caller, ask: CredentialAsk) -> String {
    world.core.credential_make(caller, ask).await.unwrap().1.expose().to_owned()
}

async fn counts(world: &World, secret: &str) -> bool {
    let kinds = [CredentialKind::Token, CredentialKind::Session];
    match world.core.caller_by(secret, &kinds, VIA).await {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.kind, ErrorKind::Unauthenticated);
            false
        }
    }
}

async fn kept(world: &World, kind: CredentialKind) -> u64 {
    world.store.count(Kind::Credential, Filter::eq("kind", kind.word())).await.unwrap()
}

#[tokio::test]
async fn a_password_lets_in_by_login_and_by_address_whatever_their_case() {
    let world = World::new().await.unwrap();
    let ann = account(&world, "Ann", Role::User).await;
    for name in ["ann", "ANN", " ann@example.ORG"] {
        assert_eq!(come_in(&world, name).await.account, ann.id);
    }
    for (name, password) in
        [("ann", "wrong"), ("nobody", PASSWORD), ("", PASSWORD), ("a\0", PASSWORD), ("admin", "none")]
    {
        let error = world.core.log_in(name, &Secret::new(password), VIA).await.unwrap_err();
        assert_eq!(error.kind, ErrorKind::Unauthenticated, "{name}");
    }
    let long = Secret::new("x".repeat(10_000_000));
    let error = world.core.log_in("ann", &long, VIA).await.unwrap_err();
    assert!(matches!(error.kind, ErrorKind::Invalid { .. }));
}

#[tokio::test]
async fn login_names_and_addresses_are_taken_once() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    for (login, email) in [("ANN", "x@example.org"), ("bob", "ANN@example.ORG")] {
        let ask = AccountAsk {
            login: login.into(),
            email: email.into(),
            full_name: String::new(),
            password: None,
            role: Role::User,
            enabled: true,
        };
        let error = world.core.account_create(&world.admin, ask).await.unwrap_err();
        assert_eq!((error.kind, error.code), (ErrorKind::Conflict, "taken"), "{login}");
    }
    account(&world, "bob", Role::User).await;
    let change = AccountChange { email: Some("Ann@Example.org".into()), ..AccountChange::default() };
    let error = world.core.account_change(&world.admin, "bob", change).await.unwrap_err();
    assert_eq!(error.code, "taken");
}

#[tokio::test]
async fn every_credential_ends_in_its_time() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    let ann = come_in(&world, "ann").await;
    let hour = Duration::from_secs(3600);
    let fixed =
        CredentialAsk { expires_at: Some(world.core.clock().now().plus(hour)), ..CredentialAsk::default() };
    let fixed = credential(&world, &ann, fixed).await;
    let idle =
        || CredentialAsk { idle_s: Some(3600), form: SecretForm::Numbered, ..CredentialAsk::default() };
    let (used, unused) = (credential(&world, &ann, idle()).await, credential(&world, &ann, idle()).await);
    let endless = CredentialAsk { form: SecretForm::Pool, ..CredentialAsk::default() };
    let endless = credential(&world, &ann, endless).await;
    let house = Housekeeper::new(world.core.clone());

    world.clock.advance(hour.checked_sub(Duration::from_millis(1)).unwrap());
    assert!(counts(&world, &fixed).await && counts(&world, &used).await);
    world.clock.advance(Duration::from_millis(1));
    assert!(!counts(&world, &fixed).await && !counts(&world, &unused).await);
    // Known in memory alone, then by the record, too.
    assert!(counts(&world, &used).await);
    house.round().await.unwrap();
    world.clock.advance(hour.checked_sub(Duration::from_millis(1)).unwrap());
    house.round().await.unwrap();
    assert!(counts(&world, &used).await, "a use begins the hour anew");
    world.clock.advance(hour);
    assert!(!counts(&world, &used).await);
    world.clock.advance(10_000 * hour);
    house.round().await.unwrap();
    assert!(counts(&world, &endless).await);
    assert_eq!(kept(&world, CredentialKind::Token).await, 1, "the others are removed");
}

#[tokio::test]
async fn the_last_use_is_written_by_the_housekeeper_and_not_by_the_request() {
    let world = World::new().await.unwrap();
    let (made, secret) = world.core.credential_make(&world.admin, CredentialAsk::default()).await.unwrap();
    for _ in 0..5 {
        assert!(counts(&world, secret.expose()).await);
    }
    let rev = async || world.store.get(Kind::Credential, made.id.0).await.unwrap().unwrap().rev;
    assert_eq!(rev().await, made.rev);
    let shown = world.core.credential_list(&world.admin, ListAsk::default()).await.unwrap();
    assert!(shown.items[0].used_at.is_some(), "it is shown at once");
    Housekeeper::new(world.core.clone()).round().await.unwrap();
    assert_eq!(rev().await, made.rev + 1);
    Housekeeper::new(world.core.clone()).round().await.unwrap();
    assert_eq!(rev().await, made.rev + 1, "nothing new to write");
}

#[tokio::test]
async fn of_fifty_with_the_same_key_one_comes_in() {
    let world = World::new().await.unwrap();
    let hour = world.core.clock().now().plus(Duration::from_secs(3600));
    let ask =
        || CredentialAsk { kind: CredentialKind::Key, expires_at: Some(hour), ..CredentialAsk::default() };
    let key = credential(&world, &world.admin, ask()).await;
    assert!(!counts(&world, &key).await, "a key is no token");
    let tries = (0..50).map(|_| {
        let (core, key) = (world.core.clone(), key.clone());
        tokio::spawn(async move { core.key_redeem(&key, VIA).await })
    });
    let mut winners = 0;
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            Ok(caller) => {
                assert_eq!(caller.account, world.admin.account);
                winners += 1;
            }
            Err(error) => assert_eq!(error.kind, ErrorKind::Unauthenticated),
        }
    }
    assert_eq!(winners, 1);
    let late = credential(&world, &world.admin, ask()).await;
    world.clock.advance(Duration::from_secs(3600));
    assert!(world.core.key_redeem(&late, VIA).await.is_err());
}

#[tokio::test]
async fn fifty_log_in_at_the_same_time() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    let all = (0..50).map(|_| {
        let core = world.core.clone();
        tokio::spawn(async move { core.log_in("ann", &Secret::new(PASSWORD), VIA).await })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn whoever_is_disabled_demoted_or_renewed_has_to_come_in_again() {
    let world = World::new().await.unwrap();
    let disabled = AccountChange { enabled: Some(false), ..AccountChange::default() };
    let demoted = AccountChange { role: Some(Role::ReadOnly), ..AccountChange::default() };
    let renewed = AccountChange { password: Some(Secret::new("another")), ..AccountChange::default() };
    for (login, change) in [("ann", disabled), ("bob", demoted), ("eve", renewed)] {
        account(&world, login, Role::User).await;
        let caller = come_in(&world, login).await;
        let ask = |kind| CredentialAsk { kind, ..CredentialAsk::default() };
        let session = credential(&world, &caller, ask(CredentialKind::Session)).await;
        let token = credential(&world, &caller, ask(CredentialKind::Token)).await;
        let key = credential(&world, &caller, ask(CredentialKind::Key)).await;
        let stays = world.core.caller_by(&session, &[CredentialKind::Session], VIA).await.unwrap();
        let mut watch = world.core.watch(&stays);
        assert!(world.core.still_counts(&stays).await.unwrap());
        let is_disabled = change.enabled == Some(false);
        world.core.account_change(&world.admin, login, change).await.unwrap();
        tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.expect("it is told at once");
        assert!(!world.core.still_counts(&stays).await.unwrap(), "{login}");
        assert!(!counts(&world, &session).await, "{login}");
        assert!(world.core.key_redeem(&key, VIA).await.is_err(), "{login}");
        assert_eq!(counts(&world, &token).await, !is_disabled, "{login}");
    }
    world.core.account_delete(&world.admin, "bob").await.unwrap();
    let left = world.core.credential_list(&world.admin, ListAsk::default()).await.unwrap();
    assert_eq!(left.items.len(), 2, "the tokens of ann and eve");
}

#[tokio::test]
async fn an_event_stream_ends_with_what_let_its_reader_in() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    let caller = come_in(&world, "ann").await;
    let (token, secret) = world.core.credential_make(&caller, CredentialAsk::default()).await.unwrap();
    let origin = router(DoorState::new(world.core.clone(), CancellationToken::new()));
    let request = Request::get("/hostler/v1/events")
        .header(header::AUTHORIZATION, format!("Bearer {}", secret.expose()))
        .body(Body::empty());
    let stream = origin.oneshot(request.unwrap()).await.unwrap();
    assert_eq!(stream.status(), StatusCode::OK);
    let read = tokio::spawn(async move { to_bytes(stream.into_body(), 1 << 20).await });
    world.core.credential_end(&world.admin, &token.number.to_string()).await.unwrap();
    // The look that is taken every fifteen seconds comes too late for this.
    let ended = tokio::time::timeout(Duration::from_secs(10), read).await;
    ended.expect("the stream ends at once").unwrap().unwrap();
}

#[tokio::test]
async fn there_is_always_an_administrator() {
    let world = World::new().await.unwrap();
    let change = |change: AccountChange| world.core.account_change(&world.admin, "admin", change);
    for refused in [
        AccountChange { enabled: Some(false), ..AccountChange::default() },
        AccountChange { role: Some(Role::User), ..AccountChange::default() },
    ] {
        assert_eq!(change(refused).await.unwrap_err().code, "last_administrator");
    }
    assert_eq!(
        world.core.account_delete(&world.admin, "admin").await.unwrap_err().code,
        "last_administrator"
    );
    // Two who remove each other at the same time: one stays.
    for round in 0..10 {
        let other = account(&world, &format!("other{round}"), Role::Administrator).await;
        let off = || AccountChange { enabled: Some(false), ..AccountChange::default() };
        let (one, two) = tokio::join!(
            world.core.account_change(&world.admin, "admin", off()),
            world.core.account_change(&world.admin, &other.login, off()),
        );
        let administrators = Filter::eq("role", "administrator").and(Filter::eq("enabled", true));
        assert_eq!(world.store.count(Kind::Account, administrators).await.unwrap(), 1, "{one:?} {two:?}");
        let on = AccountChange { enabled: Some(true), ..AccountChange::default() };
        world.core.account_change(&world.admin, "admin", on).await.unwrap();
        world.core.account_delete(&world.admin, &other.login).await.unwrap();
    }
}

#[tokio::test]
async fn users_manage_themselves_and_nobody_else() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    account(&world, "bob", Role::User).await;
    let ann = come_in(&world, "ann").await;
    let secret = credential(&world, &ann, CredentialAsk::default()).await;
    let ann = world.core.caller_by(&secret, &[CredentialKind::Token], VIA).await.unwrap();
    assert_eq!(world.core.account_get(&ann, "bob").await.unwrap_err().kind, ErrorKind::NotFound);
    let mighty = AccountChange { role: Some(Role::Administrator), ..AccountChange::default() };
    assert_eq!(world.core.account_change(&ann, "ann", mighty).await.unwrap_err().kind, ErrorKind::Denied);
    let new = |present: Option<&str>| AccountChange {
        password: Some(Secret::new("another")),
        present_password: present.map(Secret::new),
        ..AccountChange::default()
    };
    assert!(world.core.account_change(&ann, "ann", new(None)).await.is_err());
    let wrong = world.core.account_change(&ann, "ann", new(Some("wrong"))).await.unwrap_err();
    assert_eq!(wrong.kind, ErrorKind::Denied);
    world.core.account_change(&ann, "ann", new(Some(PASSWORD))).await.unwrap();
    let other = CredentialAsk { account: Some(world.admin.account), ..CredentialAsk::default() };
    assert_eq!(world.core.credential_make(&ann, other).await.unwrap_err().kind, ErrorKind::Denied);
    // A limited token makes itself no better one.
    let limited = CredentialAsk { scope: Some(vec![Action::Use.word().into()]), ..CredentialAsk::default() };
    let limited = credential(&world, &ann, limited).await;
    let limited = world.core.caller_by(&limited, &[CredentialKind::Token], VIA).await.unwrap();
    let error = world.core.credential_make(&limited, CredentialAsk::default()).await.unwrap_err();
    assert_eq!(error.kind, ErrorKind::Denied);
    let unknown = CredentialAsk { scope: Some(vec!["everything".into()]), ..CredentialAsk::default() };
    assert!(world.core.credential_make(&ann, unknown).await.is_err());
}

#[tokio::test]
async fn a_group_and_its_members_come_and_go() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    let ask = || GroupAsk { name: "operators".into(), description: String::new() };
    let group = world.core.group_create(&world.admin, ask()).await.unwrap();
    assert_eq!(world.core.group_create(&world.admin, ask()).await.unwrap_err().code, "name_taken");
    for _ in 0..2 {
        world.core.member_add(&world.admin, "operators", "ann").await.unwrap();
    }
    let ann = come_in(&world, "ann").await;
    assert_eq!(*ann.groups, [group.id]);
    assert_eq!(world.core.member_list(&ann, "operators").await.unwrap()[0].login, "ann");
    assert_eq!(world.core.member_add(&ann, "operators", "ann").await.unwrap_err().kind, ErrorKind::Denied);
    world.core.member_remove(&world.admin, "operators", "ann").await.unwrap();
    assert!(come_in(&world, "ann").await.groups.is_empty());
    world.core.member_add(&world.admin, "operators", "ann").await.unwrap();
    world.core.group_delete(&world.admin, "operators").await.unwrap();
    assert!(come_in(&world, "ann").await.groups.is_empty());
}

#[tokio::test]
async fn new_machines_let_the_owners_keys_in() {
    let world = World::with_template().await.unwrap();
    let line = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJiJqp2JGL4oVHFGBhYm4p8IiNE0VzJOmwPEk4hXk7tM ann@home";
    let ask = || SshKeyAsk { public_key: line.into(), ..SshKeyAsk::default() };
    let key = world.core.ssh_key_add(&world.admin, ask()).await.unwrap();
    assert_eq!(key.name, "ann@home");
    assert_eq!(world.core.ssh_key_add(&world.admin, ask()).await.unwrap_err().code, "taken");
    let made = world.core.machine_create(&world.admin, &World::machine("web-1"), None).await.unwrap();
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(
        world.core.machine_get(&world.admin, "web-1").await.unwrap().ssh_keys,
        [key.public_key],
        "{made:?}"
    );
    world.core.ssh_key_remove(&world.admin, "ann@home").await.unwrap();
}

/// One request from an address; its status, headers and body.
async fn ask(
    state: &DoorState,
    method: Method,
    path: &str,
    token: &str,
    body: Value,
) -> (u16, Option<String>, Value) {
    let peer: SocketAddr = "192.0.2.7:1000".parse().unwrap();
    let mut request = Request::builder().method(method).uri(format!("/hostler/v1{path}"));
    if !token.is_empty() {
        request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
    }
    if !body.is_null() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    let body = if body.is_null() { Body::empty() } else { Body::from(body.to_string()) };
    let request = request.extension(ConnectInfo(peer)).body(body).unwrap();
    let response = router(state.clone()).oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let pause = response.headers().get(header::RETRY_AFTER).map(|value| value.to_str().unwrap().to_owned());
    let bytes = to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, pause, serde_json::from_slice(&bytes).unwrap_or(Value::Null))
}

#[tokio::test]
async fn a_person_logs_in_looks_around_and_logs_out() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    let state = DoorState::new(world.core.clone(), CancellationToken::new());
    let login = json!({"login": "ann@example.org", "password": PASSWORD});
    let (status, _, made) = ask(&state, Method::POST, "/login", "", login).await;
    assert_eq!((status, made["account"]["login"].as_str()), (200, Some("ann")), "{made}");
    let secret = made["secret"].as_str().unwrap();
    let (_, _, whoami) = ask(&state, Method::GET, "/whoami", secret, Value::Null).await;
    assert_eq!(whoami["credential"], made["session"]["id"]);
    let (_, _, sessions) = ask(&state, Method::GET, "/sessions", secret, Value::Null).await;
    assert_eq!(sessions["items"][0]["id"], made["session"]["id"]);
    let (_, _, tokens) = ask(&state, Method::GET, "/tokens", secret, Value::Null).await;
    assert_eq!(tokens["items"], json!([]));
    assert_eq!(ask(&state, Method::POST, "/logout", secret, Value::Null).await.0, 204);
    assert_eq!(ask(&state, Method::GET, "/whoami", secret, Value::Null).await.0, 401);
    let huge = json!({"login": "ann", "password": "x".repeat(2000)});
    assert_eq!(ask(&state, Method::POST, "/login", "", huge).await.0, 422);
}

#[tokio::test]
async fn guessing_is_slow_and_nobody_else_suffers() {
    let world = World::new().await.unwrap();
    account(&world, "ann", Role::User).await;
    account(&world, "bob", Role::User).await;
    let state = DoorState::new(world.core.clone(), CancellationToken::new());
    let log_in = async |login: &str, password: &str| {
        ask(&state, Method::POST, "/login", "", json!({"login": login, "password": password})).await
    };
    for _ in 0..10 {
        assert_eq!(log_in("ann", "wrong").await.0, 401);
    }
    let (status, pause, problem) = log_in("ANN", "wrong").await;
    assert_eq!((status, pause.as_deref(), problem["code"].as_str()), (429, Some("60"), Some("too_many")));
    assert_eq!(log_in("ann", PASSWORD).await.0, 429, "no password of ann's is checked from there");
    assert_eq!(log_in("bob", PASSWORD).await.0, 200, "others come in");
    assert!(world.core.log_in("ann", &Secret::new(PASSWORD), VIA).await.is_ok(), "ann does from elsewhere");
    world.clock.advance(Duration::from_secs(60));
    assert_eq!(log_in("ann", PASSWORD).await.0, 200);
}

#[tokio::test]
async fn a_login_with_the_old_password_becomes_no_session_after_it_was_changed() {
    let world = World::new().await.unwrap();
    for (login, change) in [
        ("ann", AccountChange { password: Some(Secret::new("another")), ..AccountChange::default() }),
        ("bob", AccountChange { role: Some(Role::ReadOnly), ..AccountChange::default() }),
        ("eve", AccountChange { full_name: Some("Eve".into()), ..AccountChange::default() }),
    ] {
        account(&world, login, Role::User).await;
        let in_time = come_in(&world, login).await;
        let ends = change.full_name.is_none();
        world.core.account_change(&world.admin, login, change).await.unwrap();
        let ask = CredentialAsk { kind: CredentialKind::Session, ..CredentialAsk::default() };
        let session = world.core.credential_make(&in_time, ask).await;
        let refused = session.err().map(|error| error.kind);
        assert_eq!(refused, ends.then_some(ErrorKind::Unauthenticated), "{login}");
    }
    // A token that was ended meanwhile makes no other.
    account(&world, "tom", Role::User).await;
    let tom = come_in(&world, "tom").await;
    let (token, secret) = world.core.credential_make(&tom, CredentialAsk::default()).await.unwrap();
    let by_token = world.core.caller_by(secret.expose(), &[CredentialKind::Token], VIA).await.unwrap();
    world.core.credential_end(&tom, &token.number.to_string()).await.unwrap();
    let refused = world.core.credential_make(&by_token, CredentialAsk::default()).await.unwrap_err();
    assert_eq!(refused.kind, ErrorKind::Unauthenticated);
}

#[tokio::test]
async fn no_account_gains_anything_while_it_is_deleted() {
    let world = World::with_template().await.unwrap();
    let (mut stayed, mut went) = (0, 0);
    // More rounds than that only where one of the two always wins, on a machine that is busy with something else.
    for round in 0..2000 {
        if round >= 40 && stayed > 0 && went > 0 {
            break;
        }
        let login = format!("user{round}");
        let one = crate::rights::account(&world, 1000 + round, Role::User).await;
        let core = &world.core;
        let volume = VolumeAsk { name: "data".into(), size_mib: 8, storage: None };
        let machine = World::machine(&login);
        // The deletion begins earlier or later, so that it meets the creations at every point.
        let (gone, made, volume) = tokio::join!(
            async {
                for _ in 0..(round * round) % 997 {
                    tokio::task::yield_now().await;
                }
                core.account_delete(&world.admin, &one.login).await
            },
            core.machine_create(&one, &machine, None),
            core.volume_create(&one, &volume, None),
        );
        let owned = Filter::eq("owner", one.account.0);
        let owns = world.store.count(Kind::Machine, owned.clone()).await.unwrap()
            + world.store.count(Kind::Volume, owned).await.unwrap();
        assert_eq!(owns > 0, gone.is_err(), "{gone:?} {made:?} {volume:?}");
        match gone {
            Ok(()) => went += 1,
            Err(error) => {
                assert_eq!(error.code, "in_use");
                stayed += 1;
            }
        }
    }
    assert!(stayed > 0 && went > 0, "{stayed} stayed, {went} went: they did not meet");
}
