//! Status, summary, dashboard and metrics.

use super::{Door, Settings};
use anyhow::Result;
use hostler_core::pools::PoolRules;
use serde_json::{Value, json};

#[tokio::test]
async fn a_status_has_what_is_asked_for_and_names_empty_pools() {
    let door = Door::set(Settings::default(), PoolRules::default(), 1).await;
    let whole = door.get("/api/v3/status").await;
    let names: Vec<&String> = whole.body.as_object().unwrap().keys().collect();
    assert_eq!(names, ["boot", "capacity", "clone", "pools", "queue", "status"]);
    assert_eq!(whole.body["capacity"], json!({"current": 2, "total": 2, "percent": 100.0}));
    assert_eq!(whole.body["pools"]["debian-7-i386"]["alias"], json!(["debian-7-32"]));
    assert_eq!(whole.body["clone"]["count"]["total"], 2);
    assert_eq!(whole.body["status"]["message"], "Battle station fully armed and operational.");
    let view = door.get("/status?view=capacity,nosuch").await;
    assert_eq!(view.body.as_object().unwrap().len(), 2, "{}", view.text);
    assert_eq!(door.get("/status?view=").await.body.as_object().unwrap().len(), 1);
    assert_eq!(door.get("/status?view").await.body.as_object().unwrap().len(), 6);
    door.lent("").await;
    let empty = door.get("/status").await;
    assert_eq!(empty.status, 200);
    let status = &empty.body["status"];
    assert_eq!((&status["ok"], &status["message"]), (&json!(false), &json!("Found 1 empty pools.")));
    assert_eq!(status["empty"], json!(["debian-7-i386"]));
    assert_eq!(door.get("/totalrunning").await.body, json!({"running": 1}));
    let by_alias = door.get("/poolstat?pool=debian-7-64,nosuch").await.body;
    assert_eq!(by_alias["pools"].as_object().unwrap().keys().collect::<Vec<_>>(), ["debian-7-x86_64"]);
    assert_eq!(door.get("/poolstat").await.body, json!({"pools": {}}));
}

#[tokio::test]
async fn a_summary_counts_days_and_tags() -> Result<()> {
    let door = Door::set(Settings::default(), PoolRules::default(), 2).await;
    let name = door.lent("").await;
    door.by("", "PUT", &format!("/vm/{name}"), r#"{"tags":{"department":"engineering"}}"#).await;
    let today = door.get("/api/v1/summary").await.body;
    assert_eq!(today["tag"], json!({"department": {"engineering": 1, "total": 1}}));
    let counts = json!({"debian-7-i386": {"total": 2}, "debian-7-x86_64": {"total": 2}});
    assert_eq!(
        today["clone"]["count"],
        json!({"average": 4, "min": 4, "max": 4, "total": 4, "pool": counts})
    );
    assert_eq!(today["daily"].as_array().unwrap().len(), 1);
    let zeros = json!({"average": 0, "min": 0, "max": 0, "total": 0});
    let past = door.get("/summary?from=2015-03-10&to=2015-03-11").await.body;
    let none = json!({"duration": zeros, "count": {"total": 0}});
    let day = json!({"date": "2015-03-11", "boot": none, "clone": none, "tag": {}});
    assert_eq!(past["daily"][1], day);
    assert_eq!(past["boot"]["duration"]["pool"], json!({}));
    let part = door.get("/summary/clone/duration").await.body;
    assert!(part["clone"]["duration"].is_object() && part["clone"]["count"].is_null(), "{part}");
    assert!(part["daily"][0]["clone"]["count"].is_null() && part["boot"].is_null(), "{part}");
    let bad = door.get("/summary?from=bad").await;
    assert_eq!((bad.status, bad.text.as_str()), (400, "Invalid date format 'bad', must match YYYY-MM-DD."));
    Ok(())
}

#[tokio::test]
async fn the_dashboard_and_the_metrics_show_the_pools() {
    let named = Settings { site_name: "a<b".to_owned(), ..Settings::default() };
    let mut door = Door::set(named, PoolRules::default(), 1).await;
    let root = door.get("/").await;
    assert_eq!((root.status, &root.headers["location"]), (302, &"/dashboard/".parse().unwrap()));
    let page = door.get("/dashboard/").await;
    assert!(page.status == 200 && page.text.contains("a&lt;b"), "{}", page.status);
    assert!(page.headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
    door.lent("").await;
    door.by("", "POST", "/vm/debian-7-32", "").await.is_bare(503);
    door.by("", "POST", "/vm/made-up", "").await.is_bare(404);
    let pools = door.get("/dashboard/stats/vmpooler/pool?history=1").await.body;
    assert_eq!(pools["debian-7-x86_64"], json!({"size": 1, "ready": 1, "history": [1]}));
    assert_eq!(door.get("/dashboard/stats/vmpooler/running").await.body, json!({"debian": {"running": 1}}));
    assert_eq!(door.get("/healthcheck/").await.body, json!({"ok": true}));
    let text = door.get("/prometheus").await.text;
    for line in [
        r#"vmpooler_checkout_success{vmpooler_instance="vmpooler",poolname="debian-7-i386"} 1"#,
        r#"vmpooler_checkout_empty{vmpooler_instance="vmpooler",poolname="debian-7-32"} 1"#,
        r#"vmpooler_checkout_invalid{vmpooler_instance="vmpooler",poolname="unknown"} 1"#,
        r#"vmpooler_ready{vmpooler_instance="vmpooler",poolname="debian-7-i386"} 0"#,
        r#"vmpooler_running{vmpooler_instance="vmpooler",poolname="debian-7-i386"} 1"#,
        r#"vmpooler_http_requests_total{vmpooler_instance="vmpooler",code="404",method="POST",path="/vm"} 1"#,
    ] {
        assert!(text.contains(&format!("{line}\n")), "{line} is not in\n{text}");
    }
    assert!(!text.contains("made-up"), "{text}");
    door.scene.settle().await.unwrap();
    let text = door.get("/prometheus").await.text;
    for (name, bound) in [("clone", "10"), ("time_to_ready_state", "30")] {
        let labels = r#"vmpooler_instance="vmpooler",poolname="debian-7-i386""#;
        assert!(text.contains(&format!("# TYPE vmpooler_{name} histogram\n")), "{text}");
        assert!(text.contains(&format!("vmpooler_{name}_bucket{{{labels},le=\"{bound}\"}} ")), "{text}");
        let count =
            text.lines().find_map(|line| line.strip_prefix(&format!("vmpooler_{name}_count{{{labels}}} ")));
        assert!(count.is_some_and(|count| count != "0"), "{text}");
    }
    assert_eq!(door.get("/api/v1/vm").await.body, json!(["debian-7-i386", "debian-7-x86_64"]));
    assert_ne!(door.get("/status").await.body, Value::Null);
}
