//! Machines: lists, one of them, its words and its power.

use super::{CONSUL, about, fields, number, render};
use crate::isp::body::Body;
use crate::isp::by::By;
use crate::isp::filters::Filters;
use crate::isp::refused::{Answer, Refused};
use crate::isp::render::list as rendered;
use crate::state::DoorState;
use axum::Json;
use axum::extract::{Path, State};
use hostler_core::access::Caller;
use hostler_core::machines::{Busy, Life, Machine, MachineEdit, Verb};
use hostler_core::query::Filter;
use hostler_core::tasks::{Accepted, Task};
use serde_json::{Value, json};

/// `GET host`.
pub(super) async fn list(
    State(state): State<DoorState>,
    By(caller): By,
    filters: Filters,
) -> Answer<Json<Value>> {
    let mut ask = filters.ask(fields::HOSTS)?;
    ask.filter = Filter::ne("life", Life::Gone.word()).and(ask.filter);
    let page = state.core().machine_list(&caller, ask).await?;
    let around = state.core().machine_surroundings(&page.items).await?;
    rendered(&state, page, |machine| render::joined(&machine, &around)).await
}

/// `GET host/{id}`.
pub(super) async fn element(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let machine = [named(&state, &caller, &id).await?];
    let around = state.core().machine_surroundings(&machine).await?;
    Ok(Json(render::flat(&machine[0], &around)))
}

/// A machine that is there, by its id.
pub(super) async fn named(state: &DoorState, caller: &Caller, id: &str) -> Answer<Machine> {
    let found = state.core().machine_get(caller, &number(id)?).await;
    let machine = found.map_err(|error| about(error, id))?;
    if machine.life == Life::Gone { Err(Refused::no_entity(id)) } else { Ok(machine) }
}

/// `POST host/{id}`: name, comment and domain. What else it may say has calls of its own.
pub(super) async fn edit(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<Value>> {
    let edit = MachineEdit {
        title: body.text("name")?.map(str::to_owned),
        domain: body.text("domain")?.map(str::to_owned),
        description: body.text("comment")?.map(str::to_owned),
        ..MachineEdit::default()
    };
    let machine = named(&state, &caller, &id).await?;
    let edited = state.core().machine_edit(&caller, &machine.id.to_string(), &edit).await;
    edited.map_err(super::create::in_their_words)?;
    Ok(Json(json!({ "id": machine.number })))
}

/// `POST host/{id}/start`.
pub(super) async fn start(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
    _body: Body,
) -> Answer<Json<Value>> {
    let (machine, task) = power(&state, &caller, &id, Verb::Start, false).await?;
    Ok(Json(json!({ "id": machine.number, "task": consul(&task) })))
}

/// `POST host/{id}/stop`.
pub(super) async fn stop(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<Value>> {
    let force = body.flag("force")?.unwrap_or(false);
    let (machine, task) = power(&state, &caller, &id, Verb::Stop, force).await?;
    Ok(Json(json!({ "id": machine.number, "task": consul(&task) })))
}

/// `POST host/{id}/restart`. The start that follows finds the machine running, unless the restart failed.
pub(super) async fn restart(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Json<Value>> {
    let force = body.flag("force")?.unwrap_or(false);
    let (machine, task) = power(&state, &caller, &id, Verb::Restart, force).await?;
    let (_, then) = power(&state, &caller, &id, Verb::Start, false).await?;
    Ok(Json(json!({ "id": machine.number, "task": consul(&task), "start_task": consul(&then) })))
}

async fn power(
    state: &DoorState,
    caller: &Caller,
    id: &str,
    verb: Verb,
    force: bool,
) -> Answer<(Machine, Task)> {
    let machine = named(state, caller, id).await?;
    let key = machine.id.to_string();
    tasked(state.core().machine_power_when(caller, &key, verb, force, Busy::Queue).await?)
}

/// `DELETE host/{id}`.
pub(super) async fn delete(
    State(state): State<DoorState>,
    By(caller): By,
    Path(id): Path<String>,
) -> Answer<Json<Value>> {
    let machine = named(&state, &caller, &id).await?;
    let key = machine.id.to_string();
    let (machine, task) = tasked(state.core().machine_delete_when(&caller, &key, Busy::Queue).await?)?;
    Ok(Json(json!({ "id": machine.number, "task": consul(&task) })))
}

/// What was accepted, with its task, which whoever queues always gets.
pub(super) fn tasked(accepted: Accepted<Machine>) -> Answer<(Machine, Task)> {
    let missing = || Refused::from(hostler_core::Error::internal("a queued command has no task"));
    Ok((accepted.record, accepted.task.ok_or_else(missing)?))
}

/// The id by which clients look for a task.
pub(super) fn consul(task: &Task) -> i64 {
    task.number + CONSUL
}
