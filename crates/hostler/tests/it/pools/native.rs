//! Pools and checkouts at the native door.

use super::scene::Scene;
use crate::native::{Answer, Door};
use crate::server::DEADLINE;
use anyhow::{Context, Result};
use axum::http::{Method, StatusCode, header};
use futures_util::StreamExt;
use hostler_core::access::{CredentialAsk, Via};
use hostler_core::pools::{PoolSpec, StockState};
use serde_json::{Value, json};
use std::time::Duration;

/// The door, asked by somebody new.
async fn door(scene: &Scene, login: &str) -> Result<Door> {
    let via = Via { door: "native", address: None };
    let user = scene.user(login).await?.through(via);
    let (_, secret) = scene.world.core.credential_make(&user, CredentialAsk::default()).await?;
    Ok(Door::with_token(&scene.world, secret.expose()))
}

async fn patch(door: &Door, path: &str, body: Value) -> Answer {
    door.ask(Method::PATCH, path, &[], Some(&body)).await
}

fn code(answer: &Answer) -> (u16, &str) {
    (answer.status.as_u16(), answer.body["code"].as_str().unwrap_or_default())
}

#[tokio::test]
async fn a_machine_is_checked_out_prolonged_tagged_and_returned() -> Result<()> {
    let aliased = PoolSpec { aliases: vec!["linux".into()], ..PoolSpec::new("a", "micro", 2) };
    let mut scene = Scene::with(&[aliased]).await?;
    let (door, other) = (door(&scene, "ulla").await?, door(&scene, "otto").await?);
    let ask = json!({"pools": {"linux": 1}, "lifetime_s": 7200, "tags": {"job": "17"}});
    let lent = door.post("/checkouts", ask).await;
    assert_eq!(lent.status, StatusCode::CREATED, "{}", lent.body);
    let machine = &lent.body["items"][0];
    let checkout = &machine["stock"]["checkout"];
    assert_eq!((&checkout["asked"], &checkout["tags"]), (&json!("linux"), &json!({"job": "17"})));
    assert_eq!((&checkout["login"], &checkout["door"]), (&json!("ulla"), &json!("native")));
    assert_eq!((&machine["stock"]["pool_name"], &machine["stock"]["state"]), (&json!("a"), &json!("lent")));
    assert!(machine["ssh_host_key"].as_str().unwrap().starts_with("ssh-ed25519 "), "{machine}");
    let lasts = |machine: &Value| {
        let at = |name: &str| machine["stock"]["checkout"][name].as_str().unwrap().parse().unwrap();
        let (at, until): (jiff::Timestamp, jiff::Timestamp) = (at("at"), at("until"));
        until.as_second() - at.as_second()
    };
    assert_eq!(lasts(machine), 7200);
    let path = format!("/checkouts/{}", machine["name"].as_str().unwrap());

    let changed = patch(&door, &path, json!({"lifetime_s": 14400, "tags": {"by": "x"}})).await;
    assert_eq!(changed.status, StatusCode::OK, "{}", changed.body);
    assert_eq!(lasts(&changed.body), 14400);
    assert_eq!(changed.body["stock"]["checkout"]["tags"], json!({"job": "17", "by": "x"}));
    let shown = door.get(&path).await.body;
    assert_eq!(shown["stock"], changed.body["stock"]);
    assert_eq!(door.get("/checkouts").await.body["items"][0]["id"], machine["id"]);

    for answer in [
        other.get(&path).await,
        patch(&other, &path, json!({"lifetime_s": 1})).await,
        other.ask(Method::DELETE, &path, &[], None).await,
    ] {
        assert_eq!(code(&answer), (404, "not_found"), "{}", answer.body);
    }
    assert_eq!(other.get("/checkouts").await.body["items"], json!([]));

    let returned = door.ask(Method::DELETE, &path, &[], None).await;
    assert_eq!(returned.status, StatusCode::ACCEPTED, "{}", returned.body);
    assert_eq!(returned.body["record"]["stock"]["state"], "returned");
    assert_eq!(code(&door.ask(Method::DELETE, &path, &[], None).await), (404, "not_found"));
    assert_eq!(door.get("/checkouts").await.body["items"], json!([]));
    scene.settle().await?;
    scene.world.check_whole().await
}

#[tokio::test]
async fn an_empty_pool_an_unknown_one_and_a_quota_refuse_and_nothing_is_taken() -> Result<()> {
    let scene = Scene::with(&[PoolSpec::new("a", "micro", 1), PoolSpec::new("b", "micro", 1)]).await?;
    let (door, admin) = (door(&scene, "ulla").await?, Door::of(&scene.world));
    let empty = door.post("/checkouts", json!({"pools": {"a": 1, "b": 2}})).await;
    assert_eq!(code(&empty), (507, "empty_pool"));
    let unknown = door.post("/checkouts", json!({"pools": {"a": 1, "c": 1}})).await;
    assert_eq!(code(&unknown), (404, "unknown_pool"));
    for wrong in [json!({"pools": {}}), json!({"pools": {"a": 0}})] {
        let refused = door.post("/checkouts", wrong).await;
        assert_eq!((code(&refused), &refused.body["field"]), ((422, "invalid"), &json!("pools")));
    }
    let limits = Some(json!({"checkouts": 0}));
    let limited = admin.ask(Method::PUT, "/quotas/account/ulla", &[], limits.as_ref()).await;
    assert_eq!(limited.body["limits"]["checkouts"], 0, "{}", limited.body);
    assert_eq!(code(&door.post("/checkouts", json!({"pools": {"a": 1}})).await), (507, "quota"));
    for name in ["a", "b"] {
        let pool = door.get(&format!("/pools/{name}")).await.body;
        assert_eq!((&pool["ready"], &pool["lent"]), (&json!(1), &json!(0)), "{pool}");
    }
    let figures = door.get("/pools/figures").await.body;
    let of_b = figures["items"].as_array().unwrap().iter().find(|day| day["pool"] == "b").unwrap();
    assert_eq!((&of_b["misses"], &of_b["checkouts"]), (&json!(1), &json!(0)), "{figures}");
    assert_eq!(code(&door.get("/pools/figures?from=soon").await), (400, "malformed"));
    assert_eq!(code(&door.get("/pools/figures?from=2026-02-02&to=2026-02-01").await), (400, "malformed"));
    Ok(())
}

#[tokio::test]
async fn a_checkout_with_a_key_is_made_once() -> Result<()> {
    let scene = Scene::with(&[PoolSpec::new("a", "micro", 3)]).await?;
    let door = door(&scene, "ulla").await?;
    let body = json!({"pools": {"a": 1}});
    let ask = async |body: &Value| {
        door.ask(Method::POST, "/checkouts", &[("idempotency-key", "k")], Some(body)).await
    };
    let first = ask(&body).await;
    let again = ask(&body).await;
    assert_eq!(first.body["items"][0]["id"], again.body["items"][0]["id"], "{}", again.body);
    assert!(!first.headers.contains_key("idempotent-replayed"));
    assert_eq!(again.headers["idempotent-replayed"], "true");
    assert_eq!(code(&ask(&json!({"pools": {"a": 2}})).await), (409, "idempotency_mismatch"));
    assert_eq!(scene.stock("a", StockState::Lent).await?.len(), 1);
    Ok(())
}

#[tokio::test]
async fn an_administrator_adds_overrides_resets_drains_and_removes_a_pool() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let (admin, door) = (Door::of(&scene.world), door(&scene, "ulla").await?);
    let spec = json!({"name": "a", "template": "micro", "size": 1, "check_s": 0});
    let made = admin.post("/pools", spec.clone()).await;
    assert_eq!(made.status, StatusCode::CREATED, "{}", made.body);
    let location = made.headers[header::LOCATION].to_str()?;
    assert_eq!(location, format!("/hostler/v1/pools/{}", made.body["id"].as_str().unwrap()));
    assert_eq!(code(&admin.post("/pools", spec.clone()).await), (409, "name_taken"));
    assert_eq!(code(&door.post("/pools", spec.clone()).await), (403, "denied"));
    let bad = admin.post("/pools", json!({"name": "v1", "template": "micro", "size": 1})).await;
    assert_eq!(code(&bad), (422, "invalid"));

    let sized = patch(&admin, "/pools/a", json!({"size": 2})).await.body;
    assert_eq!((&sized["size"], &sized["overrides"]["size"]), (&json!(2), &json!(2)));
    assert_eq!(sized["spec"]["size"], 1, "what was asked for first is kept");
    assert_eq!(door.get("/pools/a").await.body["spec"], Value::Null, "not for everybody");
    scene.settle().await?;
    let stock = admin.get("/pools/a/machines?stock=ready&order_by=stock.ready_at").await.body;
    let stock = stock["items"].as_array().unwrap();
    assert_eq!(stock.len(), 2, "{stock:?}");
    assert_eq!(stock[0]["stock"]["birth"]["forked"], false);
    assert!(stock[0]["stock"]["boot_ms"].is_number(), "{}", stock[0]);
    assert_eq!(door.get("/pools/a/machines").await.body["items"], json!([]), "others see what they lent");
    assert_eq!(
        admin.get("/machines?where=pool.name%20EQ%20a").await.body["items"].as_array().unwrap().len(),
        2
    );

    let shown = door.get("/pools/a").await.body;
    assert_eq!((&shown["ready"], &shown["boot"]["count"]), (&json!(2), &json!(2)), "{shown}");
    assert_eq!(admin.post("/pools/a/reset", Value::Null).await.body["size"], 1);
    scene.world.clock.advance(Duration::from_secs(1));
    let drained = admin.ask(Method::POST, "/pools/a/drain", &[], None).await;
    assert!(drained.body["drained_at"].is_string(), "{}", drained.body);
    scene.settle().await?;
    let left = scene.stock("a", StockState::Ready).await?;
    assert_eq!(left.len(), 1);
    assert!(left.iter().all(|machine| stock.iter().all(|old| old["id"] != machine.id.to_string())));

    let whole =
        json!({"name": "a", "template": "micro", "size": 0, "description": "x", "probe": {"tcp": 22}});
    let changed = admin.ask(Method::PUT, "/pools/a", &[], Some(&whole)).await;
    assert_eq!((&changed.body["size"], &changed.body["description"]), (&json!(0), &json!("x")));
    let gone = admin.ask(Method::DELETE, "/pools/a", &[], None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT);
    scene.settle().await?;
    assert_eq!(code(&admin.get("/pools/a").await), (404, "not_found"));
    scene.world.check_whole().await
}

#[tokio::test]
async fn why_a_pool_is_not_full_is_shown_to_everybody() -> Result<()> {
    let mut scene = Scene::with(&[]).await?;
    let (admin, door) = (Door::of(&scene.world), door(&scene, "ulla").await?);
    admin.post("/pools", json!({"name": "a", "template": "nothing", "size": 1})).await;
    scene.settle().await?;
    let pool = door.get("/pools/a").await.body;
    let reason = pool["trouble"]["reason"].as_str().unwrap_or_default();
    assert!(reason.contains("nothing"), "{pool}");
    let empty = door.post("/checkouts", json!({"pools": {"a": 1}})).await;
    assert!(empty.body["detail"].as_str().unwrap().contains(reason), "{}", empty.body);
    assert_eq!(door.get("/pools").await.body["items"][0]["trouble"], pool["trouble"]);
    Ok(())
}

#[tokio::test]
async fn a_request_is_followed_until_its_machines_are_there_and_taken_back() -> Result<()> {
    let mut scene = Scene::with(&[PoolSpec::new("a", "micro", 0)]).await?;
    let (door, other) = (door(&scene, "ulla").await?, door(&scene, "otto").await?);
    let made = door.post("/requests", json!({"key": "r", "pools": {"a": 2}})).await;
    assert_eq!((made.status, &made.body["state"]), (StatusCode::CREATED, &json!("open")), "{}", made.body);
    assert_eq!(code(&door.post("/requests", json!({"key": "r", "pools": {"a": 1}})).await), (409, "taken"));
    assert_eq!(code(&door.post("/requests", json!({"pools": {"a": 11}})).await), (422, "too_many"));
    scene.settle().await?;
    let ready = door.get("/requests/r").await.body;
    assert_eq!((&ready["state"], &ready["ready"]), (&json!("ready"), &json!(2)), "{ready}");
    assert_eq!(ready["machines"].as_array().unwrap().len(), 2);
    assert_eq!(ready["machines"][0]["stock"]["checkout"]["login"], "ulla");
    assert_eq!(door.get("/requests").await.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(other.get("/requests").await.body["items"], json!([]));
    assert_eq!(code(&other.ask(Method::DELETE, "/requests/r", &[], None).await), (404, "not_found"));
    let deleted = door.ask(Method::DELETE, "/requests/r", &[], None).await;
    assert_eq!(deleted.body["state"], "deleted", "{}", deleted.body);
    scene.settle().await?;
    assert_eq!(door.get("/checkouts").await.body["items"], json!([]), "its machines are returned");
    scene.world.check_whole().await
}

/// What a stream of events says until this text.
async fn heard_until(door: &Door, path: &str, last: &str) -> Result<String> {
    let stream = door.raw(Method::GET, path, &[("last-event-id", "0")], None).await;
    let mut chunks = stream.into_body().into_data_stream();
    let heard = async {
        let mut text = String::new();
        while !text.contains(last) {
            let chunk = chunks.next().await.context("the stream has ended")??;
            text.push_str(std::str::from_utf8(&chunk)?);
        }
        Ok(text)
    };
    tokio::time::timeout(DEADLINE, heard).await?
}

#[tokio::test]
async fn the_stream_tells_everybody_of_pools_and_of_requests_whose_they_are() -> Result<()> {
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqD4ENXbDsQYbqtqZWQ4yMNq6L8LDWvYtUDzeTcbbuH ours";
    let secret = PoolSpec { ssh_keys: vec![key.to_owned()], ..PoolSpec::new("a", "micro", 1) };
    let scene = Scene::with(&[secret]).await?;
    let (admin, door, other) =
        (Door::of(&scene.world), door(&scene, "ulla").await?, door(&scene, "otto").await?);
    other.post("/requests", json!({"key": "theirs", "pools": {"a": 1}})).await;
    door.post("/requests", json!({"key": "mine", "pools": {"a": 1}})).await;
    patch(&admin, "/pools/a", json!({"size": 7})).await;
    let heard = heard_until(&door, "/events", r#""size":7"#).await?;
    for told in ["event: pool.created", "event: request.created", r#""key":"mine""#, "event: pool.updated"] {
        assert!(heard.contains(told), "{told} is missing: {heard}");
    }
    for hidden in ["theirs", "ssh-ed25519", "machine.created"] {
        assert!(!heard.contains(hidden), "{hidden} is told: {heard}");
    }
    let all = heard_until(&admin, "/events?kind=request,pool", r#""size":7"#).await?;
    assert!(all.contains("theirs") && all.contains("mine") && !all.contains("event: machine"), "{all}");
    Ok(())
}
