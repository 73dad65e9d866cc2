//! Accounts, as both products show and change them.

use crate::isp::body::Body;
use crate::isp::by::By;
use crate::isp::filters::Filters;
use crate::isp::refused::{Answer, Refused};
use crate::isp::render::{self, moment, role_word};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::ErrorKind;
use hostler_core::access::{Account, AccountAsk, AccountChange, Caller, Role};
use hostler_core::core::ListAsk;
use hostler_core::query::Filter;
use hostler_core::query::language::Holds::{Number, Text, Word};
use hostler_core::query::language::{Case, Field};
use hostler_core::secret::Secret;
use hostler_core::time::Timestamp;
use serde_json::{Value, json};
use std::time::Duration;

/// What lists of accounts may be filtered and ordered by.
pub(crate) const FIELDS: &[Field] = &[
    Field::of("id", Number, "number"),
    Field::own("email", Word),
    Field::cases(
        "roles",
        Text,
        &[
            Case { word: "@admin", when: || Filter::eq("role", Role::Administrator.word()) },
            Case { word: "@admin.readonly", when: || Filter::eq("role", Role::ReadOnly.word()) },
            Case { word: "@advanced_user", when: || Filter::eq("role", Role::AdvancedUser.word()) },
            Case { word: "@user", when: || Filter::eq("role", Role::User.word()) },
        ],
    ),
    Field::cases(
        "state",
        Text,
        &[
            Case { word: ACTIVE, when: || Filter::eq("enabled", true) },
            Case { word: DISABLED, when: || Filter::eq("enabled", false) },
        ],
    ),
];

const ACTIVE: &str = "active";
const DISABLED: &str = "disabled";

/// `whoami`: the caller's account, and until when what they came in with counts if it is not used again.
pub(super) async fn whoami(State(state): State<DoorState>, By(caller): By) -> Answer<Json<Value>> {
    let account = state.core().account_own(&caller).await?;
    let mut shown = shown(&account);
    shown["expires_at"] = ends_at(&state, &caller).await?.map(moment).into();
    Ok(Json(shown))
}

async fn ends_at(state: &DoorState, caller: &Caller) -> Answer<Option<Timestamp>> {
    let Some(id) = caller.credential else { return Ok(None) };
    let ask = ListAsk { filter: Filter::eq("id", id.0), limit: 1, ..ListAsk::default() };
    let found = state.core().credential_list(caller, ask).await?.items.pop();
    // It has been used just now.
    let now = state.core().clock().now();
    let idle = |seconds: u32| now.plus(Duration::from_secs(seconds.into()));
    Ok(found.and_then(|found| found.expires_at.or(found.idle_s.map(idle))))
}

/// `GET user`: the accounts that the caller may see.
pub(crate) async fn list(
    State(state): State<DoorState>,
    By(caller): By,
    filters: Filters,
) -> Answer<Json<Value>> {
    let page = state.core().account_list(&caller, filters.ask(FIELDS)?).await?;
    render::list(&state, page, |account| shown(&account)).await
}

/// `GET user/{id or e-mail}`.
pub(crate) async fn element(
    State(state): State<DoorState>,
    By(caller): By,
    Path(user): Path<String>,
) -> Answer<Json<Value>> {
    let found = state.core().account_get(&caller, &user).await;
    Ok(Json(shown(&found.map_err(|error| Refused::from(error).about(&user))?)))
}

/// `POST user`: `{"email", "password", "role"?, "full_name"?}`. The login name is the e-mail address.
pub(crate) async fn create(
    State(state): State<DoorState>,
    By(caller): By,
    body: Body,
) -> Answer<Json<Value>> {
    let email = body.required_text("email")?.to_owned();
    let ask = AccountAsk {
        login: email.clone(),
        email,
        full_name: body.text("full_name")?.unwrap_or("").to_owned(),
        password: Some(Secret::new(body.required_text("password")?)),
        role: role(&body)?.unwrap_or(Role::User),
        enabled: true,
    };
    let made = state.core().account_create(&caller, ask).await;
    let account = made.map_err(|mut error| {
        if let ErrorKind::Invalid { field } = &mut error.kind
            && field == "login"
        {
            // Nobody gave one.
            "email".clone_into(field);
        }
        error
    })?;
    Ok(Json(json!({ "id": account.number })))
}

/// `POST user/{id}`: what is given of `email`, `password`, `full_name`, `role` or `roles`, `state`.
pub(crate) async fn change(
    State(state): State<DoorState>,
    By(caller): By,
    Path(user): Path<String>,
    body: Body,
) -> Answer<Json<Value>> {
    let enabled = match body.text("state")? {
        None => None,
        Some(ACTIVE) => Some(true),
        Some(DISABLED) => Some(false),
        Some(_) => return Err(body.wrong("state", "active or disabled")),
    };
    let change = AccountChange {
        email: body.text("email")?.map(str::to_owned),
        full_name: body.text("full_name")?.map(str::to_owned),
        role: role(&body)?,
        enabled,
        password: body.text("password")?.map(Secret::new),
        present_password: body.text("present_password")?.map(Secret::new),
    };
    let changed = state.core().account_change(&caller, &user, change).await;
    let account = changed.map_err(|error| Refused::from(error).about(&user))?;
    Ok(Json(json!({ "id": account.number })))
}

/// `DELETE user/{id}`.
pub(crate) async fn delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(user): Path<String>,
) -> Answer<Json<Value>> {
    let named = |error| Refused::from(error).about(&user);
    let account = state.core().account_get(&caller, &user).await.map_err(named)?;
    state.core().account_delete(&caller, &account.id.to_string()).await.map_err(named)?;
    Ok(Json(json!({ "id": account.number })))
}

/// The role of a body: `"role": "@user"` or `"roles": ["@user"]`; of several the first.
fn role(body: &Body) -> Answer<Option<Role>> {
    let word = match body.list("roles")? {
        Some(words) => words.first().and_then(Value::as_str).map(|word| ("roles", word)),
        None => body.text("role")?.map(|word| ("role", word)),
    };
    let Some((name, word)) = word else { return Ok(None) };
    let known = Role::ALL.into_iter().find(|role| role_word(*role) == word);
    let wanted = "@admin, @admin.readonly, @advanced_user or @user";
    known.map(Some).ok_or_else(|| body.wrong(name, wanted))
}

/// An account.
pub(crate) fn shown(account: &Account) -> Value {
    json!({
        "id": account.number,
        "email": account.email,
        "full_name": account.full_name,
        "roles": [role_word(account.role)],
        "state": if account.enabled { ACTIVE } else { DISABLED },
        "lang": "en",
        "timezone": "UTC",
    })
}
