//! Numbers beyond all measure and tags by the thousand, on every path that takes any.

use super::{Door, Settings};
use anyhow::Result;
use hostler_core::pools::PoolRules;
use serde_json::{Value, json};

const AGES: &str = "1000000000000000000";

#[tokio::test]
async fn a_lifetime_of_ages_is_refused_and_the_one_before_stays() -> Result<()> {
    let door = Door::new().await;
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    for version in ["", "/api/v1", "/api/v2", "/api/v3"] {
        let path = format!("{version}/vm/{name}");
        for body in [format!(r#"{{"lifetime": {AGES}}}"#), format!(r#"{{"lifetime": "{AGES}"}}"#)] {
            let told = door.by(&token, "PUT", &path, &body).await;
            assert_eq!((told.status, &told.body["ok"]), (400, &json!(false)), "{}", told.text);
            assert!(told.text.contains("century"), "{}", told.text);
            assert_eq!(door.get(&path).await.body[&name]["lifetime"], 12);
        }
        // Numbers that no word of the machine holds are refused, and nothing changes.
        for odd in [r#"{"lifetime": 1e300}"#, r#"{"lifetime": -1}"#, r#"{"lifetime": "1e18"}"#] {
            assert_eq!(door.by(&token, "PUT", &path, odd).await.status, 400, "{version} {odd}");
        }
    }
    Ok(())
}

#[tokio::test]
async fn a_bound_of_lifetimes_holds_for_ages() -> Result<()> {
    let rules = PoolRules { lifetime_max_s: Some(48 * 3600), ..PoolRules::default() };
    let door = Door::set(Settings::default(), rules, 2).await;
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    let told = door.by(&token, "PUT", &format!("/vm/{name}"), &format!(r#"{{"lifetime": {AGES}}}"#)).await;
    assert_eq!(told.status, 400, "{}", told.text);
    assert_eq!(door.get(&format!("/vm/{name}")).await.body[&name]["lifetime"], 12);
    Ok(())
}

#[tokio::test]
async fn a_thousand_tags_are_refused_and_leave_everything_as_it_was() -> Result<()> {
    let door = Door::new().await;
    let token = door.token("jdoe").await;
    let name = door.lent(&token).await;
    let tags: serde_json::Map<String, Value> =
        (0..1000).map(|place| (format!("t{place}"), json!("x".repeat(20)))).collect();
    let path = format!("/api/v3/vm/{name}");
    let told = door.by(&token, "PUT", &path, &json!({ "lifetime": 3, "tags": tags }).to_string()).await;
    assert_eq!(told.status, 400, "{}", told.text);
    let shown = door.get(&path).await.body[&name].clone();
    assert_eq!((&shown["tags"], &shown["lifetime"]), (&Value::Null, &json!(12)));
    let endless = json!({ "tags": { "t": "x".repeat(100_000) } }).to_string();
    assert_eq!(door.by(&token, "PUT", &path, &endless).await.status, 400);
    Ok(())
}

#[tokio::test]
async fn numbers_beyond_all_measure_are_no_counts_and_no_sizes() -> Result<()> {
    let settings = Settings { experimental_features: true, ..Settings::default() };
    let door = Door::set(settings, PoolRules::default(), 2).await;
    let token = door.token("root").await;
    for count in [AGES, "99999999999999999999999999", "-1", "1e18"] {
        for (path, body) in [
            ("/api/v3/vm", json!({ "debian-7-i386": count })),
            ("/api/v3/ondemandvm", json!({ "debian-7-i386": count })),
            ("/api/v3/config/poolsize", json!({ "debian-7-i386": count })),
        ] {
            let told = door.by(&token, "POST", path, &body.to_string()).await;
            assert!((400..500).contains(&told.status), "{path} {count}: {} {}", told.status, told.text);
        }
        let told = door.by(&token, "POST", &format!("/api/v3/ondemandvm?x={count}"), "{}").await;
        assert!((400..500).contains(&told.status), "{}", told.status);
    }
    for path in ["/summary?from=0000-01-01&to=9999-12-31", "/summary?from=1000000000000000000"] {
        let told = door.get(path).await;
        assert!(told.status < 500, "{path}: {} {}", told.status, told.text);
    }
    assert_eq!(door.scene.counts("debian-7-i386").await?.ready, 2, "nothing was taken");
    Ok(())
}
