//! The routes of the services of VMmanager and DCImanager: who may call each is in their own tables; what is asked
//! rightly, and what the audit trail says of it, is here.

use super::scene::{Answer, PASSWORD, Scene, Who};
use super::{no_secret_is_kept, trail};
use axum::http::header::HeaderName;
use hostler_core::access::Outcome;
use hostler_core::core::ListAsk;
use hostler_doors::isp_routes;
use hostler_sim::Mode;
use serde_json::{Value, json};
use std::collections::BTreeSet;

/// What is asked of a route that changes something, and its line in the audit trail; empty when it leaves none.
struct Right {
    route: &'static str,
    body: Value,
    deed: &'static str,
}

fn right(route: &'static str, body: Value, deed: &'static str) -> Right {
    Right { route, body, deed }
}

/// Every route that changes something, without `/api`.
fn table() -> Vec<Right> {
    let login = || json!({"email": "user-101@example.org", "password": PASSWORD});
    let user = || json!({"email": "new@example.org", "password": "swordfish-of-somebody", "role": "@user"});
    let change = || json!({"full_name": "New"});
    let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqD4ENXbDsQYbqtqZWQ4yMNq6L8LDWvYtUDzeTcbbuH new";
    let ssh_key = || json!({"name": "new", "ssh_pub_key": key});
    let machine = json!({"name": "new", "os": 1, "account": 1, "cluster": 1, "cpu_number": 1, "ram_mib": 128,
        "hdd_mib": 64, "password": "swordfish-of-a-guest"});
    vec![
        right("POST /auth/v4/public/token", login(), "credential.make"),
        right("POST /auth/v3/auth", login(), "credential.make"),
        right("POST /auth/v4/public/key", json!({"key": "{burnt}"}), "credential.make"),
        right("POST /auth/v3/auth_by_key", json!({"key": "{burnt}"}), "credential.make"),
        right("POST /auth/v4/token", json!({"expires_at": "2030-01-01 00:00:00"}), "credential.make"),
        right("DELETE /auth/v4/token/{token}", Value::Null, "credential.end"),
        right("DELETE /auth/v3/session/{token}", Value::Null, "credential.end"),
        right("POST /auth/v3/whoami", Value::Null, ""),
        right("POST /auth/v4/whoami", Value::Null, ""),
        right("POST /auth/v4/user", user(), "account.create"),
        right("POST /auth/v4/user/{user}", change(), "account.change"),
        right("DELETE /auth/v4/user/{user}", Value::Null, "account.delete"),
        right("POST /auth/v3/user/{user}/key", Value::Null, "credential.make"),
        right("POST /auth/v4/user/{user}/key", Value::Null, "credential.make"),
        right("POST /auth/v3/user/{user}/sshkey", ssh_key(), "ssh_key.add"),
        right("POST /auth/v4/user/{user}/sshkey", ssh_key(), "ssh_key.add"),
        right("DELETE /auth/v3/user/{user}/sshkey/{key}", Value::Null, "ssh_key.remove"),
        right("DELETE /auth/v4/user/{user}/sshkey/{key}", Value::Null, "ssh_key.remove"),
        right("POST /vm/v3/host", machine, "machine.create"),
        right("POST /vm/v3/host/{id}", json!({"comment": "x"}), "machine.edit"),
        right("DELETE /vm/v3/host/{id}", Value::Null, "machine.delete"),
        right("POST /vm/v3/host/{id}/start", json!({}), "machine.start"),
        right("POST /vm/v3/host/{id}/stop", json!({}), "machine.stop"),
        right("POST /vm/v3/host/{id}/restart", json!({}), "machine.restart"),
        right("POST /vm/v3/account", user(), "account.create"),
        right("POST /vm/v3/account/{user}", change(), "account.change"),
        right("DELETE /vm/v3/account/{user}", Value::Null, "account.delete"),
        right("POST /vm/v3/user", user(), "account.create"),
        right("DELETE /vm/v3/user/{user}", Value::Null, "account.delete"),
        right("POST /dci/v3/setting/{name}", json!({"value": "true"}), "setting.put"),
    ]
}

/// The headers in which somebody comes.
fn carried(scene: &Scene, who: Option<Who>) -> Vec<(HeaderName, String)> {
    let name = HeaderName::from_static("x-xsrf-token");
    who.map(|who| (name, scene.token(who).to_owned())).into_iter().collect()
}

/// The route with what stands in the scene for its parameters; a person is the stranger.
async fn filled(scene: &Scene, route: &str) -> String {
    let ask = || ListAsk { limit: 100, ..ListAsk::default() };
    let (core, admin) = (&scene.world.core, &scene.world.admin);
    let number = |found: Option<i64>| found.map_or_else(String::new, |number| number.to_string());
    let id = if route.contains("/task/") {
        number(core.task_list(admin, ask()).await.unwrap().items.first().map(|task| task.number))
    } else {
        // One machine, one template, one cluster, one host.
        "1".to_owned()
    };
    let stranger = core.account_get(admin, "user-102").await.unwrap().number;
    let key = core.ssh_key_list(admin, ask()).await.unwrap().items.pop().map(|key| key.number);
    let token = if route.contains("/token/") || route.contains("/session/") {
        scene.token(Who::Stranger).to_owned()
    } else {
        String::new()
    };
    route
        .replace("{id}", &id)
        .replace("{user}", &stranger.to_string())
        .replace("{key}", &number(key))
        .replace("{token}", &token)
        .replace("{name}", "operation_change_boot_order")
}

async fn asked(scene: &Scene, who: Option<Who>, request: &str, body: &Value) -> Answer {
    scene.send(request, carried(scene, who), body).await
}

/// Nobody without a credential that counts, nor with the wrong role, nor for what is another's; nothing changes by it.
async fn refused(scene: &Scene, route: &str, access: &str, body: &Value) {
    let request = filled(scene, route).await;
    let before = scene.kept().await;
    let changes = !route.starts_with("GET ");
    let mut everybody = Vec::new();
    if access != "public" {
        everybody.extend([None, Some(Who::Expired), Some(Who::Disabled)].map(|who| (who, 401..=403)));
    }
    if access == "administrator" {
        everybody.extend([Who::Owner, Who::Stranger].map(|who| (Some(who), 403..=403)));
        if changes {
            everybody.extend([Who::Reader, Who::AdministratorLimited].map(|who| (Some(who), 403..=403)));
        }
    }
    // A machine and what is with it, or a task.
    if route.contains("/host/{id}") || route.contains("/task/{id}") {
        everybody.push((Some(Who::Stranger), 404..=404));
        if changes {
            everybody.extend([Who::Reader, Who::OwnerLimited].map(|who| (Some(who), 403..=403)));
        }
    }
    for (who, statuses) in everybody {
        let told = trail(scene).await.len();
        let answer = asked(scene, who, &request, body).await;
        let status = answer.status.as_u16();
        assert!(statuses.contains(&status), "{request} by {who:?}: {status} {}", answer.text);
        // Core's own refusals are `error`, too; not one of them is told as a success.
        assert!(answer.json()["error"].is_object(), "{request} by {who:?}: {}", answer.text);
        let denied = trail(scene).await[told..].iter().filter(|line| line.outcome == Outcome::Denied).count();
        let known = who.is_some_and(|who| !matches!(who, Who::Expired | Who::Disabled));
        let expected = usize::from(known && status == 403);
        assert_eq!(denied, expected, "{request} by {who:?} ({status}) in the audit trail");
    }
    assert_eq!(scene.kept().await, before, "{request}: what was refused has changed something");
}

/// What comes before a request that is right.
async fn prepared(scene: &Scene, right: &mut Right) -> String {
    let administer = async |request: &str, body: Value| {
        let answer = asked(scene, Some(Who::Administrator), request, &body).await;
        assert!(answer.status.is_success(), "{request}: {}", answer.text);
        scene.world.run_tasks(Mode::Plain).await.unwrap();
        answer.json()
    };
    if right.route.ends_with("/start") {
        administer("POST /vm/v3/host/1/stop", json!({"force": true})).await;
    }
    let request = filled(scene, right.route).await;
    if right.route.contains("/sshkey/") {
        let path = request.rsplit_once('/').unwrap().0.replacen("DELETE", "POST", 1);
        let key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKqD4ENXbDsQYbqtqZWQ4yMNq6L8LDWvYtUDzeTcbbuH new";
        let made = administer(&path, json!({"name": "new", "ssh_pub_key": key})).await;
        return format!("{}/{}", request.rsplit_once('/').unwrap().0, made["id"]);
    }
    if right.body["key"] == "{burnt}" {
        let key = filled(scene, "POST /auth/v4/user/{user}/key").await;
        right.body["key"] = administer(&key, Value::Null).await["key"].clone();
    }
    if right.deed == "machine.create" {
        let owner = scene.world.core.account_get(&scene.world.admin, "user-101").await.unwrap();
        right.body["account"] = owner.number.into();
    }
    request
}

async fn granted(scene: &Scene, mut right: Right) {
    let request = prepared(scene, &mut right).await;
    let told = trail(scene).await.len();
    let answer = asked(scene, Some(Who::Administrator), &request, &right.body).await;
    assert!(answer.status.is_success(), "{request}: {} {}", answer.status, answer.text);
    let lines = trail(scene).await;
    let lines = &lines[told..];
    let deeds: Vec<&str> = lines.iter().map(|line| line.action.as_str()).collect();
    // A restart of what is off is a start, and told as that, too.
    assert_eq!(deeds.first().copied().unwrap_or_default(), right.deed, "{request}: {deeds:?}");
    for line in lines {
        assert_eq!(line.outcome, Outcome::Done, "{request}: {line:?}");
        assert!(line.account.is_some() && line.address.is_some(), "{request}: {line:?}");
        assert!(line.door != "native" && !line.object_kind.is_empty(), "{request}: {line:?}");
    }
}

#[tokio::test]
async fn every_route_of_the_services_refuses_whom_it_is_not_for_and_tells_of_what_it_does() {
    let routes: Vec<(String, &str)> = isp_routes()
        .into_iter()
        .filter(|(_, path, _)| !path.starts_with("/api/"))
        .map(|(method, path, access)| (format!("{method} {path}"), access))
        .collect();
    let changing = |route: &&str| !route.starts_with("GET ");
    let served: BTreeSet<&str> = routes.iter().map(|(route, _)| route.as_str()).filter(changing).collect();
    let known: BTreeSet<&str> = table().iter().map(|right| right.route).collect();
    let missing: Vec<_> = served.difference(&known).chain(known.difference(&served)).collect();
    assert!(missing.is_empty(), "add to the table in walk/isp.rs, or take out of it: {missing:#?}");
    let mut wrong = Vec::new();
    for (route, access) in routes {
        let name = route.clone();
        let walked = tokio::spawn(async move {
            let scene = Scene::new().await;
            let right = table().into_iter().find(|right| right.route == route);
            let body = right.as_ref().map_or(Value::Null, |right| right.body.clone());
            refused(&scene, &route, access, &body).await;
            match right {
                Some(right) => granted(&scene, right).await,
                // Keys are entered with in a browser; no server is in this world.
                None if access == "public" || route.contains("/server/") => {}
                None => {
                    let request = filled(&scene, &route).await;
                    let answer = asked(&scene, Some(Who::Administrator), &request, &Value::Null).await;
                    assert!(answer.status.is_success(), "{request}: {} {}", answer.status, answer.text);
                }
            }
            scene.world.run_tasks(Mode::Plain).await.unwrap();
            no_secret_is_kept(&scene).await;
        });
        // What is wrong with each was printed; the others are walked all the same.
        if walked.await.is_err() {
            wrong.push(name);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
