//! The caller's account and tokens.

use super::fields;
use super::types::{Account, Page, PageAsk, Token, TokenCreate, TokenCreated, TokensAsk};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick, Posted, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::{CredentialAsk, CredentialKind};
use hostler_core::core::ListAsk;
use hostler_core::query::Filter;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(account_show))
        .routes(routes!(token_list, token_create))
        .routes(routes!(token_revoke))
}

/// Show the caller's own account
#[utoipa::path(get, path = "/account", tag = "access", responses((status = 200, body = Account)))]
async fn account_show(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Account>> {
    Ok(Json(state.core().account_own(&caller).await?.into()))
}

const TOKENS: ListSpec = ListSpec { fields: fields::TOKENS, picks: &[("account", Pick::Key)] };

/// A list of credentials of this kind.
fn only(kind: CredentialKind, ask: ListAsk) -> ListAsk {
    ListAsk { filter: ask.filter.and(Filter::eq("kind", kind.word())), ..ask }
}

/// List tokens
///
/// The caller's; an administrator sees everybody's. Secrets are not shown.
#[utoipa::path(get, path = "/tokens", tag = "access", params(PageAsk, TokensAsk), responses((status = 200, body = Page<Token>)))]
async fn token_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Token>>> {
    let query = ListQuery::read(&parameters.0, &TOKENS)?;
    let page = state.core().credential_list(&caller, only(CredentialKind::Token, query.ask())).await?;
    Ok(Json(query.page(page, Token::from)))
}

/// Make a token for the caller
///
/// Its secret is in this answer and nowhere else.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = TokenCreate, responses((status = 201, body = TokenCreated)))]
async fn token_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<TokenCreate>,
) -> Answer {
    let lifetime = value.lifetime_s.map(Duration::from_secs);
    let expires_at = lifetime.map(|time| state.core().clock().now().plus(time));
    let ask = CredentialAsk { description: value.description, expires_at, ..CredentialAsk::default() };
    let (token, secret) = state.core().credential_make(&caller, ask).await?;
    let token = Token::from(token);
    Ok(created("tokens", token.id, TokenCreated { token, secret: secret.expose().to_owned() }))
}

/// End a token at once
#[utoipa::path(
    delete, path = "/tokens/{token}", tag = "access",
    params(("token" = String, Path, description = "Id")),
    responses((status = 204))
)]
async fn token_revoke(
    State(state): State<DoorState>,
    By(caller): By,
    Path(token): Path<String>,
) -> Answer<StatusCode> {
    state.core().credential_end(&caller, &token).await?;
    Ok(StatusCode::NO_CONTENT)
}
