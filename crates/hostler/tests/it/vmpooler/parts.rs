//! Disks, snapshots, and what a machine shows in each of its states.

use super::clients::until_disks;
use super::{Door, Settings};
use anyhow::Result;
use hostler_core::pools::PoolRules;
use serde_json::json;
use std::time::Duration;

#[tokio::test]
async fn a_snapshot_appears_when_it_is_finished_and_can_be_gone_back_to_then() -> Result<()> {
    let mut door = Door::new().await;
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    let path = format!("/api/v1/vm/{name}/snapshot");
    let told = door.by(&token, "POST", &path, "").await;
    assert_eq!(told.status, 202, "{}", told.text);
    let id = told.body[&name]["snapshot"].as_str().unwrap().to_owned();
    assert!(id.len() == 32 && id.bytes().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit()), "{id}");
    assert!(door.get(&format!("/vm/{name}")).await.body[&name]["snapshots"].is_null(), "not yet");
    door.by(&token, "POST", &format!("{path}/{id}"), "").await.is_bare(404);
    door.scene.settle().await?;
    assert_eq!(door.get(&format!("/vm/{name}")).await.body[&name]["snapshots"], json!([id]));
    door.by(&token, "POST", &format!("{path}/nosuch"), "").await.is_bare(404);
    door.by(&token, "POST", &format!("{path}/{id}"), "").await.is(202, &json!({"ok": true}));
    door.scene.settle().await?;
    door.scene.world.check_whole().await
}

#[tokio::test]
async fn a_disk_that_vmfloaty_puts_is_attached_and_odd_sizes_are_refused_by_version() -> Result<()> {
    let mut door = Door::new().await;
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    for (size, error) in [
        ("x", "Disk size must be a valid integer"),
        ("0", "Disk size must be at least 1"),
        ("2049", "Disk size must be at most 2048"),
    ] {
        door.by(&token, "POST", &format!("/vm/{name}/disk/{size}"), "").await.is_bare(404);
        let told = door.by(&token, "POST", &format!("/api/v3/vm/{name}/disk/{size}"), "").await;
        told.is(400, &json!({"ok": false, "error": error}));
    }
    door.by("", "PUT", &format!("/vm/{name}"), r#"{"disk": 1}"#).await.is_bare(401);
    let told = door.by(&token, "PUT", &format!("/vm/{name}"), r#"{"disk": 1}"#).await;
    told.is(202, &json!({"ok": true, name.as_str(): {"disk": "+1gb"}}));
    assert_eq!(until_disks(&mut door, &name, 1).await?, [json!("+1gb")]);
    door.by(&token, "PUT", &format!("/vm/{name}/disk/2"), "")
        .await
        .is(202, &json!({"ok": true, name.as_str(): {"disk": "+2gb"}}));
    assert_eq!(until_disks(&mut door, &name, 2).await?, [json!("+1gb"), json!("+2gb")]);
    door.scene.world.check_whole().await
}

#[tokio::test]
async fn a_machine_tells_its_hours_and_is_remembered_for_some_after_its_end() -> Result<()> {
    let rules = PoolRules { lifetime_with_token_s: Some(2 * 3600), ..PoolRules::default() };
    let mut door = Door::set(Settings::default(), rules, 2).await;
    let ready = door.scene.stock("debian-7-i386", hostler_core::pools::StockState::Ready).await?;
    let stock = ready[0].name.to_string();
    assert_eq!(door.get(&format!("/vm/{stock}")).await.body[&stock]["state"], "ready");
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    door.scene.world.clock.advance(Duration::from_secs(30 * 60));
    let shown = door.get(&format!("/vm/{name}.company.com")).await.body[&name].clone();
    assert_eq!(shown["lifetime"], 2);
    assert_eq!((&shown["running"], &shown["remaining"]), (&json!(0.5), &json!(1.5)));
    assert!(shown["start_time"].as_str().unwrap().ends_with("+00:00"), "{shown}");
    assert_eq!(shown["template"], "debian-7-i386");
    door.scene.world.clock.advance(Duration::from_secs(2 * 3600));
    door.scene.settle().await?;
    let shown = door.get(&format!("/vm/{name}")).await.body[&name].clone();
    assert_eq!(shown["state"], "destroyed", "{shown}");
    assert!(shown["running"].is_number() && shown["remaining"].is_null() && shown["ip"] == "", "{shown}");
    door.scene.world.clock.advance(Duration::from_secs(169 * 3600));
    door.get(&format!("/vm/{name}")).await.is_bare(404);
    Ok(())
}
