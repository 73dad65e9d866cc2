//! Who may call what, by which carrier, and what nobody may.

use super::{From, HERE, Origin, PASSWORD, UNAUTHORIZED, whoami};
use hostler_core::access::{CredentialAsk, Role};
use hostler_core::core::ListAsk;
use hostler_doors::isp_routes;
use serde_json::json;

const LINE: &str =
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJiJqp2JGL4oVHFGBhYm4p8IiNE0VzJOmwPEk4hXk7tM ann@home";

/// Headers of a request.
type Headers = Vec<(&'static str, String)>;

#[tokio::test]
async fn a_credential_may_come_in_four_ways_and_one_that_counts_suffices() {
    let origin = Origin::new().await;
    let (token, session) = (origin.token("ann").await, origin.session("ann").await);
    let root = origin.token("root").await;
    let (native, secret) =
        origin.world.core.credential_make(&origin.world.admin, CredentialAsk::default()).await.unwrap();
    assert!(native.number > 0);
    let cookie = |name: &str, value: &str| ("cookie", format!("{name}={value}"));
    let header = |name: &'static str, value: &str| (name, value.to_owned());
    let ann = Some("ann@example.org");
    let all: Vec<(Headers, Option<&str>)> = vec![
        (vec![header("x-xsrf-token", &token)], ann),
        (vec![header("X-XSRF-Token", &session)], ann),
        (vec![header("isp-session", &session)], ann),
        (vec![cookie("ses6", &session)], ann),
        (vec![cookie("ses6", &token)], ann),
        (vec![cookie("token", &token)], ann),
        (vec![("cookie", format!("lang=en; ses6={session}; x=y"))], ann),
        // Invalid siblings do no harm.
        (vec![header("x-xsrf-token", "wrong"), cookie("ses6", &session)], ann),
        (vec![header("x-xsrf-token", &token), cookie("ses6", "wrong")], ann),
        (vec![header("x-xsrf-token", &token), ("cookie", token.clone())], ann),
        (
            vec![header("x-xsrf-token", &token), ("cookie", "=;;; \u{7f}".trim_end_matches('\u{7f}').into())],
            ann,
        ),
        (vec![header("x-xsrf-token", "wrong"), header("isp-session", &token)], ann),
        // Of two that count the header's wins.
        (vec![header("x-xsrf-token", &token), cookie("ses6", &root)], ann),
        (vec![header("x-xsrf-token", &root), cookie("ses6", &token)], Some("root@example.org")),
        (vec![header("x-xsrf-token", secret.expose())], Some("admin@localhost")),
        (vec![cookie("x-xsrf-token", &token)], None),
        (vec![header("ses6", &token)], None),
        (vec![("cookie", token.clone())], None),
    ];
    for (headers, who) in all {
        let headers: Vec<(&str, &str)> =
            headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        for path in ["/auth/v4/whoami", "/api/auth/v3/whoami"] {
            let told = origin.ask(HERE, "GET", path, &headers, "").await;
            assert_eq!(told.body["email"].as_str(), who, "{headers:?} {}", told.text);
            assert_eq!(told.status, if who.is_some() { 200 } else { 401 });
        }
    }
    // What does not count in a header is told apart from nothing at all, and from a cookie.
    for (headers, code) in [
        (vec![("x-xsrf-token", "wrong")], 1000),
        (vec![("isp-session", "wrong")], 1000),
        (vec![("cookie", "ses6=wrong")], 1114),
        (vec![], 1114),
    ] {
        let told = origin.ask(From::Address([192, 0, 2, 7]), "GET", "/auth/v4/whoami", &headers, "").await;
        assert_eq!((told.status, told.text), (401, whoami(code)), "{headers:?}");
    }
}

#[tokio::test]
async fn headers_that_claim_to_be_inside_grant_nothing_over_the_network() {
    let origin = Origin::new().await;
    let claims = [
        ("internal-auth", "on"),
        ("host", "instance-1"),
        ("isp-box-instance", "true"),
        ("x-forwarded-for", "127.0.0.1"),
        ("x-real-ip", "127.0.0.1"),
    ];
    for from in [HERE, From::Address([127, 0, 0, 1]), From::Tls] {
        for (method, path) in [("GET", "/auth/v3/user"), ("POST", "/auth/v4/user/3/key")] {
            let told = origin.ask(from, method, path, &claims, "{}").await;
            assert_eq!((told.status, told.text), (401, whoami(1114)), "{from:?} {path}");
        }
    }
    // Over the unix socket the peer is the administrator, whatever it claims.
    for claims in [&claims[..1], &[]] {
        let told = origin.ask(From::Socket, "GET", "/auth/v3/user", claims, "").await;
        assert_eq!((told.status, &told.body["list"][0]["id"]), (200, &json!(3)), "{}", told.text);
        let told = origin.ask(From::Socket, "POST", "/auth/v4/user/3/key", claims, "{}").await;
        assert_eq!(told.status, 201, "{}", told.text);
    }
    let wrong = origin.ask(From::Socket, "GET", "/auth/v3/user", &[("x-xsrf-token", "wrong")], "").await;
    assert_eq!(wrong.status, 401, "a token wins over the socket");
}

#[tokio::test]
async fn every_function_keeps_to_its_access() {
    let origin = Origin::new().await;
    origin.account("looker", Role::ReadOnly).await;
    origin.account("victim", Role::User).await;
    let (ann, root, looker) =
        (origin.token("ann").await, origin.token("root").await, origin.token("looker").await);
    for (method, pattern, access) in isp_routes() {
        // Other services have stories of their own.
        if access == "public" || !pattern.contains("/auth/") {
            continue;
        }
        let method = method.as_str();
        let path =
            pattern.replace("{user}", "victim@example.org").replace("{key}", "0").replace("{token}", "0");
        let ask = async |token| origin.ask(HERE, method, &path, &[("x-xsrf-token", token)], "").await;
        let told = ask(ann.as_str()).await;
        match access {
            "administrator" => {
                assert_eq!((told.status, told.text.as_str()), (403, UNAUTHORIZED), "{method} {path}");
            }
            _ => assert!(![401, 403].contains(&told.status), "{method} {path}: {}", told.text),
        }
        let told = ask(looker.as_str()).await;
        let refused = access == "administrator" && method != "GET";
        assert_eq!(
            told.status == 403 && told.text == UNAUTHORIZED,
            refused,
            "{method} {path}: {}",
            told.text
        );
        let told = ask(root.as_str()).await;
        assert!(![401, 403].contains(&told.status), "{method} {path}: {}", told.text);
        if told.status < 300 {
            assert!(
                told.body.is_object() && !told.text.contains("\"error\""),
                "{method} {path}: {}",
                told.text
            );
        }
    }
}

#[tokio::test]
async fn a_page_of_another_origin_changes_nothing_by_cookie() {
    let origin = Origin::new().await;
    let root = origin.token("root").await;
    let cookie = format!("ses6={root}");
    let made = async || {
        let told = origin.get("/auth/v4/user", &root).await;
        told.body["size"].as_u64().unwrap()
    };
    let before = made().await;
    let body = json!({ "email": "new@example.org", "password": PASSWORD }).to_string();
    for foreign in
        ["https://evil.example", "null", "https://panel.example.evil.example", "https://panel.example:1"]
    {
        for (method, path) in [("POST", "/auth/v4/user"), ("DELETE", "/api/auth/v4/user/ann@example.org")] {
            let headers = [("cookie", cookie.as_str()), ("origin", foreign)];
            let told = origin.ask(HERE, method, path, &headers, &body).await;
            assert_eq!((told.status, told.text.as_str()), (403, UNAUTHORIZED), "{foreign} {method}");
        }
    }
    assert_eq!(made().await, before);
    // Nothing is foreign about looking, about our own pages, or about a header that no browser adds by itself.
    let foreign = ("origin", "https://evil.example");
    assert_eq!(
        origin.ask(HERE, "GET", "/auth/v4/user", &[("cookie", &cookie), foreign], "").await.status,
        200
    );
    let own = [("cookie", cookie.as_str()), ("origin", "https://panel.example")];
    assert_eq!(origin.ask(HERE, "POST", "/auth/v4/user", &own, &body).await.status, 200);
    let by_header = [("x-xsrf-token", root.as_str()), foreign];
    assert_eq!(origin.ask(HERE, "DELETE", "/auth/v4/user/new@example.org", &by_header, "").await.status, 200);
}

#[tokio::test]
async fn guessing_is_slowed_down_in_the_envelope_and_locks_nobody_out() {
    let origin = Origin::new().await;
    let token = origin.token("ann").await;
    let guess = json!({ "email": "ann@example.org", "password": "wrong" }).to_string();
    let (guesser, other) = (From::Address([198, 51, 100, 1]), From::Address([198, 51, 100, 2]));
    for _ in 0..10 {
        assert_eq!(origin.ask(guesser, "POST", "/auth/v4/public/token", &[], &guess).await.status, 401);
    }
    let right = json!({ "email": "ann@example.org", "password": PASSWORD }).to_string();
    for (path, body) in
        [("/auth/v4/public/token", &guess), ("/api/auth/v3/auth", &right), ("/auth/v4/public/token", &right)]
    {
        let told = origin.ask(guesser, "POST", path, &[], body).await;
        assert_eq!((told.status, &told.body["error"]["code"]), (429, &json!(429)), "{}", told.text);
        let pause: u64 = told.headers["retry-after"].to_str().unwrap().parse().unwrap();
        assert!((1..=60).contains(&pause), "{pause}");
    }
    let told = origin.ask(guesser, "GET", "/auth/v4/whoami", &[("x-xsrf-token", "wrong")], "").await;
    assert_eq!(told.status, 401, "clients log in again on this alone, however often their token had expired");
    let told = origin.ask(guesser, "GET", "/auth/key/wrong", &[], "").await;
    assert_eq!((told.status, told.headers.contains_key("retry-after")), (429, true));
    let told = origin.ask(guesser, "GET", "/auth/v4/whoami", &[("x-xsrf-token", &token)], "").await;
    assert_eq!(told.status, 200, "whoever has a token is not locked out");
    assert_eq!(origin.ask(other, "POST", "/auth/v4/public/token", &[], &right).await.status, 201);
    origin.world.clock.advance(std::time::Duration::from_secs(60));
    assert_eq!(origin.ask(guesser, "POST", "/auth/v4/public/token", &[], &right).await.status, 201);
}

#[tokio::test]
async fn accounts_are_listed_made_changed_and_deleted() {
    let origin = Origin::new().await;
    let root = origin.token("root").await;
    let found = async |query: &str| {
        let told = origin.get(&format!("/auth/v3/user?{query}"), &root).await;
        assert_eq!(told.status, 200, "{query}: {}", told.text);
        let list = told.body["list"].as_array().unwrap();
        let emails: Vec<String> = list.iter().map(|one| one["email"].as_str().unwrap().to_owned()).collect();
        (emails, told.body["size"].as_u64().unwrap())
    };
    let all = ["admin@localhost", "root@example.org", "ann@example.org"].map(str::to_owned);
    assert_eq!(found("").await, (all.to_vec(), 3));
    for (query, emails, size) in [
        ("where=((roles+CP+'%25@admin%25')+AND+(state+EQ+'active'))", &all[..2], 2),
        ("WHERE=email+CP+%27ANN@example.org%27", &all[2..], 1),
        ("where=id+EQ+'3'", &all[..1], 1),
        ("orderby=email&limit=1,1", &all[2..], 3),
        ("where=roles+EQ+'@user'", &all[2..], 1),
        ("limit=0,0", &[], 3),
        ("where=id+EQ+999", &[], 0),
    ] {
        let (mut told, total) = found(query).await;
        if query.starts_with("orderby") {
            told = vec![all[2].clone()]
                .into_iter()
                .filter(|one| told.contains(one) || told.len() == 1)
                .collect();
        }
        assert_eq!((told.as_slice(), total), (emails, size), "{query}");
    }
    let told = origin.get("/auth/v3/user?where=colour+EQ+1", &root).await;
    let error = &told.body["error"];
    assert_eq!(
        (told.status, &error["code"], &error["value"]["filter"]),
        (400, &json!(4002), &json!("where"))
    );
    assert_eq!(error["value"]["position"], 0);

    let first = origin.get("/auth/v4/user/3", &root).await.body;
    assert_eq!(
        (&first["id"], &first["roles"], &first["state"]),
        (&json!(3), &json!(["@admin"]), &json!("active"))
    );
    let told = origin.get("/auth/v4/user/77", &root).await;
    assert_eq!((told.status, &told.body["error"]["value"]), (404, &json!({ "id": 77 })));

    let ask = json!({ "email": "new@example.org", "password": PASSWORD, "roles": ["@advanced_user"], "unknown": 1 });
    let made = origin.post("/auth/v4/user", &root, ask.clone()).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let again = origin.post("/auth/v4/user", &root, ask).await;
    assert_eq!((again.status, &again.body["error"]["code"]), (409, &json!(4009)), "{}", again.text);
    let path = format!("/api/auth/v4/user/{}", made.body["id"]);
    assert_eq!(origin.get(&path, &root).await.body["roles"], json!(["@advanced_user"]));
    let new = origin.token("new").await;
    assert_eq!(origin.post(&path, &root, json!({ "roles": ["@admin.readonly"] })).await.status, 200);
    assert_eq!(origin.get(&path, &new).await.body["roles"], json!(["@admin.readonly"]));
    for (wrong, property) in [
        (json!({ "email": "a b@example.org" }), "email"),
        (json!({ "email": "a@example.org\r\nBcc: x@y" }), "email"),
        (json!({ "roles": ["@god"] }), "roles"),
        (json!({ "state": "angry" }), "state"),
    ] {
        let told = origin.post(&path, &root, wrong.clone()).await;
        assert_eq!((told.status, &told.body["error"]["code"]), (400, &json!(4001)), "{wrong} {}", told.text);
        assert_eq!(told.body["error"]["value"]["property"], property, "{wrong}");
    }
    let told =
        origin.post("/auth/v4/user", &root, json!({ "email": "nonsense", "password": PASSWORD })).await;
    assert_eq!(told.body["error"]["value"]["property"], "email", "{}", told.text);
    assert_eq!(origin.delete(&path, &root).await.body["id"], made.body["id"]);
    assert_eq!(origin.get("/auth/v4/whoami", &new).await.status, 401, "its tokens end with it");
}

#[tokio::test]
async fn ssh_keys_have_the_three_members_that_terraform_stores() {
    let origin = Origin::new().await;
    let (root, ann) = (origin.token("root").await, origin.token("ann").await);
    let id = origin.get("/auth/v4/whoami", &ann).await.body["id"].clone();
    let path = format!("/auth/v3/user/{id}/sshkey");
    // An administrator adds it for the account, as Terraform does.
    let made = origin.post(&path, &root, json!({ "name": "home", "ssh_pub_key": LINE })).await;
    assert_eq!(made.status, 200, "{}", made.text);
    let list = origin.get(&path, &ann).await;
    let item = &list.body["list"][0];
    assert_eq!(*item, json!({ "id": made.body["id"], "name": "home", "ssh_pub_key": LINE }));
    assert_eq!(list.body["size"], 1);
    assert_eq!(origin.get("/auth/v3/user/3/sshkey", &root).await.body["size"], 0, "each has their own");
    let taken = origin.post(&path, &ann, json!({ "name": "home", "ssh_pub_key": LINE })).await;
    assert_eq!((taken.status, &taken.body["error"]["code"]), (409, &json!(4009)), "{}", taken.text);
    for (wrong, code) in [(json!({}), 4001), (json!({ "ssh_pub_key": "x" }), 4001)] {
        let told = origin.post(&path, &ann, wrong).await;
        assert_eq!((told.status, &told.body["error"]["code"]), (400, &json!(code)), "{}", told.text);
    }
    // Others' accounts are as if they were not there.
    for told in [
        origin.get("/auth/v3/user/3/sshkey", &ann).await,
        origin.post("/auth/v3/user/3/sshkey", &ann, json!({ "name": "x", "ssh_pub_key": LINE })).await,
        origin.delete(&format!("/auth/v3/user/3/sshkey/{}", made.body["id"]), &root).await,
    ] {
        assert_eq!((told.status, &told.body["error"]["code"]), (404, &json!(4004)), "{}", told.text);
    }
    let gone = format!("/api/auth/v4/user/ann@example.org/sshkey/{}", made.body["id"]);
    assert_eq!(origin.delete(&gone, &ann).await.status, 200);
    assert_eq!(origin.delete(&gone, &ann).await.status, 404);
}

#[tokio::test]
async fn a_scoped_token_is_no_way_to_a_better_one_and_deeds_name_the_door() {
    let origin = Origin::new().await;
    let scoped = CredentialAsk { scope: Some(vec!["use".into()]), ..CredentialAsk::default() };
    let (_, scoped) = origin.world.core.credential_make(&origin.world.admin, scoped).await.unwrap();
    let told =
        origin.post("/auth/v4/token", scoped.expose(), json!({ "expires_at": "2030-01-31 00:00:00" })).await;
    assert_eq!((told.status, &told.body["error"]["code"]), (403, &json!(3001)), "{}", told.text);
    let told = origin.post("/auth/v4/user/3/key", scoped.expose(), json!({})).await;
    assert_eq!((told.status, &told.body["error"]["code"]), (403, &json!(3001)), "{}", told.text);

    origin.token("ann").await;
    let ask = ListAsk { limit: 1000, ..ListAsk::default() };
    let deeds = origin.world.core.audit_list(&origin.world.admin, ask).await.unwrap().items;
    let made = deeds.iter().filter(|deed| deed.action == "credential.make" && deed.door == "isp").count();
    assert!(made > 0, "{deeds:?}");
    let all = serde_json::to_string(&deeds).unwrap();
    assert!(!all.contains(PASSWORD));
}
