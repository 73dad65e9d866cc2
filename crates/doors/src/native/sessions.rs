//! Sessions: what people come in with.

use super::tokens::{TOKENS, only};
use super::types::{LoggedIn, Login, Page, PageAsk, Token, TokensAsk, Whoami};
use super::wire::{Answer, By, ListQuery, Parameters, Posted, Refusal};
use crate::login::{self, Refused};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Extensions, StatusCode};
use hostler_core::access::{Caller, CredentialAsk, CredentialKind};
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// A session ends after this time, used or not.
const LONGEST: Duration = Duration::from_secs(12 * 3600);
/// A session ends when it is not used for this many seconds.
const IDLE_S: u32 = 3600;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(log_out))
        .routes(routes!(whoami))
        .routes(routes!(session_list))
        .routes(routes!(session_end))
}

/// Routes for those who have not come in yet.
pub(super) fn open_routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(log_in))
}

/// Log in with a password
///
/// Makes a session, whose secret is in this answer and nowhere else; it is used like a token. After ten failures within
/// a minute, per address and account, further ones are answered with 429 and `Retry-After`.
#[utoipa::path(
    post, path = "/login", tag = "access", request_body = Login, security(()),
    responses((status = 200, body = LoggedIn))
)]
async fn log_in(
    State(state): State<DoorState>,
    extensions: Extensions,
    Posted { value, .. }: Posted<Login>,
) -> Answer<Json<LoggedIn>> {
    let password = value.password.into();
    let found = login::by_password(&state, &extensions, &value.login, &password, "native").await;
    let caller = found.map_err(|refused| match refused {
        Refused::By(error) => Refusal::from(error),
        Refused::TooMany { retry_after_s } => Refusal::too_many(retry_after_s),
    })?;
    Ok(Json(begin(&state, &caller, String::new()).await?))
}

/// Begins a session of somebody who has just come in, however they did.
pub(super) async fn begin(state: &DoorState, caller: &Caller, description: String) -> Answer<LoggedIn> {
    let core = state.core();
    let ask = CredentialAsk {
        kind: CredentialKind::Session,
        description,
        expires_at: Some(core.clock().now().plus(LONGEST)),
        idle_s: Some(IDLE_S),
        ..CredentialAsk::default()
    };
    let (session, secret) = core.credential_make(caller, ask).await?;
    let account = core.account_own(caller).await?.into();
    Ok(LoggedIn { account, session: session.into(), secret: secret.expose().to_owned() })
}

/// Log out
///
/// Ends what the caller came in with, session or token, at once. Over the unix socket there is nothing to end.
#[utoipa::path(post, path = "/logout", tag = "access", responses((status = 204)))]
async fn log_out(State(state): State<DoorState>, By(caller): By) -> Answer<StatusCode> {
    if let Some(credential) = caller.credential {
        state.core().credential_end(&caller, &credential.to_string()).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

/// Say who the caller is
#[utoipa::path(get, path = "/whoami", tag = "access", responses((status = 200, body = Whoami)))]
async fn whoami(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Whoami>> {
    Ok(Json(Whoami {
        account: state.core().account_own(&caller).await?.into(),
        groups: caller.groups.iter().map(|group| group.0).collect(),
        credential: caller.credential.map(|id| id.0),
        scope: caller.scope.as_deref().map(<[String]>::to_vec),
    }))
}

/// List sessions
///
/// The caller's; an administrator sees everybody's.
#[utoipa::path(get, path = "/sessions", tag = "access", params(PageAsk, TokensAsk), responses((status = 200, body = Page<Token>)))]
async fn session_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Token>>> {
    let query = ListQuery::read(&parameters.0, &TOKENS)?;
    let page = state.core().credential_list(&caller, only(CredentialKind::Session, query.ask())).await?;
    Ok(Json(query.page(page, Token::from)))
}

/// End a session at once
#[utoipa::path(
    delete, path = "/sessions/{session}", tag = "access",
    params(("session" = String, Path, description = "Id or number")),
    responses((status = 204))
)]
async fn session_end(
    State(state): State<DoorState>,
    By(caller): By,
    Path(session): Path<String>,
) -> Answer<StatusCode> {
    state.core().credential_end(&caller, &session).await?;
    Ok(StatusCode::NO_CONTENT)
}
