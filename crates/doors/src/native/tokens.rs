//! Tokens: what programs come in with.

use super::fields;
use super::types::{Page, PageAsk, Token, TokenCreate, TokenCreated, TokensAsk};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick, Posted, Refusal, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::{CredentialAsk, CredentialKind};
use hostler_core::core::ListAsk;
use hostler_core::query::Filter;
use hostler_core::secret::Secret;
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(token_list, token_create)).routes(routes!(token_revoke))
}

/// What lists of credentials may be asked.
pub(super) const TOKENS: ListSpec = ListSpec { fields: fields::TOKENS, picks: &[("account", Pick::Key)] };

/// A list of credentials of this kind.
pub(super) fn only(kind: CredentialKind, ask: ListAsk) -> ListAsk {
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

/// Make a token for the caller, or as an administrator for anybody
///
/// Its secret is in this answer and nowhere else. A token with a scope can neither make others nor change its account.
#[utoipa::path(post, path = "/tokens", tag = "access", request_body = TokenCreate, responses((status = 201, body = TokenCreated)))]
async fn token_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<TokenCreate>,
) -> Answer {
    let now = state.core().clock().now();
    if value.lifetime_s == Some(0) {
        return Err(Refusal::malformed("lifetime_s", "a token counts for at least one second"));
    }
    let account = match &value.account {
        Some(key) => Some(state.core().account_get(&caller, key).await?.id),
        None => None,
    };
    let ask = CredentialAsk {
        account,
        given: value.secret.map(|secret| Secret::new(secret.0)),
        description: value.description,
        expires_at: value.lifetime_s.map(|seconds| now.plus(Duration::from_secs(seconds))),
        idle_s: value.idle_s,
        scope: value.scope,
        ..CredentialAsk::default()
    };
    let (token, secret) = state.core().credential_make(&caller, ask).await?;
    let token = Token::from(token);
    Ok(created("tokens", token.id, TokenCreated { token, secret: secret.expose().to_owned() }))
}

/// End a token at once
#[utoipa::path(
    delete, path = "/tokens/{token}", tag = "access",
    params(("token" = String, Path, description = "Id or number")),
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
