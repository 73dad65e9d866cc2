//! `user/{id}/sshkey`: the public SSH keys of an account, for the guests of its new machines.

use crate::isp::body::Body;
use crate::isp::by::By;
use crate::isp::filters::Filters;
use crate::isp::refused::{Answer, Refused};
use crate::isp::render;
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::access::{Account, Caller, SshKeyAsk};
use hostler_core::query::Filter;
use hostler_core::query::language::Field;
use hostler_core::query::language::Holds::{Number, Text};
use serde_json::{Value, json};

const FIELDS: &[Field] = &[Field::of("id", Number, "number"), Field::own("name", Text)];

/// Quirk: items have these three members and no others; Terraform's provider stores them in a fixed schema.
pub(super) async fn list(
    State(state): State<DoorState>,
    By(caller): By,
    Path(user): Path<String>,
    filters: Filters,
) -> Answer<Json<Value>> {
    let account = account(&state, &caller, &user).await?;
    let mut ask = filters.ask(FIELDS)?;
    ask.filter = ask.filter.and(Filter::eq("account", account.id.0));
    let page = state.core().ssh_key_list(&caller, ask).await?;
    let item = |key: hostler_core::access::SshKey| json!({ "id": key.number, "name": key.name, "ssh_pub_key": key.public_key });
    render::list(&state, page, item).await
}

/// `POST`: `{"name", "ssh_pub_key"}`.
pub(super) async fn add(
    State(state): State<DoorState>,
    By(caller): By,
    Path(user): Path<String>,
    body: Body,
) -> Answer<Json<Value>> {
    let account = account(&state, &caller, &user).await?;
    let ask = SshKeyAsk {
        account: Some(account.id),
        name: body.text("name")?.unwrap_or("").to_owned(),
        public_key: body.required_text("ssh_pub_key")?.to_owned(),
    };
    let key = state.core().ssh_key_add(&caller, ask).await?;
    Ok(Json(json!({ "id": key.number })))
}

/// `DELETE …/{key}`, by the number of the key.
pub(super) async fn remove(
    State(state): State<DoorState>,
    By(caller): By,
    Path((user, key)): Path<(String, String)>,
) -> Answer<Json<Value>> {
    let missing = || Refused::no_entity(&key);
    let account = account(&state, &caller, &user).await?;
    let number: i64 = key.parse().map_err(|_| missing())?;
    let mut ask = Filters::default().ask(FIELDS)?;
    ask.filter = Filter::eq("account", account.id.0).and(Filter::eq("number", number));
    let found = state.core().ssh_key_list(&caller, ask).await?.items.pop().ok_or_else(missing)?;
    state.core().ssh_key_remove(&caller, &found.id.to_string()).await?;
    Ok(Json(json!({ "id": number })))
}

/// Whose keys these are. Others' accounts answer as if they were not there.
async fn account(state: &DoorState, caller: &Caller, user: &str) -> Answer<Account> {
    let found = state.core().account_get(caller, user).await;
    found.map_err(|error| Refused::from(error).about(user))
}
