//! What is set for the door and changes how it answers; changes to pools.

use super::{Door, Settings};
use anyhow::Result;
use hostler_core::pools::{Anonymous, PoolRules};
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn without_an_account_store_there_are_no_tokens_and_none_is_needed() {
    let door = Door::set(Settings { auth: false, ..Settings::default() }, PoolRules::default(), 2).await;
    door.log_in("jdoe", "POST", "/token").await.is_bare(404);
    door.get("/token").await.is_bare(404);
    door.get("/token/x").await.is_bare(404);
    let name = door.lent("bad").await;
    door.by("", "PUT", &format!("/vm/{name}"), r#"{"lifetime":3}"#).await.is(200, &json!({"ok": true}));
    door.by("", "DELETE", &format!("/vm/{name}"), "").await.is(200, &json!({"ok": true}));
}

#[tokio::test]
async fn strictness_and_closed_doors_hold() {
    let strict = Settings { strict_put: true, ..Settings::default() };
    let door = Door::set(strict, PoolRules { strict_ownership: true, ..PoolRules::default() }, 2).await;
    let (own, other) = (door.token("jdoe").await, door.token("root").await);
    let name = door.lent("").await;
    let tags = r#"{"tags":{"a":"b"}}"#;
    door.by("", "PUT", &format!("/vm/{name}"), tags).await.is_bare(401);
    let name = door.lent(&other).await;
    door.by(&own, "PUT", &format!("/vm/{name}"), tags).await.is_bare(404);
    door.by(&own, "DELETE", &format!("/vm/{name}"), "").await.is_bare(404);
    let rules = PoolRules { anonymous: Anonymous::Off, ..PoolRules::default() };
    let door = Door::set(Settings::default(), rules, 1).await;
    for (method, path) in
        [("GET", "/vm"), ("GET", "/status"), ("POST", "/vm/debian-7-i386"), ("GET", "/vm/x")]
    {
        door.by("", method, path, "").await.is_bare(401);
    }
    let token = door.token("jdoe").await;
    assert_eq!(door.by(&token, "GET", "/vm", "").await.status, 200);
    door.lent(&token).await;
}

#[tokio::test]
async fn pools_are_changed_by_administrators_where_that_is_let() -> Result<()> {
    let closed = Door::set(Settings::default(), PoolRules::default(), 1).await;
    closed.by("bad", "POST", "/config/poolsize", "{").await.is_bare(405);
    closed.by("", "DELETE", "/config/poolsize/x", "").await.is_bare(405);
    let open = Settings { experimental_features: true, ..Settings::default() };
    let mut door = Door::set(open, PoolRules::default(), 2).await;
    door.by("", "POST", "/config/poolsize", "{").await.is_bare(401);
    let user = door.token("jdoe").await;
    let one = r#"{"debian-7-i386":"1"}"#;
    assert_eq!(door.by(&user, "POST", "/config/poolsize", one).await.status, 403);
    let root = door.token("root").await;
    let ask = async |path: &str, body: &str| door.by(&root, "POST", path, body).await;
    for path in ["/config/poolsize", "/config/pooltemplate", "/config/clonetarget", "/poolreset"] {
        ask(path, "null").await.is_bare(404);
        ask(path, "{").await.is(400, &json!({"ok": false, "message": "JSON payload could not be parsed"}));
    }
    for body in [r#"{"nosuch":"5"}"#, r#"{"debian-7-32":"5"}"#, r#"{"debian-7-i386":1,"x":"-1"}"#] {
        assert_eq!(ask("/config/poolsize", body).await.status, 400, "{body}");
    }
    let bad = ask("/config/pooltemplate", r#"{"debian-7-i386":"new"}"#).await;
    bad.is(400, &json!({"ok": false, "bad_templates": ["debian-7-i386"]}));
    ask("/poolreset", r#"{"x":"1"}"#).await.is(400, &json!({"ok": false, "bad_pools": ["x"]}));
    ask("/config/poolsize", one).await.is(201, &json!({"ok": true}));
    ask("/config/poolsize", one).await.is(200, &json!({"ok": true}));
    ask("/config/pooltemplate", r#"{"debian-7-i386":"a/b/new"}"#).await.is(201, &json!({"ok": true}));
    let shown = door.get("/config").await.body["pool_configuration"][0].clone();
    assert_eq!((&shown["size"], &shown["template"]), (&json!(1), &json!("new")), "{shown}");
    let back = door.by(&root, "DELETE", "/config/poolsize/debian-7-i386", "").await;
    back.is(201, &json!({"ok": true, "pool_size_before_reset": 1, "pool_size_before_overrides": 2}));
    assert_eq!(door.by(&root, "DELETE", "/config/poolsize/debian-7-i386", "").await.status, 200);
    let back = door.by(&root, "DELETE", "/config/pooltemplate/debian-7-i386", "").await;
    assert_eq!(back.body["template_before_reset"], "new", "{}", back.text);
    door.by(&root, "DELETE", "/config/poolsize/x", "").await.is_bare(404);
    let before = door.scene.stock("debian-7-x86_64", hostler_core::pools::StockState::Ready).await?;
    door.scene.world.clock.advance(Duration::from_secs(1));
    ask("/poolreset", r#"{"debian-7-x86_64":"1"}"#).await.is(201, &json!({"ok": true}));
    door.scene.settle().await?;
    let after = door.scene.stock("debian-7-x86_64", hostler_core::pools::StockState::Ready).await?;
    assert!(after.len() == 2 && after.iter().all(|one| before.iter().all(|old| old.id != one.id)));
    assert_eq!(door.by(&root, "GET", "/full_config", "").await.body["status"], json!({"ok": true}));
    Ok(())
}

#[tokio::test]
async fn whoever_asks_too_often_waits() {
    let limited = Settings { rate_limit: true, ..Settings::default() };
    let door = Door::set(limited, PoolRules::default(), 0).await;
    for left in (0..20).rev() {
        let told = door.by("", "POST", "/vm/debian-7-i386", "").await;
        assert_eq!(
            (told.status, &told.headers["x-ratelimit-remaining"]),
            (503, &left.to_string().parse().unwrap())
        );
    }
    let told = door.by("", "POST", "/vm/debian-7-i386", "").await;
    let body =
        json!({"ok": false, "error": "Rate limit exceeded", "limit": 20, "period": 60, "retry_after": 60});
    told.is(429, &body);
    assert_eq!(told.headers["retry-after"], "60");
    assert_eq!(door.get("/vm").await.status, 200);
    door.scene.world.clock.advance(Duration::from_secs(60));
    assert_eq!(door.by("", "POST", "/vm/debian-7-i386", "").await.status, 503);
}

#[tokio::test]
async fn a_destroyed_machine_is_known_for_as_long_as_is_set() -> Result<()> {
    let settings = Settings { keep_destroyed: Duration::from_secs(60), ..Settings::default() };
    let mut door = Door::set(settings, PoolRules::default(), 1).await;
    let name = door.lent("").await;
    door.by("", "DELETE", &format!("/vm/{name}"), "").await.is(200, &json!({"ok": true}));
    door.scene.settle().await?;
    let shown = door.get(&format!("/vm/{name}")).await;
    assert_eq!((shown.status, &shown.body[&name]["state"]), (200, &json!("destroyed")), "{}", shown.text);
    door.scene.world.clock.advance(Duration::from_secs(61));
    door.get(&format!("/vm/{name}")).await.is_bare(404);
    Ok(())
}
