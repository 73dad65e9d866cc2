//! Every row of the tables of what is refused.

use super::{Door, PASSWORD, Settings, basic};
use hostler_core::pools::PoolRules;
use serde_json::json;

#[tokio::test]
async fn a_batch_that_makes_no_sense_is_told_why() {
    let door = Door::new().await;
    let ask = async |body: &str| door.by("", "POST", "/api/v3/vm", body).await;
    ask("").await.is_bare(404);
    ask("{}").await.is_bare(404);
    ask(r#"{"nosuch":1}"#).await.is_bare(404);
    ask(r#"{"debian-7-i386":"1","nosuch":1}"#).await.is_bare(404);
    ask(r#"{"debian-7-i386":5}"#).await.is_bare(503);
    let malformed = ask("{bad json").await;
    assert_eq!(malformed.status, 400);
    assert!(malformed.body["error"].as_str().unwrap().starts_with("Invalid JSON: "), "{}", malformed.text);
    let deep = format!(r#"{{"a":{}1{}}}"#, "[".repeat(5), "]".repeat(5));
    let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(10_240));
    for (body, error) in [
        ("[1]", "Request body must be a JSON object"),
        ("\"x\"", "Request body must be a JSON object"),
        (r#"{"debian-7-i386":"x"}"#, "VM count must be a valid integer"),
        (r#"{"debian-7-i386":"-1"}"#, "VM count must be a valid integer"),
        (r#"{"debian-7-i386":0}"#, "VM count must be at least 1"),
        (r#"{"debian-7-i386":"1000"}"#, "VM count must be at most 100"),
        (r#"{"debian-7-i386":null}"#, "VM count is required"),
        (deep.as_str(), "Request body too complex"),
        (large.as_str(), "Request body too large"),
    ] {
        ask(body).await.is(400, &json!({"ok": false, "error": error}));
    }
    assert_eq!(door.scene.counts("debian-7-i386").await.unwrap().ready, 4, "nothing was taken");
}

#[tokio::test]
async fn tokens_are_asked_for_where_the_table_says() {
    let door = Door::new().await;
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    let free = door.lent("").await;
    for bad in ["", "bad", " "] {
        let header = [("X-AUTH-TOKEN", bad)];
        let ask = async |method: &str, path: String, body: &str| door.ask(method, &path, &header, body).await;
        ask("POST", "/api/v3/vm/debian-7-i386".into(), "").await.is_bare(401);
        ask("POST", "/api/v3/vm".into(), r#"{"debian-7-i386":1}"#).await.is_bare(401);
        // Names come before tokens.
        ask("POST", "/api/v3/vm/nosuch".into(), "").await.is_bare(404);
        ask("DELETE", format!("/api/v3/vm/{name}"), "").await.is_bare(401);
        ask("PUT", format!("/api/v3/vm/{name}"), r#"{"lifetime":2}"#).await.is_bare(401);
        // Tokens come before names.
        for path in ["vm/nosuch/snapshot", "vm/nosuch/snapshot/x", "vm/nosuch/disk/x", "ondemandvm"] {
            ask("POST", format!("/api/v1/{path}"), "").await.is_bare(401);
        }
        ask("DELETE", "/ondemandvm/x".into(), "").await.is_bare(401);
        ask("GET", "/full_config".into(), "").await.is_bare(401);
        // Who only looks is not asked.
        for path in ["vm", "status", "poolstat", "totalrunning", "summary", "config"] {
            assert_eq!(ask("GET", format!("/api/v2/{path}"), "").await.status, 200, "{path}");
        }
    }
    door.by("", "DELETE", &format!("/vm/{name}"), "").await.is_bare(401);
    door.by("", "DELETE", &format!("/vm/{free}"), "").await.is(200, &json!({"ok": true}));
    door.by("", "DELETE", &format!("/vm/{free}"), "").await.is_bare(404);
    door.by(&token, "DELETE", "/vm/nosuch", "").await.is_bare(404);
    // Any token that is good is good enough.
    let other = door.token("root").await;
    door.by(&other, "DELETE", &format!("/vm/{name}"), "").await.is(200, &json!({"ok": true}));
}

#[tokio::test]
async fn tokens_are_made_listed_and_ended_with_a_password_only() {
    let door = Door::new().await;
    let wrong = [("authorization", basic("jdoe", "wrong"))];
    let header = [(wrong[0].0, wrong[0].1.as_str())];
    for (method, path) in [("GET", "/token"), ("POST", "/api/v1/token"), ("DELETE", "/api/v3/token/x")] {
        door.ask(method, path, &header, "").await.is_bare(401);
        door.ask(method, path, &[], "").await.is_bare(401);
    }
    let empty = basic("jdoe", "");
    door.ask("POST", "/token", &[("authorization", &empty)], "").await.is_bare(401);
    door.log_in("jdoe", "GET", "/token").await.is_bare(404);
    door.get("/token/nosuchtoken").await.is_bare(404);
    let token = door.token("jdoe").await;
    assert!(
        token.len() == 32 && token.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()),
        "{token}"
    );
    // Others' are neither listed nor ended.
    let other = door.token("root").await;
    let listed = door.log_in("jdoe", "GET", "/token").await;
    assert_eq!(
        listed.body.as_object().unwrap().keys().filter(|key| *key != "ok").collect::<Vec<_>>(),
        [&token]
    );
    door.log_in("jdoe", "DELETE", &format!("/token/{other}")).await.is_bare(401);
    door.log_in("jdoe", "DELETE", "/token/nosuch").await.is_bare(401);
    // What was lent with it stays, and needs some token still.
    let name = door.lent(&token).await;
    door.log_in("jdoe", "DELETE", &format!("/token/{token}")).await.is(200, &json!({"ok": true}));
    door.get(&format!("/token/{token}")).await.is_bare(404);
    door.by(&token, "DELETE", &format!("/vm/{name}"), "").await.is_bare(401);
    door.by(&other, "DELETE", &format!("/vm/{name}"), "").await.is(200, &json!({"ok": true}));
    assert!(!PASSWORD.is_empty());
}

#[tokio::test]
async fn a_change_is_made_whole_or_not_at_all() {
    let rules = PoolRules { lifetime_max_s: Some(100 * 3600), ..PoolRules::default() };
    let door = Door::set(Settings::default(), rules, 2).await;
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    let put = async |body: &str| door.by(&token, "PUT", &format!("/api/v3/vm/{name}"), body).await;
    for (body, failure) in [
        (r#"{"lifetime":"0"}"#, "Lifetime must be a positive integer (got 0)"),
        (r#"{"lifetime":"abc"}"#, "Lifetime must be a positive integer (got abc)"),
        (r#"{"lifetime":100}"#, "You provided a lifetime (100) that exceeds the configured maximum of 100."),
        (r#"{"tags":"x"}"#, "You provided tags (x) as something other than a hash."),
        (r#"{"bogus":1}"#, "Unknown argument 1."),
        (r#"{"tags":{"a":"b"},"bogus":1}"#, "Unknown argument 1."),
    ] {
        put(body).await.is(400, &json!({"ok": false, "failure": [failure]}));
    }
    let shown = door.get(&format!("/api/v3/vm/{name}")).await;
    assert!(shown.body[&name]["tags"].is_null() && shown.body[&name]["lifetime"] == 12, "{}", shown.text);
    assert_eq!(put("{bad").await.status, 400);
    assert_eq!(put("[]").await.status, 400);
    put("").await.is(200, &json!({"ok": true}));
    put(r#"{"lifetime":99}"#).await.is(200, &json!({"ok": true}));
    door.by(&token, "PUT", "/api/v3/vm/nosuch", r#"{"lifetime":"x"}"#).await.is_bare(404);
    door.by(&token, "PUT", &format!("/vm/{name}"), "{bad").await.is_bare(400);
    door.by(&token, "PUT", &format!("/vm/{name}"), "").await.is_bare(400);
}

#[tokio::test]
async fn paths_that_are_not_there_are_bare_whatever_the_method() {
    let door = Door::new().await;
    for (method, path) in [
        ("GET", "/api"),
        ("GET", "/api/v3"),
        ("GET", "/api/v4/vm"),
        ("PATCH", "/api/v1/vm"),
        ("DELETE", "/vm"),
        ("GET", "/vm/nosuch"),
        ("GET", "/api/v1/vm/a_b"),
        ("POST", "/status"),
        ("GET", "/vm/a/b/c/d"),
        ("GET", "/summary/nosuch"),
        ("POST", "/api/v1/vm/debian-7-i386/"),
    ] {
        let told = door.by("", method, path, "").await;
        if path.ends_with("i386/") { assert_eq!(told.status, 200) } else { told.is_bare(404) }
    }
    door.get("/api/v3/vm/a_b").await.is(400, &json!({"ok": false, "error": "Invalid hostname format"}));
    // VMmanager's paths stay its own.
    let theirs = door.by("", "POST", "/vm/v3/snapshot", "").await;
    assert!(theirs.text.contains("\"error\""), "{} {}", theirs.status, theirs.text);
}
