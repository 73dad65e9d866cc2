//! What each client sends, and what it stops at when it is not so.

use super::{Door, basic};
use anyhow::Result;
use hostler_core::pools::StockState;
use serde_json::{Value, json};

#[tokio::test]
async fn vmfloaty_takes_every_other_member_for_a_pool() -> Result<()> {
    let mut door = Door::new().await;
    let token = door.token("jdoe").await;
    let told = door.by(&token, "POST", "/api/v3/vm/debian-7-i386+debian-7-i386+debian-7-64", "").await;
    assert_eq!(told.status, 200, "{}", told.text);
    let names: Vec<&String> = told.body.as_object().unwrap().keys().collect();
    assert_eq!(names.len(), 3, "{}", told.text);
    assert!(told.text.find("\"ok\"") < told.text.find("debian-7-i386"), "ok is first: {}", told.text);
    let full = told.body["debian-7-64"]["hostname"].as_str().unwrap();
    assert!(full.ends_with(".company.com"), "{full}");
    assert_eq!(told.body["debian-7-i386"]["hostname"].as_array().unwrap().len(), 2);
    // Its list of what is lent: names from the token, each looked up and then looked for in the answer.
    let known = door.get(&format!("/api/v3/token/{token}")).await;
    assert_eq!(known.body[&token]["user"], "jdoe");
    let running = known.body[&token]["vms"]["running"].as_array().unwrap().clone();
    assert_eq!(running.len(), 3);
    for name in &running {
        let name = name.as_str().unwrap();
        let shown = door.get(&format!("/api/v3/vm/{name}")).await;
        assert_eq!(shown.body[name]["state"], "running", "{}", shown.text);
        assert_eq!(shown.body[name]["fqdn"], format!("{name}.company.com"));
        assert_eq!(shown.body[name]["domain"], Value::Null);
    }
    // Deleting one after the other.
    for name in &running {
        let path = format!("/api/v3/vm/{}", name.as_str().unwrap());
        assert_eq!(door.by(&token, "DELETE", &path, "").await.body, json!({"ok": true}));
    }
    assert_eq!(door.get(&format!("/api/v3/token/{token}")).await.body[&token]["vms"], Value::Null);
    door.scene.settle().await?;
    let status = door.get("/api/v3/status").await.body;
    for name in ["ready", "pending", "max"] {
        assert!(status["pools"]["debian-7-i386"][name].is_u64(), "{status}");
    }
    door.scene.world.check_whole().await
}

#[tokio::test]
async fn go_vmpooler_finds_every_member_that_it_asserts() -> Result<()> {
    let door = Door::new().await;
    let made = door.log_in("jdoe", "POST", "/api/v1/token").await;
    let token = made.body["token"].as_str().unwrap().to_owned();
    let listed = door.log_in("jdoe", "GET", "/api/v1/token").await;
    assert_eq!(listed.body[&token]["last"], "never", "{}", listed.text);
    let shown = door.get(&format!("/api/v1/token/{token}")).await;
    assert_eq!(shown.body[&token]["last"], Value::Null, "never used: {}", shown.text);
    let created = shown.body[&token]["created"].as_str().unwrap();
    assert!(created.len() == 25 && created.ends_with(" +0000"), "{created}");
    let lent = door.by(&token, "POST", "/api/v1/vm/debian-7-i386", "").await;
    let name = lent.body["debian-7-i386"]["hostname"].as_str().unwrap();
    let shown = door.get(&format!("/api/v1/vm/{name}")).await;
    assert_eq!(shown.body["ok"], true);
    let machine = &shown.body[name];
    for text in ["domain", "ip", "state", "template"] {
        assert!(machine[text].is_string(), "{text}: {}", shown.text);
    }
    for number in ["running", "lifetime"] {
        assert!(machine[number].is_number(), "{number}: {}", shown.text);
    }
    assert_eq!(machine["template"].as_str().unwrap().split('-').count(), 3);
    let change = door.by(&token, "PUT", &format!("/api/v1/vm/{name}"), r#"{"lifetime": 2}"#).await;
    change.is(200, &json!({"ok": true}));
    assert_eq!(door.get(&format!("/api/v1/vm/{name}")).await.body[name]["lifetime"], 2);
    let used = door.get(&format!("/api/v1/token/{token}")).await;
    assert!(used.body[&token]["last"].is_string(), "{}", used.text);
    Ok(())
}

#[tokio::test]
async fn posh_vmpooler_is_challenged_and_still_finds_what_it_has_deleted() -> Result<()> {
    let door = Door::new().await;
    door.ask("POST", "/api/v1/token", &[], "").await.is_bare(401);
    let token = door.token("jdoe").await;
    let told = door.by(&token, "POST", "/api/v1/vm/debian-7-x86_64", "\"\"").await;
    let name = told.body["debian-7-x86_64"]["hostname"].as_str().unwrap().to_owned();
    let tags = r#"{"tags": {"client": "posh", "username": "jdoe"}}"#;
    door.by(&token, "PUT", &format!("/api/v1/vm/{name}"), tags).await.is(200, &json!({"ok": true}));
    door.by(&token, "DELETE", &format!("/api/v1/vm/{name}"), "").await.is(200, &json!({"ok": true}));
    let after = door.get(&format!("/api/v1/vm/{name}")).await;
    assert_eq!((after.status, &after.body[&name]["state"]), (200, &json!("running")), "{}", after.text);
    assert_eq!(after.body[&name]["tags"], json!({"client": "posh", "username": "jdoe"}));
    Ok(())
}

#[tokio::test]
async fn beaker_asks_below_two_slashes_with_text_for_numbers_and_tags_without_a_token() -> Result<()> {
    let mut door = Door::new().await;
    let token = door.token("jdoe").await;
    let told = door.by(&token, "POST", "//vm/", r#"{"debian-7-64":"2","debian-7-i386":"1"}"#).await;
    assert_eq!(told.status, 200, "{}", told.text);
    assert!(told.text.find("debian-7-64") < told.text.find("debian-7-i386"), "in its order: {}", told.text);
    assert_eq!(told.body["domain"], "company.com");
    let name = told.body["debian-7-i386"]["hostname"].as_str().unwrap().to_owned();
    assert!(!name.contains('.'), "{name}");
    let tags = r#"{"tags":{"roles":"master, agent","department":null,"url":"https://ci/?a=b,c"}}"#;
    door.by("", "PUT", &format!("/vm/{name}"), tags).await.is(200, &json!({"ok": true}));
    let shown = door.get(&format!("//vm/{name}")).await;
    assert_eq!(shown.body[&name]["tags"], json!({"roles": "master, agent", "url": "https://ci/?a=b,c"}));
    // Two disks in a row, below its own prefix after whatever the base is.
    for size in [8, 4] {
        let path = format!("/api/v1/api/v1/vm/{name}/disk/{size}");
        let told = door.by(&token, "POST", &path, "").await;
        told.is(202, &json!({"ok": true, name.as_str(): {"disk": format!("+{size}gb")}}));
        // The second waits in its request until the machine is free; nothing else runs tasks here.
        door.scene.settle().await?;
    }
    let disks = until_disks(&mut door, &name, 2).await?;
    assert!(disks.contains(&json!("+8gb")) && disks.contains(&json!("+4gb")), "{disks:?}");
    let gone = door.by(&token, "DELETE", &format!("/vm/{name}.company.com"), "").await;
    gone.is(200, &json!({"ok": true}));
    // All or nothing: what was too much for one pool leaves the other as it was.
    let before = door.scene.counts("debian-7-x86_64").await?.ready;
    door.by(&token, "POST", "/vm", r#"{"debian-7-64":"1","debian-7-i386":"9"}"#).await.is_bare(503);
    assert_eq!(door.scene.counts("debian-7-x86_64").await?.ready, before);
    door.scene.settle().await?;
    door.scene.world.check_whole().await
}

/// The disks of a machine, once there are so many.
pub(super) async fn until_disks(door: &mut Door, name: &str, count: usize) -> Result<Vec<Value>> {
    door.scene.settle().await?;
    let shown = door.get(&format!("/vm/{name}")).await;
    let disks = shown.body[name]["disk"].as_array().cloned().unwrap_or_default();
    anyhow::ensure!(disks.len() == count, "there are not {count} disks, but {disks:?}");
    Ok(disks)
}

#[tokio::test]
async fn litmus_and_scripts_find_name_and_domain_in_the_raw_text() -> Result<()> {
    let door = Door::new().await;
    let told = door.by("", "POST", "/vm/debian-7-i386", "").await;
    let line = told.text.lines().find(|line| line.contains("\"hostname\": \"")).unwrap();
    let name = line.split('"').nth(3).unwrap();
    assert_eq!(told.body["debian-7-i386"]["hostname"], name);
    assert_eq!(told.body["domain"], "company.com");
    assert!(
        told.text.starts_with("{\n  \"ok\": true,\n  \"debian-7-i386\": {\n    \"hostname\": \""),
        "{}",
        told.text
    );
    // The agent of a Windows image looks for itself without any credential.
    assert_eq!(door.get(&format!("/api/v1/vm/{name}")).await.status, 200);
    assert_eq!(door.by("", "DELETE", &format!("/vm/{name}"), "").await.status, 200);
    assert_eq!(door.scene.stock("debian-7-i386", StockState::Lent).await?.len(), 0);
    Ok(())
}

#[tokio::test]
async fn curls_head_and_a_body_that_is_no_form_are_taken() {
    let door = Door::new().await;
    let head = door.ask("HEAD", "/api/v1/vm", &[], "").await;
    assert_eq!((head.status, head.text.as_str()), (200, ""));
    let odd = door.by("", "POST", "/api/v1/vm/debian-7-i386", "a=%zz").await;
    assert_eq!(odd.status, 200);
    let listed = door.ask("GET", "/token", &[("authorization", &basic("jdoe", "wrong"))], "").await;
    listed.is_bare(401);
}
