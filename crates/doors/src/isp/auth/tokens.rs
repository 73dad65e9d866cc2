//! Tokens: what programs come in with.

use super::not_in;
use crate::isp::body::Body;
use crate::isp::by::{By, Perhaps};
use crate::isp::filters::Filters;
use crate::isp::refused::{Answer, Refused};
use crate::isp::render::{self, moment, read_moment};
use crate::isp::service::Asked;
use crate::login;
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Extensions, StatusCode};
use hostler_core::ErrorKind;
use hostler_core::access::{Caller, Credential, CredentialAsk, CredentialKind, SecretForm, Via};
use hostler_core::query::Filter;
use hostler_core::query::language::Field;
use hostler_core::query::language::Holds::{Number, Shown, Text};
use hostler_core::secret::Secret;
use serde_json::{Value, json};

/// What a token or session counts for without being used, in seconds.
pub(super) const IDLE_S: u32 = 3600;

const FIELDS: &[Field] = &[
    Field::of("id", Number, "number"),
    Field::own("description", Text),
    Field::own("created_at", Shown),
    Field::own("expires_at", Shown),
];

/// `POST v4/public/token`: a token for an e-mail address, or a login name, and its password.
pub(super) async fn log_in(
    State(state): State<DoorState>,
    asked: Asked,
    extensions: Extensions,
    body: Body,
) -> Answer<(StatusCode, Json<Value>)> {
    let caller = by_password(&state, &extensions, &body, asked, Refused::unauthorized()).await?;
    idle(&state, &caller, asked).await
}

/// `POST v4/public/key`: a token for a key, which is burnt.
pub(super) async fn by_key(
    State(state): State<DoorState>,
    asked: Asked,
    extensions: Extensions,
    body: Body,
) -> Answer<(StatusCode, Json<Value>)> {
    let found = login::by_key(&state, &extensions, body.required_text("key")?, asked.service.door()).await;
    let caller = found.map_err(|why| not_in(why, Refused::unauthorized()))?;
    idle(&state, &caller, asked).await
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
    let found = login::by_password(state, extensions, email, &password, asked.service.door()).await;
    found.map_err(|why| not_in(why, refused))
}

async fn idle(state: &DoorState, caller: &Caller, asked: Asked) -> Answer<(StatusCode, Json<Value>)> {
    let (token, secret) = idle_token(state, caller).await?;
    let shown = json!({
        "id": numbered(&token, asked),
        "token": secret.expose(),
        "expires_at": null,
        "confirmed": true,
    });
    Ok((StatusCode::CREATED, Json(shown)))
}

/// A token that counts until it is unused for an hour.
pub(super) async fn idle_token(state: &DoorState, caller: &Caller) -> Answer<(Credential, Secret)> {
    let form = SecretForm::Numbered;
    let ask = CredentialAsk { idle_s: Some(IDLE_S), form, ..CredentialAsk::default() };
    Ok(state.core().credential_make(caller, ask).await?)
}

/// The id of a token in the reply that makes it.
///
/// Quirk: text behind `/api`, as DCImanager's guide shows it, and a number otherwise, as VMmanager's does.
fn numbered(token: &Credential, asked: Asked) -> Value {
    if asked.api { token.number.to_string().into() } else { token.number.into() }
}

/// `POST v4/token`: a token that counts until a moment, used or not.
pub(super) async fn create(
    State(state): State<DoorState>,
    By(caller): By,
    asked: Asked,
    body: Body,
) -> Answer<(StatusCode, Json<Value>)> {
    let text = body.required_text("expires_at")?;
    let wanted = "a moment to come, in UTC, written like 2030-01-31 00:00:00";
    let end = read_moment(text).ok_or_else(|| body.wrong("expires_at", wanted))?;
    let description = body.text("description")?.unwrap_or("");
    let ask = CredentialAsk {
        description: description.to_owned(),
        expires_at: Some(end),
        form: SecretForm::Numbered,
        ..CredentialAsk::default()
    };
    let (token, secret) = state.core().credential_make(&caller, ask).await?;
    let shown = json!({
        "id": numbered(&token, asked),
        "token": secret.expose(),
        "expires_at": text,
        "description": token.description,
        "confirmed": true,
    });
    Ok((StatusCode::CREATED, Json(shown)))
}

/// `GET v4/token`: the caller's own tokens, without their secrets.
pub(super) async fn list(
    State(state): State<DoorState>,
    By(caller): By,
    filters: Filters,
) -> Answer<Json<Value>> {
    let own = Filter::eq("account", caller.account.0).and(Filter::eq("kind", CredentialKind::Token.word()));
    let mut ask = filters.ask(FIELDS)?;
    ask.filter = ask.filter.and(own);
    let page = state.core().credential_list(&caller, ask).await?;
    render::list(&state, page, |token| {
        json!({
            "id": token.number,
            "description": token.description,
            "created_at": moment(token.created_at),
            "expires_at": token.ends_at().map(moment),
        })
    })
    .await
}

/// `DELETE v4/token/{token or id}` and `v3/session/{session}`: logs out, and never fails for somebody who may.
///
/// Whoever knows the secret may end it, so nothing else is asked; a number alone proves nothing.
pub(super) async fn end(
    State(state): State<DoorState>,
    asked: Asked,
    extensions: Extensions,
    Path(key): Path<String>,
    perhaps: Perhaps,
) -> Answer<Json<Value>> {
    let core = state.core();
    let caller = if key.parse::<i64>().is_ok() {
        perhaps.caller(&state).await?
    } else {
        let kinds = &[CredentialKind::Token, CredentialKind::Session];
        let address = login::address(&extensions);
        match core.caller_by(&key, kinds, Via { door: asked.service.door(), address }).await {
            Ok(caller) => caller,
            // Not there, or not any more.
            Err(error) if error.kind == ErrorKind::Unauthenticated => return Ok(Json(json!({}))),
            Err(error) => return Err(error.into()),
        }
    };
    match core.credential_end(&caller, &key).await {
        Ok(()) => Ok(Json(json!({}))),
        Err(error) if error.kind == ErrorKind::NotFound => Ok(Json(json!({}))),
        Err(error) => Err(error.into()),
    }
}
