//! The list language at the native door: every field of every list, pages in every order, mistakes, and whose
//! records are found.

use crate::native::Door;
use axum::http::{Method, StatusCode};
use hostler_core::access::{Caller, Role};
use hostler_core::core::ListAsk;
use hostler_core::ids::AccountId;
use hostler_core::query::Filter;
use hostler_core::query::language::{self, Case, Field, Holds};
use hostler_core::record::Kind;
use hostler_sim::{Mode, World};
use serde_json::{Value, json};
use std::collections::BTreeSet;

const LISTS: [&str; 12] = [
    "/machines",
    "/templates",
    "/volumes",
    "/media",
    "/snapshots",
    "/networks",
    "/networks/lab/addresses",
    "/hosts",
    "/clusters",
    "/storages",
    "/tasks",
    "/tokens",
];

/// Three machines and some of everything else.
async fn furnished() -> (World, Door) {
    let world = World::with_template().await.unwrap();
    let door = Door::of(&world);
    let ranges = json!([{"first": "10.0.0.1", "last": "10.0.0.9"}]);
    door.post("/networks", json!({"name": "lab", "ranges": ranges})).await;
    for (name, vcpus) in [("web-1", 1), ("db", 2), ("web-2", 2)] {
        let ask = json!({"name": name, "template": "micro", "vcpus": vcpus, "network": "lab"});
        let made = door.post("/machines", ask).await;
        assert_eq!(made.status, StatusCode::ACCEPTED, "{}", made.body);
        door.post("/volumes", json!({"name": format!("{name} DATA"), "size_mib": 8})).await;
        door.post("/tokens", json!({"description": name})).await;
    }
    let source = json!({"from": "url", "url": "https://example.org/x.iso"});
    door.post("/media", json!({"name": "Rescue", "source": source})).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    door.post("/machines/db/snapshots", json!({"name": "before", "memory": false})).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    (world, door)
}

fn asked(list: &str, parameters: &[(&str, &str)]) -> String {
    let url = reqwest::Url::parse_with_params("http://localhost", parameters).unwrap();
    format!("{list}?{}", url.query().unwrap_or_default())
}

async fn items(door: &Door, list: &str, parameters: &[(&str, &str)]) -> Vec<Value> {
    let answer = door.get(&asked(list, parameters)).await;
    assert_eq!(answer.status, StatusCode::OK, "{list} {parameters:?}: {}", answer.body);
    answer.body["items"].as_array().unwrap().clone()
}

async fn names(door: &Door, filter: &str, order: &str) -> Vec<String> {
    let found = items(door, "/machines", &[("where", filter), ("order_by", order)]).await;
    found.iter().map(|machine| machine["name"].as_str().unwrap().to_owned()).collect()
}

/// The fields that a list knows, as it tells who asks for another.
async fn fields(door: &Door, list: &str) -> Vec<String> {
    let refused = door.get(&asked(list, &[("where", "nothing EQ 1")])).await;
    let told = refused.body["detail"].as_str().unwrap();
    let known = told.split_once("known: ").unwrap().1.split_once(", at character").unwrap().0;
    known.split(", ").map(str::to_owned).collect()
}

#[tokio::test]
async fn every_field_of_every_list_filters_orders_and_is_documented() {
    let (_world, door) = furnished().await;
    let page = include_str!("../../../../docs/lists.md");
    for list in LISTS {
        let all = items(&door, list, &[]).await;
        assert!(!all.is_empty(), "{list}");
        let mut keys: Vec<String> = all.iter().map(|item| item["id"].to_string()).collect();
        keys.sort();
        for field in fields(&door, list).await {
            let missing = items(&door, list, &[("where", &format!("{field} EQ null"))]).await;
            let there = items(&door, list, &[("where", &format!("NOT ({field} IS null)"))]).await;
            assert_eq!(missing.len() + there.len(), all.len(), "{list} {field}");
            assert!(page.contains(&format!("`{field}`")), "{field} of {list} is not in docs/lists.md");
            if field == "addresses" {
                continue;
            }
            for direction in ["asc", "desc"] {
                let order = format!("{field} {direction}");
                let mut seen = Vec::new();
                let mut after = None;
                loop {
                    let mut parameters = vec![("order_by", order.as_str()), ("limit", "2")];
                    parameters.extend(after.as_deref().map(|after| ("after", after)));
                    let answer = door.get(&asked(list, &parameters)).await;
                    assert_eq!(answer.status, StatusCode::OK, "{list} {order}: {}", answer.body);
                    let page = answer.body["items"].as_array().unwrap();
                    seen.extend(page.iter().map(|item| item["id"].to_string()));
                    after = answer.body["next"].as_str().map(str::to_owned);
                    if after.is_none() || seen.len() > keys.len() {
                        break;
                    }
                }
                seen.sort();
                assert_eq!(seen, keys, "{list} {order}");
            }
        }
    }
}

#[tokio::test]
async fn filters_and_orders_mean_what_they_say() {
    let (world, door) = furnished().await;
    for (filter, order, expected) in [
        ("name CP 'WEB-%'", "name desc", vec!["web-2", "web-1"]),
        ("name CP 'web'", "", vec![]),
        ("(vcpus GT 1)AND(NOT name EQ db)", "", vec!["web-2"]),
        ("vcpus EQ '2' or name eq 'web-1'", "vcpus desc, name", vec!["db", "web-2", "web-1"]),
        ("template.name EQ MICRO AND template.version EQ 1", "number", vec!["web-1", "db", "web-2"]),
        ("host.name EQ null", "", vec![]),
        ("addresses EQ '10.0.0.2'", "", vec!["db"]),
        ("addresses CP '10.0.0.%'", "template.name, name", vec!["db", "web-1", "web-2"]),
        ("owner.login NE nobody AND observed EQ on", "observed, number", vec!["web-1", "db", "web-2"]),
        ("number IN (1, 3)", "number desc", vec!["web-2", "web-1"]),
        ("created_at GT 2000-01-01", "number desc", vec!["web-2", "db", "web-1"]),
    ] {
        assert_eq!(names(&door, filter, order).await, expected, "{filter}");
    }
    // Machines that are gone are found by who asks for them.
    door.ask(Method::DELETE, "/machines/db", &[], None).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    assert_eq!(names(&door, "vcpus EQ 2", "").await, ["web-2"]);
    assert_eq!(names(&door, "vcpus EQ 2 AND life CP '%'", "").await, ["db", "web-2"]);
}

#[tokio::test]
async fn mistakes_name_the_parameter_and_the_place() {
    let (_world, door) = furnished().await;
    for (parameter, text, position) in [
        ("where", "name EQ 'x' AND colour EQ 1", 16),
        ("where", "name EQ 'ü", 10),
        ("where", "hash EQ 1", 0),
        ("where", "name; DROP TABLE machine", 4),
        ("order_by", "name, colour desc", 6),
        ("order_by", "name downwards", 5),
        ("order_by", "addresses", 0),
    ] {
        let refused = door.get(&asked("/machines", &[(parameter, text)])).await;
        assert_eq!(refused.status, StatusCode::BAD_REQUEST, "{text}: {}", refused.body);
        let told = (&refused.body["code"], &refused.body["field"], &refused.body["position"]);
        assert_eq!(
            told,
            (&"malformed".into(), &parameter.into(), &json!(position)),
            "{text}: {}",
            refused.body
        );
    }
    let both = door.get(&asked("/machines", &[("order", "name"), ("order_by", "name")])).await;
    assert_eq!((both.status, &both.body["field"]), (StatusCode::BAD_REQUEST, &"order_by".into()));
}

#[tokio::test]
async fn a_page_goes_on_although_its_last_record_has_gone() {
    let (world, door) = furnished().await;
    let order = ("order_by", "host.name, vcpus desc");
    let first = door.get(&asked("/machines", &[order, ("limit", "1")])).await.body;
    assert_eq!(first["items"][0]["name"], "db");
    door.ask(Method::DELETE, "/machines/db", &[], None).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    let after = ("after", first["next"].as_str().unwrap());
    let rest = items(&door, "/machines", &[order, after]).await;
    let rest: BTreeSet<&str> = rest.iter().map(|machine| machine["name"].as_str().unwrap()).collect();
    assert_eq!(rest, BTreeSet::from(["web-1", "web-2"]));
}

/// A table as the door of another dialect has it.
const DIALECT: &[Field] = &[
    Field::of("id", Holds::Number, "number"),
    Field::own("name", Holds::Word),
    Field::through("account", Holds::Number, "owner", Kind::Account, "number"),
    Field::through("node.name", Holds::Text, "host", Kind::Host, "name"),
    Field::of("date_create", Holds::Shown, "created_at"),
    Field::cases(
        "state",
        Holds::Text,
        &[
            Case { word: "active", when: || Filter::eq("observed", "on") },
            Case { word: "stopped", when: || Filter::ne("observed", "on") },
        ],
    ),
];

/// What a dialect asks: `where`, `orderby`, `limit`.
fn ask(filter: &str, order: &str, limit: &str) -> ListAsk {
    let (offset, limit) = language::limit(limit).unwrap().unwrap_or((0, u32::MAX));
    let order = language::order(order, DIALECT).unwrap().sorts();
    let filter = language::filter(filter, DIALECT).unwrap();
    ListAsk { filter, order, offset, limit, counted: true, ..ListAsk::default() }
}

#[tokio::test]
async fn another_dialect_skips_counts_and_has_words_of_its_own() {
    let (world, door) = furnished().await;
    door.post("/machines/web-2/stop", json!({})).await;
    world.run_tasks(Mode::Plain).await.unwrap();
    for (filter, order, limit, names, total) in [
        ("", "", "", &["web-1", "db", "web-2"][..], 3),
        ("", "name", "1,1", &["web-1"], 3),
        ("", "name", "0,0", &[], 3),
        ("", "name desc", "2", &["web-2", "web-1"], 3),
        ("", "name", "5,50", &[], 3),
        ("(account EQ 3) AND (state EQ 'active')", "id desc", "0,50", &["db", "web-1"], 2),
        ("state NE active", "", "", &["web-2"], 1),
        ("id IN (2, 9)", "", "", &["db"], 1),
        ("", "state desc, name", "", &["web-2", "db", "web-1"], 3),
        ("date_create CP '20%' AND date_create GT '1999'", "", "1", &["web-1"], 3),
    ] {
        let page = world.core.machine_list(&world.admin, ask(filter, order, limit)).await.unwrap();
        let found: Vec<&str> = page.items.iter().map(|machine| machine.name.as_str()).collect();
        assert_eq!((found.as_slice(), page.total), (names, Some(total)), "{filter} | {order} | {limit}");
    }
}

#[tokio::test]
async fn a_filter_finds_nothing_of_others() {
    let (world, door) = furnished().await;
    let account = AccountId(uuid::Uuid::from_u128(7));
    let mallory = Caller { account, role: Role::User, ..world.admin.clone() };
    let others = |filter| ask(filter, "", "");
    for filter in ["", "id GT 0", "NOT id EQ 0", "id LT 0 OR account CP '%'", "id NE x", "account EQ 3"] {
        let mine = world.core.machine_list(&world.admin, others(filter)).await.unwrap();
        assert_eq!(mine.total, Some(3), "{filter}");
        let found = world.core.machine_list(&mallory, others(filter)).await.unwrap();
        assert_eq!((found.items.len(), found.total), (0, Some(0)), "{filter}");
    }
    // Whose a template is can be seen by all, but no more of its owner than that.
    let refused = door.get(&asked("/templates", &[("where", "owner.login CP 'a%'")])).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
}
