//! Tokens: made, listed and ended by name and password; shown to whoever knows one.

use super::by::Asking;
use super::wire::{Answer, Json, denied, nothing_here, object, refused, spaced, texts, well};
use crate::state::DoorState;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use hostler_core::access::{Credential, CredentialAsk, CredentialKind, SecretForm};
use hostler_core::core::ListAsk;
use hostler_core::query::Filter;

fn asking<'a>(state: &'a DoorState, request: &'a Request) -> Asking<'a> {
    Asking { state, headers: request.headers(), extensions: request.extensions() }
}

/// `GET /token`: one's own.
pub(super) async fn list(State(state): State<DoorState>, request: Request) -> Answer {
    let asking = asking(&state, &request);
    if !asking.has_store() {
        return Err(nothing_here());
    }
    let caller = asking.person().await?;
    let filter =
        Filter::eq("account", caller.account.0).and(Filter::eq("kind", CredentialKind::Token.word()));
    let ask = ListAsk { filter, limit: 1000, ..ListAsk::default() };
    let page = state.core().credential_list(&caller, ask).await.map_err(refused)?;
    let mut listed = Vec::new();
    for credential in page.items.iter().filter(|credential| credential.sealed.is_some()) {
        let secret = state.core().credential_secret(&caller, credential).map_err(refused)?;
        let last = credential.used_at.map_or_else(|| "never".to_owned(), spaced);
        let shown = [("created", Json::from(spaced(credential.created_at))), ("last", Json::from(last))];
        listed.push((secret.expose().to_owned(), object(shown)));
    }
    if listed.is_empty() { Err(nothing_here()) } else { Ok(well(StatusCode::OK, listed)) }
}

/// `POST /token`.
pub(super) async fn make(State(state): State<DoorState>, request: Request) -> Answer {
    let asking = asking(&state, &request);
    if !asking.has_store() {
        return Err(nothing_here());
    }
    let caller = asking.person().await?;
    let ask =
        CredentialAsk { form: SecretForm::Pool, description: "vmpooler".into(), ..CredentialAsk::default() };
    let (_, secret) = state.core().credential_make(&caller, ask).await.map_err(refused)?;
    Ok(well(StatusCode::OK, [("token".to_owned(), Json::from(secret.expose()))]))
}

/// `GET /token/<token>`: knowing it is enough.
///
/// Quirk: `last` is left out of one that was never used: the Go client reads nothing but times there.
pub(super) async fn show(
    State(state): State<DoorState>,
    Path(token): Path<String>,
    request: Request,
) -> Answer {
    if !asking(&state, &request).has_store() {
        return Err(nothing_here());
    }
    let core = state.core();
    let (credential, login) = core.token_known(&token).await.map_err(refused)?;
    let mut shown = vec![("user", Json::from(login)), ("created", Json::from(spaced(credential.created_at)))];
    shown.extend(credential.used_at.map(|at| ("last", Json::from(spaced(at)))));
    let running = running(&state, &credential).await?;
    if !running.is_empty() {
        shown.push(("vms", object([("running", texts(running))])));
    }
    Ok(well(StatusCode::OK, [(token, object(shown))]))
}

async fn running(
    state: &DoorState,
    credential: &Credential,
) -> Result<Vec<String>, axum::response::Response> {
    let lent = state.core().checkouts_of_token(credential.account, credential.id).await.map_err(refused)?;
    Ok(lent.into_iter().map(|machine| machine.name.to_string()).collect())
}

/// `DELETE /token/<token>`.
///
/// Quirk: an unknown token is 401, as vmpooler has it.
pub(super) async fn end(
    State(state): State<DoorState>,
    Path(token): Path<String>,
    request: Request,
) -> Answer {
    let asking = asking(&state, &request);
    if !asking.has_store() {
        return Err(nothing_here());
    }
    let caller = asking.person().await?;
    state.core().token_known(&token).await.map_err(|_| denied())?;
    state.core().credential_end(&caller, &token).await.map_err(|_| denied())?;
    Ok(well(StatusCode::OK, []))
}
