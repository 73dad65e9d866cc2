//! What an OpenID provider signs, honest and otherwise: one that tells every lie, over real HTTP.

use anyhow::{Context, Result, ensure};
use axum::routing::{get, post};
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hostler_core::ports::{Attempt, DriverErrorKind, Provider};
use hostler_core::secret::Secret;
use hostler_drivers::identity::oidc::{OidcConfig, OidcProvider};
use rcgen::{KeyPair, SigningKey};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};
use tokio::net::TcpListener;

/// What the provider answers to the next code, and what it was asked with.
#[derive(Default)]
struct Mouth {
    token: String,
    asked: String,
}

struct Scene {
    issuer: String,
    key: KeyPair,
    mouth: Arc<Mutex<Mouth>>,
    provider: OidcProvider,
}

fn part(value: &Value) -> String {
    URL_SAFE_NO_PAD.encode(value.to_string())
}

/// A signature in the fixed form of JWS (RFC 7518, 3.4), from the DER that the key makes.
fn fixed(der: &[u8]) -> Vec<u8> {
    let number = |at: usize| {
        let length = usize::from(der[at + 1]);
        let bytes = &der[at + 2..at + 2 + length];
        let bytes = &bytes[bytes.len().saturating_sub(32)..];
        let mut padded = vec![0; 32 - bytes.len()];
        padded.extend_from_slice(bytes);
        (padded, at + 2 + length)
    };
    let (first, next) = number(2);
    [first, number(next).0].concat()
}

fn signed(key: &KeyPair, header: &Value, claims: &Value) -> Result<String> {
    let text = format!("{}.{}", part(header), part(claims));
    let signature = fixed(&key.sign(text.as_bytes())?);
    Ok(format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature)))
}

async fn scene() -> Result<Scene> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let issuer = format!("http://{}", listener.local_addr()?);
    let key = KeyPair::generate()?;
    let point = key.public_key_raw();
    let coordinate = |from: usize| URL_SAFE_NO_PAD.encode(&point[from..from + 32]);
    let jwk = json!({"kty": "EC", "crv": "P-256", "use": "sig", "alg": "ES256", "kid": "one",
        "x": coordinate(1), "y": coordinate(33)});
    let about = json!({
        "issuer": issuer, "authorization_endpoint": format!("{issuer}/authorize"),
        "token_endpoint": format!("{issuer}/token"), "jwks_uri": format!("{issuer}/jwks"),
        "response_types_supported": ["code"], "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    });
    let mouth: Arc<Mutex<Mouth>> = Arc::default();
    let answering = mouth.clone();
    let token = move |body: String| {
        let mut mouth = answering.lock().unwrap();
        mouth.asked = body;
        let token = mouth.token.clone();
        async move { Json(json!({"access_token": "a", "token_type": "Bearer", "id_token": token})) }
    };
    let router = Router::new()
        .route("/.well-known/openid-configuration", get(move || async move { Json(about) }))
        .route("/jwks", get(move || async move { Json(json!({"keys": [jwk]})) }))
        .route("/token", post(token));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let config = OidcConfig {
        name: "sso".into(),
        title: "Sso".into(),
        issuer: issuer.clone(),
        client_id: "hostler".into(),
        client_secret: Some(Secret::new("swordfish-swordfish-swordfish-00")),
        public_url: "https://hostler.example/".into(),
        ca_file: None,
        scopes: vec!["email".into()],
        login_claim: "preferred_username".into(),
        groups_claim: "groups".into(),
        timeout: Duration::from_secs(10),
    };
    config.check().map_err(anyhow::Error::msg)?;
    Ok(Scene { issuer, key, mouth, provider: OidcProvider::new(config) })
}

fn attempt() -> Attempt {
    Attempt { state: "s".repeat(64), nonce: "n".repeat(64), verifier: Secret::new("v".repeat(64)) }
}

impl Scene {
    fn honest(&self) -> (Value, Value) {
        let now = UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs());
        let claims = json!({
            "iss": self.issuer, "aud": "hostler", "sub": "person-1", "exp": now + 300, "iat": now,
            "nonce": attempt().nonce, "preferred_username": "ada", "email": "ada@example.org",
            "groups": ["staff"], "name": "Ada",
        });
        (json!({"alg": "ES256", "kid": "one", "typ": "JWT"}), claims)
    }

    async fn told(
        &self,
        token: String,
    ) -> Result<hostler_core::ports::Person, hostler_core::ports::DriverError> {
        self.mouth.lock().unwrap().token = token;
        self.provider.finish("code", &attempt()).await
    }
}

#[tokio::test]
async fn a_person_comes_back_with_what_was_asked_for() -> Result<()> {
    let scene = scene().await?;
    let address = reqwest::Url::parse(&scene.provider.begin(&attempt()).await?)?;
    let one =
        |name: &str| address.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned());
    ensure!(
        one("redirect_uri").as_deref() == Some("https://hostler.example/hostler/v1/login/oidc/sso/callback")
    );
    ensure!(
        one("code_challenge_method").as_deref() == Some("S256")
            && one("response_type").as_deref() == Some("code")
    );
    ensure!(one("state") == Some(attempt().state) && one("nonce") == Some(attempt().nonce));
    let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(attempt().verifier.expose()));
    ensure!(one("code_challenge") == Some(challenge) && !address.as_str().contains("vvvv"), "{address}");
    let (header, claims) = scene.honest();
    let ada = scene.told(signed(&scene.key, &header, &claims)?).await?;
    ensure!(
        ada.key == "person-1"
            && ada.login == "ada"
            && ada.email == "ada@example.org"
            && ada.groups == ["staff"]
    );
    let asked = scene.mouth.lock().unwrap().asked.clone();
    ensure!(
        asked.contains(&format!("code_verifier={}", "v".repeat(64))) && asked.contains("code=code"),
        "{asked}"
    );
    let mut unchecked = claims;
    unchecked["email_verified"] = json!(false);
    let ada = scene.told(signed(&scene.key, &header, &unchecked)?).await?;
    ensure!(ada.email.is_empty(), "an address that nobody has verified is none");
    Ok(())
}

#[tokio::test]
async fn no_lie_is_believed() -> Result<()> {
    let scene = scene().await?;
    let (header, claims) = scene.honest();
    let mut lies = Vec::new();
    for (claim, value) in [
        ("nonce", json!("another")),
        ("nonce", Value::Null),
        ("aud", json!("somebody")),
        ("aud", json!(["hostler", "somebody"])),
        ("iss", json!("https://evil.example")),
        ("exp", json!(1)),
    ] {
        let mut claims = claims.clone();
        claims[claim] = value.clone();
        lies.push((format!("{claim} {value}"), signed(&scene.key, &header, &claims)?));
    }
    let other = KeyPair::generate()?;
    lies.push(("another key".into(), signed(&other, &header, &claims)?));
    let unknown = json!({"alg": "ES256", "kid": "two"});
    lies.push(("unknown kid".into(), signed(&other, &unknown, &claims)?));
    let none = part(&json!({"alg": "none"}));
    lies.push(("no signature".into(), format!("{none}.{}.", part(&claims))));
    let shared = json!({"alg": "HS256", "kid": "one"});
    lies.push(("a shared secret".into(), signed(&scene.key, &shared, &claims)?));
    let good = signed(&scene.key, &header, &claims)?;
    let (text, signature) = good.rsplit_once('.').context("a token")?;
    let mut altered = claims.clone();
    altered["sub"] = json!("person-2");
    ensure!(text.split('.').count() == 2);
    lies.push(("altered".into(), format!("{}.{}.{signature}", part(&header), part(&altered))));
    lies.push(("nonsense".into(), "x.y.z".into()));
    for (lie, token) in lies {
        let refused = scene.told(token).await;
        let refused = refused.err().with_context(|| format!("{lie} was believed"))?;
        ensure!(refused.kind == DriverErrorKind::Protocol, "{lie}: {refused:?}");
    }
    ensure!(scene.told(good).await.is_ok());
    Ok(())
}
