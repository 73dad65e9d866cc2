//! Tokens: made, listed, shown and ended.

use super::asked::Asked;
use super::wire::{Answer, Object, Refused, time};
use crate::state::DoorState;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::ErrorKind;
use hostler_core::access::{CredentialAsk, CredentialKind, SecretForm};
use hostler_core::core::ListAsk;
use hostler_core::query::Filter;

/// Tokens listed, at most.
const MOST: u32 = 1000;

/// `POST /token`
pub(super) async fn make(State(state): State<DoorState>, asked: Asked) -> Answer {
    let caller = asked.by_password(&state).await?;
    let ask = CredentialAsk { form: SecretForm::Pool, ..CredentialAsk::default() };
    let (_, secret) = state.core().credential_make(&caller, ask).await?;
    Ok(Object::ok(true).with("token", secret.expose()).answered(StatusCode::OK))
}

/// `GET /token`: those of whoever logs in, as far as they can be shown again; which are those that were made here.
///
/// Quirk: 404 when there is none.
pub(super) async fn list(State(state): State<DoorState>, asked: Asked) -> Answer {
    let caller = asked.by_password(&state).await?;
    let own = Filter::eq("account", caller.account.0);
    let ask = ListAsk { filter: own, limit: MOST, ..ListAsk::default() };
    let mut body = Object::ok(true);
    let mut none = true;
    for credential in state.core().credential_list(&caller, ask).await?.items {
        if credential.kind != CredentialKind::Token || credential.sealed.is_none() {
            continue;
        }
        let secret = state.core().credential_secret(&caller, &credential)?;
        let last = credential.used_at.map_or_else(|| "never".to_owned(), time);
        let shown = Object::default().with("created", time(credential.created_at)).with("last", last);
        body = body.with(secret.expose(), shown);
        none = false;
    }
    if none { Err(Refused::not_found()) } else { Ok(body.answered(StatusCode::OK)) }
}

/// `GET /token/{token}`: knowing it is enough.
///
/// Quirks: `last` is left out of a token that was never used, since go-vmpooler reads a time there; `vms` is left out when
/// nothing is lent. The names in it are bare in every version: vmfloaty looks each up, and then in the answer by that name.
pub(super) async fn show(State(state): State<DoorState>, _asked: Asked, Path(token): Path<String>) -> Answer {
    if !state.vmpooler().auth {
        return Err(Refused::not_found());
    }
    let (credential, login) = state.core().credential_known(&token, CredentialKind::Token).await?;
    let lent = state.core().checkouts_of_token(credential.account, credential.id).await?;
    let names: Vec<String> = lent.iter().map(|machine| machine.name.to_string()).collect();
    let running = (!names.is_empty()).then(|| Object::default().with("running", names));
    let shown = Object::default()
        .with("user", login)
        .with("created", time(credential.created_at))
        .perhaps("last", credential.used_at.map(time))
        .perhaps("vms", running);
    Ok(Object::ok(true).with(token, shown).answered(StatusCode::OK))
}

/// `DELETE /token/{token}`: one's own, by an administrator anybody's.
///
/// Quirk: a token that is not there is 401, as it always was.
pub(super) async fn end(State(state): State<DoorState>, asked: Asked, Path(token): Path<String>) -> Answer {
    let caller = asked.by_password(&state).await?;
    // By its secret only: a number or an id is no token.
    let known = state.core().credential_known(&token, CredentialKind::Token).await;
    let ended = match known {
        Ok((credential, _)) => state.core().credential_end(&caller, &credential.id.to_string()).await,
        Err(error) => Err(error),
    };
    match ended {
        Ok(()) => Ok(Object::ok(true).answered(StatusCode::OK)),
        Err(error) if error.kind == ErrorKind::NotFound => Err(Refused::credential()),
        Err(error) => Err(error.into()),
    }
}
