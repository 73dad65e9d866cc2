//! Accounts: who may come in.

use super::fields;
use super::types::{Account, AccountCreate, AccountEdit, Page, PageAsk, Role};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Posted, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::{AccountAsk, AccountChange};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(own_show, own_edit))
        .routes(routes!(account_list, account_create))
        .routes(routes!(account_show, account_edit, account_delete))
}

const ACCOUNTS: ListSpec = ListSpec { fields: fields::ACCOUNTS, picks: &[] };

/// Show the caller's own account
#[utoipa::path(get, path = "/account", tag = "access", responses((status = 200, body = Account)))]
async fn own_show(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Account>> {
    Ok(Json(state.core().account_own(&caller).await?.into()))
}

/// Change the caller's own account
///
/// A new password needs the present one, and ends the caller's other sessions.
#[utoipa::path(patch, path = "/account", tag = "access", request_body = AccountEdit, responses((status = 200, body = Account)))]
async fn own_edit(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<AccountEdit>,
) -> Answer<Json<Account>> {
    let key = caller.account.to_string();
    Ok(Json(state.core().account_change(&caller, &key, change(value)).await?.into()))
}

/// List accounts
///
/// Those that the caller may see: the own one; all, for administrators and those who only read.
#[utoipa::path(get, path = "/accounts", tag = "access", params(PageAsk), responses((status = 200, body = Page<Account>)))]
async fn account_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Account>>> {
    let query = ListQuery::read(&parameters.0, &ACCOUNTS)?;
    let page = state.core().account_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, Account::from)))
}

/// Add an account
///
/// Administrators only.
#[utoipa::path(post, path = "/accounts", tag = "access", request_body = AccountCreate, responses((status = 201, body = Account)))]
async fn account_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<AccountCreate>,
) -> Answer {
    let ask = AccountAsk {
        login: value.login,
        email: value.email,
        full_name: value.full_name,
        password: value.password.map(Into::into),
        role: value.role.unwrap_or(Role::User).into(),
        enabled: value.enabled.unwrap_or(true),
    };
    let account = Account::from(state.core().account_create(&caller, ask).await?);
    Ok(created("accounts", account.id, account))
}

/// Show an account
#[utoipa::path(
    get, path = "/accounts/{account}", tag = "access",
    params(("account" = String, Path, description = "Id, number, login name or e-mail address")),
    responses((status = 200, body = Account))
)]
async fn account_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(account): Path<String>,
) -> Answer<Json<Account>> {
    Ok(Json(state.core().account_get(&caller, &account).await?.into()))
}

/// Change an account
///
/// A new role or password, or disabling it, ends its sessions, event streams and consoles at once.
#[utoipa::path(
    patch, path = "/accounts/{account}", tag = "access", request_body = AccountEdit,
    params(("account" = String, Path, description = "Id, number, login name or e-mail address")),
    responses((status = 200, body = Account))
)]
async fn account_edit(
    State(state): State<DoorState>,
    By(caller): By,
    Path(account): Path<String>,
    Posted { value, .. }: Posted<AccountEdit>,
) -> Answer<Json<Account>> {
    Ok(Json(state.core().account_change(&caller, &account, change(value)).await?.into()))
}

/// Delete an account
///
/// With its tokens, sessions, SSH keys, grants and quota. Refused while it owns machines, volumes, templates or media,
/// and for the last enabled administrator. Administrators only.
#[utoipa::path(
    delete, path = "/accounts/{account}", tag = "access",
    params(("account" = String, Path, description = "Id, number, login name or e-mail address")),
    responses((status = 204))
)]
async fn account_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(account): Path<String>,
) -> Answer<StatusCode> {
    state.core().account_delete(&caller, &account).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn change(edit: AccountEdit) -> AccountChange {
    AccountChange {
        email: edit.email,
        full_name: edit.full_name,
        role: edit.role.map(Into::into),
        enabled: edit.enabled,
        password: edit.password.map(Into::into),
        present_password: edit.present_password.map(Into::into),
    }
}
