//! Grants on objects, quotas, and the audit trail.

use super::fields;
use super::types::{Amounts, AuditAsk, Deed, Grant, GrantSet, Grants, Page, PageAsk, Quota, Quotas};
use super::wire::{Answer, By, ListQuery, ListSpec, Parameters, Pick, Posted};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use hostler_core::access as domain;
use std::collections::BTreeSet;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub(super) fn routes() -> OpenApiRouter<DoorState> {
    OpenApiRouter::new()
        .routes(routes!(grant_list))
        .routes(routes!(grant_set, grant_revoke))
        .routes(routes!(audit_list))
        .routes(routes!(quota_own))
        .routes(routes!(quota_list))
        .routes(routes!(quota_show, quota_set))
}

/// Show what is granted on an object
#[utoipa::path(
    get, path = "/grants/{kind}/{object}", tag = "access",
    params(
        ("kind" = String, Path, description = "`machine`, `volume`, `network`, `template` or `medium`"),
        ("object" = String, Path, description = "Id, number or name"),
    ),
    responses((status = 200, body = Grants))
)]
async fn grant_list(
    State(state): State<DoorState>,
    By(caller): By,
    Path((kind, object)): Path<(String, String)>,
) -> Answer<Json<Grants>> {
    let grants = state.core().grant_list(&caller, &kind, &object).await?;
    Ok(Json(Grants { items: grants.into_iter().map(Grant::from).collect() }))
}

/// Set what an account or group may do with an object
///
/// In place of what it was granted before. Whoever holds an action may give and take it; whoever holds `all`, any.
#[utoipa::path(
    put, path = "/grants/{kind}/{object}/{subject_kind}/{subject}", tag = "access",
    params(
        ("kind" = String, Path, description = "`machine`, `volume`, `network`, `template` or `medium`"),
        ("object" = String, Path, description = "Id, number or name"),
        ("subject_kind" = String, Path, description = "`account` or `group`"),
        ("subject" = String, Path, description = "Id, number, login, e-mail address or group name"),
    ),
    request_body = GrantSet,
    responses((status = 200, body = Grants, description = "All that is granted on the object now"))
)]
async fn grant_set(
    State(state): State<DoorState>,
    By(caller): By,
    Path((kind, object, subject_kind, subject)): Path<(String, String, String, String)>,
    Posted { value, .. }: Posted<GrantSet>,
) -> Answer<Json<Grants>> {
    let core = state.core();
    // Whether the object is there and seen comes first: nobody learns of accounts by objects that are not theirs.
    core.grant_list(&caller, &kind, &object).await?;
    let subject = core.subject_named(&subject_kind, &subject).await?;
    let actions: BTreeSet<domain::Action> = value.actions.into_iter().map(Into::into).collect();
    core.grant_set(&caller, (&kind, &object), subject, &actions).await?;
    grant_list(State(state), By(caller), Path((kind, object))).await
}

/// Take back what an account or group was granted on an object
#[utoipa::path(
    delete, path = "/grants/{kind}/{object}/{subject_kind}/{subject}", tag = "access",
    params(
        ("kind" = String, Path, description = "`machine`, `volume`, `network`, `template` or `medium`"),
        ("object" = String, Path, description = "Id, number or name"),
        ("subject_kind" = String, Path, description = "`account` or `group`"),
        ("subject" = String, Path, description = "Id, number, login, e-mail address or group name"),
    ),
    responses((status = 204))
)]
async fn grant_revoke(
    State(state): State<DoorState>,
    By(caller): By,
    Path((kind, object, subject_kind, subject)): Path<(String, String, String, String)>,
) -> Answer<StatusCode> {
    let core = state.core();
    core.grant_list(&caller, &kind, &object).await?;
    let subject = core.subject_named(&subject_kind, &subject).await?;
    core.grant_set(&caller, (&kind, &object), subject, &BTreeSet::new()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show what the caller and its groups have and may have
#[utoipa::path(get, path = "/quota", tag = "access", responses((status = 200, body = Quotas)))]
async fn quota_own(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Quotas>> {
    let own = state.core().quota_own(&caller).await?;
    Ok(Json(Quotas { items: own.into_iter().map(Quota::from).collect() }))
}

/// List everybody for whom something is limited
///
/// Administrators only.
#[utoipa::path(get, path = "/quotas", tag = "access", responses((status = 200, body = Quotas)))]
async fn quota_list(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Quotas>> {
    let list = state.core().quota_list(&caller).await?;
    Ok(Json(Quotas { items: list.into_iter().map(Quota::from).collect() }))
}

/// Show what an account or group has and may have
#[utoipa::path(
    get, path = "/quotas/{subject_kind}/{subject}", tag = "access",
    params(
        ("subject_kind" = String, Path, description = "`account` or `group`"),
        ("subject" = String, Path, description = "Id, number, login, e-mail address or group name"),
    ),
    responses((status = 200, body = Quota))
)]
async fn quota_show(
    State(state): State<DoorState>,
    By(caller): By,
    Path((kind, subject)): Path<(String, String)>,
) -> Answer<Json<Quota>> {
    let subject = state.core().subject_named(&kind, &subject).await?;
    Ok(Json(state.core().quota_get(&caller, subject).await?.into()))
}

/// Limit an account, or all members of a group together
///
/// In place of all limits before. A limit below what is in use takes nothing away and stops what would grow; a request
/// that would exceed a limit is answered with 507 and the code `quota`.
#[utoipa::path(
    put, path = "/quotas/{subject_kind}/{subject}", tag = "access",
    params(
        ("subject_kind" = String, Path, description = "`account` or `group`"),
        ("subject" = String, Path, description = "Id, number, login, e-mail address or group name"),
    ),
    request_body = Amounts,
    responses((status = 200, body = Quota))
)]
async fn quota_set(
    State(state): State<DoorState>,
    By(caller): By,
    Path((kind, subject)): Path<(String, String)>,
    Posted { value, .. }: Posted<Amounts>,
) -> Answer<Json<Quota>> {
    let subject = state.core().subject_named(&kind, &subject).await?;
    Ok(Json(state.core().quota_set(&caller, subject, value.into()).await?.into()))
}

const DEEDS: ListSpec = ListSpec {
    fields: fields::DEEDS,
    picks: &[
        ("account", Pick::Key),
        ("object", Pick::Key),
        ("action", Pick::Text),
        ("door", Pick::Text),
        ("outcome", Pick::Words(&["done", "denied", "failed"])),
    ],
};

/// List who did what
///
/// An administrator sees everything, others what they did themselves. Times are filtered by `where`, for instance
/// `created_at > '2026-01-01'`.
#[utoipa::path(
    get, path = "/audit", tag = "access", params(PageAsk, AuditAsk),
    responses((status = 200, body = Page<Deed>))
)]
async fn audit_list(
    State(state): State<DoorState>,
    By(caller): By,
    parameters: Parameters,
) -> Answer<Json<Page<Deed>>> {
    let query = ListQuery::read(&parameters.0, &DEEDS)?;
    let page = state.core().audit_list(&caller, query.ask()).await?;
    Ok(Json(query.page(page, Deed::from)))
}

impl From<domain::Deed> for Deed {
    fn from(deed: domain::Deed) -> Self {
        Self {
            id: deed.id.0,
            number: deed.number,
            account: deed.account.map(|id| id.0),
            login: deed.login,
            action: deed.action,
            object_kind: deed.object_kind,
            object: deed.object,
            object_name: deed.object_name,
            door: deed.door,
            address: deed.address.map(|address| address.to_string()),
            credential: deed.credential,
            outcome: deed.outcome.word().to_owned(),
            reason: deed.reason,
            created_at: deed.created_at.to_string(),
        }
    }
}

impl From<domain::Grant> for Grant {
    fn from(grant: domain::Grant) -> Self {
        Self {
            id: grant.id.0,
            number: grant.number,
            object_kind: grant.object_kind,
            object: grant.object,
            subject_kind: grant.subject.word().to_owned(),
            subject: grant.subject.key(),
            actions: grant.actions.into_iter().map(Into::into).collect(),
            by: grant.by.0,
            created_at: grant.created_at.to_string(),
        }
    }
}

impl From<domain::Amounts> for Amounts {
    fn from(amounts: domain::Amounts) -> Self {
        let domain::Amounts { machines, vcpus, memory_mib, disk_mib, addresses, checkouts } = amounts;
        Self { machines, vcpus, memory_mib, disk_mib, addresses, checkouts }
    }
}

impl From<Amounts> for domain::Amounts {
    fn from(amounts: Amounts) -> Self {
        let Amounts { machines, vcpus, memory_mib, disk_mib, addresses, checkouts } = amounts;
        Self { machines, vcpus, memory_mib, disk_mib, addresses, checkouts }
    }
}

impl From<domain::Allowance> for Quota {
    fn from(allowance: domain::Allowance) -> Self {
        Self {
            subject_kind: allowance.subject.word().to_owned(),
            subject: allowance.subject.key(),
            name: allowance.name,
            limits: allowance.limits.into(),
            used: allowance.used.into(),
        }
    }
}
