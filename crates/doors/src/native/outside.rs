//! People from outside: directories, and logging in at a provider.
//!
//! Quirk: the callback takes parameters that it does not know, unlike every other route. Providers add their own, and
//! OpenID Connect says that they may.

use super::sessions;
use super::types::{Directory, DirectoryChecked, DirectorySynced, LoggedIn, Page, Provider};
use super::wire::{Answer, By, Parameters, Refusal};
use crate::client::Client;
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hostler_core::Error;
use hostler_core::access::Via;
use hostler_core::access::outside::{Begun, ProviderAnswer};
use std::time::Duration;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Ties the answer of a provider to the browser that was sent there.
const COOKIE: &str = "hostler_login";

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(directory_list))
}

/// A directory may take its time.
pub(super) fn slow_routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(directory_check)).routes(routes!(directory_sync))
}

/// Routes for those who have not come in yet.
pub(super) fn open_routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(provider_list))
        .routes(routes!(provider_begin))
        .routes(routes!(provider_finish))
}

/// List directories
///
/// With their last synchronization. Administrators only.
#[utoipa::path(get, path = "/directories", tag = "access", responses((status = 200, body = Page<Directory>)))]
async fn directory_list(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Page<Directory>>> {
    let items = state.core().directory_list(&caller).await?.into_iter().map(Directory::from).collect();
    Ok(Json(Page { items, next: None }))
}

/// Connect to a directory and say what was found
///
/// Administrators only.
#[utoipa::path(
    post, path = "/directories/{directory}/check", tag = "access",
    params(("directory" = String, Path, description = "Name")),
    responses((status = 200, body = DirectoryChecked))
)]
async fn directory_check(
    State(state): State<DoorState>,
    By(caller): By,
    Path(directory): Path<String>,
) -> Answer<Json<DirectoryChecked>> {
    let found = state.core().directory_check(&caller, &directory).await?;
    Ok(Json(DirectoryChecked { found }))
}

/// Synchronize a directory now
///
/// Accounts follow their person; those whose person has gone are disabled and their sessions end. Administrators only.
#[utoipa::path(
    post, path = "/directories/{directory}/sync", tag = "access",
    params(("directory" = String, Path, description = "Name")),
    responses((status = 200, body = DirectorySynced))
)]
async fn directory_sync(
    State(state): State<DoorState>,
    By(caller): By,
    Path(directory): Path<String>,
) -> Answer<Json<DirectorySynced>> {
    Ok(Json(state.core().directory_sync(&caller, &directory).await?.into()))
}

/// List providers that people may log in at
#[utoipa::path(get, path = "/login/providers", tag = "access", security(()), responses((status = 200, body = Page<Provider>)))]
async fn provider_list(State(state): State<DoorState>) -> Json<Page<Provider>> {
    let items = state.core().provider_list().into_iter().map(Provider::from).collect();
    Json(Page { items, next: None })
}

/// Log in at a provider
///
/// Sends the browser there, with a cookie that it must bring back.
#[utoipa::path(
    get, path = "/login/oidc/{provider}", tag = "access", security(()),
    params(("provider" = String, Path, description = "Name")),
    responses((status = 302))
)]
async fn provider_begin(State(state): State<DoorState>, Path(provider): Path<String>) -> Answer {
    let begun = state.core().provider_begin(&provider).await?;
    let mut headers = private();
    headers.insert(header::LOCATION, text(&begun.address)?);
    headers.insert(header::SET_COOKIE, text(&cookie(&provider, &begun))?);
    Ok((StatusCode::FOUND, headers).into_response())
}

/// Come back from a provider
///
/// Makes a session, whose secret is in this answer and nowhere else; it is used like a token.
#[utoipa::path(
    get, path = "/login/oidc/{provider}/callback", tag = "access", security(()),
    params(
        ("provider" = String, Path, description = "Name"),
        ("code" = Option<String>, Query, description = "Redeemed for the person"),
        ("state" = Option<String>, Query, description = "What was sent along"),
        ("iss" = Option<String>, Query, description = "Who answers"),
        ("error" = Option<String>, Query, description = "Why nobody is let in")
    ),
    responses((status = 200, body = LoggedIn))
)]
async fn provider_finish(
    State(state): State<DoorState>,
    Path(provider): Path<String>,
    parameters: Parameters,
    headers: HeaderMap,
    extensions: Extensions,
) -> Response {
    let address = extensions.get::<Client>().and_then(|client| client.address);
    let via = Via { door: "native", address };
    let mut answer = match finished(&state, &provider, &parameters, &headers, via).await {
        Ok(logged_in) => Json(logged_in).into_response(),
        Err(refusal) => refusal.into_response(),
    };
    answer.headers_mut().extend(private());
    // One attempt, one answer: whatever came of it, the cookie is used up.
    let over = Begun {
        address: String::new(),
        cookie: hostler_core::secret::Secret::new(""),
        patience: Duration::ZERO,
        secure: false,
    };
    if let Ok(cookie) = text(&cookie(&provider, &over)) {
        answer.headers_mut().insert(header::SET_COOKIE, cookie);
    }
    answer
}

async fn finished(
    state: &DoorState,
    provider: &str,
    parameters: &Parameters,
    headers: &HeaderMap,
    via: Via,
) -> Answer<LoggedIn> {
    let one = |name: &str| parameters.0.get(name).cloned();
    let answer =
        ProviderAnswer { code: one("code"), state: one("state"), issuer: one("iss"), error: one("error") };
    let carried = carried(headers).unwrap_or_default();
    let core = state.core();
    let caller = core.provider_finish(provider, &answer, carried, via).await?;
    sessions::begin(state, &caller, format!("login at {provider}")).await
}

/// What the browser brings back of our cookie.
fn carried(headers: &HeaderMap) -> Option<&str> {
    let all = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    all.flat_map(|value| value.split(';'))
        .find_map(|pair| pair.trim().strip_prefix(COOKIE)?.strip_prefix('='))
}

/// The cookie goes to this provider's routes alone, is hidden from scripts, and comes along when the provider sends the
/// browser back (`Lax`), not when a foreign page embeds us.
fn cookie(provider: &str, begun: &Begun) -> String {
    let (value, age) = (begun.cookie.expose(), begun.patience.as_secs());
    let secure = if begun.secure { "; Secure" } else { "" };
    format!(
        "{COOKIE}={value}; Path=/hostler/v1/login/oidc/{provider}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}"
    )
}

/// Nobody on the way keeps it, and the address of this page, with the code in it, is told to nobody.
fn private() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers
}

fn text(value: &str) -> Answer<HeaderValue> {
    HeaderValue::from_str(value).map_err(|error| Refusal::from(Error::internal(error)))
}
