//! Keys: what an administrator makes for somebody else to come in with, once.

use crate::isp::by::By;
use crate::isp::refused::{Answer, Refused};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::{CredentialAsk, CredentialKind, SecretForm};
use serde_json::{Value, json};
use std::time::Duration;

/// A key that nobody used counts no longer after this time.
const LIFETIME: Duration = Duration::from_secs(3600);

/// `POST user/{id or e-mail}/key`. Its id is text under both prefixes. No body is looked at.
pub(super) async fn make(
    State(state): State<DoorState>,
    By(caller): By,
    Path(user): Path<String>,
) -> Answer<(StatusCode, Json<Value>)> {
    let core = state.core();
    let account = core.account_get(&caller, &user).await;
    let account = account.map_err(|error| Refused::from(error).about(&user))?;
    let ask = CredentialAsk {
        kind: CredentialKind::Key,
        account: Some(account.id),
        expires_at: Some(core.clock().now().plus(LIFETIME)),
        form: SecretForm::Numbered,
        ..CredentialAsk::default()
    };
    let (key, secret) = core.credential_make(&caller, ask).await?;
    let shown = json!({ "id": key.number.to_string(), "key": secret.expose() });
    Ok((StatusCode::CREATED, Json(shown)))
}
