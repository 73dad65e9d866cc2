//! `/auth/key/{key}`: the link that a browser comes in by.

use super::tokens;
use crate::client::Client;
use crate::isp::service::Asked;
use crate::login;
use crate::state::DoorState;
use axum::extract::{Path, State};
use axum::http::{Extensions, HeaderValue, Method, StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use hostler_core::ErrorKind;

/// Redeems the key and sends the browser to the start page with a token in its cookies; else a page that says why not.
pub(super) async fn enter(
    State(state): State<DoorState>,
    asked: Asked,
    method: Method,
    extensions: Extensions,
    client: Client,
    Path(key): Path<String>,
) -> Response {
    if method == Method::HEAD {
        return page(StatusCode::FORBIDDEN, None);
    }
    let caller = match login::by_key(&state, &extensions, &key, asked.service.door()).await {
        Ok(caller) => caller,
        Err(login::Refused::TooMany { retry_after_s }) => {
            return page(StatusCode::TOO_MANY_REQUESTS, Some(retry_after_s));
        }
        Err(login::Refused::By(error)) if error.kind == ErrorKind::Unauthenticated => {
            return page(StatusCode::FORBIDDEN, None);
        }
        Err(login::Refused::By(error)) => return crate::isp::refused::Refused::from(error).into_response(),
    };
    let token = match tokens::idle_token(&state, &caller).await {
        Ok((_, secret)) => secret,
        Err(refused) => return refused.into_response(),
    };
    let mut response = (StatusCode::FOUND, [(header::LOCATION, "/")]).into_response();
    for name in ["ses6", "token"] {
        let secure = if client.secure { "; Secure" } else { "" };
        let cookie = format!("{name}={}; Path=/; SameSite=Lax; HttpOnly{secure}", token.expose());
        // A token is made of digits, letters and hyphens.
        if let Ok(mut cookie) = HeaderValue::from_str(&cookie) {
            cookie.set_sensitive(true);
            response.headers_mut().append(header::SET_COOKIE, cookie);
        }
    }
    no_referrer(&mut response);
    response
}

/// Why nobody came in. It says nothing of the key.
fn page(status: StatusCode, retry_after_s: Option<u64>) -> Response {
    let text = match status {
        StatusCode::TOO_MANY_REQUESTS => "Too many links were tried from your address. Wait a minute.",
        _ => "This link was used already, has expired or never was one. Ask for a new one.",
    };
    let html = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>Not let in</title>\n<h1>Not let in</h1>\n<p>{text}</p>\n</html>\n"
    );
    let mut response = (status, Html(html)).into_response();
    if let Some(pause) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(pause));
    }
    no_referrer(&mut response);
    response
}

/// The address of this page is a secret.
fn no_referrer(response: &mut Response) {
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
}
