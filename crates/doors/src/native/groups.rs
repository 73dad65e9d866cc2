//! Groups and who is in them.

use super::fields;
use super::types::{Account, Group, GroupCreate, GroupEdit, Page, PageAsk};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Posted, created};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access::{GroupAsk, GroupChange};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(group_list, group_create))
        .routes(routes!(group_show, group_edit, group_delete))
        .routes(routes!(member_list))
        .routes(routes!(member_add, member_remove))
}

const GROUPS: ListSpec = ListSpec { fields: fields::GROUPS, picks: &[] };

/// List groups
///
/// Those that the caller is in; all, for administrators and those who only read.
#[utoipa::path(get, path = "/groups", tag = "access", params(PageAsk), responses((status = 200, body = Page<Group>)))]
async fn group_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Group>>> {
    let query = ListQuery::read(&parameters.0, &GROUPS)?;
    let page = state.core().group_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, Group::from)))
}

/// Add a group
///
/// Administrators only.
#[utoipa::path(post, path = "/groups", tag = "access", request_body = GroupCreate, responses((status = 201, body = Group)))]
async fn group_create(
    State(state): State<DoorState>,
    By(caller): By,
    Posted { value, .. }: Posted<GroupCreate>,
) -> Answer {
    let ask = GroupAsk { name: value.name, description: value.description };
    let group = Group::from(state.core().group_create(&caller, ask).await?);
    Ok(created("groups", group.id, group))
}

/// Show a group
#[utoipa::path(
    get, path = "/groups/{group}", tag = "access",
    params(("group" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = Group))
)]
async fn group_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path(group): Path<String>,
) -> Answer<Json<Group>> {
    Ok(Json(state.core().group_get(&caller, &group).await?.into()))
}

/// Change a group
///
/// Administrators only.
#[utoipa::path(
    patch, path = "/groups/{group}", tag = "access", request_body = GroupEdit,
    params(("group" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = Group))
)]
async fn group_edit(
    State(state): State<DoorState>,
    By(caller): By,
    Path(group): Path<String>,
    Posted { value, .. }: Posted<GroupEdit>,
) -> Answer<Json<Group>> {
    let change = GroupChange { name: value.name, description: value.description };
    Ok(Json(state.core().group_change(&caller, &group, change).await?.into()))
}

/// Delete a group
///
/// With its grants and its quota; the accounts in it stay. Administrators only.
#[utoipa::path(
    delete, path = "/groups/{group}", tag = "access",
    params(("group" = String, Path, description = "Id, number or name")),
    responses((status = 204))
)]
async fn group_delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(group): Path<String>,
) -> Answer<StatusCode> {
    state.core().group_delete(&caller, &group).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// List the accounts in a group
#[utoipa::path(
    get, path = "/groups/{group}/members", tag = "access",
    params(("group" = String, Path, description = "Id, number or name")),
    responses((status = 200, body = Vec<Account>))
)]
async fn member_list(
    State(state): State<DoorState>,
    By(caller): By,
    Path(group): Path<String>,
) -> Answer<Json<Vec<Account>>> {
    let members = state.core().member_list(&caller, &group).await?;
    Ok(Json(members.into_iter().map(Account::from).collect()))
}

/// Put an account into a group
///
/// Administrators only.
#[utoipa::path(
    put, path = "/groups/{group}/members/{account}", tag = "access",
    params(
        ("group" = String, Path, description = "Id, number or name"),
        ("account" = String, Path, description = "Id, number, login name or e-mail address")
    ),
    responses((status = 204))
)]
async fn member_add(
    State(state): State<DoorState>,
    By(caller): By,
    Path((group, account)): Path<(String, String)>,
) -> Answer<StatusCode> {
    state.core().member_add(&caller, &group, &account).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Take an account out of a group
///
/// Administrators only.
#[utoipa::path(
    delete, path = "/groups/{group}/members/{account}", tag = "access",
    params(
        ("group" = String, Path, description = "Id, number or name"),
        ("account" = String, Path, description = "Id, number, login name or e-mail address")
    ),
    responses((status = 204))
)]
async fn member_remove(
    State(state): State<DoorState>,
    By(caller): By,
    Path((group, account)): Path<(String, String)>,
) -> Answer<StatusCode> {
    state.core().member_remove(&caller, &group, &account).await?;
    Ok(StatusCode::NO_CONTENT)
}
