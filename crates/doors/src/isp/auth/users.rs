//! Accounts, as both products show them.

use crate::isp::by::By;
use crate::isp::refused::Answer;
use crate::isp::render::role_word;
use crate::state::DoorState;
use axum::Json;
use axum::extract::State;
use hostler_core::access::Account;
use serde_json::{Value, json};

/// `whoami`: the caller's account.
pub(super) async fn whoami(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Value>> {
    let account = state.core().account_own(&caller).await?;
    Ok(Json(shown(&account)))
}

/// An account.
pub(super) fn shown(account: &Account) -> Value {
    json!({
        "id": account.number,
        "email": account.email,
        "full_name": account.full_name,
        "roles": [role_word(account.role)],
        "state": if account.enabled { "active" } else { "disabled" },
    })
}
