//! DCImanager 6's service `dci`. Of it there are the list of servers, which is empty as long as hostler knows no physical
//! machines, and the settings of the guide.
//!
//! Quirks, each of which the guide shows: a boolean comes as text; the cookie may have no name (the credential is then
//! taken from the header).

use crate::isp::body::Body;
use crate::isp::by::By;
use crate::isp::filters::Filters;
use crate::isp::refused::{Answer, Refused};
use crate::isp::render::list as rendered;
use crate::isp::routes::{Access, Table};
use crate::isp::service::Service;
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::core::Page;
use hostler_core::query::language::Field;
use hostler_core::query::language::Holds::{Number, Text};
use serde_json::{Value, json};

pub(crate) fn table() -> Table {
    use Access::{Administrator, User};
    Table::of(Service::Dci)
        .get(User, "/v3/server", server_list)
        .get(User, "/v3/server/{id}", server)
        .get(Administrator, "/v3/setting/{name}", setting)
        .post(Administrator, "/v3/setting/{name}", setting_change)
}

/// The settings that there are; all are booleans, off at first.
const SETTINGS: [&str; 1] = ["operation_change_boot_order"];

/// What the list of servers may be filtered and ordered by.
const SERVERS: &[Field] =
    &[Field::of("id", Number, "number"), Field::own("name", Text), Field::of("state", Text, "observed")];

/// `GET server`.
async fn server_list(State(state): State<DoorState>, filters: Filters) -> Answer<Json<Value>> {
    filters.ask(SERVERS)?;
    rendered(&state, Page { items: Vec::<Value>::new(), next: None, total: Some(0) }, |item| item).await
}

/// `GET server/{id}`.
async fn server(Path(id): Path<String>) -> Answer<Json<Value>> {
    Err(Refused::no_entity(&id))
}

/// Where a setting of this dialect is kept.
fn kept_as(name: &str) -> Answer<String> {
    if SETTINGS.contains(&name) { Ok(format!("dcimanager/{name}")) } else { Err(Refused::no_entity(name)) }
}

/// `GET setting/{name}`.
async fn setting(
    State(state): State<DoorState>,
    By(caller): By,
    Path(name): Path<String>,
) -> Answer<Json<Value>> {
    let found = state.core().setting_get(&caller, &kept_as(&name)?).await?;
    let value = found.is_some_and(|setting| setting.value == json!(true));
    Ok(Json(json!({ "name": name, "value": value })))
}

/// `POST setting/{name}`: `{"value": "true"}`.
async fn setting_change(
    State(state): State<DoorState>,
    By(caller): By,
    Path(name): Path<String>,
    body: Body,
) -> Answer<Json<Value>> {
    let kept_as = kept_as(&name)?;
    let value = body.flag("value")?.ok_or_else(|| body.wrong("value", "true or false"))?;
    let setting = state.core().setting_put(&caller, &kept_as, &value.into()).await?;
    Ok(Json(json!({ "id": setting.number })))
}
