//! Tokens, sessions and keys: how they are made, what they look like, when they end.

use super::{From, HERE, Origin, PASSWORD, UNAUTHORIZED, whoami};
use serde_json::{Value, json};
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3600);
const MOMENT: Duration = Duration::from_millis(1);

#[tokio::test]
async fn a_token_looks_as_each_guide_shows_it() {
    let origin = Origin::new().await;
    let body = json!({ "email": "Root@Example.org", "password": PASSWORD }).to_string();
    for (path, is_text) in [("/auth/v4/public/token", false), ("/api/auth/v4/public/token", true)] {
        let told = origin.ask(HERE, "POST", path, &[], &body).await;
        assert_eq!(told.status, 201, "{}", told.text);
        assert_eq!(told.headers["content-type"], "application/json");
        assert!(!told.text.contains("error"), "{}", told.text);
        let id = &told.body["id"];
        assert!(if is_text { id.is_string() } else { id.is_i64() }, "{path}: {id}");
        let token = told.body["token"].as_str().unwrap();
        let (number, uuid) = token.split_once('-').unwrap();
        assert_eq!(number, id.to_string().trim_matches('"'), "a token begins with its own id");
        assert!(uuid.parse::<uuid::Uuid>().is_ok(), "{token}");
        assert_eq!((&told.body["confirmed"], &told.body["expires_at"]), (&json!(true), &Value::Null));
        for path in ["/auth/v4/whoami", "/api/auth/v3/whoami", "/auth/v4/self/session"] {
            assert_eq!(origin.get(path, token).await.body["email"], "root@example.org", "{path}");
        }
    }
}

#[tokio::test]
async fn whoever_is_refused_learns_no_reason() {
    let origin = Origin::new().await;
    let root = origin.token("root").await;
    let bob = origin
        .post("/auth/v4/user", &root, json!({ "email": "bob@example.org", "password": PASSWORD }))
        .await;
    let bob = format!("/auth/v4/user/{}", bob.body["id"]);
    assert_eq!(origin.post(&bob, &root, json!({ "state": "disabled" })).await.status, 200);
    let long = "x".repeat(600_000);
    let tries = [
        ("nobody@example.org", PASSWORD),
        ("root@example.org", "wrong"),
        ("root@example.org", ""),
        ("root@example.org", long.as_str()),
        ("bob@example.org", PASSWORD),
        ("", PASSWORD),
        ("root@example.org\r\nX-Evil: 1", PASSWORD),
    ];
    for (place, (email, password)) in tries.into_iter().enumerate() {
        let from = From::Address([198, 51, 100, u8::try_from(place).unwrap()]);
        let body = json!({ "email": email, "password": password }).to_string();
        for (path, status, wanted) in [
            ("/auth/v4/public/token", 401, UNAUTHORIZED.to_owned()),
            ("/api/auth/v4/public/token", 401, UNAUTHORIZED.to_owned()),
            ("/auth/v3/auth", 403, whoami(1114)),
            ("/api/auth/v3/auth", 403, whoami(1114)),
        ] {
            let told = origin.ask(from, "POST", path, &[], &body).await;
            assert_eq!((told.status, &told.text), (status, &wanted), "{path} {email:?}");
            assert!(!told.headers.contains_key("x-evil"));
        }
    }
    for (path, status, wanted) in [
        ("/auth/v4/public/key", 401, UNAUTHORIZED.to_owned()),
        ("/api/auth/v4/public/key", 401, UNAUTHORIZED.to_owned()),
        ("/auth/v3/auth_by_key", 403, whoami(1114)),
        ("/api/auth/v3/auth_by_key", 403, whoami(1114)),
    ] {
        let body = json!({ "key": "4-74e7c0e9-a5ff-4f52-a2ac-ed03c6ed1e21" }).to_string();
        let told = origin.ask(HERE, "POST", path, &[], &body).await;
        assert_eq!((told.status, &told.text), (status, &wanted), "{path}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_login_is_told_apart_from_a_wrong_one() {
    let origin = Origin::new().await;
    for (path, body, code, property) in [
        ("/auth/v4/public/token", json!({}), 4001, "email"),
        ("/auth/v4/public/token", json!({ "email": "a@b.c" }), 4001, "password"),
        ("/auth/v4/public/token", json!({ "email": 7, "password": "x" }), 4001, "email"),
        ("/auth/v4/public/token", json!({ "email": ["a"], "password": "x" }), 4001, "email"),
        ("/auth/v4/public/token", json!({ "email": "a@b.c", "password": null }), 4001, "password"),
        ("/auth/v3/auth", json!({ "email": "a@b.c", "password": {} }), 4001, "password"),
        ("/auth/v4/public/key", json!({ "key": 4 }), 4001, "key"),
        ("/auth/v3/auth_by_key", json!(null), 4001, "key"),
        ("/auth/v4/public/token", json!([]), 4000, ""),
        ("/auth/v4/public/token", json!("email=a@b.c"), 4000, ""),
    ] {
        let told = origin.ask(HERE, "POST", path, &[], &body.to_string()).await;
        assert_eq!((told.status, &told.body["error"]["code"]), (400, &json!(code)), "{body} {}", told.text);
        let named = told.body["error"]["value"]["property"].as_str().unwrap_or("");
        assert_eq!(named, property, "{body}");
    }
    let large = json!({ "email": "a@b.c", "password": "x".repeat(10_000_000) }).to_string();
    let told = origin.ask(HERE, "POST", "/auth/v4/public/token", &[], &large).await;
    assert_eq!((told.status, &told.body["error"]["code"]), (413, &json!(413)), "{}", told.text);
    let told = origin.ask(HERE, "POST", "/auth/v4/public/token", &[], r#"{"password":"swordfish"#).await;
    assert_eq!((told.status, &told.body["error"]["code"]), (400, &json!(4000)));
    assert!(!told.text.contains("swordfish"), "{}", told.text);
}

#[tokio::test]
async fn an_hour_without_use_ends_a_token_and_a_session() {
    let origin = Origin::new().await;
    let (token, session) = (origin.token("ann").await, origin.session("ann").await);
    assert!(session.len() == 24 && session.bytes().all(|c| b"0123456789ABCDEF".contains(&c)), "{session}");
    let told = origin.get("/auth/v4/whoami", &session).await;
    let end = told.body["expires_at"].as_str().unwrap().to_owned();
    assert!(end.len() == 19 && end.as_bytes()[10] == b' ', "{end}");
    for _ in 0..3 {
        origin.world.clock.advance(HOUR.checked_sub(MOMENT).unwrap());
        for secret in [&token, &session] {
            assert_eq!(origin.get("/auth/v4/whoami", secret).await.status, 200, "each use begins it anew");
        }
    }
    assert_ne!(origin.get("/auth/v4/whoami", &session).await.body["expires_at"], end.as_str());
    origin.world.clock.advance(HOUR);
    for secret in [&token, &session] {
        let told = origin.get("/auth/v4/whoami", secret).await;
        assert_eq!((told.status, told.text), (401, whoami(1000)));
        let told = origin.get("/api/auth/v4/whoami", secret).await;
        assert_eq!((told.status, told.text.as_str()), (401, UNAUTHORIZED));
    }
}

#[tokio::test]
async fn a_token_with_an_end_counts_until_then_whether_used_or_not() {
    let origin = Origin::new().await;
    let token = origin.token("ann").await;
    let now = origin.world.core.clock().now();
    let shown =
        |after: Duration| now.plus(after).to_string().replace('T', " ").chars().take(19).collect::<String>();
    let end = shown(30 * HOUR);
    let ask = json!({ "expires_at": end, "description": "Token for integration" });
    let made = origin.post("/api/auth/v4/token", &token, ask).await;
    assert_eq!(made.status, 201, "{}", made.text);
    assert_eq!(made.body["expires_at"], end.as_str());
    assert_eq!(made.body["description"], "Token for integration");
    assert!(made.body["id"].is_string() && made.body["confirmed"] == true, "{}", made.text);
    let lasting = made.body["token"].as_str().unwrap();
    for wrong in [
        json!({}),
        json!({ "expires_at": null }),
        json!({ "expires_at": 7 }),
        json!({ "expires_at": "2030-01-31" }),
        json!({ "expires_at": "2030-01-31T00:00:00Z" }),
        json!({ "expires_at": "2030-02-31 00:00:00" }),
        json!({ "expires_at": "1999-01-31 00:00:00" }),
        json!({ "expires_at": "9999-01-31 00:00:00" }),
    ] {
        let told = origin.post("/auth/v4/token", &token, wrong.clone()).await;
        assert_eq!((told.status, &told.body["error"]["code"]), (400, &json!(4001)), "{wrong}");
        assert_eq!(told.body["error"]["value"]["property"], "expires_at", "{wrong}");
    }
    let list = origin.get("/auth/v4/token?orderby=id+desc&limit=1", &token).await;
    assert_eq!(list.body["size"], 2, "{}", list.text);
    assert_eq!(list.body["list"][0]["description"], "Token for integration");
    assert!(!list.text.contains(lasting.split_once('-').unwrap().1), "no secrets");
    assert!(list.body["last_notify"].is_i64());
    let others = origin.get("/auth/v4/token", &origin.token("root").await).await;
    assert_eq!(others.body["size"], 1, "even an administrator sees their own: {}", others.text);

    origin.world.clock.advance(29 * HOUR);
    assert_eq!(origin.get("/auth/v4/whoami", lasting).await.body["expires_at"], end.as_str());
    origin.world.clock.advance(HOUR);
    assert_eq!(origin.get("/auth/v4/whoami", lasting).await.status, 401);
}

#[tokio::test]
async fn logging_out_never_fails_and_ends_what_it_says() {
    let origin = Origin::new().await;
    let done = |told: &super::Told| assert_eq!((told.status, told.text.as_str()), (200, "{}"));
    let token = origin.token("ann").await;
    let path = format!("/auth/v4/token/{token}");
    done(&origin.delete(&path, &token).await);
    assert_eq!(origin.get("/auth/v4/whoami", &token).await.status, 401);
    done(&origin.delete(&path, &token).await);
    done(&origin.ask(HERE, "DELETE", &path, &[], "").await);
    let session = origin.session("ann").await;
    let path = format!("/api/auth/v3/session/{session}");
    done(&origin.ask(HERE, "DELETE", &path, &[("cookie", &format!("ses6={session}"))], "").await);
    done(&origin.delete(&path, &session).await);
    assert_eq!(origin.get("/auth/v3/whoami", &session).await.status, 401);
    done(&origin.delete("/auth/v4/token/no-such-token", "no-such-token").await);

    // By number: only one's own, and only for whoever is in.
    let (ann, root) = (origin.token("ann").await, origin.token("root").await);
    let number = |token: &str| token.split_once('-').unwrap().0.to_owned();
    let told = origin.ask(HERE, "DELETE", &format!("/auth/v4/token/{}", number(&ann)), &[], "").await;
    assert_eq!((told.status, told.text), (401, whoami(1114)));
    done(&origin.delete(&format!("/auth/v4/token/{}", number(&root)), &ann).await);
    assert_eq!(origin.get("/auth/v4/whoami", &root).await.status, 200, "another's is left alone");
    done(&origin.delete("/auth/v4/token/999999", &ann).await);
    done(&origin.delete(&format!("/auth/v4/token/{}", number(&ann)), &ann).await);
    assert_eq!(origin.get("/auth/v4/whoami", &ann).await.status, 401);
}

#[tokio::test]
async fn a_key_is_made_for_a_number_or_an_address_and_counts_for_an_hour() {
    let origin = Origin::new().await;
    let root = origin.token("root").await;
    let list = origin.get("/auth/v3/user?where=email+EQ+'ann@example.org'", &root).await;
    let ann = list.body["list"][0]["id"].to_string();
    for user in [ann.as_str(), "ann@example.org", "ANN%40example.org"] {
        for path in [format!("/auth/v4/user/{user}/key"), format!("/api/auth/v3/user/{user}/key")] {
            for body in ["{}", "", "null"] {
                let told = origin.ask(HERE, "POST", &path, &[("x-xsrf-token", &root)], body).await;
                assert_eq!(told.status, 201, "{path} {}", told.text);
                let (id, key) = (told.body["id"].as_str().unwrap(), told.body["key"].as_str().unwrap());
                assert!(key.starts_with(&format!("{id}-")), "{}", told.text);
            }
        }
    }
    let told = origin.post("/auth/v4/user/nobody@example.org/key", &root, json!({})).await;
    assert_eq!(
        (told.status, &told.body["error"]["code"], &told.body["error"]["value"]["id"]),
        (404, &json!(4004), &json!("nobody@example.org"))
    );
    let told = origin.post("/auth/v4/user/3/key", &origin.token("ann").await, json!({})).await;
    assert_eq!((told.status, told.text.as_str()), (403, UNAUTHORIZED));

    let key = origin.key("ann").await;
    assert_eq!(origin.get("/auth/v4/whoami", &key).await.status, 401, "a key is no token");
    let told = origin.post("/api/auth/v4/public/key", "", json!({ "key": key })).await;
    assert!(
        told.status == 201 && told.body["id"].is_string() && told.body["confirmed"] == true,
        "{}",
        told.text
    );
    let who = origin.get("/auth/v4/whoami", told.body["token"].as_str().unwrap()).await;
    assert_eq!(who.body["email"], "ann@example.org");
    let told = origin.post("/auth/v4/public/key", "", json!({ "key": key })).await;
    assert_eq!((told.status, told.text.as_str()), (401, UNAUTHORIZED), "once only");

    let key = origin.key("ann").await;
    let told = origin.post("/auth/v3/auth_by_key", "", json!({ "key": key })).await;
    assert!(
        told.status == 200 && told.body["id"].is_i64() && told.body["expires_at"].is_string(),
        "{}",
        told.text
    );
    for name in ["session", "token"] {
        let secret = told.body[name].as_str().unwrap();
        assert_eq!(origin.get("/auth/v3/whoami", secret).await.body["email"], "ann@example.org", "{name}");
    }
    let (early, late) = (origin.key("ann").await, origin.key("ann").await);
    origin.world.clock.advance(HOUR.checked_sub(MOMENT).unwrap());
    assert_eq!(origin.post("/auth/v4/public/key", "", json!({ "key": early })).await.status, 201);
    origin.world.clock.advance(MOMENT);
    assert_eq!(origin.post("/auth/v4/public/key", "", json!({ "key": late })).await.status, 401);
}

#[tokio::test]
async fn of_fifty_who_redeem_a_key_one_comes_in() {
    let origin = std::sync::Arc::new(Origin::new().await);
    let key = origin.key("ann").await;
    let tries = (0..50_u8).map(|place| {
        let (origin, key) = (origin.clone(), key.clone());
        tokio::spawn(async move {
            let from = From::Address([203, 0, 113, place]);
            let body = json!({ "key": key }).to_string();
            match place % 3 {
                0 => origin.ask(from, "POST", "/auth/v4/public/key", &[], &body).await.status,
                1 => origin.ask(from, "POST", "/auth/v3/auth_by_key", &[], &body).await.status,
                _ => origin.ask(from, "GET", &format!("/auth/key/{key}"), &[], "").await.status,
            }
        })
    });
    let mut let_in = Vec::new();
    for one in tries.collect::<Vec<_>>() {
        match one.await.unwrap() {
            401 | 403 => {}
            status => let_in.push(status),
        }
    }
    assert!(matches!(let_in[..], [200 | 201 | 302]), "{let_in:?}");
}

#[tokio::test]
async fn a_link_lets_a_browser_in_and_looking_at_it_burns_nothing() {
    let origin = Origin::new().await;
    for (path, from, secure) in [
        ("/auth/key", HERE, false),
        ("/auth/key-v4", HERE, false),
        ("/api/auth/key", From::Tls, true),
        ("/auth/key-v4", From::Tls, true),
    ] {
        let link = format!("{path}/{}", origin.key("ann").await);
        let told = origin.ask(from, "HEAD", &link, &[], "").await;
        assert_eq!(told.status, 403, "HEAD redeems nothing");
        let told = origin.ask(from, "GET", &link, &[], "").await;
        assert_eq!((told.status, &told.headers["location"]), (302, &"/".parse().unwrap()), "{}", told.text);
        let cookies: Vec<&str> =
            told.headers.get_all("set-cookie").iter().map(|value| value.to_str().unwrap()).collect();
        let token = cookies[0].strip_prefix("ses6=").unwrap().split(';').next().unwrap();
        let rest = if secure {
            "; Path=/; SameSite=Lax; HttpOnly; Secure"
        } else {
            "; Path=/; SameSite=Lax; HttpOnly"
        };
        assert_eq!(cookies, [format!("ses6={token}{rest}"), format!("token={token}{rest}")]);
        assert_eq!(told.headers["cache-control"], "no-store");
        let who = origin.ask(HERE, "GET", "/auth/v4/whoami", &[("cookie", cookies[0])], "").await;
        assert_eq!(who.body["email"], "ann@example.org");
        for method in ["GET", "HEAD"] {
            let told = origin.ask(from, method, &link, &[], "").await;
            assert_eq!(told.status, 403);
            assert_eq!(told.headers["content-type"], "text/html; charset=utf-8");
            assert!(!told.headers.contains_key("set-cookie"));
            assert_eq!(told.text.contains("Ask for a new one"), method == "GET");
        }
    }
}
