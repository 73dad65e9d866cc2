//! Sessions of v3: what people, and older programs, come in with.

use super::{not_in, tokens};
use crate::isp::body::Body;
use crate::isp::refused::{Answer, Refused};
use crate::isp::render::moment;
use crate::isp::service::Asked;
use crate::login;
use crate::state::DoorState;
use axum::Json;
use axum::extract::State;
use axum::http::Extensions;
use hostler_core::access::{Caller, CredentialAsk, CredentialKind, SecretForm};
use serde_json::{Value, json};

/// `POST v3/auth`: a session for an e-mail address, or a login name, and its password.
pub(super) async fn log_in(
    State(state): State<DoorState>,
    asked: Asked,
    extensions: Extensions,
    body: Body,
) -> Answer<Json<Value>> {
    let caller = tokens::by_password(&state, &extensions, &body, asked, Refused::session()).await?;
    Ok(Json(session(&state, &caller).await?))
}

/// `POST v3/auth_by_key`: a session and a token for a key, which is burnt. Clients read either.
pub(super) async fn by_key(
    State(state): State<DoorState>,
    asked: Asked,
    extensions: Extensions,
    body: Body,
) -> Answer<Json<Value>> {
    let found = login::by_key(&state, &extensions, body.required_text("key")?, asked.service.door()).await;
    let caller = found.map_err(|why| not_in(why, Refused::session()))?;
    let mut shown = session(&state, &caller).await?;
    let (_, token) = tokens::idle_token(&state, &caller).await?;
    shown["token"] = token.expose().into();
    Ok(Json(shown))
}

async fn session(state: &DoorState, caller: &Caller) -> Answer<Value> {
    let ask = CredentialAsk {
        kind: CredentialKind::Session,
        form: SecretForm::Hex24,
        idle_s: Some(tokens::IDLE_S),
        ..CredentialAsk::default()
    };
    let (session, secret) = state.core().credential_make(caller, ask).await?;
    Ok(json!({
        "id": session.number,
        "session": secret.expose(),
        "expires_at": session.ends_at().map(moment),
    }))
}
