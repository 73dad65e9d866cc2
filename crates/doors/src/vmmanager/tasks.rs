//! Tasks, and the history of one machine, which is its tasks.

use super::hosts::named;
use super::{CONSUL, about, fields, number, render};
use crate::isp::by::By;
use crate::isp::filters::Filters;
use crate::isp::refused::Answer;
use crate::isp::render::{list as rendered, moment};
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::query::Filter;
use serde_json::{Value, json};

/// `GET task`.
pub(super) async fn list(
    State(state): State<DoorState>,
    By(caller): By,
    filters: Filters,
) -> Answer<Json<Value>> {
    let page = state.core().task_list(&caller, filters.ask(fields::TASKS)?).await?;
    let around = state.core().task_surroundings(&page.items).await?;
    let now = state.core().clock().now();
    rendered(&state, page, |task| render::task(&task, &around, now)).await
}

/// `GET task/{id or consul id}`.
pub(super) async fn element(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let key = match id.parse::<i64>() {
        Ok(consul) if consul > CONSUL => (consul - CONSUL).to_string(),
        _ => number(&id)?,
    };
    let task = [state.core().task_get(&caller, &key).await.map_err(|error| about(error, &id))?];
    let around = state.core().task_surroundings(&task).await?;
    let mut shown = render::task(&task[0], &around, state.core().clock().now());
    shown["task"] = shown.clone();
    Ok(Json(shown))
}

/// `GET host/{id}/history`.
pub(super) async fn history(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
    filters: Filters,
) -> Answer<Json<Value>> {
    let mut ask = filters.ask(fields::TASKS)?;
    let machine = named(&state, &caller, &id).await?;
    ask.filter = Filter::eq("subject", machine.id.0).and(ask.filter);
    let page = state.core().task_list(&caller, ask).await?;
    let around = state.core().task_surroundings(&page.items).await?;
    let max_id = page.items.iter().map(|task| task.number).max().unwrap_or(0);
    let item = |task: hostler_core::tasks::Task| {
        let owner = around.owners.get(&task.owner);
        json!({
            "id": task.number,
            "name": render::task_name(&task),
            "state": render::status(task.state),
            "task": task.number + CONSUL,
            "date_create": moment(task.created_at),
            "account": {
                "id": owner.map_or(0, |one| one.number),
                "email": owner.map_or("", |one| one.email.as_str()),
            },
            "params": {},
        })
    };
    let Json(mut shown) = rendered(&state, page, item).await?;
    shown["max_id"] = max_id.into();
    Ok(Json(shown))
}
