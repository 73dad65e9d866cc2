//! Machines on demand.

use super::{Door, Settings};
use anyhow::Result;
use hostler_core::pools::PoolRules;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_request_is_waited_for_and_given_back() -> Result<()> {
    let mut door = Door::set(Settings::default(), PoolRules::default(), 0).await;
    let token = door.token("jdoe").await;
    let made =
        door.by(&token, "POST", "/api/v1/ondemandvm", r#"{"debian-7-64":"2","debian-7-i386":1}"#).await;
    assert_eq!((made.status, &made.body["domain"]), (201, &json!("company.com")), "{}", made.text);
    let id = made.body["request_id"].as_str().unwrap().to_owned();
    assert_eq!(id.len(), 36);
    let path = format!("/api/v3/ondemandvm/{id}");
    let waiting = door.get(&path).await;
    let pending = |count: &str| json!({"ready": "0", "pending": count});
    waiting.is(
        202,
        &json!({"ok": true, "request_id": id, "ready": false, "debian-7-64": pending("2"), "debian-7-i386": pending("1")}),
    );
    door.scene.settle().await?;
    let ready = door.get(&path).await;
    assert_eq!((ready.status, &ready.body["ready"]), (200, &json!(true)), "{}", ready.text);
    let members: Vec<&String> = ready.body.as_object().unwrap().keys().collect();
    assert_eq!(members.len(), 5, "vmfloaty takes others for pools: {members:?}");
    let names = ready.body["debian-7-64"]["hostname"].as_array().unwrap();
    assert!(names.len() == 2 && names[0].as_str().unwrap().ends_with(".company.com"), "{names:?}");
    let bare = door.get(&format!("/ondemandvm/{id}")).await;
    assert_eq!(bare.body["debian-7-i386"]["hostname"].as_array().unwrap().len(), 1, "an array of one");
    assert_eq!(bare.body["domain"], "company.com");
    door.by(&token, "DELETE", &path, "").await.is(200, &json!({"ok": true}));
    let again = json!({"ok": true, "message": "the request has already been deleted"});
    door.by(&token, "DELETE", &path, "").await.is(200, &again);
    let deleted =
        json!({"ok": true, "request_id": id, "ready": false, "message": "The request has been deleted"});
    door.get(&path).await.is(200, &deleted);
    door.scene.settle().await?;
    door.scene.world.check_whole().await
}

#[tokio::test]
async fn what_cannot_be_asked_for_is_told_in_the_order_of_the_checks() -> Result<()> {
    let mut door = Door::set(Settings::default(), PoolRules::default(), 0).await;
    let token = door.token("jdoe").await;
    let ask = async |body: &str| door.by(&token, "POST", "/api/v3/ondemandvm", body).await;
    ask("{bad").await.is(400, &json!({"ok": false, "message": "JSON payload could not be parsed"}));
    ask("null").await.is_bare(404);
    ask("{}").await.is_bare(404);
    ask(r#"{"debian-7-i386":0}"#).await.is_bare(404);
    ask(r#"{"nosuch":"99"}"#).await.is(404, &json!({"ok": false, "bad_templates": ["nosuch"]}));
    let text = "requested amount of instances exceeds the maximum 10";
    ask(r#"{"debian-7-i386":"11"}"#).await.is(403, &json!({"ok": false, "message": text}));
    let named = r#"{"debian-7-i386":"1","request_id":"1234"}"#;
    ask(named).await.is(201, &json!({"ok": true, "request_id": "1234"}));
    let text = "request_id '1234' has already been created";
    ask(named).await.is(409, &json!({"ok": false, "request_id": "1234", "message": text}));
    let none = json!({"ok": false, "message": "no request found for request_id 'x'"});
    door.get("/api/v3/ondemandvm/x").await.is(404, &none);
    door.by(&token, "DELETE", "/api/v3/ondemandvm/x", "").await.is(404, &none);
    let by_path = door.by(&token, "POST", "/api/v3/ondemandvm/debian-7-i386+debian-7-64", "").await;
    assert_eq!(by_path.status, 201);
    // One that is not ready in time has failed, and is no error.
    door.scene.world.clock.advance(Duration::from_secs(301));
    door.scene.round().await;
    let failed = door.get("/api/v3/ondemandvm/1234").await;
    let text = "The request failed to provision instances within the configured ondemand_request_ttl '5'";
    assert_eq!((failed.status, &failed.body["message"]), (200, &json!(text)), "{}", failed.text);
    assert_eq!((&failed.body["ok"], &failed.body["ready"]), (&json!(true), &json!(false)));
    Ok(())
}
