//! Tokens: what programs come in with.

use crate::isp::body::Body;
use crate::isp::refused::{Answer, Refused};
use crate::isp::service::Asked;
use crate::login::{self, Refused as NotIn};
use crate::state::DoorState;
use axum::Json;
use axum::extract::State;
use axum::http::{Extensions, StatusCode};
use hostler_core::ErrorKind;
use hostler_core::access::{Caller, CredentialAsk, CredentialKind, SecretForm};
use hostler_core::secret::Secret;
use serde_json::{Value, json};

/// What a token or session counts for without being used, in seconds.
pub(super) const IDLE_S: u32 = 3600;

/// `POST v4/public/token`: a token for an e-mail address, or a login name, and its password.
pub(super) async fn log_in(
    State(state): State<DoorState>,
    asked: Asked,
    extensions: Extensions,
    body: Body,
) -> Answer<(StatusCode, Json<Value>)> {
    let caller = by_password(&state, &extensions, &body, asked, Refused::unauthorized()).await?;
    Ok((StatusCode::CREATED, Json(idle_token(&state, &caller, asked).await?)))
}

/// Who has this e-mail address and password. All that lets nobody in is told as `refused`.
pub(super) async fn by_password(
    state: &DoorState,
    extensions: &Extensions,
    body: &Body,
    asked: Asked,
    refused: Refused,
) -> Answer<Caller> {
    let email = body.required_text("email")?;
    let password = Secret::new(body.required_text("password")?);
    let door = asked.service.door();
    login::by_password(state, extensions, email, &password, door).await.map_err(|why| match why {
        NotIn::TooMany { retry_after_s } => Refused::too_many(retry_after_s),
        NotIn::By(error) => match error.kind {
            // What cannot be a password is nobody's.
            ErrorKind::Unauthenticated | ErrorKind::Invalid { .. } => refused,
            _ => error.into(),
        },
    })
}

/// A token that counts until it is unused for an hour.
pub(super) async fn idle_token(state: &DoorState, caller: &Caller, asked: Asked) -> Answer<Value> {
    let ask = CredentialAsk { idle_s: Some(IDLE_S), ..token_ask() };
    let (token, secret) = state.core().credential_make(caller, ask).await?;
    Ok(json!({
        "id": numbered(token.number, asked),
        "token": secret.expose(),
        "expires_at": null,
        "confirmed": true,
    }))
}

pub(super) fn token_ask() -> CredentialAsk {
    CredentialAsk { kind: CredentialKind::Token, form: SecretForm::Numbered, ..CredentialAsk::default() }
}

/// The id of a token in the reply that makes it.
///
/// Quirk: text behind `/api`, as DCImanager's guide shows it, and a number otherwise, as VMmanager's does.
pub(super) fn numbered(number: i64, asked: Asked) -> Value {
    if asked.api { number.to_string().into() } else { number.into() }
}
