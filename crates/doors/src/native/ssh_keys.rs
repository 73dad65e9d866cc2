//! Public SSH keys of accounts.

use super::fields;
use super::types::{Page, PageAsk, SshKey, SshKeyCreate, TokensAsk};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick, Posted, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::SshKeyAsk;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new().routes(routes!(ssh_key_list, ssh_key_add)).routes(routes!(ssh_key_remove))
}

const SSH_KEYS: ListSpec = ListSpec { fields: fields::SSH_KEYS, picks: &[("account", Pick::Key)] };

/// List SSH keys
///
/// The caller's; administrators and those who only read see everybody's.
#[utoipa::path(get, path = "/ssh-keys", tag = "access", params(PageAsk, TokensAsk), responses((status = 200, body = Page<SshKey>)))]
async fn ssh_key_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<SshKey>>> {
    let query = ListQuery::read(&parameters.0, &SSH_KEYS)?;
    let page = state.core().ssh_key_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, SshKey::from)))
}

/// Keep a public SSH key of the caller
///
/// The guests of new machines of the caller let its owner in.
#[utoipa::path(post, path = "/ssh-keys", tag = "access", request_body = SshKeyCreate, responses((status = 201, body = SshKey)))]
async fn ssh_key_add(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<SshKeyCreate>,
) -> Answer {
    let ask = SshKeyAsk { account: None, name: value.name, public_key: value.public_key };
    let key = SshKey::from(state.core().ssh_key_add(&caller, ask).await?);
    Ok(created("ssh-keys", key.id, key))
}

/// Forget a public SSH key
///
/// Machines that have it already keep it.
#[utoipa::path(
    delete, path = "/ssh-keys/{key}", tag = "access",
    params(("key" = String, Path, description = "Id or number, or its name among the caller's")),
    responses((status = 204))
)]
async fn ssh_key_remove(
    State(state): State<DoorState>,
    By(caller): By,
    Path(key): Path<String>,
) -> Answer<StatusCode> {
    state.core().ssh_key_remove(&caller, &key).await?;
    Ok(StatusCode::NO_CONTENT)
}
